"""nnU-Net as an outside entry: arguments, arithmetic of the budget, its data, and what a run leaves.

nnU-Net itself runs where NNUNET_PYTHON names the python of an environment that has it; elsewhere a stub stands for it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "peers" / "nnunet"
sys.path.insert(0, str(FOLDER))

from peer_data import image_lists, link_raw_data, read_raw_data  # noqa: E402
from peer_environment import nnunet_python, variables  # noqa: E402
from peer_files import PeerError, folder_lock, read_json, write_json  # noqa: E402
from peer_schedule import Schedule, narrowed, nearest_width, schedule, step_cost, steps_within  # noqa: E402

BUDGET = ["--multiply-adds", "1000"]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"nnunet_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


RUN, DRIVER = load("run"), load("driver")


@pytest.fixture
def slices(tiny_slices: Path, tmp_path: Path) -> Path:
    """Eight PNG slices, the last without a mask, in two folds."""
    root = shutil.copytree(tiny_slices, tmp_path / tiny_slices.name)
    (root / "labelsTr" / "case-07.png").unlink()
    names = [f"case-{index:02d}" for index in range(8)]
    write_json(
        root / "splits_final.json",
        [{"train": names[:4], "val": names[4:]}, {"train": names[4:], "val": names[:4]}],
    )
    return root


@pytest.fixture
def stubbed(slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A function that runs run.py on the slices, the stub in place of nnU-Net."""
    monkeypatch.setenv("NNUNET_PYTHON", sys.executable)
    monkeypatch.setattr(RUN, "DRIVER", Path(__file__).with_name("nnunet_stub.py"))

    def run(output: Path, *more: str) -> int:
        code: int = RUN.main(["--dataset", str(slices), "--output", str(output), *more])
        return code

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either --multiply-adds or --steps"),
        ([*BUDGET, "--steps", "3"], "either --multiply-adds or --steps"),
        ([*BUDGET, "--plan", "wide"], "invalid choice: 'wide'"),
        ([*BUDGET, "--cores", "0"], "go from 1"),
        ([*BUDGET, "--fold", "-1"], "go from 1"),
        (["--predict", "--model", "x"], "--predict needs --model and --cases"),
    ],
)
def test_arguments_that_do_not_fit_end_with_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        RUN.parse(["--dataset", "d", "--output", "o", *arguments])
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_a_budget_may_be_written_as_the_benchmark_writes_it() -> None:
    assert RUN.parse(["--dataset", "d", "--output", "o", "--multiply-adds", "90000000000000"]).multiply_adds == 9e13


@given(steps=st.integers(1, 10**7))
def test_a_schedule_is_within_one_per_cent_of_the_steps_and_never_above(steps: int) -> None:
    found = schedule(steps)
    assert 0.99 * steps < found.steps <= steps
    assert 1 <= found.iterations_per_epoch <= 250
    assert found.epochs >= min(100, steps)  # so that the learning rate, lowered once an epoch, goes down its curve


def test_the_published_length_is_the_published_schedule() -> None:
    assert schedule(250_000) == Schedule(epochs=1000, iterations_per_epoch=250)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, found 0"):
        schedule(0)


def test_a_step_is_three_forward_passes_of_its_batch() -> None:
    assert step_cost(forward=7, batch=12) == 3 * 12 * 7


@given(budget=st.integers(1, 10**15), cost=st.integers(1, 10**13))
def test_steps_stay_within_the_budget_and_waste_less_than_one(budget: int, cost: int) -> None:
    if budget < cost:
        with pytest.raises(PeerError, match="buys no step of this plan"):
            steps_within(budget, cost)
    else:
        assert budget - cost < steps_within(budget, cost) * cost <= budget


