"""The list of lesions against masks drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from grcsf.evaluation.presets import PRESETS
from grcsf.io.geometry import Geometry
from grcsf.viewer import lesions as module
from grcsf.viewer.lesions import list_lesions

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3.0, 0, -5], [0, 0, 4.0, 1], [0, 0, 0, 1]])
ANY = PRESETS["any-overlap"]


def listed(reference, prediction, **options):
    shape = (reference if reference is not None else prediction).shape
    geometry = Geometry(shape, options.pop("affine", AFFINE))
    return list_lesions(reference, prediction, geometry, {1: "lesion", 2: "bleed"}, ANY, **options)


def test_two_masks_give_matched_missed_and_false_lesions():
    reference, prediction = np.zeros((2, 12, 12, 6), np.uint8)
    reference[1:3, 1:3, 1:3] = 1  # 8 voxels, found
    reference[8, 8, 4] = 1  # 1 voxel, missed
    prediction[2:4, 1:3, 1:3] = 1  # 8 voxels, 4 of them in the first
    prediction[5:8, 10, 0] = 1  # 3 voxels, invented
    found = listed(reference, prediction)
    assert found.unit == "ml"
    voxel_ml = 2 * 3 * 4 / 1000
    rows = [(row["source"], row["state"], row["voxels"], row["size"], row["overlap"]) for row in found.lesions]
    assert rows == [
        ("reference", "matched", 8, pytest.approx(8 * voxel_ml), 0.5),
        ("prediction", "matched", 8, pytest.approx(8 * voxel_ml), 0.5),
        ("prediction", "false", 3, pytest.approx(3 * voxel_ml), 0.0),
        ("reference", "missed", 1, pytest.approx(voxel_ml), 0.0),
    ]
    missed = found.lesions[3]
    assert missed["voxel"] == [8, 8, 4]
    assert missed["mm"] == [10 - 2 * 8, -5 + 3 * 8, 1 + 4 * 4]


def test_the_place_of_a_ring_lies_on_the_ring():
    """The centroid of a C-shaped lesion is outside of it; the crosshair must land inside."""
    mask = np.zeros((9, 9, 1), np.uint8)
    mask[1:8, 1:8] = 1
    mask[2:7, 2:8] = 0
    (lesion,) = listed(mask, None).lesions
    assert mask[tuple(lesion["voxel"])] == 1


@given(arrays(np.uint8, (5, 4, 3), elements=st.integers(0, 2)), arrays(np.uint8, (5, 4, 3), elements=st.integers(0, 2)))
def test_every_place_lies_in_its_own_mask_and_sizes_add_up(reference, prediction):
    found = listed(reference, prediction)
    for row in found.lesions:
        mask = reference if row["source"] == "reference" else prediction
        value = {"lesion": 1, "bleed": 2}[row["label"]]
        assert mask[tuple(row["voxel"])] == value
        np.testing.assert_allclose(row["mm"], (AFFINE @ [*row["voxel"], 1])[:3])
    for name, mask in (("reference", reference), ("prediction", prediction)):
        assert sum(row["voxels"] for row in found.lesions if row["source"] == name) == np.count_nonzero(mask)


def test_one_mask_alone_has_nothing_to_match_with():
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[1, 1, 1] = 1
    (lesion,) = listed(None, mask).lesions
    assert (lesion["state"], lesion["overlap"], lesion["score"]) == ("single", None, None)


def test_the_score_is_the_mean_probability_inside():
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[1, 1, 0:2] = 1
    chance = np.zeros(mask.shape, np.float32)
    chance[1, 1, 0:3] = (0.5, 1.0, 0.9)
    (lesion,) = listed(None, mask, probability=chance).lesions
    assert lesion["score"] == (0.5 + 1.0) / 2


def test_lesions_of_a_picture_have_areas_and_touch_within_the_slice():
    mask = np.zeros((6, 6, 1), np.uint8)
    mask[1, 1, 0] = mask[2, 2, 0] = 1  # diagonal neighbours: one lesion under the default rules
    found = listed(mask, None, picture=True)
    assert found.unit == "mm2"
    assert [row["size"] for row in found.lesions] == [2 * 2.0 * 3.0]


def test_an_unnamed_label_is_shown_by_its_value():
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[0, 0, 0] = 7
    assert listed(None, mask).lesions[0]["label"] == "label 7"


def test_empty_masks_have_no_lesions():
    empty = np.zeros((4, 4, 4), np.uint8)
    assert listed(empty, empty).lesions == ()


def test_a_mask_of_noise_keeps_the_largest_and_counts_the_rest(monkeypatch):
    monkeypatch.setattr(module, "MOST_LESIONS", 3)
    mask = np.zeros((20, 3, 3), np.uint8)
    mask[::2, 0, 0] = 1  # 10 lesions of a voxel
    mask[0, 1, 0] = 1  # one of them has two
    found = listed(mask, None)
    assert [row["voxels"] for row in found.lesions] == [2, 1, 1]
    assert found.left_out == 10 - 3
