"""Every source as it is downloaded: recognised, run to scores, and converted to nnU-Net raw with the same arrays."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import grcsf
from chain import CUBES, Done, tiny
from grcsf.datasets.sources.registry import SOURCES, find_source, read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.preprocess.store import CaseStore
from mimics import MIMICS

Cli = Callable[..., Done]
QUICK = ("network.rcu=false", "training.steps=1", "preprocess.spacing_mm=[1.3, 1.3, 1.7]")
FLAGS = tuple(part for pair in (*CUBES, *QUICK) for part in ("--set", pair))
TITLES = {
    "atlas": "atlas",
    "atlas_derivatives": "atlas",
    "isles": "isles",
    "orcascore": "orcascore",
    "msd": "msd",
    "msd_lung": "msd",
    "coca": "coca",
    "pairs": "pairs",
    "table": "table",
}
FINE_CT = ("preprocess.spacing_mm=[0.5, 0.5, 3]",)


def flags_of(name: str) -> tuple[str, ...]:
    return (*FLAGS, "--set", FINE_CT[0]) if name in ("orcascore", "coca") else FLAGS


@pytest.fixture(scope="module", params=sorted(MIMICS))
def mimic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Name of a source, and what ``-d`` takes. Do not write in it."""
    name = str(request.param)
    return name, MIMICS[name](tmp_path_factory.mktemp(name))


def test_a_mimic_is_recognised_and_without_errors(mimic: tuple[str, Path], command_line: Cli) -> None:
    name, data = mimic
    for flag in ("-d", "-i"):
        done = command_line("validate", flag, data)
        assert done.code == 0, done.out + done.err
        assert f"source: {SOURCES[TITLES[name]].title}" in done.out
        assert "no errors" in done.out


def test_a_source_runs_to_scores_and_its_conversion_gives_the_same_arrays(
    mimic: tuple[str, Path], tmp_path: Path, command_line: Cli
) -> None:
    name, data = mimic
    out, raw = tmp_path / "run", tmp_path / "raw" / "Dataset777_Mimic"
    done = command_line("run", "-d", data, "-o", out, "--device", "cpu", *flags_of(name))
    assert done.code == 0, done.err
    fold = get_fold(read_dataset(data), 0)
    summary = json.loads((out / "fold_0" / "scores" / "summary.json").read_text())
    assert summary["n_cases"] == len(fold.val) > 0
    assert (out / "report.html").is_file()

    done = command_line("convert", "-d", data, "-o", raw)
    assert done.code == 0, done.err
    assert find_source(raw) is SOURCES["nnunet"]
    assert grcsf.validate(raw).ok
    assert get_fold(read_dataset(raw), 0) == fold, "patients and folds go with the conversion"
    pairs = [pair for pair in flags_of(name) if pair != "--set"]
    again = grcsf.preprocess(raw, tmp_path / "again", fold=0, settings=tiny(*pairs, base=()))
    first = CaseStore(out / "preprocessed")
    assert first.names == again.names == read_dataset(data).case_names
    for case in first.names:
        assert first.image(case).tobytes() == again.image(case).tobytes()
        assert first.label(case).tobytes() == again.label(case).tobytes()
        assert first.label(case).any()
        assert first.geometry(case) == again.geometry(case)


def test_a_run_tells_sites_and_source(tmp_path: Path) -> None:
    data = MIMICS["atlas"](tmp_path)
    grcsf.run(data, tmp_path / "run", settings=tiny(*QUICK, base=CUBES), device="cpu")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["source"] == SOURCES["atlas"].title
    assert record["changed_on_reading"] == {"sub-r001s001_ses-1": ["2 masks merged by union"]}
    assert str(tmp_path) not in json.dumps(record)
    with (tmp_path / "run" / "data_cases.csv").open(newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert {row["site"] for row in rows.values()} == {"R001", "R009", "R010"}
    assert rows["sub-r009s001_ses-2"]["subject"] == "sub-r009s001"
    assert rows["sub-r010s001_ses-1"]["part"] == "Ts"


def test_the_whole_method_trains_on_channels_of_a_four_dimensional_file(tmp_path: Path) -> None:
    data = MIMICS["msd"](tmp_path)
    result = grcsf.run(data, tmp_path / "run", settings=tiny(base=CUBES), device="cpu")
    assert set(result.scores[0].labels) == {"edema", "non-enhancing tumor", "enhancing tumour"}
    masks = list((tmp_path / "run" / "fold_0" / "validation").glob("BRATS_???.nii.gz"))
    assert len(masks) == len(get_fold(read_dataset(data), 0).val)


def test_masks_are_scored_against_a_source_by_its_folder(tmp_path: Path, command_line: Cli) -> None:
    data, raw = MIMICS["isles"](tmp_path), tmp_path / "Dataset001_Isles"
    grcsf.convert(data, raw)
    done = command_line("evaluate", "-i", raw / "labelsTr", "-r", data, "--images", data, "-o", tmp_path / "scores")
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert summary["n_cases"] == 4
    with (tmp_path / "scores" / "cases.csv").open(newline="") as file:
        assert {float(row["dice"]) for row in csv.DictReader(file)} == {1.0}, "the masks are the references themselves"


def test_conversion_with_workers_writes_the_same_files(tmp_path: Path) -> None:
    data = MIMICS["table"](tmp_path / "data")
    one, two = (tmp_path / "a" / "Dataset001_T", tmp_path / "b" / "Dataset001_T")
    grcsf.convert(data, one)
    grcsf.convert(data, two, workers=2)
    files = sorted(path.relative_to(one) for path in one.rglob("*.nii.gz"))
    assert len(files) == 4 * 3
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)
    folds = json.loads((one / "splits_final.json").read_text())
    assert folds == [
        {"train": ["c2", "c3"], "val": ["c0", "c1"]},
        {"train": ["c0", "c1"], "val": ["c2", "c3"]},
    ]
    assert np.array_equal(sorted(path.name for path in one.glob("images*")), ["imagesTr"])
