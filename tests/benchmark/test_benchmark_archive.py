"""Stored scores travel: the same tables elsewhere, no run repeated, nothing broken or foreign taken over."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from chain import contents
from grcsf.benchmark.claims import claim_changes
from grcsf.benchmark.run import benchmark
from grcsf.benchmark.spec import load_benchmark
from grcsf.benchmark.units import Unit, run_unit
from grcsf.config import Settings, load_settings
from grcsf.errors import OutputError
from grcsf.io.files import to_plain
from outside import fake_entry

WriteSpec = Callable[..., Path]


@pytest.fixture
def done(write_spec: WriteSpec, tmp_path: Path) -> tuple[Path, Path]:
    """A benchmark file, and the folder of the stored scores of its two runs."""
    path = write_spec(fake_entry("exact"), fake_entry("moved", shift=1))
    assert benchmark(path, tmp_path / "out", save_scores=tmp_path / "scores").failed == {}
    return path, tmp_path / "scores"


def test_stored_scores_give_the_same_tables_without_the_data(
    done: tuple[Path, Path], tmp_path: Path, squares: Path
) -> None:
    path, scores = done
    elsewhere = tmp_path / "elsewhere" / path.name
    elsewhere.parent.mkdir()
    elsewhere.write_text(path.read_text("utf-8").replace(str(squares), f"gone/{squares.name}"), encoding="utf-8")
    found = benchmark(elsewhere, tmp_path / "new", tables_only=True, load_scores=scores)
    assert found.not_done == ()
    assert contents(tmp_path / "new" / "tables") == contents(tmp_path / "out" / "tables")


def test_no_run_that_is_stored_is_repeated(done: tuple[Path, Path], tmp_path: Path) -> None:
    path, scores = done
    (scores / "moved_squares_f0_s0_l100.zip").unlink()
    assert benchmark(path, tmp_path / "new", load_scores=scores).failed == {}
    assert (tmp_path / "new" / "calls.txt").read_text("utf-8").split() == ["moved_squares_f0_s0_l100"]


def test_an_archive_names_no_place_and_is_the_same_bytes_again(done: tuple[Path, Path], tmp_path: Path) -> None:
    path, scores = done
    for file in scores.glob("*.zip"):
        with zipfile.ZipFile(file) as archive:
            text = "".join(archive.read(name).decode("utf-8") for name in archive.namelist())
        assert str(tmp_path) not in text
        assert "Squares" in text
    benchmark(path, tmp_path / "out", tables_only=True, save_scores=tmp_path / "again")
    assert contents(tmp_path / "again") == contents(scores)


def test_what_is_done_here_is_kept_whatever_is_stored(done: tuple[Path, Path], tmp_path: Path) -> None:
    path, scores = done
    (scores / "exact_squares_f0_s0_l100.zip").write_bytes(b"broken")
    benchmark(path, tmp_path / "out", tables_only=True, load_scores=scores)
    with pytest.raises(OutputError, match=r"exact_squares_f0_s0_l100\.zip: cannot be read"):
        benchmark(path, tmp_path / "out", tables_only=True, save_scores=scores)


def test_a_run_that_was_repeated_replaces_its_stored_scores_and_others_stay(
    done: tuple[Path, Path], tmp_path: Path
) -> None:
    path, scores = done
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in scores.iterdir()}
    shutil.rmtree(tmp_path / "out" / "runs" / "moved_squares_f0_s0_l100")
    benchmark(path, tmp_path / "out", save_scores=scores)  # its seconds are others
    after = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in scores.iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["moved_squares_f0_s0_l100.zip"]


def test_no_table_mixes_runs_of_another_file(done: tuple[Path, Path], write_spec: WriteSpec, tmp_path: Path) -> None:
    other = write_spec(fake_entry("exact"), fake_entry("moved", shift=2))
    for arguments in ({"tables_only": True}, {"only": ["exact"]}):
        with pytest.raises(OutputError, match="moved_squares_f0_s0_l100: was run in another way"):
            benchmark(other, tmp_path / "out", **arguments)


def test_a_run_made_in_another_way_is_not_taken_over(
    done: tuple[Path, Path], write_spec: WriteSpec, tmp_path: Path
) -> None:
    _, scores = done
    other = write_spec(fake_entry("exact", shift=3))
    with pytest.raises(OutputError, match=r"exact_squares_f0_s0_l100.zip: this run was made in another way \(command"):
        benchmark(other, tmp_path / "new", tables_only=True, load_scores=scores)
    assert not (tmp_path / "new" / "runs").exists()


def test_a_run_on_other_data_of_the_same_name_is_not_taken_over(
    done: tuple[Path, Path], tmp_path: Path, squares: Path
) -> None:
    path, scores = done
    other = shutil.copytree(squares, tmp_path / "other" / squares.name)
    splits = json.loads((other / "splits_final.json").read_text("utf-8"))
    (other / "splits_final.json").write_text(json.dumps(splits[::-1]), "utf-8")
    path.write_text(path.read_text("utf-8").replace(str(squares), str(other)), encoding="utf-8")
    with pytest.raises(OutputError, match=r"l100\.zip: this run was made in another way .data_content"):
        benchmark(path, tmp_path / "new", load_scores=scores)
    assert not (tmp_path / "new" / "runs").exists()
    stored = json.loads(zipfile.ZipFile(scores / "exact_squares_f0_s0_l100.zip").read("job.json"))["claim"]
    del stored["data_content"]  # as it was stored before
    spec = load_benchmark(path)
    assert claim_changes(stored, run_unit(spec, spec.cells()[0], tmp_path, tmp_path).claim) == []


def test_a_run_made_in_another_way_is_not_stored(
    done: tuple[Path, Path], write_spec: WriteSpec, tmp_path: Path
) -> None:
    other = write_spec(fake_entry("exact", shift=3))
    with pytest.raises(OutputError, match="exact_squares_f0_s0_l100: was run in another way"):
        benchmark(other, tmp_path / "out", tables_only=True, save_scores=tmp_path / "other")
    assert not list((tmp_path / "other").glob("*.zip"))


@pytest.mark.parametrize("how", ["cut", "flipped", "text", "no result", "large"])
def test_a_broken_archive_is_named_and_leaves_nothing(how: str, done: tuple[Path, Path], tmp_path: Path) -> None:
    path, scores = done
    file = scores / "exact_squares_f0_s0_l100.zip"
    whole = file.read_bytes()
    if how == "flipped":
        start = 30 + whole[26] + 256 * whole[27] + whole[28]  # the compressed bytes of the first member
        file.write_bytes(whole[:start] + bytes([whole[start] ^ 7]) + whole[start + 1 :])
    elif how in ("cut", "text"):
        file.write_bytes(whole[: len(whole) // 2] if how == "cut" else b"not a zip")
    else:
        with zipfile.ZipFile(file) as archive:
            kept = {name: archive.read(name) for name in archive.namelist()}
        kept.pop("result.json") if how == "no result" else kept.update({"scores/cases.csv": bytes(65 * 2**20)})
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in kept.items():
                archive.writestr(name, data)
    words = {"no result": "has no readable result.json", "large": "more than 64 MB"}.get(how, "cannot be read")
    with pytest.raises(OutputError, match=f"exact_squares_f0_s0_l100.zip: .*{words}"):
        benchmark(path, tmp_path / "new", tables_only=True, load_scores=scores)
    assert not (tmp_path / "new" / "runs").exists()


def test_names_in_an_archive_decide_no_path(done: tuple[Path, Path], tmp_path: Path) -> None:
    path, scores = done
    with zipfile.ZipFile(scores / "exact_squares_f0_s0_l100.zip", "a") as archive:
        archive.writestr("../../escaped.txt", "x")
        archive.writestr("scores/extra.txt", "x")
    benchmark(path, tmp_path / "new", tables_only=True, load_scores=scores)
    assert not list(tmp_path.rglob("escaped.txt"))
    assert not list((tmp_path / "new").rglob("extra.txt"))


def test_a_folder_of_scores_that_is_missing_is_an_error(done: tuple[Path, Path], tmp_path: Path) -> None:
    path, scores = done
    shutil.rmtree(scores)
    with pytest.raises(OutputError, match="scores: no such folder"):
        benchmark(path, tmp_path / "new", load_scores=scores)


def test_a_setting_that_is_younger_than_a_run_had_its_default_then() -> None:
    now = {"fold": 0, "settings": Settings().model_dump(mode="json")}
    before = json.loads(json.dumps(now))
    del before["settings"]["network"]["rcu_tokens"], before["settings"]["evaluation"]
    assert claim_changes(before, now) == []
    changed = load_settings(None, ["network.rcu_tokens=true", "training.warmup=0.1"])
    changes = claim_changes(before, {"fold": 0, "settings": changed.model_dump(mode="json")})
    assert changes == [
        "settings.network.rcu_tokens: False there, True now",
        "settings.training.warmup: 0.03 there, 0.1 now",
    ]


def test_the_default_length_of_a_training_decides_no_run(write_spec: WriteSpec, tmp_path: Path) -> None:
    spec = load_benchmark(write_spec({"name": "ours"}))
    now = run_unit(spec, spec.cells()[0], tmp_path / "out", None).claim
    before = json.loads(json.dumps(to_plain(now)))
    before["settings"]["training"]["steps"] = 1000  # as it was written once
    assert claim_changes(before, now) == []


def test_a_batch_that_is_not_set_is_the_run_that_had_it_set(write_spec: WriteSpec, tmp_path: Path) -> None:
    def unit(**settings: object) -> Unit:
        file = write_spec({"name": "ours"}, settings={"preprocess.dimensions": "2d", **settings})
        spec = load_benchmark(file)
        return run_unit(spec, spec.cells()[0], tmp_path / "out", None)

    now, before, other = unit(), unit(**{"training.batch_size": 16}), unit(**{"training.batch_size": 8})
    assert claim_changes(before.claim, now.claim) == []
    assert [part.id for part in now.chain()] == [part.id for part in before.chain()]
    assert claim_changes(other.claim, now.claim) == ["settings.training.batch_size: 8 there, 16 now"]


def test_heads_that_are_not_set_are_the_run_that_had_them_set(write_spec: WriteSpec, tmp_path: Path) -> None:
    def unit(**settings: object) -> Unit:
        spec = load_benchmark(write_spec({"name": "ours"}, settings=settings))
        return run_unit(spec, spec.cells()[0], tmp_path / "out", None)

    now, before = unit(), unit(**{"network.deep_supervision": True})
    other = unit(**{"network.deep_supervision": False})
    assert claim_changes(before.claim, now.claim) == []
    assert [part.id for part in now.chain()] == [part.id for part in before.chain()]
    assert claim_changes(other.claim, now.claim) == ["settings.network.deep_supervision: False there, True now"]


def test_a_younger_setting_whose_default_does_something_was_off_then() -> None:
    before = {"fold": 0, "settings": Settings().model_dump(mode="json")}
    del before["settings"]["training"]["carve_mix"]
    now = {"fold": 0, "settings": Settings().model_dump(mode="json")}
    assert claim_changes(before, now) == ["settings.training.carve_mix: 0.0 there, 0.5 now"]
    del before["settings"]["inference"]["min_lesion_peak"]
    assert "settings.inference.min_lesion_peak: 0.0 there, 0.8 now" in claim_changes(before, now)
    now["settings"]["inference"]["min_lesion_peak"] = now["settings"]["training"]["carve_mix"] = 0.0
    assert claim_changes(before, now) == []
