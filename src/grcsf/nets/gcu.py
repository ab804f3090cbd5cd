"""Global Compensation Unit: give back to a skip feature what down-sampling lost."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grcsf.nets.blocks import conv

__all__ = ["GlobalCompensationUnit", "SqueezeExcitation", "cosine_over_channels"]


def cosine_over_channels(a: Float[Tensor, "b c *space"], b: Float[Tensor, "b c *space"]) -> Float[Tensor, "b 1 *space"]:
    """Cosine similarity of two features at each position, in [-1, 1]; 0 where one of them vanishes."""
    return nn.functional.cosine_similarity(a, b, dim=1, eps=1e-6).unsqueeze(1)


class SqueezeExcitation(nn.Module):
    """Weigh channels by a gate computed from their global means.

    Source: standard (Hu et al. 2018, arXiv 1709.01507).
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(4, channels // reduction)
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c *space"]:
        """Channel-weighted features."""
        weights: Tensor = self.gate(x.flatten(2).mean(2))
        return x * weights.reshape(*weights.shape, *([1] * (x.dim() - 2)))


class GlobalCompensationUnit(nn.Module):
    """Give back to a skip feature what down-sampling lost.

    u = up(proj(coarser)) at the size of f; s = cosine over channels between SE(f) and SE(u), in [-1, 1].
    ``lost``: f + g (1 - s) SE(f); ``kept``: f + g s SE(f); ``difference``: f + g (SE(f) - SE(u)).
    The gate g (one per channel) starts at zero, so a fresh unit is the identity.
    Source: paper (purpose), second-hand (SE and cosine), own (three forms, gate; docs/decisions/0003).
    """

    def __init__(
        self, dims: int, channels: int, coarser_channels: int, form: Literal["lost", "kept", "difference"] = "lost"
    ) -> None:
        super().__init__()
        self.form = form
        self.mode = "bilinear" if dims == 2 else "trilinear"
        self.project = conv(dims, coarser_channels, channels, kernel=1)
        self.excite_fine = SqueezeExcitation(channels)
        self.excite_coarse = SqueezeExcitation(channels)
        self.gate = nn.Parameter(torch.zeros(1, channels, *([1] * dims)))

    def forward(
        self, fine: Float[Tensor, "b c *space"], coarser: Float[Tensor, "b k *half"]
    ) -> Float[Tensor, "b c *space"]:
        """Compensated skip feature, same shape as ``fine``."""
        up = nn.functional.interpolate(self.project(coarser), size=fine.shape[2:], mode=self.mode, align_corners=False)
        weighed: Tensor = self.excite_fine(fine)
        weighed_up: Tensor = self.excite_coarse(up)
        if self.form == "difference":
            return fine + self.gate * (weighed - weighed_up)
        similarity = cosine_over_channels(weighed, weighed_up)
        share = 1.0 - similarity if self.form == "lost" else similarity
        return fine + self.gate * share * weighed
