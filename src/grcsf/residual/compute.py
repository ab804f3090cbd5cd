"""Residual maps of whole cases: slices or volumes, in one window or in overlapping ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from grcsf.arrays import FloatArray
from grcsf.config import ResidualSettings
from grcsf.mae.bundle import MaeBundle
from grcsf.residual.maps import rebuild_hidden, residual_map

__all__ = ["case_residual", "map_channels", "map_ratios", "window_starts"]

_BATCH = 16
"""Slices or windows at a time."""


def map_ratios(settings: ResidualSettings, mae: MaeBundle) -> tuple[float, ...]:
    """Mask ratios of the maps, in order: the set ones or those of the MAE."""
    return settings.ratios or mae.settings.ratios


def map_channels(settings: ResidualSettings, in_channels: int) -> int:
    """Channels of one map: one per image channel, or one for the cosine kind."""
    return 1 if settings.kind == "cosine" else in_channels


def case_residual(
    mae: MaeBundle, image: FloatArray, settings: ResidualSettings, seed: int = 0, device: str = "cpu"
) -> FloatArray:
    """Residual maps of one preprocessed case.

    Args:
        mae: the networks.
        image: ``(C, D, H, W)``, normalised; with a 2-D network D counts slices.
        settings: kind, ratios and smoothing.
        seed: seed of the visible sets; the same seed gives the same maps.
        device: torch device.

    Returns:
        ``(ratios * channels, D, H, W)`` float32, ratio slowest, on the grid of ``image``.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image))
    items = tensor.transpose(0, 1) if mae.spatial_dims == 2 else tensor.unsqueeze(0)
    parts = []
    for ratio in map_ratios(settings, mae):
        batches = [
            _batch_residual(mae, part.to(device), ratio, settings, seed).cpu() for part in torch.split(items, _BATCH)
        ]
        parts.append(torch.cat(batches))
    maps = torch.cat(parts, dim=1)
    maps = maps.transpose(0, 1) if mae.spatial_dims == 2 else maps[0]
    return _smoothed(np.ascontiguousarray(maps.numpy()), settings.smoothing_voxels, mae.spatial_dims)


def _smoothed(maps: FloatArray, sigma_voxels: float, spatial_dims: int) -> FloatArray:
    """Gaussian over the axes of a slice or volume; the edge is repeated beyond the image."""
    if not sigma_voxels:
        return maps
    sigma = (0.0,) * (4 - spatial_dims) + (sigma_voxels,) * spatial_dims
    return np.asarray(ndimage.gaussian_filter(maps, sigma, mode="nearest"), dtype=np.float32)


@torch.inference_mode()
def _batch_residual(mae: MaeBundle, image: Tensor, ratio: float, settings: ResidualSettings, seed: int) -> Tensor:
    size, window, network = tuple(image.shape[2:]), mae.window, mae.network(ratio).to(image.device)
    before = [max(0, (wide - edge) // 2) for edge, wide in zip(size, window, strict=True)]
    full = tuple(max(edge, wide) for edge, wide in zip(size, window, strict=True))
    pads = [(b, whole - edge - b) for b, whole, edge in zip(before, full, size, strict=True)]
    padded = torch.nn.functional.pad(image, [n for pair in reversed(pads) for n in pair], "replicate")
    total, weight = torch.zeros_like(padded), torch.zeros(1, 1, *full, device=image.device)
    ramp = _blend_weight(window, image.device)
    for start in window_starts(full, window, settings.overlap):
        where = (slice(None), slice(None), *(slice(s, s + w) for s, w in zip(start, window, strict=True)))
        middle = [s - b + w / 2 - edge / 2 for s, b, w, edge in zip(start, before, window, size, strict=True)]
        origin = torch.tensor(middle, device=image.device).expand(image.shape[0], -1)
        generator = torch.Generator().manual_seed(seed)
        total[where] += ramp * rebuild_hidden(network, padded[where], ratio, generator, origin)
        weight[where] += ramp
    inside = (slice(None), slice(None), *(slice(b, b + edge) for b, edge in zip(before, size, strict=True)))
    return residual_map(image, (total / weight)[inside], settings.kind, settings.cosine_window)


def window_starts(size: Sequence[int], window: Sequence[int], overlap: float) -> Iterator[tuple[int, ...]]:
    """Starts of windows as large as those of pre-training: the network knows no other grid.

    Args:
        size: of the image, voxels, on each axis at least that of the window.
        window: of the masked autoencoder, voxels.
        overlap: share of a window that its neighbour covers too.
    """
    axes = []
    for edge, wide in zip(size, window, strict=True):
        step = max(1, int(wide * (1 - overlap)))
        axes.append(sorted({*range(0, edge - wide, step), edge - wide}))
    return itertools.product(*axes)


def _blend_weight(window: Sequence[int], device: torch.device) -> Tensor:
    """Weight of a window's voxels: falls from the middle to the rim, never zero."""
    weight = torch.ones(1, 1, *([1] * len(window)), device=device)
    for axis, wide in enumerate(window):
        ramp = 1.0 - (torch.arange(wide, device=device) - (wide - 1) / 2).abs() / wide
        weight = weight * ramp.reshape([-1 if i == axis + 2 else 1 for i in range(len(window) + 2)])
    return weight
