"""Dice + focal loss over labels, with optional deep supervision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from monai.losses.dice import DiceLoss
from monai.losses.focal_loss import FocalLoss
from torch import Tensor, nn

__all__ = ["SegmentationLoss", "label_channels"]


def label_channels(label: Int[Tensor, "b 1 *space"], values: Sequence[int]) -> Float[Tensor, "b k *space"]:
    """One binary channel per label value (background has none)."""
    return torch.cat([(label == value).float() for value in values], dim=1)


class SegmentationLoss(nn.Module):
    """Dice plus weighted focal loss, on a sigmoid per label.

    Dice is taken per sample, so that a small lesion weighs as much as a large one, or over the batch as a whole.
    ``lesion`` leaves out the samples (and labels) whose reference is empty: their Dice is all or nothing, which a
    network answers by learning by heart in which images to predict nothing; focal loss teaches them.

    Heads of coarser levels count half as much per level, against a label reduced by max-pooling so that
    small lesions stay.
    Source: second-hand (Dice + focal), standard (Milletari 2016; Lin et al. 2017, arXiv 1708.02002; MONAI),
    own (sigmoid per label, Dice per sample with a lesion; docs/decisions/0007, 0018).
    """

    def __init__(
        self,
        values: Sequence[int],
        focal_weight: float = 1.0,
        focal_gamma: float = 2.0,
        dice: Literal["lesion", "sample", "batch"] = "lesion",
    ) -> None:
        super().__init__()
        self.values = tuple(values)
        self.focal_weight, self.leave_out_empty = focal_weight, dice == "lesion"
        self.dice = DiceLoss(sigmoid=True, batch=dice == "batch", smooth_nr=1.0, smooth_dr=1.0, reduction="none")
        self.focal = FocalLoss(gamma=focal_gamma)

    def forward(self, heads: Sequence[Tensor], label: Int[Tensor, "b 1 *space"]) -> Float[Tensor, ""]:
        """Loss of logits ``(b, labels, *space)`` of one or more heads, finest first."""
        target = label_channels(label, self.values)
        total = self._of_head(heads[0].float(), target)
        share = 1.0
        for level, head in enumerate(heads[1:], start=1):
            pool = nn.functional.adaptive_max_pool2d if head.dim() == 4 else nn.functional.adaptive_max_pool3d
            total = total + 0.5**level * self._of_head(head.float(), pool(target, head.shape[2:]))
            share += 0.5**level
        return total / share

    def _of_head(self, logits: Float[Tensor, "b k *space"], target: Float[Tensor, "b k *space"]) -> Float[Tensor, ""]:
        dice = self.dice(logits, target)
        if self.leave_out_empty:  # they stay in the mean, at 0
            dice = dice.flatten(1) * target.flatten(2).amax(2)
        return dice.mean() + self.focal_weight * self.focal(logits, target)  # type: ignore[no-any-return]
