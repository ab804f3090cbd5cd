"""Detection of calcifications by the rules of orCaScore, by hand; and its law of pooling."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grcsf.evaluation.clinical.agatston import TOTAL
from grcsf.evaluation.clinical.orcascore import DETECTION_SCORES, Detection, detect_calcium
from grcsf.io.geometry import make_geometry

VESSELS = {"background": 0, "LAD": 1, "RCA": 2}
GRID = make_geometry((10, 10, 2), np.diag([0.5, 0.5, 3.0, 1.0]), Path("ct.mhd"))
VOXEL_MM3 = 0.5 * 0.5 * 3.0


def test_found_missed_and_false_calcifications_by_number_and_volume():
    image = np.full(GRID.shape, 300)
    reference, prediction = np.zeros((2, *GRID.shape), np.uint8)
    reference[0:2, 0:2, :] = 1  # 8 voxels over two slices, one calcification
    reference[5, 5, 0] = 1  # 1 voxel, missed
    prediction[0:2, 0:1, :] = 1  # 4 of the 8
    prediction[8:10, 8, 0] = 1  # 2 voxels, false
    found = detect_calcium(image, reference, prediction, GRID, VESSELS)
    lad = found["LAD"]
    assert (lad.n_reference, lad.n_found, lad.n_prediction, lad.n_right) == (2, 1, 2, 1)
    assert (lad.sensitivity, lad.ppv) == (1 / 2, 1 / 2)
    assert (lad.reference_mm3, lad.prediction_mm3) == pytest.approx((9 * VOXEL_MM3, 6 * VOXEL_MM3))
    assert (lad.volume_sensitivity, lad.volume_ppv) == pytest.approx((4 / 9, 4 / 6))
    assert lad.f1 == pytest.approx(2 / (9 / 4 + 6 / 4))  # harmonic mean of the two
    assert found[TOTAL] == lad
    assert all(math.isnan(getattr(found["RCA"], name)) for name in DETECTION_SCORES)


def test_only_voxels_above_130_hu_count_and_corners_do_not_join():
    image = np.full(GRID.shape, 130)
    reference = np.zeros(GRID.shape, np.uint8)
    reference[:4, :4, 0] = 1
    image[0, 0, 0] = image[1, 1, 0] = 131  # touch at an edge of the voxels: two calcifications of 6 neighbours
    found = detect_calcium(image, reference, reference, GRID, VESSELS)["LAD"]
    assert (found.n_reference, found.reference_mm3) == (2, pytest.approx(2 * VOXEL_MM3))


def test_a_calcification_in_the_wrong_artery_is_false_there_but_right_in_total():
    image = np.full(GRID.shape, 300)
    reference, prediction = np.zeros((2, *GRID.shape), np.uint8)
    reference[0:2, 0, 0], prediction[0:2, 0, 0] = 1, 2
    found = detect_calcium(image, reference, prediction, GRID, VESSELS)
    assert (found["LAD"].sensitivity, found["RCA"].ppv, found["LAD"].f1) == (0, 0, 0)
    assert (found[TOTAL].sensitivity, found[TOTAL].ppv, found[TOTAL].f1) == (1, 1, 1)


def test_pooling_adds_counts_and_volumes():
    pooled = Detection(2, 1, 1, 1, 10.0, 6.0, 5.0) + Detection(0, 3, 0, 0, 0.0, 4.0, 0.0)
    assert pooled == Detection(2, 4, 1, 1, 10.0, 10.0, 5.0)
    assert (pooled.sensitivity, pooled.ppv, pooled.f1) == (0.5, 0.25, 0.5)


masks = hnp.arrays(np.uint8, GRID.shape, elements=st.integers(0, 2))


@given(masks, masks)
def test_swapping_the_masks_swaps_sensitivity_and_ppv(one, two):
    image = np.full(GRID.shape, 200)
    forth, back = (detect_calcium(image, *pair, GRID, VESSELS)[TOTAL] for pair in ((one, two), (two, one)))
    swapped = (back.ppv, back.sensitivity, back.volume_ppv, back.volume_sensitivity, back.f1)
    np.testing.assert_allclose([getattr(forth, name) for name in DETECTION_SCORES], swapped)
