"""Polygons cover the pixels whose centres they hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grcsf.datasets.sources.polygon import fill_polygon
from mimics import square

corners = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=8, unique=True)


def by_angles(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Slow twin for convex polygons: a centre is inside if it lies on one side of every edge."""
    mask = np.zeros(shape, bool)
    for x in range(shape[0]):
        for y in range(shape[1]):
            sides = [
                (bx - ax) * (y - ay) - (by - ay) * (x - ax)
                for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True)
            ]
            mask[x, y] = all(side >= -1e-9 for side in sides) or all(side <= 1e-9 for side in sides)
    return mask


def test_a_square_holds_the_centres_within_it() -> None:
    mask = fill_polygon(np.array(square(10, 12, 2.4)), (20, 30))
    assert int(mask.sum()) == 5 * 5, "centres -2 to 2 about the middle"
    assert mask[8:13, 10:15].all()


def test_edges_belong_to_the_polygon() -> None:
    assert int(fill_polygon(np.array(square(10, 12, 2)), (20, 30)).sum()) == 5 * 5


def test_the_first_axis_of_the_points_is_the_first_of_the_mask() -> None:
    mask = fill_polygon(np.array([(2, 5), (8, 5), (8, 6), (2, 6)], float), (10, 20))
    assert np.array_equal(np.argwhere(mask).min(axis=0), [2, 5])
    assert np.array_equal(np.argwhere(mask).max(axis=0), [8, 6])


@given(angles=st.lists(st.floats(0, 6.28), min_size=3, max_size=9, unique=True), radius=st.floats(1.5, 9))
def test_convex_polygons_agree_with_the_slow_twin(angles: list[float], radius: float) -> None:
    turns = np.sort(np.array(angles))
    assume((np.diff([*turns, turns[0] + 2 * np.pi]) > 0.05).all())
    points = np.stack([12.3 + radius * np.cos(turns), 11.7 + radius * np.sin(turns)], axis=1)
    slow, fast = by_angles(points, (25, 24)), fill_polygon(points, (25, 24))
    if slow.any():
        assert np.array_equal(fast, slow)
    else:
        assert int(fast.sum()) == 1


@given(points=corners, shift=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_moving_a_polygon_by_whole_pixels_moves_its_mask(points: list[tuple[int, int]], shift: tuple[int, int]) -> None:
    first = fill_polygon(np.array(points, float), (60, 60))
    moved = fill_polygon(np.array(points, float) + shift, (60, 60))
    assert np.array_equal(np.roll(first, shift, axis=(0, 1)), moved)


@given(points=corners)
def test_the_direction_of_drawing_does_not_matter(points: list[tuple[int, int]]) -> None:
    there, back = (fill_polygon(np.array(order, float), (50, 50)) for order in (points, points[::-1]))
    assert np.array_equal(there, back)


def test_a_point_that_is_repeated_changes_nothing() -> None:
    points = np.array([(2.2, 3.1), (9.4, 4.2), (5.5, 9.9)])
    closed = np.vstack([points[:1], points, points[:1]])
    assert np.array_equal(fill_polygon(closed, (15, 15)), fill_polygon(points, (15, 15)))


def test_a_polygon_between_centres_is_one_pixel() -> None:
    mask = fill_polygon(np.array(square(5, 5, 0.1)) + 0.3, (9, 9))
    assert np.array_equal(np.argwhere(mask), [[5, 5]])


@pytest.mark.parametrize("middle", [(-20, 5), (5, 300), (400, 400)])
def test_a_polygon_outside_the_image_marks_nothing(middle: tuple[int, int]) -> None:
    assert not fill_polygon(np.array(square(*middle, 2)), (40, 40)).any()


def test_a_polygon_that_leaves_the_image_is_cut_off() -> None:
    assert int(fill_polygon(np.array(square(0, 0, 2)), (40, 40)).sum()) == 3 * 3
