"""Lesions in numbers, against numbers by hand and a slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.io.geometry import Geometry
from grcsf.serve.findings import MOST_LESIONS, find_lesions, size_of

LABELS = {"background": 0, "stroke": 1, "other": 2}
AFFINE = np.array([[-2.0, 0, 0, 10.0], [0, 2.0, 0, -20.0], [0, 0, 3.0, 5.0], [0, 0, 0, 1]])


def test_two_blocks_have_their_sizes_and_centres() -> None:
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[1:3, 1:3, 1:3] = 1  # 8 voxels of 2 x 2 x 3 = 12 mm3: 96 mm3
    mask[5:9, 5:9, 5:7] = 1  # 32 voxels: 384 mm3
    mask[1, 8, 8] = 2
    probability = np.where(mask == 1, 0.75, 0.6).astype(np.float32)
    labels, lesions = find_lesions(mask, probability, Geometry((10, 10, 10), AFFINE), LABELS)
    assert [(label.label, label.value, label.lesions) for label in labels] == [("stroke", 1, 2), ("other", 2, 1)]
    assert labels[0].volume_ml == pytest.approx((96 + 384) / 1000)
    assert [lesion.voxels for lesion in lesions] == [32, 8, 1]
    assert [lesion.number for lesion in lesions] == [1, 2, 1]
    assert lesions[0].centre_voxel == [6.5, 6.5, 5.5]  # of 5..8, 5..8, 5..6
    assert lesions[0].centre_mm == [-2 * 6.5 + 10, 2 * 6.5 - 20, 3 * 5.5 + 5]
    assert lesions[0].mean_probability == 0.75
    assert lesions[0].volume_ml == pytest.approx(0.384)
    assert lesions[0].area_mm2 is None


def test_voxels_that_touch_by_a_corner_are_one_lesion_and_labels_are_apart() -> None:
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = 1
    mask[2, 2, 2] = 2
    labels, _ = find_lesions(mask, np.ones(mask.shape, np.float32), Geometry(mask.shape, np.eye(4)), LABELS)
    assert [label.lesions for label in labels] == [1, 1]


def test_a_picture_has_areas() -> None:
    mask = np.zeros((6, 5), np.uint8)
    mask[1:3, 2:4] = 1
    geometry = Geometry((6, 5), np.diag([0.5, 0.25, 1, 1]))
    (label, _), (lesion,) = find_lesions(mask, np.ones(mask.shape, np.float32), geometry, LABELS)
    assert label.area_mm2 == pytest.approx(4 * 0.5 * 0.25)
    assert label.volume_ml is None
    assert lesion.centre_voxel == [1.5, 2.5]
    assert lesion.centre_mm == [0.75, 0.625, 0.0]


def test_an_empty_mask_has_nothing() -> None:
    mask = np.zeros((3, 3, 3), np.uint8)
    labels, lesions = find_lesions(mask, mask.astype(np.float32), Geometry((3, 3, 3), np.eye(4)), LABELS)
    assert [(label.lesions, label.volume_ml) for label in labels] == [(0, 0.0), (0, 0.0)]
    assert not lesions


def test_of_many_lesions_the_largest_are_listed_and_all_are_counted() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[::2, ::2] = 1  # 900 single pixels
    mask[40:44, 40:44] = 1
    labels, lesions = find_lesions(mask, np.ones(mask.shape, np.float32), Geometry((60, 60), np.eye(4)), LABELS)
    assert labels[0].lesions > 850
    assert labels[0].area_mm2 == float((mask == 1).sum())
    assert len(lesions) == MOST_LESIONS
    assert lesions[0].voxels == max(lesion.voxels for lesion in lesions) > 16


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.3))
def test_a_slow_twin_finds_the_same(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.random((5, 6, 4)) < share).astype(np.uint8)
    probability = rng.random(mask.shape).astype(np.float32)
    _, lesions = find_lesions(mask, probability, Geometry(mask.shape, AFFINE), LABELS)
    left, found = {tuple(place) for place in np.argwhere(mask)}, []
    while left:
        todo, inside = [left.pop()], []
        while todo:
            place = todo.pop()
            inside.append(place)
            near = {other for other in left if max(abs(a - b) for a, b in zip(place, other, strict=True)) == 1}
            left -= near
            todo += near
        mean = np.mean([probability[place] for place in inside])
        found.append((len(inside), *np.round(np.mean(inside, axis=0), 3), round(float(mean), 3)))
    ours = [(one.voxels, *one.centre_voxel, round(one.mean_probability, 3)) for one in lesions]
    assert np.allclose(sorted(ours), sorted(found), atol=2e-3) if found else not ours


def test_sizes_follow_axes_that_are_not_at_right_angles() -> None:
    sheared = np.array([[1.0, 1.0, 0, 0], [0, 1.0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1]])
    assert size_of(500, Geometry((9, 9, 9), sheared)) == (500 * 2.0 / 1000, None)
    assert size_of(500, Geometry((9, 9), sheared)) == (None, 500 * 1.0)
