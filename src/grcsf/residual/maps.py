"""Residual maps: the difference between an image and what a masked autoencoder expects there."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from grcsf.config import ResidualKind
from grcsf.mae.masking import complementary_sets
from grcsf.mae.model import MaskedAutoencoder
from grcsf.mae.patches import patch_grid, patchify, unpatchify

__all__ = ["rebuild_hidden", "residual_map"]


def rebuild_hidden(
    mae: MaskedAutoencoder,
    image: Float[Tensor, "b c *space"],
    ratio: float,
    generator: torch.Generator,
    origin: Float[Tensor, "b dims"] | None = None,
) -> Float[Tensor, "b c *space"]:
    """Reconstruction in which every patch comes only from passes that did not see it.

    k = 1 / (1 - ratio) passes with disjoint visible sets; each patch is the mean of the k - 1 passes in
    which it was hidden.

    Args:
        mae: the network, in evaluation mode.
        image: normalised windows, sides a multiple of the patch.
        ratio: mask ratio, 1 - 1/k.
        generator: source of the visible sets; the same seed gives the same map.
        origin: window centres relative to the image centre, voxels.

    Source: paper (reconstruction by MAE), own (complementary sets; docs/decisions/0002).
    """
    grid = patch_grid(image.shape[2:], mae.patch)
    patches = patchify(image, mae.patch)
    total = torch.zeros_like(patches)
    times_hidden = torch.zeros(patches.shape[1], device=image.device)
    for part in complementary_sets(patches.shape[1], ratio, generator):
        visible = part.to(image.device)
        hidden = torch.ones(patches.shape[1], device=image.device)
        hidden[visible] = 0.0
        rebuilt = mae(image, visible.expand(image.shape[0], -1), origin)
        total += patchify(rebuilt, mae.patch) * hidden[None, :, None]
        times_hidden += hidden
    return unpatchify(total / times_hidden[None, :, None], grid, mae.patch, image.shape[1])


def residual_map(
    image: Float[Tensor, "b c *space"],
    rebuilt: Float[Tensor, "b c *space"],
    kind: ResidualKind = "signed",
    cosine_window: int = 5,
) -> Float[Tensor, "b k *space"]:
    """Residual of a reconstruction.

    ``signed``: image - rebuilt, per channel, in units of the normalised image. ``absolute``: its magnitude.
    ``cosine``: 1 - cosine similarity of the two over all channels of a local window, one channel in [0, 2];
    0 where both are constant zero.
    Source: paper (pixel-wise difference), second-hand (cosine), own (sign, window).
    """
    if kind == "signed":
        return image - rebuilt
    if kind == "absolute":
        return (image - rebuilt).abs()
    product = _window_sum((image * rebuilt).sum(1, keepdim=True), cosine_window)
    norms = _window_sum(image.square().sum(1, keepdim=True), cosine_window) * _window_sum(
        rebuilt.square().sum(1, keepdim=True), cosine_window
    )
    return 1.0 - (product + 1e-6) / (norms.clamp_min(0).sqrt() + 1e-6)


def _window_sum(values: Tensor, window: int) -> Tensor:
    dims = values.dim() - 2
    pool = nn.functional.avg_pool2d if dims == 2 else nn.functional.avg_pool3d
    return pool(values, window, stride=1, padding=window // 2, count_include_pad=False)
