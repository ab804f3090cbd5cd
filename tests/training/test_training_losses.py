"""Dice + focal against its formula, and the weights of the heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from grcsf.training.losses import SegmentationLoss, label_channels


def test_a_channel_per_label_value():
    label = torch.tensor([[[[0, 1], [2, 1]]]])
    channels = label_channels(label, [1, 2])
    assert channels.tolist() == [[[[0.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]]]]


def focal(logits: torch.Tensor, target: torch.Tensor, gamma: float) -> float:
    """Mean of (1 - p_t) ** gamma * -log p_t, voxel by voxel (Lin et al. 2017)."""
    terms = []
    for z, t in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + torch.tensor(-z).exp().item())
        p_t = p if t else 1 - p
        terms.append((1 - p_t) ** gamma * -torch.tensor(p_t).log().item())
    return sum(terms) / len(terms)


def soft_dice(p: torch.Tensor, t: torch.Tensor) -> float:
    """1 - (2 |p t| + 1) / (|p| + |t| + 1)."""
    return 1 - (2 * float((p * t).sum()) + 1) / (float(p.sum() + t.sum()) + 1)


@pytest.mark.parametrize("dice", ["lesion", "sample", "batch"])
@pytest.mark.parametrize(("weight", "gamma"), [(1.0, 2.0), (0.0, 2.0), (3.0, 0.5)])
def test_the_loss_equals_its_textbook_twin(dice, weight, gamma):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 3, 4, generator=draw)
    label = torch.randint(0, 3, (2, 1, 3, 4), generator=draw)
    label[1][label[1] == 2] = 0  # the second sample lacks the second label
    target, p = label_channels(label, [1, 2]), logits.sigmoid()
    if dice == "batch":
        parts = [soft_dice(p[:, k], target[:, k]) for k in range(2)]
    else:
        parts = [soft_dice(p[b, k], target[b, k]) for b in range(2) for k in range(2)]
        parts[3] *= dice == "sample"
    expected = sum(parts) / len(parts) + weight * focal(logits, target, gamma)
    assert float(SegmentationLoss([1, 2], weight, gamma, dice)([logits], label)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much(dims):
    label = torch.zeros(2, 1, *[6] * dims, dtype=torch.long)
    label[:, :, 2:5, 2:5] = 1
    right = 40.0 * label - 20.0
    loss = SegmentationLoss([1])
    assert float(loss([right], label)) < 1e-4
    assert float(loss([-right], label)) > 1


def test_empty_labels_have_a_finite_gradient():
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    SegmentationLoss([1])([logits], torch.zeros(1, 1, 4, 4, dtype=torch.long)).backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad > 0).all()  # towards background


@pytest.mark.parametrize("dims", [2, 3])
def test_coarser_heads_count_half_as_much_against_the_pooled_label(dims):
    draw = torch.Generator().manual_seed(0)
    label = torch.zeros(1, 1, *[8] * dims, dtype=torch.long)
    label[(0, 0, *[5] * dims)] = 1  # one voxel, which pooling keeps
    heads = [torch.randn(1, 1, *[size] * dims, generator=draw) for size in (8, 4, 2)]
    pool = nn.functional.max_pool2d if dims == 2 else nn.functional.max_pool3d
    labels = [label, *(pool(label.float(), step).long() for step in (2, 4))]
    assert all(int(one.sum()) == 1 for one in labels)
    loss = SegmentationLoss([1])
    alone = [float(loss([head], one)) for head, one in zip(heads, labels, strict=True)]
    expected = (alone[0] + 0.5 * alone[1] + 0.25 * alone[2]) / 1.75
    assert float(loss(heads, label)) == pytest.approx(expected, rel=1e-5)


def test_dice_of_lesions_leaves_what_is_empty_to_the_focal_loss():
    logits, empty = torch.randn(1, 1, 6, 6), torch.zeros(1, 1, 6, 6, dtype=torch.long)
    loss = float(SegmentationLoss([1], dice="lesion")([logits], empty))
    assert loss == pytest.approx(focal(logits, empty, 2.0), abs=1e-5)
    assert float(SegmentationLoss([1], 0.0, dice="sample")([logits], empty)) > 0.5
