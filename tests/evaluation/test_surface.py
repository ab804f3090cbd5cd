"""HD, HD95, ASSD and NSD: cases one can check by hand, laws, and what empty masks score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grcsf.errors import GridMismatch
from grcsf.evaluation.overlap import WhenEmpty
from grcsf.evaluation.surface import (
    WhenMissed,
    assd,
    border,
    hausdorff,
    nsd,
    score_surface,
    surface_columns,
    surface_distances,
)

edges = st.floats(0.3, 5.0)


@st.composite
def mask_pairs(draw, *, empty=False):
    dims = draw(st.integers(2, 3))
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=dims, max_size=dims)))
    pair = [draw(hnp.arrays(bool, shape)) for _ in range(2)]
    if not empty:
        for mask in pair:
            mask[tuple(draw(st.integers(0, length - 1)) for length in shape)] = True
    return *pair, tuple(draw(edges) for _ in range(dims))


def dots(*places, shape=(12, 12)):
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


def slow_distances(reference, prediction, spacing_mm):
    """Every border voxel against every other one."""
    places = [np.argwhere(border(mask)) * np.array(spacing_mm) for mask in (reference, prediction)]
    table = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1)
    return table.min(axis=1), table.min(axis=0)


def test_border_is_the_rim_of_a_square():
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    rim = mask.copy()
    rim[2:5, 2:5] = False
    assert np.array_equal(border(mask), rim)


def test_beyond_the_edge_of_the_image_nothing_is_in_the_mask():
    inner = np.ones((5, 5), bool)
    inner[1:4, 1:4] = False
    assert np.array_equal(border(np.ones((5, 5), bool)), inner)


def test_a_voxel_with_only_a_diagonal_neighbour_outside_is_no_border():
    mask = np.ones((5, 5), bool)
    mask[0, 0] = False
    assert not border(mask)[1, 1]


def test_a_slice_stored_as_a_volume_scores_as_the_slice():
    a, b = np.zeros((2, 9, 9), bool)
    a[1:7, 1:7], b[2:8, 1:7] = True, True
    flat = score_surface(a, b, (1.0, 2.0))
    assert score_surface(a[:, :, None], b[:, :, None], (1.0, 2.0, 5.0)) == flat
    assert border(np.ones((1, 1, 1), bool)).all()


def test_a_thin_lesion_in_a_volume_is_all_border():
    a = np.zeros((9, 9, 3), bool)
    a[1:7, 1:7, 1] = True
    found = surface_distances(a, a, (1.0, 1.0, 1.0))
    assert found.from_reference.size == 36  # not the rim of 20: both faces of the sheet are open


def test_two_voxels_are_as_far_apart_as_their_centres():
    scores = score_surface(dots((2, 2)), dots((5, 6)), (2.0, 0.5), tolerances_mm=(6.0, 6.5))
    far = math.hypot(3 * 2.0, 4 * 0.5)
    assert scores["hd_mm"] == scores["hd95_mm"] == scores["assd_mm"] == pytest.approx(far)  # 6.32
    assert (scores["nsd_6mm"], scores["nsd_6.5mm"]) == (0.0, 1.0)


def test_scores_of_a_shifted_square_with_an_outlier():
    reference, prediction = np.zeros((2, 24, 24), bool)
    reference[4:12, 4:12] = True  # rim of 8 x 8: 28 voxels
    prediction[5:13, 4:12] = prediction[20, 20] = True  # 28 + 1
    scores = score_surface(reference, prediction, (1.0, 1.0), tolerances_mm=(0.5, 1.0))
    far = 9 * math.sqrt(2)  # from (20, 20) to the corner (11, 11)
    # the sides of both (2 x 7 voxels) coincide; 8 + 6 voxels of each are one pixel from the other
    assert scores["hd_mm"] == pytest.approx(far)
    assert scores["hd95_mm"] == 1.0  # rank 0.95 * 28 = 26.6 of the sorted 14 x 0, 14 x 1, far
    assert scores["assd_mm"] == pytest.approx((14 + 14 + far) / (28 + 29))
    assert scores["nsd_0.5mm"] == pytest.approx((14 + 14) / (28 + 29))
    assert scores["nsd_1mm"] == pytest.approx((28 + 28) / (28 + 29))


def test_a_percentile_lies_between_the_two_nearest_ranks_and_the_larger_direction_counts():
    reference = dots((0, 0))
    prediction = dots((0, 0), (0, 3), (0, 10))
    found = surface_distances(reference, prediction, (1.0, 1.0))
    assert sorted(found.from_prediction) == [0, 3, 10]
    assert list(found.from_reference) == [0]
    assert hausdorff(found, 95) == pytest.approx(3 + (0.95 * 2 - 1) * (10 - 3))  # rank 1.9
    assert hausdorff(found, 50) == 3
    with pytest.raises(ValueError, match="percentile 101"):
        hausdorff(found, 101)


def test_a_distance_equal_to_the_tolerance_is_within_it_whatever_rounding_says():
    assert 0.1 * 3 > 0.3  # 0.30000000000000004
    found = surface_distances(dots((0, 0)), dots((0, 3)), (0.1, 0.1))
    assert nsd(found, 0.3) == 1.0
    assert nsd(found, 0.2999) == 0.0
    for wrong in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="tolerance"):
            nsd(found, wrong)


@settings(max_examples=60, deadline=None)
@given(mask_pairs())
def test_distances_are_those_of_trying_all_pairs(case):
    found, expected = surface_distances(*case), slow_distances(*case)
    assert np.allclose(np.sort(found.from_reference), np.sort(expected[0]))
    assert np.allclose(np.sort(found.from_prediction), np.sort(expected[1]))


@settings(max_examples=60, deadline=None)
@given(mask_pairs(empty=True))
def test_exchanging_the_masks_changes_nothing(case):
    reference, prediction, spacing_mm = case
    first = score_surface(reference, prediction, spacing_mm)
    second = score_surface(prediction, reference, spacing_mm)
    assert first == pytest.approx(second, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(mask_pairs())
def test_a_mask_and_itself_are_0_mm_apart(case):
    reference, _, spacing_mm = case
    scores = score_surface(reference, reference.copy(), spacing_mm, tolerances_mm=(0.1,))
    assert scores == {"hd_mm": 0, "hd95_mm": 0, "assd_mm": 0, "nsd_0.1mm": 1}


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), st.floats(0.2, 8))
def test_distances_grow_with_the_spacing(case, factor):
    reference, prediction, spacing_mm = case
    wide = tuple(edge * factor for edge in spacing_mm)
    first = score_surface(reference, prediction, spacing_mm, tolerances_mm=())
    second = score_surface(reference, prediction, wide, tolerances_mm=())
    assert second == pytest.approx({name: value * factor for name, value in first.items()})


@settings(max_examples=60, deadline=None)
@given(mask_pairs(), st.lists(st.floats(0.01, 20), min_size=2, max_size=4))
def test_order_of_the_scores(case, tolerances):
    found = surface_distances(*case)
    whole = hausdorff(found)
    assert 0 <= hausdorff(found, 95) <= whole
    assert assd(found) <= whole
    shares = [nsd(found, tolerance) for tolerance in sorted(tolerances)]
    assert shares == sorted(shares)
    assert nsd(found, whole) == 1


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), st.data())
def test_hausdorff_distance_obeys_the_triangle(case, data):
    a, b, spacing_mm = case
    c = data.draw(hnp.arrays(bool, a.shape))
    c.flat[0] = True
    ab, bc, ac = (hausdorff(surface_distances(*pair, spacing_mm)) for pair in ((a, b), (b, c), (a, c)))
    assert ac <= (ab + bc) * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), st.integers(1, 9))
def test_empty_space_around_changes_nothing_but_the_diagonal(case, width):
    reference, prediction, spacing_mm = case
    if min(reference.shape) == 1:  # a single voxel is no direction, several are
        return
    wide = [np.pad(mask, width) for mask in (reference, prediction)]
    assert score_surface(*wide, spacing_mm) == pytest.approx(score_surface(reference, prediction, spacing_mm))


LESION, NOTHING = dots((2, 2), (2, 3), shape=(30, 40)), np.zeros((30, 40), bool)
DIAGONAL = math.hypot(30 * 2.0, 40 * 2.0)  # 100 mm


@pytest.mark.parametrize(
    ("reference", "prediction", "when_empty", "when_missed", "distance", "share"),
    [
        (LESION, NOTHING, "skip", "diagonal", 100.0, 0.0),
        (LESION, NOTHING, "one", "infinite", math.inf, 0.0),
        (LESION, NOTHING, "zero", "skip", math.nan, 0.0),
        (NOTHING, LESION, "one", "diagonal", 100.0, 0.0),
        (NOTHING, LESION, "skip", "infinite", math.inf, 0.0),
        (NOTHING, LESION, "skip", "skip", math.nan, 0.0),
        (NOTHING, NOTHING, "skip", "diagonal", math.nan, math.nan),
        (NOTHING, NOTHING, "skip", "infinite", math.nan, math.nan),
        (NOTHING, NOTHING, "one", "diagonal", 0.0, 1.0),
        (NOTHING, NOTHING, "one", "skip", 0.0, 1.0),
        (NOTHING, NOTHING, "zero", "diagonal", 100.0, 0.0),
        (NOTHING, NOTHING, "zero", "infinite", math.inf, 0.0),
        (NOTHING, NOTHING, "zero", "skip", math.nan, 0.0),
    ],
)
def test_table_of_empty_masks_is_frozen(reference, prediction, when_empty, when_missed, distance, share):
    assert DIAGONAL == 100.0
    rules = {"when_empty": WhenEmpty(when_empty), "when_missed": WhenMissed(when_missed)}
    scores = score_surface(reference, prediction, (2.0, 2.0), tolerances_mm=(3.0,), **rules)
    assert list(scores) == list(surface_columns((3.0,)))
    assert list(scores.values()) == pytest.approx([distance] * 3 + [share], nan_ok=True)


def test_no_two_voxels_are_further_apart_than_the_diagonal():
    corners = dots((0, 0), shape=(5, 9)), dots((4, 8), shape=(5, 9))
    assert score_surface(*corners, (2.0, 3.0))["hd_mm"] < math.hypot(5 * 2, 9 * 3)


def test_masks_that_cannot_be_compared_are_refused():
    mask = np.zeros((4, 4), bool)
    with pytest.raises(TypeError, match="prediction has dtype uint8"):
        surface_distances(mask, mask.astype(np.uint8), (1.0, 1.0))
    with pytest.raises(GridMismatch, match=r"\(4, 4\) but prediction \(4, 5\)"):
        surface_distances(mask, np.zeros((4, 5), bool), (1.0, 1.0))
    for spacing in ((1.0,), (1.0, 0.0), (1.0, 1.0, 1.0)):
        with pytest.raises(GridMismatch, match="spacing"):
            surface_distances(mask, mask, spacing)
