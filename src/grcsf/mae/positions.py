"""Where a patch lies: sine-cosine codes of its distance from the image centre, for any grid size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["centred_grid", "sincos_codes"]


def centred_grid(grid: Sequence[int], device: torch.device | None = None) -> Float[Tensor, "n dims"]:
    """Patch coordinates of a row-major grid, in patches from its centre.

    >>> centred_grid((3,)).tolist()
    [[-1.0], [0.0], [1.0]]
    """
    axes = [torch.arange(count, device=device, dtype=torch.float32) - (count - 1) / 2 for count in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(grid))


def sincos_codes(coordinates: Float[Tensor, "*b n dims"], width: int) -> Float[Tensor, "*b n width"]:
    """Sine-cosine codes of patch coordinates, wavelengths from about 3 to 100 patches, zero-padded to ``width``.

    Source: standard (Vaswani et al. 2017; ViT/MAE position codes), taken about the image centre so that
    no table fixes the image size.
    """
    dims = coordinates.shape[-1]
    bands = width // (2 * dims)
    if bands == 0:
        raise ValueError(f"width {width} is too small for {dims} axes; at least {2 * dims}")
    wavelengths = torch.logspace(0.5, 2.0, bands, device=coordinates.device, dtype=coordinates.dtype)
    angles = coordinates.unsqueeze(-1) * (2 * torch.pi / wavelengths)
    codes = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    return torch.nn.functional.pad(codes, (0, width - codes.shape[-1]))