def test_narrowing_keeps_the_doubling_and_where_it_stops() -> None:
    assert narrowed([32, 64, 128, 256, 512, 512], 128) == [8, 16, 32, 64, 128, 128]
    assert narrowed([32, 64, 128, 256, 320, 320], 320) == [32, 64, 128, 256, 320, 320]
    assert narrowed([32, 320, 320], 1) == [1, 1, 1]


@given(wanted=st.integers(0, 20_000), planned=st.integers(2, 64))
def test_the_nearest_width_is_that_of_a_full_search(wanted: int, planned: int) -> None:
    def count(width: int) -> int:
        return 9 * width * width + width

    found = nearest_width(wanted, planned, count)
    assert abs(count(found) - wanted) == min(abs(count(width) - wanted) for width in range(1, planned + 1))


def test_unlabelled_cases_stay_out_of_nnunets_raw_folder(slices: Path, tmp_path: Path) -> None:
    data = read_raw_data(slices)
    folder = link_raw_data(data, tmp_path / "raw")
    assert folder.name == "Dataset902_TinySlices"
    assert len(list((folder / "imagesTr").iterdir())) == len(list((folder / "labelsTr").iterdir())) == 7
    description = json.loads((folder / "dataset.json").read_text("utf-8"))
    assert description["numTraining"] == 7
    assert {**description, "numTraining": 8} == data.description
    mask = folder / "labelsTr" / "case-00.png"
    assert mask.read_bytes() == (slices / "labelsTr" / "case-00.png").read_bytes()


def test_a_folder_without_a_number_gets_one(slices: Path, tmp_path: Path) -> None:
    other = slices.rename(tmp_path / "my strokes")
    assert link_raw_data(read_raw_data(other), tmp_path / "raw").name == "Dataset999_mystrokes"


def test_folds_are_those_of_the_data_set(slices: Path) -> None:
    data = read_raw_data(slices)
    assert data.validation(0) == ["case-04", "case-05", "case-06"]  # case-07 has no mask
    assert data.splits[1]["val"] == ["case-00", "case-01", "case-02", "case-03"]


def test_a_fold_that_is_not_there_is_refused_where_nnunet_would_make_one(slices: Path) -> None:
    with pytest.raises(PeerError, match="fold 2 of 2 in splits_final"):
        read_raw_data(slices).validation(2)


@pytest.mark.parametrize(
    ("fold", "words"),
    [
        ({"train": ["case-00", "case-01"], "val": ["case-01"]}, "case-01 is in both parts"),
        ({"train": ["case-00"], "val": ["case-07"]}, "one part has no labelled case"),
    ],
)
def test_a_fold_that_leaks_or_is_empty_is_refused(slices: Path, fold: dict[str, list[str]], words: str) -> None:
    write_json(slices / "splits_final.json", [fold])
    with pytest.raises(PeerError, match=words):
        read_raw_data(slices).validation(0)


def test_broken_data_sets_are_refused_in_words(slices: Path) -> None:
    write_json(slices / "splits_final.json", [{"train": ["case-00"], "val": ["case-99"]}])
    with pytest.raises(PeerError, match="fold 0 names case-99"):
        read_raw_data(slices)
    with pytest.raises(PeerError, match="no image of case-99"):
        image_lists(SimpleNamespace(images={}, root=slices), ["case-99"])  # type: ignore[arg-type]
    description = read_json(slices / "dataset.json")
    write_json(slices / "dataset.json", {**description, "channel_names": {"0": "FLAIR", "1": "T1"}})
    with pytest.raises(PeerError, match="case-00 has 1 images, dataset"):
        read_raw_data(slices)
    (slices / "dataset.json").write_text("{", encoding="utf-8")
    with pytest.raises(PeerError, match="no valid JSON"):
        read_raw_data(slices)


def test_preprocessed_data_are_shared_until_a_file_changes(slices: Path) -> None:
    def digests() -> tuple[str, str]:
        data = read_raw_data(slices)
        return data.digest(with_times=True), data.digest(with_times=False)

    before = digests()
    assert digests() == before
    os.utime(slices / "labelsTr" / "case-00.png", ns=(1, 1))
    after = digests()
    assert after[0] != before[0]  # preprocessed anew
    assert after[1] == before[1]  # but a training goes on where the data set was only copied


