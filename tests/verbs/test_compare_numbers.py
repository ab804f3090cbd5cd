"""The numbers of ``grcsf evaluate -r REF -p A -p B`` are those of the Python API, whichever way one asks for them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import stats

import grcsf
from grcsf.evaluation.methods.comparison_files import comparison_tree
from grcsf.evaluation.methods.statistics import bootstrap_mean, holm, paired_difference
from grcsf.io.files import to_plain

METHODS, SUBJECTS = ("a", "b", "c"), 9


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine subjects of one or two cases, three methods that grow or lose voxels at random; one healthy case."""
    root, draw = tmp_path_factory.mktemp("methods"), np.random.default_rng(0)
    names = [f"sub-{subject}_{index}" for subject in range(SUBJECTS) for index in range(1 + subject % 2)]
    (root / "subjects.json").write_text(json.dumps({name: name.split("_")[0] for name in names}))
    for folder in ("truth", *METHODS):
        (root / folder).mkdir()
    for name in names:
        truth = np.zeros((14, 14, 5), np.uint8)
        if name != "sub-4_0":
            start = draw.integers(0, 6, 2)
            truth[start[0] : start[0] + 6, start[1] : start[1] + 5, 1:4] = 1
        for folder, wrong in (("truth", 0.0), ("a", 0.02), ("b", 0.08), ("c", 0.09)):
            found = truth ^ (draw.random(truth.shape) < wrong * draw.uniform(0.2, 1.8)).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(found, np.diag([1, 1, 2, 1])), root / folder / f"{name}.nii.gz")
    return root


@pytest.fixture
def tree(folders: Path, command_line, tmp_path: Path) -> dict:
    """comparison.json of the command line."""
    methods = [word for name in METHODS for word in ("-p", folders / name)]
    words = ("-r", folders / "truth", *methods, "--subjects", folders / "subjects.json", "-o", tmp_path / "out")
    done = command_line("evaluate", *words)
    assert done.code == 0, done.err
    return json.loads((tmp_path / "out" / "comparison.json").read_text("utf-8"))


def by_subject(rows: Iterable[tuple[str, float]]) -> list[float]:
    """Mean over the cases of each subject, sorted by subject."""
    found: dict[str, list[float]] = {}
    for case, value in rows:
        found.setdefault(case.split("_")[0], []).append(value)
    return [sum(parts) / len(parts) for _, parts in sorted(found.items())]


@pytest.fixture(scope="module")
def values(folders: Path) -> dict[str, dict[str, list[float]]]:
    """Method -> measure -> value of each subject with a lesion, as ``grcsf.evaluate`` scores one method alone."""
    found: dict[str, dict[str, list[float]]] = {}
    for name in METHODS:
        cases = [one for one in grcsf.evaluate(folders / "truth", folders / name).cases if one.has_lesion]
        measures = {key: by_subject((one.case, one.scores[key]) for one in cases) for key in cases[0].scores}
        measures |= {
            key: by_subject((one.case, getattr(one.lesions, key.removeprefix("lesion_"))) for one in cases)
            for key in ("lesion_f1", "lesion_recall")
        }
        found[name] = measures
    return found


def test_the_command_writes_what_compare_returns(folders: Path, tree: dict) -> None:
    found = grcsf.compare(folders / "truth", [folders / name for name in METHODS], subjects=folders / "subjects.json")
    assert json.loads(json.dumps(to_plain(comparison_tree(found)))) == tree
    named = {name: folders / name for name in METHODS}
    subjects = json.loads((folders / "subjects.json").read_text("utf-8"))
    again = grcsf.compare(folders / "truth", named, subjects=subjects)
    assert to_plain(comparison_tree(again)) == tree


@pytest.mark.parametrize("measure", ["dice", "precision", "recall", "lesion_f1"])
def test_means_and_intervals_are_those_of_the_statistics_module(tree: dict, values: dict, measure: str) -> None:
    for name in METHODS:
        assert len(values[name][measure]) == SUBJECTS - 1  # the healthy one is in no mean over lesion cases
        expected = bootstrap_mean(values[name][measure])
        written = tree["labels"]["lesion"]["methods"][name]["scores"][measure]
        assert written["n"] == expected.n
        for key in ("mean", "low", "high"):
            assert written[key] == pytest.approx(getattr(expected, key), abs=1e-12), key


@pytest.mark.parametrize("measure", ["dice", "recall", "lesion_f1", "lesion_recall"])
def test_differences_tests_and_correction_are_those_of_the_statistics_module(
    tree: dict, values: dict, measure: str
) -> None:
    pairs = tree["labels"]["lesion"]["pairs"]
    assert len(pairs) == 3
    expected = [paired_difference(values[pair["a"]][measure], values[pair["b"]][measure]) for pair in pairs]
    corrected = holm([one.p_value for one in expected])
    for pair, one, p_holm in zip(pairs, expected, corrected, strict=True):
        written = pair["differences"][measure]
        for key in ("mean", "low", "high", "effect", "p_value"):
            value = getattr(one, key)
            assert written[key] == (None if math.isnan(value) else pytest.approx(value, abs=1e-12)), key
        assert written["p_holm"] == pytest.approx(p_holm, abs=1e-12)


def test_the_test_is_that_of_another_library(tree: dict, values: dict) -> None:
    checked = 0
    for pair in tree["labels"]["lesion"]["pairs"]:
        first, second = (np.array(values[pair[side]]["dice"]) for side in ("a", "b"))
        if len(set(np.abs(first - second).round(12))) == len(first):  # no ties
            exact = stats.wilcoxon(first, second, method="exact").pvalue
            assert pair["differences"]["dice"]["p_value"] == pytest.approx(exact)
            checked += 1
    assert checked


def test_the_table_of_cases_holds_the_same_scores(tree: dict, values: dict, tmp_path: Path) -> None:
    for name in METHODS:
        with (tmp_path / "out" / name / "cases.csv").open(encoding="utf-8", newline="") as file:
            rows = [(row["case"], float(row["dice"])) for row in csv.DictReader(file) if int(row["n_reference"])]
        assert by_subject(rows) == pytest.approx(values[name]["dice"], abs=1e-6)  # six decimals
    assert not tree["left_out"]
