"""Grids: spacing, corners, and whether two of them are the same."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.errors import GridMismatch, ImageError
from grcsf.io.geometry import Geometry, check_same_grid, corner_distance_mm, make_geometry


def grid(shape=(4, 5, 6), spacing=(1.0, 2.0, 3.0), origin=(0.0, 0.0, 0.0)) -> Geometry:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return make_geometry(shape, affine, Path("image"))


def test_spacing_is_the_length_of_the_columns():
    affine = np.eye(4)
    affine[:3, 0] = [3, 4, 0]  # length 5
    affine[:3, 1] = [-8, 6, 0]  # length 10
    assert Geometry((2, 2, 2), affine).spacing_mm == (5.0, 10.0, 1.0)
    assert Geometry((2, 2), affine).spacing_mm == (5.0, 10.0)


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5)])
def test_the_edges_of_a_slanted_voxel_make_up_its_size(shape):
    affine = np.diag([0.5, 0.75, 2.0, 1.0])
    assert Geometry(shape, affine).edges_mm == Geometry(shape, affine).spacing_mm
    affine[0, len(shape) - 1] += 0.4  # the last axis leans
    leaning = Geometry(shape, affine)
    assert math.prod(leaning.edges_mm) == pytest.approx(0.5 * 0.75 * (2.0 if len(shape) == 3 else 1.0))
    assert leaning.edges_mm[:-1] == leaning.spacing_mm[:-1]
    assert leaning.edges_mm[-1] < leaning.spacing_mm[-1]


def test_corners_are_the_centres_of_the_outer_voxels():
    corners = {tuple(corner) for corner in grid(origin=(10, 20, 30)).corners_mm()}
    # (4 - 1) * 1 = 3, (5 - 1) * 2 = 8, (6 - 1) * 3 = 15 further on
    assert corners == {(x, y, z) for x in (10.0, 13.0) for y in (20.0, 28.0) for z in (30.0, 45.0)}
    assert len(grid((4, 5)).corners_mm()) == 4


def test_corner_distance_of_a_shift_is_its_length():
    assert corner_distance_mm(grid(), grid(origin=(3, 4, 0))) == pytest.approx(5.0)


def test_corner_distance_grows_with_the_image_where_spacing_differs():
    # the far corner moves by (4 - 1) * 0.01 mm
    assert corner_distance_mm(grid(), grid(spacing=(1.01, 2.0, 3.0))) == pytest.approx(0.03)


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=3), st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_corner_distance_is_symmetric_and_zero_for_itself(one, two):
    first, second = grid(origin=one), grid(origin=two)
    assert corner_distance_mm(first, second) == corner_distance_mm(second, first)
    assert corner_distance_mm(first, first) == 0
    assert corner_distance_mm(first, second) == pytest.approx(math.dist(one, two), abs=1e-9)


def test_same_grid_within_the_tolerance():
    check_same_grid(grid(), grid(origin=(0.0009, 0, 0)), "image and label")
    check_same_grid(grid(), grid(origin=(0.4, 0, 0)), "image and label", tolerance_mm=0.5)


def test_another_position_is_refused_with_both_grids_and_the_distance():
    with pytest.raises(GridMismatch) as error:
        check_same_grid(grid(), grid(origin=(0, 0, 1.5)), "case-1: image and label")
    message = str(error.value)
    assert message.startswith("case-1: image and label lie up to 1.5 mm apart (tolerance 0.001 mm)")
    assert "first voxel at (0, 0, 0) mm" in message
    assert "first voxel at (0, 0, 1.5) mm" in message


def test_another_size_is_refused_with_both_grids():
    with pytest.raises(GridMismatch, match=r"4 x 5 x 6 voxels of 1 x 2 x 3 mm, axes RAS.* 4 x 5 x 7 voxels"):
        check_same_grid(grid(), grid((4, 5, 7)), "a and b")


def test_a_text_names_the_axes():
    assert "axes LPI," in str(grid(spacing=(-1, -1, -1)))


@pytest.mark.parametrize("affine", [np.diag([1.0, 1.0, 0.0, 1.0]), np.full((4, 4), np.nan)])
def test_an_affine_without_meaning_is_refused(affine):
    with pytest.raises(ImageError, match="no usable position and spacing"):
        make_geometry((2, 2, 2), affine, Path("image"))


def test_an_image_without_voxels_is_refused():
    with pytest.raises(ImageError, match=r"empty image, its size is \(3, 0, 2\)"):
        make_geometry((3, 0, 2), np.eye(4), Path("image"))


def test_a_flat_image_gets_a_normal_as_third_axis():
    affine = np.diag([2.0, 3.0, 0.0, 1.0])
    np.testing.assert_array_equal(make_geometry((2, 2), affine, Path("i")).affine_ras, np.diag([2.0, 3.0, 1.0, 1.0]))
