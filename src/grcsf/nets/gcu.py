"""Global Compensation Unit: give back to a skip feature what down-sampling lost."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grcsf.nets.blocks import conv

__all__ = ["GlobalCompensationUnit", "SqueezeExcitation", "cosine_over_channels"]


_SMALLEST = 1e-12


def cosine_over_channels(
    a: Float[Tensor, "b c *space"],
    weight_a: Float[Tensor, "b c"],
    b: Float[Tensor, "b c *space"],
    weight_b: Float[Tensor, "b c"],
) -> Float[Tensor, "b 1 *space"]:
    """Cosine similarity at each position of two features times a weight per channel, in [-1, 1].

    0 where one of them vanishes. The weighed features are never made, which in training takes a third of the time.
    """
    p, q = a.flatten(2), b.flatten(2)
    dot = _sum_over_channels(weight_a * weight_b, p * q)
    norms = _sum_over_channels(weight_a.square(), p * p) * _sum_over_channels(weight_b.square(), q * q)
    return (dot * norms.clamp_min(_SMALLEST).rsqrt()).reshape(a.shape[0], 1, *a.shape[2:])


def _sum_over_channels(weights: Float[Tensor, "b c"], feature: Float[Tensor, "b c n"]) -> Float[Tensor, "b 1 n"]:
    return torch.bmm(weights.unsqueeze(1), feature).float()


class SqueezeExcitation(nn.Module):
    """Weights of channels, from their global means.

    Source: standard (Hu et al. 2018, arXiv 1709.01507).
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(4, channels // reduction)
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: Float[Tensor, "b c *space"]) -> Float[Tensor, "b c"]:
        """Weight of each channel, in (0, 1)."""
        return self.gate(x.flatten(2).mean(2))  # type: ignore[no-any-return]


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
        """Compensated skip feature, same shape and precision as ``fine``."""
        up = nn.functional.interpolate(self.project(coarser), size=fine.shape[2:], mode=self.mode, align_corners=False)
        excite_fine: Tensor = self.excite_fine(fine)
        excite_up: Tensor = self.excite_coarse(up)
        gate = self.gate * _per_channel(excite_fine, fine)
        if self.form == "difference":
            return fine + gate.to(fine.dtype) * fine - (self.gate * _per_channel(excite_up, up)).to(fine.dtype) * up
        similarity = cosine_over_channels(fine, excite_fine, up, excite_up)
        share = 1.0 - similarity if self.form == "lost" else similarity
        return fine + (gate * share).to(fine.dtype) * fine


def _per_channel(weights: Float[Tensor, "b c"], like: Float[Tensor, "b c *space"]) -> Tensor:
    return weights.reshape(*weights.shape, *([1] * (like.dim() - 2)))
