"""Surface scores beside those of MONAI, surface-distance and panoptica: equal, or bounded where definitions differ."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from evaluation_libraries import deepmind_scores, monai_scores, panoptica_scores
from grcsf.evaluation.overlap import WhenEmpty, dice
from grcsf.evaluation.surface import (
    WhenMissed,
    assd,
    hausdorff,
    nsd,
    score_surface,
    surface_distances,
)


def random_pairs():
    rng = np.random.default_rng(3)
    for index in range(40):
        dims = 2 + index % 2
        shape = tuple(rng.integers(2, 13, dims))
        density = rng.choice([0.03, 0.4, 0.95], 2)
        pair = [rng.random(shape) < share for share in density]
        for mask in pair:
            mask[tuple(length // 2 for length in shape)] = True
        yield *pair, tuple(float(edge) for edge in rng.uniform(0.4, 4, dims))


def adversarial_pairs():
    """Touching the edge, filling the image, a hole, a thread, far corners, one inside the other."""
    full = np.ones((9, 9, 9), bool)
    hole = full.copy()
    hole[4, 4, 4] = False
    thread, corner, last, ball = (np.zeros((9, 9, 9), bool) for _ in range(4))
    thread[:, 3, 3] = corner[0, 0, 0] = last[8, 8, 8] = ball[3:6, 3:6, 3:6] = True
    spacing = (0.7, 1.0, 5.0)
    for pair in ((full, hole), (full, thread), (corner, last), (hole, ball), (thread, ball), (ball, full)):
        yield *pair, spacing


PAIRS = [*random_pairs(), *adversarial_pairs()]


@pytest.mark.parametrize("case", PAIRS, ids=range(len(PAIRS)))
def test_monai_gives_the_same_scores(case):
    scores = score_surface(*case, tolerances_mm=(1.37,))
    assert tuple(scores.values()) == pytest.approx(monai_scores(*case, tolerance_mm=1.37), rel=1e-5)


@pytest.mark.parametrize("case", PAIRS, ids=range(len(PAIRS)))
def test_surface_distance_differs_by_a_diagonal_of_a_voxel_at_most(case):
    """Its surface elements lie on corners between voxels, half a diagonal from a border voxel, and back."""
    reference, prediction, spacing_mm = case
    padded = np.pad(reference, 1), np.pad(prediction, 1), spacing_mm
    theirs = deepmind_scores(*padded)
    assert abs(hausdorff(surface_distances(*padded)) - theirs[0]) <= math.hypot(*spacing_mm) * (1 + 1e-9)


@pytest.mark.parametrize("case", PAIRS, ids=range(len(PAIRS)))
def test_panoptica_differs_by_how_the_two_directions_are_joined(case):
    """HD is the same; its ASSD weighs the two directions alike, ours every border voxel."""
    found = surface_distances(*case)
    theirs = panoptica_scores(found)
    assert theirs[0] == pytest.approx(hausdorff(found))
    means = found.from_reference.mean(), found.from_prediction.mean()
    assert min(means) - 1e-9 <= theirs[2] <= max(means) + 1e-9
    assert min(means) - 1e-9 <= assd(found) <= max(means) + 1e-9
    weight = found.from_reference.size / (found.from_reference.size + found.from_prediction.size)
    assert theirs[2] - assd(found) == pytest.approx((0.5 - weight) * (means[0] - means[1]))


SPOT, NOTHING = np.zeros((2, 8, 8), bool)
SPOT[2:4, 2:4] = True
MISSED, FALSE, EMPTY = (SPOT, NOTHING), (NOTHING, SPOT), (NOTHING, NOTHING)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (MISSED, (math.inf, math.nan, math.inf, 0.0)),
        (FALSE, (math.inf, math.nan, math.inf, 0.0)),
        (EMPTY, (math.nan, math.nan, math.nan, math.nan)),
    ],
    ids=["missed", "false", "both empty"],
)
def test_monai_1_6_1_on_empty_masks(pair, expected):
    """Its HD95 of a missed lesion is nan, which its mean leaves out: a change here is a reason to read its notes."""
    assert monai_scores(*pair, (1.0, 1.0)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("pair", "hd95", "share"),
    [(MISSED, math.hypot(8, 8), 0.0), (FALSE, math.hypot(8, 8), 0.0), (EMPTY, math.nan, math.nan)],
    ids=["missed", "false", "both empty"],
)
def test_ours_on_the_same_masks(pair, hd95, share):
    scores = score_surface(*pair, (1.0, 1.0), tolerances_mm=(1.0,))
    assert (scores["hd95_mm"], scores["nsd_1mm"]) == pytest.approx((hd95, share), nan_ok=True)


@pytest.mark.parametrize(
    ("pair", "ignoring", "counting"),
    [(MISSED, 0.0, 0.0), (FALSE, math.nan, 0.0), (EMPTY, math.nan, 1.0)],
    ids=["missed", "false", "both empty"],
)
def test_monai_dice_on_empty_masks_beside_ours(pair, ignoring, counting):
    import torch
    from monai.metrics import compute_dice

    tensors = [torch.tensor(mask)[None, None].float() for mask in (pair[1], pair[0])]
    for ignore, expected in ((True, ignoring), (False, counting)):
        theirs = float(compute_dice(*tensors, include_background=True, ignore_empty=ignore))
        assert theirs == pytest.approx(expected, nan_ok=True)
    assert dice(*pair, when_empty=WhenEmpty.ONE) == counting


def test_a_model_that_misses_lesions_gains_in_monai_and_loses_here():
    """One case 2 mm off, two missed: MONAI's mean HD95 is that of the one good case."""
    import torch
    from monai.metrics import HausdorffDistanceMetric

    off = np.roll(SPOT, 2, axis=0)
    metric = HausdorffDistanceMetric(include_background=True, percentile=95)
    for prediction in (off, NOTHING, NOTHING):
        pair = [torch.tensor(mask)[None, None].float() for mask in (prediction, SPOT)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of empty masks, and of its own deprecated argument
            metric(*pair)
    assert float(metric.aggregate()) == 2.0
    ours = [score_surface(SPOT, prediction, (1.0, 1.0))["hd95_mm"] for prediction in (off, NOTHING, NOTHING)]
    assert np.mean(ours) == pytest.approx((2.0 + 2 * math.hypot(8, 8)) / 3)
    endless = score_surface(SPOT, NOTHING, (1.0, 1.0), when_missed=WhenMissed.INFINITE)
    assert endless["hd95_mm"] == math.inf


def test_a_distance_that_equals_the_tolerance_is_lost_to_rounding_in_surface_distance():
    one, two = np.zeros((2, 9, 9), bool)
    one[4, 2] = two[4, 5] = True  # three steps of 0.1 mm, 0.30000000000000004 by machine
    assert deepmind_scores(one, two, (0.1, 0.1), tolerance_mm=0.3)[3] < 1
    assert nsd(surface_distances(one, two, (0.1, 0.1)), 0.3) == 1


def test_surface_distance_stops_at_an_empty_mask_under_numpy_2(monkeypatch):
    """It names ``np.Inf``, which is gone; the masks have to be checked before it is called."""
    monkeypatch.delattr(np, "Inf", raising=False)  # other packages put it back
    with pytest.raises(AttributeError, match=r"np\.Inf"):
        deepmind_scores(*MISSED, (1.0, 1.0))
