from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import DiceMetric

from grcsf.errors import GridMismatch
from grcsf.evaluation.overlap import Confusion, WhenEmpty, confusion, dice, f1, iou, precision, recall

ALL = (dice, iou, f1, precision, recall)
SHAPE = (3, 4, 5)
masks = hnp.arrays(np.bool_, SHAPE)
policies = st.sampled_from(WhenEmpty)


def test_confusion_of_two_shifted_cubes():
    a, b = np.zeros((2, 10, 4, 4), bool)
    a[0:4], b[1:5] = True, True  # 4 * 16 = 64 voxels each, 3 * 16 = 48 shared, 160 in all
    assert confusion(a, b) == Confusion(tp=48, fp=64 - 48, fn=64 - 48, tn=160 - 48 - 16 - 16)


def test_scores_of_two_shifted_cubes():
    a, b = np.zeros((2, 10, 4, 4), bool)
    a[0:4], b[1:5] = True, True
    assert dice(a, b, when_empty=WhenEmpty.SKIP) == 2 * 48 / (64 + 64)
    assert iou(a, b, when_empty=WhenEmpty.SKIP) == 48 / (64 + 64 - 48)
    assert precision(a, b, when_empty=WhenEmpty.SKIP) == 48 / 64


def test_scores_of_masks_of_different_sizes():
    reference, prediction = np.zeros((2, 10), bool)
    reference[0:8], prediction[6:10] = True, True  # 8 and 4 pixels, 2 shared
    assert precision(reference, prediction) == 2 / 4
    assert recall(reference, prediction) == 2 / 8
    assert dice(reference, prediction) == 2 * 2 / (8 + 4)
    assert f1(reference, prediction) == pytest.approx(2 * (2 / 4) * (2 / 8) / (2 / 4 + 2 / 8))
    assert iou(reference, prediction) == 2 / (8 + 4 - 2)


# Frozen: docs/reference/empty-masks.md shows the same table. (reference, prediction, policy) -> all five scores
EMPTY_TABLE = [
    ("lesion", "empty", WhenEmpty.SKIP, 0.0),
    ("lesion", "empty", WhenEmpty.ONE, 0.0),
    ("lesion", "empty", WhenEmpty.ZERO, 0.0),
    ("empty", "lesion", WhenEmpty.SKIP, 0.0),
    ("empty", "lesion", WhenEmpty.ONE, 0.0),
    ("empty", "lesion", WhenEmpty.ZERO, 0.0),
    ("empty", "empty", WhenEmpty.SKIP, math.nan),
    ("empty", "empty", WhenEmpty.ONE, 1.0),
    ("empty", "empty", WhenEmpty.ZERO, 0.0),
]


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize(("reference", "prediction", "policy", "expected"), EMPTY_TABLE)
def test_empty_table_is_frozen(metric, reference, prediction, policy, expected):
    mask = {"lesion": np.array([True, False]), "empty": np.array([False, False])}
    found = metric(mask[reference], mask[prediction], when_empty=policy)
    np.testing.assert_equal(found, expected)


def test_policy_has_the_words_of_the_settings():
    assert [WhenEmpty(word).value for word in ("skip", "one", "zero")] == ["skip", "one", "zero"]


@given(masks, masks, policies)
def test_dice_and_iou_are_symmetric(a, b, policy):
    np.testing.assert_equal(dice(a, b, when_empty=policy), dice(b, a, when_empty=policy))
    np.testing.assert_equal(iou(a, b, when_empty=policy), iou(b, a, when_empty=policy))
    np.testing.assert_equal(precision(a, b, when_empty=policy), recall(b, a, when_empty=policy))


@given(masks, masks, policies)
def test_scores_lie_between_zero_and_one(a, b, policy):
    for metric in ALL:
        score = metric(a, b, when_empty=policy)
        assert math.isnan(score) == (policy is WhenEmpty.SKIP and not a.any() and not b.any())
        assert math.isnan(score) or 0 <= score <= 1


@given(masks, masks)
def test_dice_follows_from_iou(a, b):
    j = iou(a, b, when_empty=WhenEmpty.ONE)
    assert dice(a, b, when_empty=WhenEmpty.ONE) == pytest.approx(2 * j / (1 + j))


@given(masks, masks)
def test_finding_one_more_lesion_voxel_raises_every_score(reference, prediction):
    missed = np.argwhere(reference & ~prediction)
    if len(missed) == 0:
        return
    better = prediction.copy()
    better[tuple(missed[0])] = True
    assert dice(reference, better) > dice(reference, prediction)
    assert iou(reference, better) > iou(reference, prediction)
    assert recall(reference, better) > recall(reference, prediction)
    assert precision(reference, better) >= precision(reference, prediction)


@given(masks, masks)
def test_one_more_false_voxel_raises_no_score(reference, prediction):
    free = np.argwhere(~reference & ~prediction)
    if len(free) == 0:
        return
    worse = prediction.copy()
    worse[tuple(free[0])] = True
    for metric in ALL:
        assert metric(reference, worse, when_empty=WhenEmpty.ONE) <= metric(
            reference, prediction, when_empty=WhenEmpty.ONE
        )


@given(masks, masks)
def test_counts_add_up_over_parts_of_the_image(a, b):
    assert confusion(a[:1], b[:1]) + confusion(a[1:], b[1:]) == confusion(a, b)


@given(masks, masks, st.booleans())
def test_dice_agrees_with_monai(a, b, ignore_empty):
    metric = DiceMetric(ignore_empty=ignore_empty)
    pair = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (b, a)]
    oracle = float(metric(*pair)[0, 0])
    ours = dice(a, b, when_empty=WhenEmpty.SKIP if ignore_empty else WhenEmpty.ONE)
    if ignore_empty and not a.any():  # MONAI leaves out every empty reference, we only pairs of empty masks
        assert math.isnan(oracle)
        assert math.isnan(ours) or ours == 0
    else:
        assert ours == pytest.approx(oracle, abs=1e-6)


def test_a_label_map_is_refused_with_a_hint():
    with pytest.raises(TypeError, match="uint8, expected bool; write reference == 1"):
        dice(np.ones(3, np.uint8), np.ones(3, bool))


def test_shapes_must_agree():
    with pytest.raises(GridMismatch, match=r"\(3,\) but prediction \(4,\)"):
        dice(np.ones(3, bool), np.ones(4, bool))


def test_confusion_stands_alone():
    counts = Confusion(tp=1, fp=1, fn=0, tn=0)
    assert dice(counts) == 2 / 3
    with pytest.raises(TypeError, match="already holds"):
        dice(counts, np.ones(2, bool))
    with pytest.raises(TypeError, match="needs a prediction"):
        dice(np.ones(2, bool))
