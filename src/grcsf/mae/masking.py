"""Which patches a masked autoencoder sees: drawn for training, complementary for residual maps.

The sets are values, made here and handed to the network; the network never draws.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["complementary_sets", "random_visible", "visible_count"]


def visible_count(patches: int, ratio: float) -> int:
    """Number of visible patches at mask ratio ``ratio``, at least one and at most all but one."""
    return min(max(1, round(patches * (1.0 - ratio))), max(1, patches - 1))


def random_visible(batch: int, patches: int, ratio: float, generator: torch.Generator) -> Int[Tensor, "b v"]:
    """Indices of visible patches, drawn for each item of a batch on its own, in ascending order."""
    keys = torch.rand(batch, patches, generator=generator)
    chosen = keys.argsort(dim=1)[:, : visible_count(patches, ratio)]
    return chosen.sort(dim=1).values


def complementary_sets(patches: int, ratio: float, generator: torch.Generator) -> list[Int[Tensor, " v"]]:
    """Disjoint visible sets that cover all patches once: k = 1 / (1 - ratio) of them.

    Every patch is visible in exactly one set and hidden in the other k - 1, so that its reconstruction
    is the mean of k - 1 passes that never saw it.

    Args:
        patches: number of patches of the image, at least k.
        ratio: mask ratio, 1 - 1/k.
        generator: source of the one permutation that is cut into k sets.

    Raises:
        ValueError: a ratio that is not 1 - 1/k, or fewer patches than sets.

    Source: own (docs/decisions/0002); replaces repeated random masking.
    """
    count = round(1.0 / (1.0 - ratio))
    if count < 2 or abs(1.0 - 1.0 / count - ratio) > 1e-6:
        raise ValueError(f"mask ratio {ratio} must be 1 - 1/k for a whole k >= 2 (0.5, 0.75, 0.8, ...)")
    if patches < count:
        raise ValueError(f"{patches} patches cannot be cut into {count} visible sets; use a smaller patch or ratio")
    order = torch.randperm(patches, generator=generator)
    return [part.sort().values for part in order.tensor_split(count)]
