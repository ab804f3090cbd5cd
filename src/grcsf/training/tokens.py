"""Tokens of a trained masked autoencoder, as further keys for the Region Compensation Unit."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from grcsf.mae.model import MaskedAutoencoder
from grcsf.mae.patches import patch_grid
from grcsf.nets.blocks import pad_end, whole_steps
from grcsf.nets.network import TokenEncoder

__all__ = ["EncoderTokens"]


class EncoderTokens(TokenEncoder):
    """The frozen encoder of a masked autoencoder that sees every patch.

    It is a part of the network that uses it: its weights are saved and counted with the others, and never trained.
    The middle of the input counts as the middle of the anatomy, also for a window that lies elsewhere.
    Source: own (docs/decisions/0004).

    Args:
        mae: copied.
        channels: which channels of the network's input the autoencoder knows (the slice itself, not its neighbours).
    """

    def __init__(self, mae: MaskedAutoencoder, channels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != mae.in_channels:
            raise ValueError(f"the autoencoder takes {mae.in_channels} channels, got {len(channels)} to choose")
        self.mae = copy.deepcopy(mae).requires_grad_(False)
        self.channels, self.width, self.patch = tuple(channels), mae.dim, mae.patch

    @torch.no_grad()
    def forward(self, image: Float[Tensor, "b c *space"]) -> Float[Tensor, "b width *grid"]:
        """Tokens on the grid of patches; a last patch that is not whole sees the last voxel repeated."""
        own = image[:, list(self.channels)]
        own = pad_end(own, whole_steps(own.shape[2:], [self.patch] * (own.dim() - 2)))
        grid = patch_grid(own.shape[2:], self.patch)
        every = torch.arange(math.prod(grid), device=image.device)
        tokens = self.mae.encode(own, every.expand(image.shape[0], -1))
        return tokens.transpose(1, 2).reshape(image.shape[0], self.width, *grid)
