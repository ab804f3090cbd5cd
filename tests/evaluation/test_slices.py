"""The axial axis of a volume, and areas and distances of its slices."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from grcsf.errors import ImageError
from grcsf.evaluation.clinical.slices import axial_slices
from grcsf.io.geometry import make_geometry


def geometry(edges, shape=(4, 5, 6)):
    affine = np.eye(4)
    affine[:3, :3] = edges
    return make_geometry(shape, affine, Path("ct.nii.gz"))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("sign", [1, -1])
def test_the_axis_is_the_one_along_the_body(order, sign):
    edges = sign * np.diag([0.4, 0.5, 2.5])[:, list(order)]
    found = axial_slices(geometry(edges), "case")
    assert found.axis == order.index(2)
    assert (found.pixel_mm2, found.gap_mm, found.tilt_deg) == pytest.approx((0.2, 2.5, 0.0))
    assert found.voxel_mm3 == pytest.approx(0.4 * 0.5 * 2.5)


@pytest.mark.parametrize("degrees", [5.0, 20.0, 44.0])
def test_oblique_slices_keep_their_own_area_and_distance(degrees):
    angle = math.radians(degrees)
    turn = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    found = axial_slices(geometry(turn @ np.diag([0.5, 0.5, 3.0])), "case", max_tilt_deg=45)
    assert (found.axis, found.pixel_mm2, found.gap_mm, found.tilt_deg) == pytest.approx((2, 0.25, 3.0, degrees))


def test_the_distance_of_sheared_slices_is_along_their_normal():
    edges = np.array([[0.5, 0, 0], [0, 0.5, 1.0], [0, 0, 3.0]])  # a tilted gantry: slices shift by 1 mm, 3 mm apart
    found = axial_slices(geometry(edges), "case", max_tilt_deg=0)
    assert (found.gap_mm, found.tilt_deg) == pytest.approx((3.0, 0.0))  # not sqrt(1 + 9)


def test_slices_that_are_turned_too_far_are_refused():
    angle = math.radians(30)
    turn = np.array([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    with pytest.raises(ImageError, match=r"case-1: .* turned 30\.0 degrees .* \(limit 20\).*--max-tilt-deg"):
        axial_slices(geometry(turn), "case-1", max_tilt_deg=20)


def test_flat_images_have_no_slices():
    with pytest.raises(ImageError, match="a 2-D image"):
        axial_slices(make_geometry((4, 5), np.eye(4), Path("a.png")), "case")


def test_the_volume_of_a_voxel_is_that_of_its_slices():
    for edges in (np.diag([0.5, 0.5, 3.0]), np.array([[0.5, 0, 0], [0, 0.5, 1.0], [0, 0, 3.0]])):
        grid = geometry(edges)
        assert grid.voxel_size == pytest.approx(0.75) == axial_slices(grid, "case").voxel_mm3
