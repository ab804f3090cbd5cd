"""Lesions are found, and drawn alike whatever their size."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from grcsf.training.sampling import LesionIndex, find_lesions


def test_components_are_fully_connected():
    label = np.zeros((3, 6, 6), np.uint8)
    label[0, 0, 0] = label[1, 1, 1] = 1  # touch at a corner
    label[2, 4:6, 4:6] = 2  # any label counts
    sizes = sorted(lesion.size for lesion in find_lesions("a", label, per_slice=False))
    assert sizes == [2, 4]
    assert sorted(lesion.size for lesion in find_lesions("a", label, per_slice=True)) == [1, 1, 4]


def test_kept_voxels_lie_in_their_lesion_and_spread_over_it():
    label = np.zeros((4, 9, 9), np.uint8)
    label[1:4, 2:8, 3:9] = 1
    label[0, 0, 0] = 1
    small, large = sorted(find_lesions("a", label, per_slice=False), key=lambda lesion: lesion.size)
    assert small.voxels.tolist() == [[0, 0, 0]]
    assert large.size == 3 * 6 * 6
    assert len(large.voxels) == 16
    assert all(label[tuple(voxel)] == 1 for voxel in large.voxels)
    assert large.voxels[0].tolist() == [1, 2, 3]
    assert large.voxels[-1].tolist() == [3, 7, 8]


LABELS = {"many-large": np.zeros((1, 40, 40), np.uint8), "one-small": np.zeros((1, 40, 40), np.uint8)}
for row in range(0, 40, 8):
    for column in range(0, 40, 8):
        LABELS["many-large"][0, row : row + 5, column : column + 5] = 1  # 25 lesions of 25 voxels
LABELS["one-small"][0, 20, 30] = 1


def test_size_classes_are_four_times_as_wide():
    index = LesionIndex(list(LABELS), LABELS.__getitem__, per_slice=True, lesion_fraction=1.0)
    assert index.lesions == 26
    assert [sorted({lesion.size for lesion in found}) for found in index.classes] == [[1], [25]]


def test_small_lesions_come_as_often_as_large_ones():
    index = LesionIndex(list(LABELS), LABELS.__getitem__, per_slice=True, lesion_fraction=1.0)
    drawn = index.draw_batch(np.random.default_rng(0), 1000)
    counts = Counter(case for case, _ in drawn)
    assert counts["one-small"] == pytest.approx(500, abs=60)  # four standard deviations
    assert all(LABELS[case][centre] == 1 for case, centre in drawn)


CROWDED = {
    "specks": np.zeros((1, 40, 40), np.uint8),
    "large": np.zeros((1, 40, 40), np.uint8),
    "none": np.zeros((1, 40, 40), np.uint8),
}
CROWDED["specks"][0, 0:10, 0:10] = 1  # 100 voxels, and 25 specks
CROWDED["specks"][0, 20:40:4, 20:40:4] = 1
CROWDED["large"][0, 10:20, 10:20] = 1


def test_by_case_each_case_with_a_lesion_counts_alike_and_a_lesion_by_its_voxels():
    index = LesionIndex(list(CROWDED), CROWDED.__getitem__, True, lesion_fraction=1.0, sampling="case")
    drawn = index.draw_batch(np.random.default_rng(0), 2000)
    counts = Counter(case for case, _ in drawn)
    assert set(counts) == {"specks", "large"}
    assert counts["large"] == pytest.approx(1000, abs=90)  # four standard deviations
    specks = sum(case == "specks" and centre[1] >= 20 for case, centre in drawn)
    assert specks == pytest.approx(counts["specks"] * 25 / 125, abs=52)
    assert all(CROWDED[case][centre] == 1 for case, centre in drawn)


def test_by_size_specks_crowd_the_lesions_of_their_case():
    index = LesionIndex(list(CROWDED), CROWDED.__getitem__, True, lesion_fraction=1.0, sampling="size")
    drawn = index.draw_batch(np.random.default_rng(0), 2000)
    specks = sum(case == "specks" and centre[1] >= 20 for case, centre in drawn)
    assert specks == pytest.approx(1000, abs=90)


@pytest.mark.parametrize(("fraction", "size", "expected"), [(0.5, 4, 2), (0.5, 3, 2), (0.0, 4, 0), (1.0, 4, 4)])
def test_the_share_on_lesions_is_rounded_up(monkeypatch, fraction, size, expected):
    index = LesionIndex(list(LABELS), LABELS.__getitem__, per_slice=True, lesion_fraction=fraction)
    asked = []
    draw = index.draw
    monkeypatch.setattr(index, "draw", lambda rng, on_lesion: asked.append(on_lesion) or draw(rng, on_lesion))
    assert len(index.draw_batch(np.random.default_rng(0), size)) == size
    assert sum(asked) == expected


def test_without_lesions_draws_go_anywhere():
    empty = np.zeros((2, 5, 7), np.uint8)
    index = LesionIndex(["a"], lambda _: empty, per_slice=False, lesion_fraction=1.0)
    assert index.lesions == 0
    drawn = [centre for _, centre in index.draw_batch(np.random.default_rng(0), 500)]
    assert np.array_equal(np.max(drawn, axis=0), [1, 4, 6])
    assert np.array_equal(np.min(drawn, axis=0), [0, 0, 0])
