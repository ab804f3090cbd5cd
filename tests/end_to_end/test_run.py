"""The whole chain on tiny data: what it writes, on which grid, and that it can be repeated and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import yaml

import grcsf
from chain import FOLD_FILES, RUN_FILES, contents, same_grid, tiny
from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.errors import OutputError
from grcsf.verbs.run import RunResult

Run = tuple[Path, RunResult]
RUNS = ("slice_run", "volume_run", "flat_run")


@pytest.fixture(params=RUNS)
def any_run(request: pytest.FixtureRequest) -> Run:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def test_every_file_of_a_run_is_there(any_run: Run) -> None:
    out, result = any_run
    missing = [name for name in RUN_FILES if not (out / name).is_file()]
    missing += [
        f"fold_{k}/{name}" for k in result.scores for name in FOLD_FILES if not (out / f"fold_{k}" / name).is_file()
    ]
    assert not missing
    assert result.report == out / "report.html"
    assert result.failed == {}
    assert not list(out.rglob(".partial-*"))


def test_the_records_tell_what_ran(any_run: Run) -> None:
    out, _ = any_run
    verbs = {"": "run", "preprocessed": "preprocess", "fold_0/mae": "pretrain", "fold_0/residual": "residual"}
    verbs |= {"fold_0/train": "train", "fold_0/validation": "predict", "fold_0/scores": "evaluate"}
    for place, verb in verbs.items():
        record = json.loads((out / place / "run.json").read_text())
        assert (record["verb"], record["status"], record["error"]) == (verb, "done", None)
        assert str(out) not in json.dumps(record), "a record names no folders"


def test_the_learning_curves_have_a_row_per_epoch(any_run: Run) -> None:
    out, _ = any_run
    for stage in ("mae", "train"):
        rows = (out / "fold_0" / stage / "history.csv").read_text().splitlines()
        assert rows[0].startswith("step,seconds,loss,learning_rate,selection")
        assert [int(row.split(",")[0]) for row in rows[1:]] == [2, 4]


@pytest.mark.parametrize("name", ["volume_run", "flat_run"])
def test_masks_of_volumes_lie_exactly_on_the_grid_of_the_images(
    name: str, tiny_volumes: Path, request: pytest.FixtureRequest
) -> None:
    out, _ = request.getfixturevalue(name)
    for case in get_fold(read_dataset(tiny_volumes), 0).val:
        image = tiny_volumes / "imagesTr" / f"{case}_0000.nii.gz"
        mask = out / "fold_0" / "validation" / f"{case}.nii.gz"
        assert same_grid(image, mask)
        loaded = nibabel.load(mask)
        assert loaded.get_data_dtype() == np.uint8
        assert set(np.unique(loaded.get_fdata())) <= {0, 1}
        for ratio in ("r50", "r75"):
            assert same_grid(image, mask.with_name(f"{case}_residual-{ratio}.nii.gz"))


def test_masks_of_png_slices_have_the_size_of_the_images(tiny_slices: Path, slice_run: Run) -> None:
    out, _ = slice_run
    for fold in (0, 1):
        val = get_fold(read_dataset(tiny_slices), fold).val
        masks = out / f"fold_{fold}" / "validation"
        assert sorted(path.stem for path in masks.glob("*.png")) == sorted(val)
        for case in val:
            image = SimpleITK.ReadImage(tiny_slices / "imagesTr" / f"{case}_0000.png")
            mask = SimpleITK.ReadImage(masks / f"{case}.png")
            prob = SimpleITK.ReadImage(masks / f"{case}_prob.mha")
            assert image.GetSize() == mask.GetSize() == prob.GetSize()
            values = SimpleITK.GetArrayFromImage(prob)
            assert values.min() >= 0
            assert values.max() <= 1
            assert np.array_equal(SimpleITK.GetArrayFromImage(mask) > 0, values > 0.5)


def test_the_settings_of_a_run_make_the_same_settings(any_run: Run) -> None:
    out, _ = any_run
    record = json.loads((out / "run.json").read_text())
    assert grcsf.load_settings(out / "settings.yaml").model_dump(mode="json") == record["settings"]


def test_the_scores_are_those_of_the_masks(tiny_slices: Path, slice_run: Run) -> None:
    out, result = slice_run
    again = grcsf.evaluate(
        tiny_slices / "labelsTr", out / "fold_1" / "validation", cases=get_fold(read_dataset(tiny_slices), 1).val
    )
    assert [(score.case, score.counts) for score in again.cases] == [
        (score.case, score.counts) for score in result.scores[1].cases
    ]


def test_resuming_a_finished_run_changes_nothing(tiny_slices: Path, slice_run: Run) -> None:
    out, result = slice_run
    before = contents(out)
    when = {
        path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in {".safetensors", ".b2nd", ".png"}
    }
    again = grcsf.run(
        tiny_slices, out, folds=[0, 1], settings=tiny(), device="cpu", save_probabilities=True, resume=True
    )
    assert contents(out) == before
    assert {path: path.stat().st_mtime_ns for path in when} == when
    assert {k: s.labels["lesion"].global_dice for k, s in again.scores.items()} == {
        k: s.labels["lesion"].global_dice for k, s in result.scores.items()
    }


def test_a_run_is_not_written_over_unasked(tiny_slices: Path, slice_run: Run) -> None:
    out, _ = slice_run
    before = contents(out, but=())
    with pytest.raises(OutputError, match="exists already; choose another output, --overwrite"):
        grcsf.run(tiny_slices, out, folds=[0, 1], settings=tiny(), device="cpu")
    assert contents(out, but=()) == before


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("training.steps=6", "training.steps: 4 there, 6 now"),
        ("network.gcu=off", "network.gcu: lost there, off now"),
        ("seed=5", "seed: 0 there, 5 now"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(tiny_slices: Path, slice_run: Run, pair: str, words: str) -> None:
    out, _ = slice_run
    before = contents(out, but=())
    with pytest.raises(OutputError, match=words):
        grcsf.run(tiny_slices, out, folds=[0, 1], settings=tiny(pair), device="cpu", resume=True)
    assert contents(out, but=()) == before


def test_workers_and_budget_may_change_when_a_run_is_resumed(tiny_slices: Path, slice_run: Run) -> None:
    out, _ = slice_run
    before = (out / "fold_0" / "train" / "model.safetensors").read_bytes()
    settings = tiny("training.minutes=9", "mae.minutes=9")
    grcsf.train(
        out / "preprocessed",
        tiny_slices,
        out / "fold_0" / "train",
        mae=out / "fold_0" / "mae",
        settings=settings,
        device="cpu",
        resume=True,
    )
    assert (out / "fold_0" / "train" / "model.safetensors").read_bytes() == before


def test_overwriting_leaves_no_fold_of_the_earlier_run(tiny_slices: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fast = tiny("network.rcu=false", "training.steps=2")
    grcsf.run(tiny_slices, out, folds=[1], settings=fast, device="cpu")
    (out / "notes.txt").write_text("mine")
    grcsf.run(tiny_slices, out, folds=[0], settings=fast, device="cpu", overwrite=True)
    assert sorted(path.name for path in out.glob("fold_*")) == ["fold_0"]
    assert not (out / "fold_0" / "mae").exists()
    assert (out / "notes.txt").read_text() == "mine"
    assert yaml.safe_load((out / "settings.yaml").read_text())["network"]["rcu"] is False