def test_nnunets_processes_see_their_own_folders_and_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("nnUNet_raw", "elsewhere")
    monkeypatch.setenv("nnUNet_wandb_enabled", "1")
    monkeypatch.setenv("PYTHONPATH", "grcsf")
    found = variables("train", tmp_path / "work", tmp_path / "results", 2)
    assert found["nnUNet_raw"] == str(tmp_path / "work" / "raw")
    assert found["OMP_NUM_THREADS"] == found["nnUNet_def_n_proc"] == "2"
    assert found["nnUNet_n_proc_DA"] == "0"
    assert variables("prepare", tmp_path, tmp_path, 2)["nnUNet_n_proc_DA"] == "2"  # the planner refuses 0
    assert not {"PYTHONPATH", "nnUNet_wandb_enabled"} & found.keys()


def test_a_python_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NNUNET_PYTHON", str(tmp_path / "python"))
    with pytest.raises(PeerError, match="is no file; expected the python"):
        nnunet_python()


@pytest.mark.slow
def test_the_environment_is_made_once_and_only_a_whole_one_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NNUNET_PYTHON", raising=False)
    monkeypatch.setenv("GRCSF_PEERS_CACHE", str(tmp_path))
    monkeypatch.setattr("peer_environment.HERE", tmp_path)
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "requirements.txt").write_text("./absent.whl\n", encoding="utf-8")
    with pytest.raises(PeerError, match="cannot be installed"):
        nnunet_python()
    (tmp_path / "requirements.txt").write_text("", encoding="utf-8")
    python = nnunet_python()
    assert python.is_relative_to(tmp_path / "nnunet" / "environment")
    (tmp_path / "requirements.txt").write_text("./absent.whl\n", encoding="utf-8")
    assert nnunet_python() == python  # pip is not asked again


