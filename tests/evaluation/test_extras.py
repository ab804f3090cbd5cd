"""Scores on request: off they change nothing, on they reach the files, and nothing left out goes unsaid."""

from __future__ import annotations

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest

from grcsf.errors import SettingsError
from grcsf.evaluation.extras import ExtraRules, extra_columns, extra_means
from grcsf.evaluation.overlap import WhenEmpty
from grcsf.evaluation.score import evaluate_folder
from grcsf.evaluation.surface import WhenMissed
from grcsf.evaluation.table import summary_table

LABELS = {"lesion": 1}
BOTH = ExtraRules(("surface", "volume"), (1.5,))
DIAGONAL = math.hypot(12 * 2.0, 12 * 2.0, 6 * 2.0)  # 36 mm


def save(folder, name, mask):
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz")


@pytest.fixture
def folders(tmp_path):
    """One case found one voxel (2 mm) off, one missed, one with a false lesion, one with nothing at all."""
    truth, found = tmp_path / "truth", tmp_path / "found"
    nothing, lesion = np.zeros((2, 12, 12, 6), bool)
    lesion[3:6, 3:6, 2] = True
    for name, pair in {
        "a": (lesion, np.roll(lesion, 1, axis=0)),
        "b": (lesion, nothing),
        "c": (nothing, lesion),
        "d": (nothing, nothing),
    }.items():
        save(truth, name, pair[0])
        save(found, name, pair[1])
    return truth, found


def read_rows(path):
    with path.open(newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_nothing_asked_for_changes_no_file(folders, tmp_path):
    evaluate_folder(*folders, tmp_path / "plain", LABELS, "skip")
    evaluate_folder(*folders, tmp_path / "more", LABELS, "skip", extra=BOTH)
    plain, more = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("plain", "more"))
    assert set(more) - set(plain) == {"extra_metrics", "when_missed", "nsd_tolerances_mm"}
    assert set(more["labels"]["lesion"]) - set(plain["labels"]["lesion"]) == {"extra"}
    for tree in (plain, more):
        tree["labels"]["lesion"].pop("extra", None)
    assert {key: more[key] for key in plain} == plain
    lines = [(tmp_path / name / "cases.csv").read_text().splitlines() for name in ("plain", "more")]
    assert all(long.startswith(f"{short},") for short, long in zip(*lines, strict=True))
    assert lines[1][0].removeprefix(f"{lines[0][0]},").split(",") == list(extra_columns(BOTH, 3))
    assert len({(tmp_path / name / "lesions.csv").read_bytes() for name in ("plain", "more")}) == 1


def test_rows_of_cases(folders, tmp_path):
    evaluate_folder(*folders, tmp_path / "out", LABELS, "skip", extra=BOTH)
    rows = read_rows(tmp_path / "out" / "cases.csv")
    assert DIAGONAL == 36.0
    assert [float(rows[case]["hd95_mm"]) for case in "abc"] == pytest.approx([2.0, 36.0, 36.0])
    assert [float(rows[case]["nsd_1.5mm"]) for case in "abc"] == pytest.approx([12 / 18, 0.0, 0.0])
    assert math.isnan(float(rows["d"]["hd_mm"]))
    assert [float(rows[case]["volume_difference_ml"]) for case in "abcd"] == pytest.approx(
        [0, -9 * 0.008, 9 * 0.008, 0]
    )
    assert float(rows["d"]["specificity"]) == 1


@pytest.mark.parametrize(
    ("missed", "mean", "n_used", "n_infinite"),
    [
        (WhenMissed.DIAGONAL, (2 + 36 + 36) / 3, 3, 0),
        (WhenMissed.INFINITE, math.inf, 3, 2),
        (WhenMissed.SKIP, 2.0, 1, 0),
    ],
)
def test_means_say_what_they_leave_out(folders, missed, mean, n_used, n_infinite):
    summary = evaluate_folder(*folders, None, LABELS, "skip", extra=ExtraRules(("surface",), (1.0,), missed))
    extra = summary.labels["lesion"].extra
    found = extra.all_cases["hd95_mm"]
    assert (found.mean, found.n, found.n_used, found.n_infinite) == (pytest.approx(mean), 4, n_used, n_infinite)
    assert (extra.n_missed, extra.n_false, extra.n_both_empty) == (1, 1, 1)
    assert extra.agreement is None
    text = summary_table(summary)
    assert "nothing predicted in 1 of 2 cases with a lesion, something in 1 without; both masks empty in 1." in text
    assert f"(when_missed={missed.value}); NSD 0." in text


def test_both_masks_empty_follow_when_empty(folders):
    summary = evaluate_folder(*folders, None, LABELS, WhenEmpty.ONE, extra=ExtraRules(("surface",), (1.0,)))
    assert summary.cases[3].extras == {"hd_mm": 0, "hd95_mm": 0, "assd_mm": 0, "nsd_1mm": 1}


def test_agreement_of_sizes_stands_in_the_summary(folders, tmp_path):
    summary = evaluate_folder(*folders, tmp_path / "out", LABELS, "skip", extra=ExtraRules(("volume",)))
    tree = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert tree["labels"]["lesion"]["extra"]["agreement"]["n"] == 4
    assert "when_missed" not in tree
    assert summary.labels["lesion"].extra.agreement.pearson == 0  # sizes 9 9 0 0 against 9 0 9 0
    assert "sizes of 4 cases: bias 0.000, Pearson 0.000" in summary_table(summary)


def test_median_of_an_even_number_with_infinities():
    found = extra_means([{"x": 1.0}, {"x": math.inf}, {"x": 3.0}, {"x": math.nan}], ["x"])["x"]
    assert (found.mean, found.median, found.n, found.n_used, found.n_infinite) == (math.inf, 3.0, 4, 3, 1)
    assert math.isnan(extra_means([], ["x"])["x"].mean)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"groups": ("surface", "shape")}, "metrics shape: unknown; known: surface, volume"),
        ({"tolerances_mm": (0.0,)}, "expected numbers above 0"),
        ({"tolerances_mm": (math.nan,)}, "expected numbers above 0"),
        ({"tolerances_mm": (1.0, 1.0)}, "each only once"),
        ({"when_missed": "never"}, "when_missed never; known: diagonal, infinite, skip"),
    ],
)
def test_wrong_rules_are_refused(rules, message):
    with pytest.raises(SettingsError, match=message):
        ExtraRules(**rules)


def test_processes_give_the_scores_of_one(folders, tmp_path):
    save(folders[0], "e", np.zeros((3, 3, 3), bool))  # no prediction
    alone = evaluate_folder(*folders, tmp_path / "alone", LABELS, "skip", extra=BOTH)
    together = evaluate_folder(*folders, tmp_path / "together", LABELS, "skip", extra=BOTH, workers=2)
    assert list(alone.failed) == list(together.failed) == ["e"]
    for name in ("cases.csv", "lesions.csv", "summary.json"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()
