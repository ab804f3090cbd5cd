"""The queue: every run once, nothing lost when it is killed, failures reported, several queues at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from grcsf.benchmark import worker
from grcsf.benchmark.claims import claim_changes, content_hash
from grcsf.benchmark.process import StepFiles, run_step
from grcsf.benchmark.queue import run_queue, state_of
from grcsf.benchmark.run import benchmark
from grcsf.benchmark.scores import read_runs
from grcsf.benchmark.spec import load_benchmark
from grcsf.benchmark.tables import make_groups
from grcsf.benchmark.units import refuse_other_claims, run_unit
from grcsf.errors import DatasetError, OutputError
from grcsf.io.files import make_folder, write_json
from grcsf.io.locks import folder_lock
from grcsf.preprocess.store import CaseStore
from outside import fake_entry

WriteSpec = Callable[..., Path]


def calls(out: Path) -> list[str]:
    return (out / "calls.txt").read_text("utf-8").split() if (out / "calls.txt").is_file() else []


def run(path: Path, out: Path) -> dict[str, str]:
    spec = load_benchmark(path)
    return run_queue(spec, spec.cells(), out, path.parent)


def test_every_run_is_done_once_and_kept(write_spec: WriteSpec, tmp_path: Path) -> None:
    path, out = write_spec(fake_entry("exact"), fake_entry("moved", shift=1), folds=[0, 1]), tmp_path / "out"
    assert run(path, out) == {}
    assert run(path, out) == {}
    assert calls(out) == [f"{entry}_squares_f{fold}_s0_l100" for fold in (0, 1) for entry in ("exact", "moved")]
    result = json.loads((out / "runs" / "exact_squares_f0_s0_l100" / "result.json").read_text("utf-8"))
    assert (result["budget"]["parameters"], result["budget"]["steps"]) == (10, 4)
    assert result["steps"]["command"]["status"] == "done"
    assert result["steps"]["command"]["attempts"] == 1


def test_a_run_that_fails_is_named_and_the_others_go_on(write_spec: WriteSpec, tmp_path: Path) -> None:
    path, out = write_spec(fake_entry("broken", shift="broken"), fake_entry("exact")), tmp_path / "out"
    failed = run(path, out)
    assert failed == {"broken_squares_f0_s0_l100": "command: exit code 1: this method never works"}
    assert state_of(out / "runs" / "broken_squares_f0_s0_l100") == ("failed", failed["broken_squares_f0_s0_l100"])
    assert state_of(out / "runs" / "exact_squares_f0_s0_l100") == ("done", "")
    assert list(run(path, out)) == ["broken_squares_f0_s0_l100"]
    assert calls(out).count("broken_squares_f0_s0_l100") == 2  # tried again, in case it was mended
    assert calls(out).count("exact_squares_f0_s0_l100") == 1


def test_outside_entries_are_scored_by_the_rules_of_the_file(write_spec: WriteSpec, tmp_path: Path) -> None:
    settings = {"evaluation.preset": "isles2022", "evaluation.when_empty": "one"}
    assert run(write_spec(fake_entry("exact"), settings=settings), tmp_path / "out") == {}
    summary = json.loads((tmp_path / "out/runs/exact_squares_f0_s0_l100/scores/summary.json").read_text("utf-8"))
    assert (summary["lesion_preset"]["name"], summary["when_empty"]) == ("isles2022", "one")
    with pytest.raises(OutputError, match=r"was run in another way .settings.evaluation.when_empty: one there"):
        run(write_spec(fake_entry("exact")), tmp_path / "out")


def test_a_mask_that_is_missing_fails_the_run(write_spec: WriteSpec, tmp_path: Path) -> None:
    entry = {"name": "lazy", "kind": "outside", "command": ["{python}", "-c", "pass", "{output}"]}
    failed = run(write_spec(entry), tmp_path / "out")
    assert failed["lazy_squares_f0_s0_l100"].startswith("score: exit code 1")


def test_an_outside_method_that_left_out_a_mask_is_asked_again(write_spec: WriteSpec, tmp_path: Path) -> None:
    path, out = write_spec(fake_entry("exact", shift="forgetful")), tmp_path / "out"
    assert list(run(path, out)) == ["exact_squares_f0_s0_l100"]
    assert run(path, out) == {}
    assert len(calls(out)) == 2
    result = json.loads((out / "runs" / "exact_squares_f0_s0_l100" / "result.json").read_text("utf-8"))
    assert result["steps"]["command"]["attempts"] == 2


def test_a_run_that_failed_is_not_tried_again_for_its_transfers(
    write_spec: WriteSpec, squares: Path, tmp_path: Path
) -> None:
    transfer = {"name": "other", "path": str(shutil.copytree(squares, tmp_path / "Other")), "entries": ["broken"]}
    path, out = write_spec(fake_entry("broken", shift="broken"), transfer=[transfer]), tmp_path / "out"
    failed = run(path, out)
    assert failed["broken_squares_f0_s0_l100_onto-other"].startswith("broken_squares_f0_s0_l100: command: exit code 1")
    assert calls(out) == ["broken_squares_f0_s0_l100"]


def change_a_mask(dataset: Path) -> None:
    mask = nibabel.load(dataset / "labelsTr" / "case-1.nii.gz")
    noise = np.random.default_rng(0).integers(0, 2, mask.shape).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(noise, mask.affine), dataset / "labelsTr" / "case-1.nii.gz")


def test_shared_stages_of_other_data_are_refused_with_all_that_is_in_the_way(
    write_spec: WriteSpec, squares: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(squares, tmp_path / squares.name)
    path = write_spec({"name": "ours"}, data_sets=[{"name": "squares", "path": str(data)}])
    spec, out = load_benchmark(path), tmp_path / "out"
    unit = run_unit(spec, spec.cells()[0], out, path.parent)
    for part in unit.chain():
        write_json(make_folder(part.folder) / "job.json", {"job": part.job, "claim": part.claim})
    refuse_other_claims(unit.chain())
    content_hash.cache_clear()
    change_a_mask(data)
    with pytest.raises(OutputError, match=r"data_content: .* the data set is another one now: ") as caught:
        run(path, out)
    kinds = ("preprocessed-", "budget-", "mae-", "maps-")
    assert all(str(out / "shared" / kind) in str(caught.value) for kind in kinds)
    assert str(unit.folder) in str(caught.value)
    content_hash.cache_clear()


def test_a_transfer_of_other_data_is_refused(write_spec: WriteSpec, squares: Path, tmp_path: Path) -> None:
    other = shutil.copytree(squares, tmp_path / "Dataset904_Other")
    transfer = {"name": "other", "path": str(other), "entries": ["exact"]}
    path, out = write_spec(fake_entry("exact"), transfer=[transfer]), tmp_path / "out"
    assert run(path, out) == {}
    content_hash.cache_clear()
    change_a_mask(other)
    with pytest.raises(OutputError, match=r"exact_squares_f0_s0_l100_onto-other: .*onto_content"):
        run(path, out)
    content_hash.cache_clear()


def test_the_reference_of_equal_parameters_decides_every_run(write_spec: WriteSpec, tmp_path: Path) -> None:
    def claim(**settings: object) -> dict[str, object]:
        entries = ({"name": "ours"}, {"name": "ref", "settings": settings})
        spec = load_benchmark(write_spec(*entries, budget={"mode": "equal-parameters", "steps": 5, "reference": "ref"}))
        return dict(run_unit(spec, spec.cells()[0], tmp_path, None).claim)

    small, large = claim(), claim(**{"network.features": [16, 32, 64, 96, 128]})
    assert any(line.startswith("reference.network.features") for line in claim_changes(small, large))
    del small["reference"]  # as it was stored before
    assert claim_changes(small, large) == []


def test_a_run_made_in_another_way_is_refused(write_spec: WriteSpec, tmp_path: Path) -> None:
    run(write_spec(fake_entry("exact")), tmp_path / "out")
    with pytest.raises(OutputError, match=r"exact_squares_f0_s0_l100: was run in another way .command"):
        run(write_spec(fake_entry("exact", shift=2)), tmp_path / "out")


def test_a_transfer_predicts_the_held_out_subjects_of_another_data_set(
    write_spec: WriteSpec, squares: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(squares, tmp_path / "Dataset904_Other")
    (other / "splits_final.json").unlink()
    transfer = {"name": "other", "path": str(other), "entries": ["exact"]}
    path, out = write_spec(fake_entry("exact"), folds=[0, 1], transfer=[transfer]), tmp_path / "out"
    assert run(path, out) == {}
    assert calls(out)[2:] == ["exact_squares_f0_s0_l100_onto-other", "exact_squares_f1_s0_l100_onto-other"]
    folder = out / "runs" / "exact_squares_f0_s0_l100_onto-other"
    masks = sorted(path.name for path in (folder / "validation").iterdir())
    assert masks == [f"case-{index}.nii.gz" for index in (1, 2, 3)]
    spec = load_benchmark(path)
    groups = make_groups(spec, read_runs(out, spec.cells()))
    assert [group.title for group in groups] == [
        "squares, lesion, 100 % of the labels",
        "squares, lesion, 100 % of the labels, predicted on other",
    ]
    costs = groups[1].entries[0].costs
    results = [json.loads((out / "runs" / run_id / "result.json").read_text("utf-8")) for run_id in calls(out)[2:]]
    steps = [result["steps"] for result in results]
    assert costs.training_multiply_adds == 1000
    assert costs.training_cpu_seconds == pytest.approx(sum(step["command"]["cpu_seconds"] for step in steps) / 2)
    assert costs.prediction_wall_seconds == pytest.approx(sum(step["predict"]["wall_seconds"] for step in steps) / 2)
    run(path, out)
    assert len(calls(out)) == 4


def test_a_transfer_of_a_stored_run_makes_its_model_again_and_leaves_its_scores(
    write_spec: WriteSpec, squares: Path, tmp_path: Path
) -> None:
    path, out = write_spec(fake_entry("exact")), tmp_path / "out"
    benchmark(path, tmp_path / "first", save_scores=tmp_path / "scores")
    transfer = {"name": "other", "path": str(shutil.copytree(squares, tmp_path / "Other")), "entries": ["exact"]}
    path = write_spec(fake_entry("exact"), transfer=[transfer])
    benchmark(path, out, tables_only=True, load_scores=tmp_path / "scores")
    run_folder = out / "runs" / "exact_squares_f0_s0_l100"
    (run_folder / "scores" / "cases.csv").write_text("the scores of that run\n", "utf-8")
    result = (run_folder / "result.json").read_bytes()
    assert run(path, out) == {}
    assert calls(out) == ["exact_squares_f0_s0_l100", "exact_squares_f0_s0_l100_onto-other"]
    assert (run_folder / "scores" / "cases.csv").read_text("utf-8") == "the scores of that run\n"
    assert (run_folder / "result.json").read_bytes() == result
    assert not (run_folder / "steps" / "score.json").exists()


def test_a_transfer_without_shared_subjects_fails_and_says_why(
    write_spec: WriteSpec, squares: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(squares, tmp_path / "Dataset904_Other")
    for file in [*other.glob("*Tr/case-*")]:
        file.rename(file.with_name(file.name.replace("case", "scan")))
    (other / "splits_final.json").unlink()
    transfer = {"name": "other", "path": str(other), "entries": ["exact"]}
    path = write_spec(fake_entry("exact"), transfer=[transfer])
    failed = run(path, tmp_path / "out")
    assert list(failed) == ["exact_squares_f0_s0_l100_onto-other"]
    assert "no labelled case of a subject in the validation part" in failed["exact_squares_f0_s0_l100_onto-other"]


def noisy(squares: Path, folder: Path) -> Path:
    """The squares with images of noise."""
    rng = np.random.default_rng(list(folder.name.encode()))
    for path in sorted(shutil.copytree(squares, folder).glob("imagesTr/*")):
        image = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(rng.normal(size=image.shape), image.affine), path)
    return folder


def test_pretraining_sees_further_data_sets_without_the_subjects_of_validation(
    write_spec: WriteSpec, squares: Path, tmp_path: Path
) -> None:
    data, other = (noisy(squares, tmp_path / name) for name in ("Dataset903_Noisy", "Dataset904_Other"))
    (other / "splits_final.json").unlink()
    small = {"mae.steps": 1, "mae.dim": 16, "mae.depth": 1, "mae.decoder_dim": 16, "mae.decoder_depth": 1}
    path = write_spec(
        {"name": "ours", "settings": small},
        {"name": "more", "settings": small, "unlabelled": ["other"]},
        data_sets=[{"name": "squares", "path": str(data)}],
        unlabelled=[{"name": "other", "path": str(other)}],
        settings={"mae.heads": 2, "mae.patch": 4, "network.rcu_patch": 4},
    )
    spec = load_benchmark(path)
    ours, more = (run_unit(spec, cell, tmp_path / "out", path.parent) for cell in spec.cells())
    assert ours.needs is not None and more.needs is not None
    stages = [ours.needs, more.needs]
    folders = [{part.id.split("-")[0]: part.folder for part in unit.chain()} for unit in stages]
    shared = {kind for kind in folders[0] if folders[0][kind] == folders[1][kind]}
    assert shared == {"preprocessed", "budget"}
    assert any(line.startswith("unlabelled:") for line in claim_changes(ours.claim, more.claim))
    for part in more.needs.chain():
        write_json(make_folder(part.folder) / "job.json", {"job": part.job, "claim": part.claim})
    for step, kind in (("preprocess", "preprocessed"), ("pretrain", "mae")):
        assert worker.main([step, str(folders[1][kind])]) == 0
    model = folders[1]["mae"] / "model"
    assert json.loads((model / "run.json").read_text("utf-8"))["images"] == 2  # case-0 of both data sets
    seen = CaseStore(model / "unlabelled_0")
    assert [name for name in ("case-0", "case-1", "case-2", "case-3") if name in seen] == ["case-0"]
    content_hash.cache_clear()
    change_a_mask(other)
    changed = run_unit(spec, spec.cells()[1], tmp_path / "out", path.parent)
    with pytest.raises(OutputError, match=r"unlabelled_content: .* the data set is another one now"):
        refuse_other_claims(changed.chain())
    content_hash.cache_clear()


def test_a_data_set_without_folds_is_refused(write_spec: WriteSpec, tmp_path: Path) -> None:
    path = write_spec(fake_entry("exact"), data_sets=[{"name": "none", "path": "nowhere"}])
    with pytest.raises(DatasetError, match=r"nowhere: no splits_final.json"):
        run(path, tmp_path / "out")


def test_a_fold_that_is_not_there_is_refused_before_any_run(write_spec: WriteSpec, tmp_path: Path) -> None:
    path, out = write_spec(fake_entry("exact"), folds=[0, 2]), tmp_path / "out"
    with pytest.raises(DatasetError, match="fold 2 asked for; it has 2 folds, 0 to 1"):
        benchmark(path, out)
    assert calls(out) == []


def test_killed_then_resumed_repeats_no_run_and_loses_no_score(write_spec: WriteSpec, tmp_path: Path) -> None:
    path = write_spec(fake_entry("one", wait=0.7), fake_entry("two", wait=0.7, shift=1), folds=[0, 1])
    out, done = tmp_path / "out", "runs/one_squares_f0_s0_l100/result.json"
    command = [sys.executable, "-m", "grcsf", "benchmark", "-c", str(path), "-o", str(out)]
    queue = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: (out / done).is_file() and len(calls(out)) == 2)
    os.kill(queue.pid, signal.SIGKILL)
    queue.wait()
    kept = (out / done).read_bytes()
    scores = (out / "runs/one_squares_f0_s0_l100/scores/cases.csv").read_bytes()
    assert state_of(out / "runs" / "two_squares_f0_s0_l100")[0] == "started"
    assert run(path, out) == {}
    assert (out / done).read_bytes() == kept
    assert (out / "runs/one_squares_f0_s0_l100/scores/cases.csv").read_bytes() == scores
    assert [calls(out).count(name) for name in dict.fromkeys(calls(out))] == [1, 2, 1, 1]  # only the killed one again


def test_a_locked_run_waits_for_its_holder(write_spec: WriteSpec, tmp_path: Path) -> None:
    path, out = write_spec(fake_entry("exact")), tmp_path / "out"
    command = [sys.executable, "-m", "grcsf", "benchmark", "-c", str(path), "-o", str(out)]
    with folder_lock(out / "runs" / "exact_squares_f0_s0_l100") as lock:
        assert lock is not None
        queue = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            queue.wait(timeout=3)
        assert calls(out) == []
    assert queue.wait(timeout=60) == 0
    assert calls(out) == ["exact_squares_f0_s0_l100"]


def test_a_lock_is_held_once_and_by_the_child_of_its_holder(tmp_path: Path) -> None:
    with folder_lock(tmp_path) as lock:
        assert lock is not None
        with folder_lock(tmp_path) as second:
            assert second is None
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(lock,))
    with folder_lock(tmp_path) as third:
        assert third is None
    child.kill()
    child.wait()
    with folder_lock(tmp_path) as fourth:
        assert fourth is not None


def test_a_step_is_measured_with_its_threads_set(tmp_path: Path) -> None:
    code = "import os, time; a = bytearray(200 * 2**20); time.sleep(0.2); print(os.environ['OMP_NUM_THREADS'])"
    script = (  # in a small process: memory is counted from that of the one that starts the step
        "import sys; from pathlib import Path; from grcsf.benchmark.process import StepFiles, run_step\n"
        f"run_step(StepFiles(Path({str(tmp_path)!r}), 'big'), [sys.executable, '-c', {code!r}], cores=3)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    record = StepFiles(tmp_path, "big").read()
    assert record["status"] == "done"
    assert record["wall_seconds"] >= 0.2
    assert 200 < record["peak_memory_mb"] < 400
    assert (tmp_path / "steps" / "big.log").read_text("utf-8").strip() == "3"


def test_a_program_that_does_not_exist_is_a_failed_step(tmp_path: Path) -> None:
    record = run_step(StepFiles(tmp_path, "none"), ["no-such-program"], cores=1)
    assert record["status"] == "failed"
    assert "no-such-program: cannot be started" in record["message"]


def test_a_worker_ends_with_the_queue_that_started_it(tmp_path: Path) -> None:
    """The worker waits in a step that never ends; its parent is killed."""
    script = (
        "import subprocess, sys\n"
        "code = 'import os, time; from grcsf.benchmark import worker; worker._end_with_parent(); '\n"
        "code += 'print(os.getpid(), flush=True); time.sleep(60)'\n"
        "subprocess.Popen([sys.executable, '-c', code]).wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())  # it watches its parent from now on
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not is_running(child))


def test_a_worker_that_runs_out_of_memory_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    def fail(job: object) -> None:
        raise error

    monkeypatch.setattr(worker, "STEPS", {"train": fail})
    monkeypatch.setattr(worker, "_end_with_parent", lambda: None)
    monkeypatch.setattr(worker, "keep_freed_memory", lambda: False)
    (tmp_path / "job.json").write_text(json.dumps({"job": {}}), encoding="utf-8")
    assert worker.main(["train", str(tmp_path)]) == 1
    assert "not enough memory; lower batch_size" in capsys.readouterr().err
    error = RuntimeError("a size does not fit")
    with pytest.raises(RuntimeError, match="a size does not fit"):
        worker.main(["train", str(tmp_path)])


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