def test_a_run_leaves_masks_and_what_it_cost(stubbed: Callable[..., int], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert stubbed(out, *BUDGET, "--plan", "narrow") == 0
    assert sorted(path.name for path in (out / "validation").iterdir()) == [f"case-0{index}.png" for index in (4, 5, 6)]
    said = read_json(out / "run.json")
    assert said["seconds"] == 2.5
    assert said["prediction_seconds"] == 1.5
    assert said["multiply_adds"] == 3 * 300
    assert said["parameters"] == 2_700_000
    assert said["peak_memory_mb"] == 64.0  # of the training, not the 32 of the prediction


def test_what_is_done_is_not_done_again(stubbed: Callable[..., int], tmp_path: Path) -> None:
    out, calls = tmp_path / "out", tmp_path / "out" / "nnunet" / "calls.txt"
    own = calls.parent
    own.mkdir(parents=True)
    (own / "fail").touch()
    assert stubbed(out, *BUDGET) == 1  # trained, but the prediction died
    assert not (out / "run.json").exists()
    assert not (out / "validation").exists()
    (own / "fail").unlink()
    assert stubbed(out, *BUDGET) == stubbed(out, *BUDGET) == 0
    assert calls.read_text("utf-8").split() == ["train", "predict", "predict"]
    assert len(list((out / "work").glob("*/calls.txt"))) == 1
    assert next((out / "work").glob("*/calls.txt")).read_text("utf-8").split() == ["prepare"]


def test_runs_share_the_preprocessed_data(stubbed: Callable[..., int], tmp_path: Path) -> None:
    for name, fold in (("a", "0"), ("b", "1")):
        assert stubbed(tmp_path / name, *BUDGET, "--work", str(tmp_path / "work"), "--fold", fold) == 0
    (calls,) = (tmp_path / "work").glob("*/calls.txt")
    assert calls.read_text("utf-8").split() == ["prepare"]


def test_a_folder_of_another_run_is_refused(
    stubbed: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stubbed(tmp_path / "out", *BUDGET) == 0
    assert stubbed(tmp_path / "out", *BUDGET, "--seed", "1") == 1
    assert "holds a run with seed 0, wanted is 1; choose another --output" in capsys.readouterr().err


def test_why_a_step_failed_is_the_last_line(
    stubbed: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stubbed(tmp_path / "out", *BUDGET, "--seed", "13") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: step train of nnU-Net, exit code 1: unlucky"


def test_a_trained_run_predicts_cases_of_another_data_set(
    stubbed: Callable[..., int], slices: Path, tmp_path: Path
) -> None:
    trained = tmp_path / "out"
    assert stubbed(trained, *BUDGET) == 0
    moved = trained.rename(tmp_path / "moved")  # as the folder of a benchmark may be
    write_json(tmp_path / "cases.json", ["case-01", "case-02"])
    other = tmp_path / "other"
    assert stubbed(other, "--predict", "--model", str(moved), "--cases", str(tmp_path / "cases.json")) == 0
    assert sorted(path.name for path in (other / "validation").iterdir()) == ["case-01.png", "case-02.png"]
    said = read_json(other / "run.json")
    assert said["prediction_seconds"] == 1.5
    assert "peak_memory_mb" not in said  # it would stand for that of the training


def test_a_transfer_without_a_model_or_cases_is_refused(
    stubbed: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = tmp_path / "cases.json"
    write_json(cases, [])
    wanted = ["--predict", "--model", str(tmp_path), "--cases", str(cases)]
    assert stubbed(tmp_path / "other", *wanted) == 1
    assert "no nnunet/trained.json" in capsys.readouterr().err
    assert stubbed(tmp_path / "out", *BUDGET) == 0
    assert stubbed(tmp_path / "other", *wanted[:2], str(tmp_path / "out"), *wanted[3:]) == 1
    assert "expected a JSON list of names" in capsys.readouterr().err


class FakeTrainer:
    """The parts of nnU-Net's trainer that are touched."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.current_epoch, self.save_every = folder, 0, 50
        self.saved: list[str] = []
        self.sizes: list[Any] = []
        self.logger = SimpleNamespace(plot_progress_png=None)

    def save_checkpoint(self, filename: str) -> None:
        self.saved.append(Path(filename).name)
        Path(filename).write_text(str(self.current_epoch), encoding="utf-8")

    def on_epoch_start(self) -> None: ...

    def on_epoch_end(self) -> None: ...

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.sizes.append((len(batch["data"]), [len(part) for part in batch["target"]]))
        return batch


@pytest.fixture
def trainer(tmp_path: Path) -> FakeTrainer:
    made = FakeTrainer(tmp_path)
    DRIVER.shape_training(made, Schedule(7, 3), 5, DRIVER._Clock(tmp_path / "clock.json"), 60.0)
    return made


def test_a_trainer_gets_the_length_of_the_budget(trainer: Any) -> None:
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (7, 3, 1)


def test_checkpoints_appear_whole_with_the_clock_and_the_best_is_not_kept(trainer: Any, tmp_path: Path) -> None:
    trainer.save_checkpoint(str(tmp_path / "checkpoint_best.pth"))
    assert trainer.saved == []
    trainer.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
    assert trainer.saved == ["checkpoint_latest.partial"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_latest.pth", "clock.json"]


def test_seconds_add_up_over_the_parts_of_a_training(trainer: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "clock.json", {"seconds": 1000.0, "cpu_seconds": 900.0, "peak_memory_mb": 1e6, "resumed": 1})
    clock = DRIVER._Clock(tmp_path / "clock.json")
    clock.resume()
    found = clock.read()
    assert 1000 <= found["seconds"] < 1060
    assert found["cpu_seconds"] > 900
    assert (found["peak_memory_mb"], found["resumed"]) == (1e6, 2)


def test_an_epoch_draws_the_same_whatever_came_before_it(trainer: Any) -> None:
    def draw() -> tuple[float, float]:
        trainer.current_epoch = 4
        trainer.on_epoch_start()
        return float(torch.rand(1)), float(np.random.random())  # noqa: NPY002

    first = draw()
    torch.rand(3)
    np.random.random(3)  # noqa: NPY002
    assert draw() == first
    trainer.current_epoch = 5
    trainer.on_epoch_start()
    assert float(torch.rand(1)) != first[0]


def test_a_checkpoint_is_due_after_a_while_and_not_before(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    for later, due in ((30, False), (90, True)):
        monkeypatch.setattr(time, "monotonic", lambda later=later: now + later)
        trainer.on_epoch_end()
        assert ((trainer.current_epoch + 1) % trainer.save_every == 0) is due


def test_two_cases_of_a_batch_are_watched(trainer: Any) -> None:
    trainer.validation_step({"data": torch.zeros(9, 1), "target": [torch.zeros(9, 1), torch.zeros(9, 1)]})
    assert trainer.sizes == [(2, [2, 2])]


def test_a_lock_is_free_again_when_its_holder_is_gone(tmp_path: Path) -> None:
    for _ in range(2):
        with folder_lock(tmp_path / "shared") as lock:
            assert lock >= 0


nnunet_here = pytest.mark.skipif(
    "NNUNET_PYTHON" not in os.environ, reason="nnU-Net is not here: set NNUNET_PYTHON to a python that has it"
)


@nnunet_here
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nnunet_killed_and_started_again_ends_where_it_would_have(slices: Path, tmp_path: Path) -> None:
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    wanted = [sys.executable, str(FOLDER / "run.py"), "--dataset", str(slices), "--work", str(tmp_path / "work")]
    wanted += ["--steps", "6", "--parameters", "20000", "--plan", "narrow"]
    subprocess.run([*wanted, "--output", str(whole)], check=True, capture_output=True)
    command = [*wanted, "--output", str(halved), "--save-seconds", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not any(halved.rglob("checkpoint_latest.pth")):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert not (halved / "run.json").exists()
    subprocess.run(command, check=True, capture_output=True)
    first, second = (read_json(folder / "run.json") for folder in (whole, halved))
    assert (first["resumed"], second["resumed"]) == (0, 1)
    assert first["multiply_adds"] == 6 * 3 * first["batch_size"] * first["forward_multiply_adds"]
    weights = [
        torch.load(next(folder.rglob("checkpoint_final.pth")), weights_only=False)["network_weights"]
        for folder in (whole, halved)
    ]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=1e-4)
    for case in ("case-04", "case-05", "case-06"):
        assert (halved / "validation" / f"{case}.png").is_file()


@nnunet_here
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("name", "configuration"), [("squares", "2d"), ("tiny_volumes", "3d_fullres")])
def test_nnunet_takes_nifti_of_one_slice_and_of_many(
    name: str, configuration: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made: Path = request.getfixturevalue(name)
    root = shutil.copytree(made, tmp_path / made.name)
    names = sorted(path.name.removesuffix(".nii.gz") for path in (root / "labelsTr").iterdir())
    write_json(root / "splits_final.json", [{"train": names[1:], "val": names[:1]}])
    out = tmp_path / "out"
    wanted = ["--steps", "1", "--parameters", "20000", "--plan", "narrow", "--dataset", str(root)]
    assert RUN.main([*wanted, "--output", str(out)]) == 0
    assert read_json(out / "run.json")["plan"]["configuration"] == configuration
    (mask,) = (out / "validation").iterdir()
    found, reference = (nibabel.load(folder / mask.name) for folder in (mask.parent, root / "labelsTr"))
    assert found.shape == reference.shape
    np.testing.assert_allclose(found.affine, reference.affine, atol=1e-5)
