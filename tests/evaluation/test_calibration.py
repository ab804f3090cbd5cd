"""Reliability, calibration error and thresholds: arithmetic, laws, and no threshold from reported cases."""

from __future__ import annotations

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grcsf.errors import DatasetError, GridMismatch, ImageError, LeakageError
from grcsf.evaluation.calibration import THRESHOLDS, best_threshold, reliability, threshold_counts
from grcsf.evaluation.calibration_files import calibrate_folder, calibration_text, write_calibration
from grcsf.evaluation.overlap import confusion
from grcsf.inference.predict import mask_from_probabilities

TRUTH = np.array([False, False, False, True, False, True, True, True])
PROB = np.array([0.0, 0.1, 0.1, 0.1, 0.6, 0.6, 1.0, 1.0])

maps = st.integers(1, 40).flatmap(
    lambda n: st.tuples(hnp.arrays(bool, n), hnp.arrays(np.float64, n, elements=st.floats(0, 1)))
)


def test_curve_and_error_by_hand():
    found = reliability(TRUTH, PROB, n_bins=2)
    low, high = found.bins()
    assert (low.low, low.high, low.n, low.share_positive) == (0.0, 0.5, 4, 1 / 4)
    assert low.mean_probability == pytest.approx(0.3 / 4)
    assert (high.n, high.share_positive, high.mean_probability) == (4, 3 / 4, pytest.approx(3.2 / 4))
    assert found.ece() == pytest.approx((abs(1 - 0.3) + abs(3 - 3.2)) / 8)
    assert found.ece(candidates=True) == pytest.approx(abs(3 - 3.2) / 4)
    assert found.brier() == pytest.approx((2 * 0.1**2 + 0.9**2 + 0.6**2 + 0.4**2) / 8)


def test_an_empty_bin_has_no_value_and_no_weight():
    found = reliability(np.array([True]), np.array([1.0]), n_bins=3)
    assert [one.n for one in found.bins()] == [0, 0, 1]
    assert math.isnan(found.bins()[0].share_positive)
    assert found.ece() == 0
    assert math.isnan(reliability(np.zeros(2, bool), np.zeros(2)).ece(candidates=True))


@given(maps, maps)
def test_cases_add_up_as_one_case_of_all_voxels(first, second):
    apart = reliability(*first) + reliability(*second)
    whole = reliability(*(np.concatenate(parts) for parts in zip(first, second, strict=True)))
    assert (apart.n == whole.n).all()
    assert apart.ece() == pytest.approx(whole.ece())
    assert apart.brier() == pytest.approx(whole.brier())
    assert 0 <= apart.ece() <= 1


@given(hnp.arrays(bool, st.integers(1, 30)))
def test_certain_and_right_is_calibrated(truth):
    assert reliability(truth, truth.astype(np.float32)).ece() == 0
    assert reliability(~truth, truth.astype(np.float32)).ece() == 1


@given(maps)
def test_counts_of_every_threshold_are_those_of_the_mask(case):
    truth, prob = case
    for threshold, counts in zip(THRESHOLDS, threshold_counts(truth, prob), strict=True):
        assert counts == confusion(truth, prob > np.asarray(threshold, prob.dtype))


def test_the_threshold_of_the_best_mean_dice_is_taken():
    # case one is best at 0.6 and above, case two at 0.3 and below
    one = np.array([True, False, False]), np.array([0.9, 0.5, 0.5])
    two = np.array([True, True, False]), np.array([0.9, 0.3, 0.1])
    found = best_threshold([("one", *one), ("two", *two)], reported=["x"], thresholds=(0.2, 0.6))
    assert found.scores == pytest.approx({0.2: (2 / 4 + 1) / 2, 0.6: (1 + 2 / 3) / 2})
    assert (found.value, found.cases) == (0.6, ("one", "two"))
    assert found.score == pytest.approx((1 + 2 / 3) / 2)


