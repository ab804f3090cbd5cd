"""Shapes on a grid of voxels: how much of each voxel they fill, and what the scanner makes of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grcsf.phantoms.ct_grid import CtGrid, ellipsoid_level, paint, share_inside, supersampled_share, tube_level
from grcsf.phantoms.ct_scan import add_noise, add_streaks, blur, to_hu
from grcsf.phantoms.draws import check_range, is_lesion_free, log_uniform

GRID = CtGrid((40, 36, 20), (1.0, 1.0, 3.0), (-19.5, -17.5, -28.5))
MIDDLE = np.zeros(3)


def rotation(seed: int) -> np.ndarray:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return turn


# the grid


def test_a_centred_grid_has_its_middle_where_it_was_asked_for() -> None:
    middle = np.array([3.0, -7.0, 11.0])
    grid = CtGrid.centred((40.0, 36.0, 60.0), (1.0, 2.0, 3.0), middle)
    assert grid.shape == (40, 18, 20)  # 40 / 1, 36 / 2, 60 / 3
    corners = grid.affine_ras @ np.array([[0, 0, 0, 1], [39, 17, 19, 1]]).T
    np.testing.assert_allclose(corners[:3].mean(axis=1), middle)
    assert grid.voxel_mm3 == 6.0


def test_axes_agree_with_the_affine() -> None:
    x, y, z = GRID.axes_mm()
    at = GRID.affine_ras @ np.array([4, 5, 6, 1.0])
    assert (x[4, 0, 0], y[0, 5, 0], z[0, 0, 6]) == tuple(at[:3])


@given(st.tuples(*[st.floats(-60, 60)] * 3), st.floats(0.1, 30))
def test_a_box_holds_every_voxel_that_is_near(point: tuple[float, ...], reach_mm: float) -> None:
    box = GRID.box_around(np.array(point), reach_mm)
    near = np.ones(GRID.shape, bool)
    for line, at in zip(GRID.axes_mm(), point, strict=True):
        near &= np.abs(line.astype(np.float64) - at) <= reach_mm
    inside = np.zeros(GRID.shape, bool)
    inside[box] = True
    assert inside[near].all()


# shares


@pytest.mark.parametrize("radius", [6.0, 9.0, 14.0])
def test_the_shares_of_a_ball_add_up_to_its_volume(radius: float) -> None:
    share = share_inside(ellipsoid_level(GRID, MIDDLE, np.full(3, radius)))
    volume = 4 / 3 * math.pi * radius**3
    assert share.sum() * GRID.voxel_mm3 == pytest.approx(volume, rel=0.05)
    assert (share.min(), share.max()) == (0, 1)


def test_a_plane_through_the_middle_of_a_voxel_fills_half_of_it() -> None:
    level = np.broadcast_to(np.arange(9, dtype=np.float32)[:, None, None] / 4, (9, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(share_inside(level)[:, 0, 0], [1, 1, 1, 1, 0.5, 0, 0, 0, 0])


def test_a_shape_outside_the_grid_fills_nothing() -> None:
    assert not share_inside(ellipsoid_level(GRID, np.array([500.0, 0, 0]), np.full(3, 9.0))).any()


def test_a_tube_is_as_thick_as_its_radius_and_ends_where_it_is_looked_at() -> None:
    line = np.stack([np.zeros(121), np.zeros(121), np.linspace(-30, 30, 121)], axis=1)
    level = tube_level(GRID, line, np.full(121, 4.0), reach=2.0)
    assert level.max() == 2.0
    slice_ = share_inside(level)[:, :, 10]
    assert slice_.sum() == pytest.approx(math.pi * 16, rel=0.1)  # 1 mm2 pixels
    x, y, _ = GRID.axes_mm()
    far = np.hypot(x, y)[:, :, 0] > 8.0
    assert not slice_[far].any()


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-4, 4)] * 3),
    st.tuples(st.floats(1.5, 8), st.floats(1.5, 4), st.floats(1.5, 4)),
    st.integers(0, 99),
)
def test_counting_inside_voxels_conserves_volume(centre: tuple[float, ...], axes: tuple[float, ...], seed: int) -> None:
    box, share = supersampled_share(GRID, np.array(centre), np.array(axes), rotation(seed), (6, 6, 12))
    volume = 4 / 3 * math.pi * math.prod(axes)
    assert share.sum(dtype=np.float64) * GRID.voxel_mm3 == pytest.approx(volume, rel=0.12)
    assert all(part.stop - part.start > 0 for part in box)


def test_painting_mixes_by_share() -> None:
    image = np.full((1, 1, 2), -100, np.float32)
    paint(image, np.array([[[0.25, 1.0]]], np.float32), 300.0)
    assert image[0, 0].tolist() == [0.0, 300.0]  # -100 + 0.25 * 400


# the scan


def test_blur_moves_mass_but_keeps_it_and_leaves_slices_apart() -> None:
    image = np.zeros(GRID.shape, np.float32)
    image[20, 18, 10] = 1000.0
    blurred = blur(image, GRID, 1.0)
    assert blurred.sum() == pytest.approx(1000, rel=1e-4)
    assert not blurred[:, :, [9, 11]].any()


@pytest.mark.parametrize("sigma", [0.0, 20.0])
def test_noise_has_the_spread_asked_for_and_is_correlated(sigma: float) -> None:
    image = np.zeros((60, 60, 20), np.float32)
    add_noise(np.random.default_rng(0), image, sigma)
    assert image.std() == pytest.approx(sigma, rel=1e-3)
    if sigma:
        assert (image[1:] * image[:-1]).mean() > 0.2 * sigma**2
        assert abs((image[:, :, 1:] * image[:, :, :-1]).mean()) < 0.05 * sigma**2


def test_streaks_leave_the_spot_and_other_slices_and_cancel_out() -> None:
    wide = CtGrid((71, 71, 20), (1.0, 1.0, 3.0), (-35.0, -35.0, -28.5))
    image = np.zeros(wide.shape, np.float32)
    add_streaks(np.random.default_rng(1), image, wide, np.array([0.0, 0.0, 1.5]), half_z_mm=0.5, height_hu=100.0)
    assert 20 < np.abs(image).max() < 100
    assert abs(image[35, 35, 10]) < 1  # the spot itself: two bright and two dark lines cross
    assert abs(image.sum()) < 0.05 * np.abs(image).sum()
    touched = np.abs(image).sum(axis=(0, 1)) > 0
    assert touched[9:12].any()
    assert not touched[:8].any()
    assert not touched[13:].any()


def test_hounsfield_units_are_whole_and_have_twelve_bits() -> None:
    stored = to_hu(np.array([-5000, -0.6, 129.6, 9999], np.float32))
    assert stored.dtype == np.int16
    assert stored.tolist() == [-1024, -1, 130, 3071]


# draws


@given(st.integers(0, 2**32), st.floats(0.1, 10), st.floats(1, 100))
def test_a_drawn_size_is_within_its_limits(seed: int, low: float, factor: float) -> None:
    assert low * 0.999 <= log_uniform(np.random.default_rng(seed), (low, low * factor)) <= low * factor * 1.001


@given(st.floats(0, 1), st.integers(1, 200))
def test_the_share_of_lesion_free_phantoms_is_kept_in_any_number_of_them(share: float, number: int) -> None:
    found = sum(is_lesion_free(share, index) for index in range(number))
    assert abs(found - share * number) < 1 + 1e-6


@pytest.mark.parametrize("pair", [(0.0, 1.0), (2.0, 1.0), (1.0, math.inf), (math.nan, 1.0), (-1.0, 1.0)])
def test_ranges_that_are_none(pair: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected a lowest value above 0"):
        check_range(pair)
