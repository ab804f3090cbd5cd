"""Load, number, side and territories of lesions by hand, on grids of any orientation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grcsf.errors import GridMismatch, ImageError, SettingsError
from grcsf.evaluation.clinical.stroke import OUTSIDE, StrokeRules, measure_lesions, midline_mm, territory_loads
from grcsf.io.geometry import Volume, make_geometry

SHAPE = (11, 8, 6)
MNI = np.array([[2.0, 0, 0, -10.0], [0, 2.0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1]])  # x of the voxels: -10, -8 ... 10
VOXEL_ML = 2.0**3 / 1000


def geometry(affine=MNI, shape=SHAPE):
    return make_geometry(shape, affine, Path("mask.nii.gz"))


def mask_of(*boxes):
    mask = np.zeros(SHAPE, bool)
    for x, y, z in boxes:
        mask[slice(*x), slice(*y), slice(*z)] = True
    return mask


def test_load_count_and_side_by_hand():
    mask = mask_of(((0, 2), (0, 3), (0, 2)), ((9, 10), (5, 6), (5, 6)))  # 12 voxels at x = -10, -8; one at x = 8
    found, kept = measure_lesions(mask, geometry())
    assert (found.voxels, found.lesions) == (13, 2)
    assert (found.load_ml, found.largest_ml) == pytest.approx((13 * VOXEL_ML, 12 * VOXEL_ML))
    assert (found.left_ml, found.right_ml) == pytest.approx((12 * VOXEL_ML, 1 * VOXEL_ML))
    assert found.side == "both"  # 1 of 13 is 7.7 %, above 5 %
    assert np.array_equal(kept, mask)
    assert measure_lesions(mask, geometry(), StrokeRules(min_side_share=0.1))[0].side == "left"


def test_small_lesions_count_in_no_measure():
    mask = mask_of(((0, 2), (0, 3), (0, 2)), ((9, 10), (5, 6), (5, 6)))
    found, kept = measure_lesions(mask, geometry(), StrokeRules(min_lesion_mm3=8.1))  # a voxel is 8 mm3
    assert (found.lesions, found.voxels, found.right_ml, found.side) == (1, 12, 0, "left")
    assert kept.sum() == 12
    assert measure_lesions(mask, geometry(), StrokeRules(min_lesion_mm3=8.0))[0].lesions == 2


def test_voxels_on_the_midline_belong_half_to_each_side():
    found, _ = measure_lesions(mask_of(((5, 8), (0, 1), (0, 1))), geometry())  # x = 0, 2, 4
    assert (found.left_ml, found.right_ml) == pytest.approx((0.5 * VOXEL_ML, 2.5 * VOXEL_ML))


def test_connectivity_decides_how_many_lesions_there_are():
    mask = mask_of(((0, 1), (0, 1), (0, 1)), ((1, 2), (1, 2), (1, 2)))  # they share a corner
    counts = [measure_lesions(mask, geometry(), StrokeRules(connectivity=word))[0].lesions for word in ("full", "face")]
    assert counts == [1, 2]


def test_an_empty_mask_has_no_side():
    found, _ = measure_lesions(mask_of(), geometry())
    assert (found.load_ml, found.lesions, found.largest_ml, found.side) == (0, 0, 0, "none")


@pytest.mark.parametrize(
    ("rules", "place"),
    [({}, 0.0), ({"midline": "centre"}, 4.0), ({"midline": "given", "midline_x_mm": -3.0}, -3.0)],
)
def test_the_midline_is_a_setting(rules, place):
    affine = MNI.copy()
    affine[0, 3] = -6  # x from -6 to 14
    assert midline_mm(geometry(affine), StrokeRules(**rules), "case") == place


def test_a_midline_outside_of_the_image_is_refused():
    affine = MNI.copy()
    affine[0, 3] = 30
    with pytest.raises(
        ImageError, match=r"case-2: the midline x = 0 mm \(origin\).* from 30 to 50 mm.*--midline centre"
    ):
        measure_lesions(mask_of(), geometry(affine), case="case-2")


masks = hnp.arrays(np.bool_, SHAPE)


@given(masks, st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_measures_do_not_depend_on_the_order_and_direction_of_the_axes(mask, order, flips):
    before, _ = measure_lesions(mask, geometry())
    affine = MNI[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (SHAPE[order[axis]] - 1)
            affine[:3, axis] *= -1
    turned = mask.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    assert measure_lesions(turned, geometry(affine, turned.shape))[0] == before


@given(masks)
def test_sides_add_up_and_a_mirror_image_swaps_them(mask):
    found, _ = measure_lesions(mask, geometry())
    assert found.left_ml + found.right_ml == pytest.approx(found.load_ml)
    mirrored, _ = measure_lesions(mask[::-1], geometry())
    assert (mirrored.left_ml, mirrored.right_ml) == pytest.approx((found.right_ml, found.left_ml))


def atlas(values, affine=MNI):
    return Volume(values, geometry(affine, values.shape), Path("atlas.nii.gz"))


def test_territories_on_the_same_grid():
    values = np.zeros(SHAPE, np.int16)
    values[:5], values[6:] = 1, 2
    mask = mask_of(((3, 8), (0, 1), (0, 1)))  # x index 3, 4 in 1; 5 in none; 6, 7 in 2
    left, right, outside = territory_loads(mask, geometry(), atlas(values), {"left": 1, "right": 2})
    assert (left.load_ml, right.load_ml, outside.load_ml) == pytest.approx((2 * VOXEL_ML, 2 * VOXEL_ML, VOXEL_ML))
    assert (left.share_of_load, outside.name) == (0.4, OUTSIDE)
    assert left.territory_ml == pytest.approx(5 * 8 * 6 * VOXEL_ML)
    assert math.isnan(outside.territory_ml)


def test_territories_of_another_grid_are_those_of_the_nearest_voxel():
    coarse = np.array([[4.0, 0, 0, -10.0], [0, 4.0, 0, 0], [0, 0, 4.0, 0], [0, 0, 0, 1]])
    values = np.arange(1, 4).reshape(3, 1, 1)  # centres at x = -10, -6, -2; y and z from -2 to 2 mm
    mask = mask_of(((0, 6), (0, 1), (0, 1)))  # x = -10, -8, -6, -4, -2, 0
    names = {"a": 1, "b": 2, "c": 3}
    loads = [place.load_ml / VOXEL_ML for place in territory_loads(mask, geometry(), atlas(values, coarse), names)]
    assert loads == pytest.approx([1, 2, 2, 1])  # halfway (-8, -4) goes to the next one, 0 lies beyond the atlas
    far = territory_loads(mask_of(((0, 1), (7, 8), (0, 1))), geometry(), atlas(values, coarse), names)
    assert [place.share_of_load for place in far] == [0, 0, 0, 1]


def test_labels_that_are_not_named_are_outside_and_an_empty_mask_has_no_shares():
    values = np.full(SHAPE, 7)
    named = territory_loads(mask_of(((0, 1), (0, 1), (0, 1))), geometry(), atlas(values), {"a": 1})
    assert [place.load_ml for place in named] == pytest.approx([0, VOXEL_ML])
    assert all(math.isnan(p.share_of_load) for p in territory_loads(mask_of(), geometry(), atlas(values), {"a": 7}))


@given(masks)
def test_territories_add_up_to_the_load(mask):
    values = np.random.default_rng(0).integers(0, 4, (5, 5, 5))
    loads = territory_loads(mask, geometry(), atlas(values), {"a": 1, "b": 3})
    assert sum(place.load_ml for place in loads) == pytest.approx(mask.sum() * VOXEL_ML)


@given(masks, st.floats(-0.4, 0.4), st.floats(-9, 9))
def test_sides_and_territories_are_those_of_plain_loops(mask, turn, place):
    cos, sin = math.cos(turn), math.sin(turn)
    affine = np.array([[2 * cos, -2 * sin, 0, -10], [2 * sin, 2 * cos, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    grid = geometry(affine)
    corners_mm = grid.corners_mm()[:, 0]
    if not corners_mm.min() <= place <= corners_mm.max():
        return
    values = np.random.default_rng(0).integers(0, 3, (6, 6, 4))
    coarse = np.array([[5.0, 0, 0, -12], [0, 5.0, 0, -3], [0, 0, 5.0, 0.3], [0, 0, 0, 1]])
    left, loads = 0.0, {0: 0, 1: 0, 2: 0}
    for index in np.argwhere(mask):
        x, y, z = (affine @ [*index, 1])[:3]
        left += 0.5 if abs(x - place) <= 1e-3 else float(x < place)
        near = [math.floor((x + 12) / 5 + 0.5), math.floor((y + 3) / 5 + 0.5), math.floor((z - 0.3) / 5 + 0.5)]
        inside = all(0 <= step < size for step, size in zip(near, values.shape, strict=True))
        loads[int(values[tuple(near)]) if inside else 0] += 1
    found, _ = measure_lesions(mask, grid, StrokeRules(midline="given", midline_x_mm=place))
    assert found.left_ml == pytest.approx(left * VOXEL_ML)
    parts = territory_loads(mask, grid, atlas(values, coarse), {"one": 1, "two": 2})
    assert [part.load_ml for part in parts] == pytest.approx([loads[key] * VOXEL_ML for key in (1, 2, 0)])


def test_wrong_grids_and_rules_are_refused():
    with pytest.raises(GridMismatch, match="case-3: mask of shape"):
        measure_lesions(np.zeros((3, 3, 3), bool), geometry(), case="case-3")
    with pytest.raises(ImageError, match="a 2-D mask has no volume"):
        measure_lesions(np.zeros((4, 5), bool), make_geometry((4, 5), np.eye(4), Path("a.png")))
    with pytest.raises(SettingsError, match="give an x with midline=given only"):
        StrokeRules.of({"midline": "given"})
    with pytest.raises(SettingsError, match=r"--midline: .*found 'middle'"):
        StrokeRules.of({"midline": "middle"})


def test_volume_of_sheared_voxels_is_their_determinant():
    sheared = np.array([[1.0, 0, 0, -5], [0, 1.0, 1.0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1]])  # edge sqrt(5), volume 2 mm3
    found, _ = measure_lesions(mask_of(((0, 1), (0, 1), (0, 1))), geometry(sheared), StrokeRules(min_lesion_mm3=2.0))
    assert found.load_ml == pytest.approx(0.002)
    assert (
        measure_lesions(mask_of(((0, 1), (0, 1), (0, 1))), geometry(sheared), StrokeRules(min_lesion_mm3=2.1))[0].voxels
        == 0
    )