def test_a_threshold_gives_the_mask_that_prediction_gives():
    reference, prob = np.array([True, True, False]), np.array([0.9, 0.4, 0.35], np.float32)
    found = best_threshold([("one", reference, prob)], reported=[])
    mask = mask_from_probabilities(prob[None], [1], found.value)
    assert (found.value, found.score) == (0.35, 1.0)
    assert mask.tolist() == reference.tolist()


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_taken():
    case = ("one", np.array([True, False]), np.array([1.0, 0.0]))
    assert best_threshold([case], reported=[]).value == 0.5


def test_cases_without_a_lesion_have_no_say():
    free = ("free", np.array([False, False]), np.array([0.9, 0.9]))
    case = ("one", np.array([True, False]), np.array([0.4, 0.0]))
    assert best_threshold([free, case], reported=[]).cases == ("one",)
    with pytest.raises(DatasetError, match="no case with a lesion"):
        best_threshold([free], reported=[])


def test_a_reported_case_or_subject_is_refused():
    case = ("one_b", np.array([True]), np.array([1.0]))
    with pytest.raises(LeakageError, match="one_b: subject one_b is also reported"):
        best_threshold([case], reported=["one_b"])
    with pytest.raises(LeakageError, match=r"one_b: subject one is also reported \(case one_a\)"):
        best_threshold([case], reported=["one_a"], subjects={"one_a": "one", "one_b": "one"})


def test_wrong_input_is_refused():
    with pytest.raises(TypeError, match="dtype float64"):
        reliability(PROB, PROB)
    with pytest.raises(GridMismatch, match="probabilities"):
        reliability(TRUTH, PROB[:3])
    for wrong in (np.full(8, 1.01), np.full(8, -0.1), np.full(8, np.nan)):
        with pytest.raises(ImageError, match="expected 0 to 1"):
            reliability(TRUTH, wrong)
    with pytest.raises(ValueError, match="1 bins"):
        reliability(TRUTH, PROB, 1)
    for thresholds in ((), (0.5, 0.5), (0.0, 0.5), (0.5, 1.1)):
        with pytest.raises(ValueError, match="ascending"):
            threshold_counts(TRUTH, PROB, thresholds)
    with pytest.raises(ValueError, match="10 and 20 bins"):
        _ = reliability(TRUTH, PROB, 10) + reliability(TRUTH, PROB, 20)


def save(folder, name, array, shift=0.0):
    folder.mkdir(exist_ok=True)
    affine = np.eye(4)
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(array, affine), folder / f"{name}.nii.gz")


def test_a_folder_of_maps(tmp_path):
    truth, prob = tmp_path / "truth", tmp_path / "prob"
    for case in "abcd":
        save(truth, case, TRUTH.reshape(2, 2, 2).astype(np.uint8))
    save(prob, "a_prob", PROB.reshape(2, 2, 2).astype(np.float32))
    save(prob, "b_prob", PROB.reshape(2, 2, 2).astype(np.float32), shift=3.0)
    save(prob, "c_prob", np.full((2, 2, 2), 7, np.float32))
    found = calibrate_folder(truth, prob, ["a", "b", "c", "d"])
    assert found.cases == ("a",)
    assert found.counts.ece() == pytest.approx(reliability(TRUTH, PROB).ece(), abs=1e-6)
    assert "3 mm apart" in found.failed["b"]
    assert "expected 0 to 1" in found.failed["c"]
    assert "0 files for its probability map, expected one d_prob.nii.gz" in found.failed["d"]
    write_calibration(tmp_path, found)
    tree = json.loads((tmp_path / "calibration.json").read_text(), parse_constant=pytest.fail)
    assert (tree["n_cases"], tree["n_voxels"], list(tree["failed"])) == (1, 8, ["b", "c", "d"])
    assert tree["ece"] == found.counts.ece()
    with (tmp_path / "calibration.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["n"]) for row in rows if row["n"] != "0"] == [1, 3, 2, 2]
    assert "Calibration of 1 cases" in calibration_text(found)
    with pytest.raises(DatasetError, match="not one of 1 probability maps"):
        calibrate_folder(truth, prob, ["d"])
