"""Cut an image into square patches and put them back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

__all__ = ["patch_grid", "patchify", "unpatchify"]


def patch_grid(size: Sequence[int], patch: int) -> tuple[int, ...]:
    """Number of patches along each axis of an image of ``size`` voxels.

    Raises:
        ValueError: a size that is not a multiple of ``patch``.
    """
    if any(edge % patch for edge in size):
        padded = tuple(math.ceil(edge / patch) * patch for edge in size)
        raise ValueError(f"image size {tuple(size)} is not a multiple of the patch {patch}; pad to {padded}")
    return tuple(edge // patch for edge in size)


def patchify(image: Float[Tensor, "b c *space"], patch: int) -> Float[Tensor, "b n p"]:
    """Patches in row-major order, each flattened to ``channels * patch ** dims`` values (channel slowest).

    >>> import torch
    >>> patchify(torch.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 0].tolist()
    [0.0, 1.0, 4.0, 5.0]
    """
    batch, channels, *size = image.shape
    grid, dims = patch_grid(size, patch), len(size)
    split = image.reshape(batch, channels, *(edge for count in grid for edge in (count, patch)))
    grid_axes = [2 + 2 * axis for axis in range(dims)]
    inner_axes = [3 + 2 * axis for axis in range(dims)]
    return split.permute(0, *grid_axes, 1, *inner_axes).reshape(batch, math.prod(grid), channels * patch**dims)


def unpatchify(
    patches: Float[Tensor, "b n p"], grid: Sequence[int], patch: int, channels: int
) -> Float[Tensor, "b c *space"]:
    """Inverse of :func:`patchify` for a patch grid of ``grid`` patches."""
    batch, dims = patches.shape[0], len(grid)
    split = patches.reshape(batch, *grid, channels, *([patch] * dims))
    order = [axis for pair in zip(range(1, 1 + dims), range(2 + dims, 2 + 2 * dims), strict=True) for axis in pair]
    return split.permute(0, 1 + dims, *order).reshape(batch, channels, *(count * patch for count in grid))
