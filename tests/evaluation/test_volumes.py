"""Specificity, differences of sizes and counts, and agreement over cases, against arithmetic and published tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.evaluation.lesions import score_lesions
from grcsf.evaluation.overlap import Confusion, confusion
from grcsf.evaluation.volumes import (
    agreement,
    icc_absolute,
    score_volume,
    simple_count,
    specificity,
    volume_columns,
)

sizes = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=12)


def score(reference, prediction, voxel_size, preset="any-overlap"):
    lesions = score_lesions(reference, prediction, (1.0,) * reference.ndim, preset)
    return score_volume(reference, prediction, confusion(reference, prediction), voxel_size, lesions)


def test_specificity_is_the_share_of_background_left_alone():
    assert specificity(Confusion(tp=3, fp=25, fn=7, tn=75)) == 75 / 100
    assert specificity(Confusion(tp=0, fp=0, fn=0, tn=100)) == 1
    assert math.isnan(specificity(Confusion(tp=5, fp=0, fn=5, tn=0)))


def test_differences_of_one_case():
    reference, prediction = np.zeros((2, 10, 10, 4), bool)
    reference[0:2, 0:5, 0] = True  # 10 voxels
    reference[6, 6, 2] = reference[7, 7, 2] = True  # 2 voxels that touch at an edge: one lesion, two components
    prediction[1:3, 0:5, 0] = True  # 10 voxels, 5 of them right
    prediction[9, 9, 3] = True
    found = score(reference, prediction, 0.008)  # voxels of 2 x 2 x 2 mm
    assert tuple(found) == volume_columns(3)
    assert found["specificity"] == 1 - 6 / (400 - 12)
    assert found["volume_difference_ml"] == pytest.approx((11 - 12) * 0.008)
    assert found["absolute_volume_difference_ml"] == pytest.approx(0.008)
    assert found["relative_volume_difference"] == pytest.approx(-1 / 12)
    assert found["absolute_relative_volume_difference"] == pytest.approx(1 / 12)
    assert found["fn_volume_ml"] == pytest.approx((12 - 5) * 0.008)
    assert found["fp_volume_ml"] == pytest.approx((11 - 5) * 0.008)
    assert found["lesion_count_difference"] == 2 - 2  # 26 neighbours
    assert found["simple_count_difference"] == abs(2 - 3)  # 6 neighbours


def test_flat_images_have_areas():
    reference, prediction = np.zeros((2, 10, 10), bool)
    reference[:2], prediction[:3] = True, True
    found = score(reference, prediction, 4.0)
    assert tuple(found) == volume_columns(2)
    assert (found["area_difference_mm2"], found["fp_area_mm2"], found["fn_area_mm2"]) == (40.0, 40.0, 0.0)


def test_a_relative_difference_needs_a_reference():
    reference, prediction = np.zeros((2, 4, 4), bool)
    prediction[0] = True
    found = score(reference, prediction, 1.0)
    assert math.isnan(found["relative_area_difference"])
    assert (found["area_difference_mm2"], found["fp_area_mm2"], found["specificity"]) == (4.0, 4.0, 12 / 16)


def test_simple_count_is_of_faces():
    mask = np.zeros((4, 4, 4), bool)
    assert simple_count(mask) == 0
    mask[1, 1, 1] = mask[2, 1, 1] = mask[3, 2, 1] = True
    assert simple_count(mask) == 2


SHROUT_FLEISS = (  # six targets, four judges: their table 2
    (9, 2, 5, 8),
    (6, 1, 3, 2),
    (8, 4, 6, 8),
    (7, 1, 2, 6),
    (10, 5, 6, 9),
    (6, 2, 4, 7),
)


def test_icc_is_that_of_the_published_example():
    assert icc_absolute(np.array(SHROUT_FLEISS).T) == pytest.approx(0.29, abs=0.005)


def test_icc_by_hand():
    # rows 1.5, 3.5; columns 2, 3; centre 2.5; no rest. MSR = 2 (1 + 1) = 4, MSC = 2 (0.25 + 0.25) = 1, MSE = 0
    assert icc_absolute([[1, 3], [2, 4]]) == pytest.approx((4 - 0) / (4 + 0 + 2 * (1 - 0) / 2))


def test_agreement_by_hand():
    found = agreement([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert (found.n, found.pearson, found.spearman) == (3, pytest.approx(1.0), pytest.approx(1.0))
    assert found.icc < 0.6  # a factor of two is no agreement
    assert found.bias == 2.0  # differences 1, 2, 3: standard deviation 1
    assert found.limits == pytest.approx((2 - 1.96, 2 + 1.96))


def test_agreement_of_nothing_is_nan():
    nothing, one, equal = agreement([], []), agreement([1.0], [2.0]), agreement([2.0, 2.0], [2.0, 2.0])
    assert (nothing.n, one.n, one.bias) == (0, 1, 1.0)
    assert all(math.isnan(x) for x in (nothing.bias, nothing.icc, one.pearson, one.icc, one.limits[0], equal.pearson))
    assert equal.limits == (0.0, 0.0)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\[1, 2\] sizes"):
        agreement([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="not finite"):
        agreement([1.0, math.inf], [1.0, 2.0])


@given(sizes)
def test_agreement_does_not_care_who_is_the_reference(pairs):
    one, two = ([float(np.float32(value)) for value in column] for column in zip(*pairs, strict=True))
    here, there = agreement(one, two), agreement(two, one)
    assert here.icc == pytest.approx(there.icc, nan_ok=True)
    assert here.pearson == pytest.approx(there.pearson, nan_ok=True)
    assert here.bias == pytest.approx(-there.bias)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=12, unique=True))
def test_equal_sizes_agree_whole(found):
    result = agreement(found, found)
    assert (result.icc, result.pearson, result.spearman, result.bias) == pytest.approx((1, 1, 1, 0))


@pytest.mark.parametrize("size", [0.05, 0.1, 1 / 3, 7.0])
def test_equal_sizes_have_no_correlation_and_no_warning(size):
    """The mean of three times 0.05 is not 0.05, so their standard deviation is not 0."""
    found = agreement([size] * 3, [size, 2 * size, 3 * size])
    assert math.isnan(found.pearson)
    assert math.isnan(found.spearman)
