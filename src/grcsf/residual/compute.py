"""Residual maps of whole cases: slices or volumes, in one window or in overlapping ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from grcsf.arrays import FloatArray
from grcsf.config import ResidualSettings
from grcsf.mae.bundle import MaeBundle
from grcsf.mae.model import MaskedAutoencoder
from grcsf.residual.maps import rebuild_hidden, residual_map

__all__ = ["case_residual", "map_channels", "map_ratios"]

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
        settings: kind and ratios.
        seed: seed of the visible sets; the same seed gives the same maps.
        device: torch device.

    Returns:
        ``(ratios * channels, D, H, W)`` float32, ratio slowest, on the grid of ``image``.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image))
    items = tensor.transpose(0, 1) if mae.spatial_dims == 2 else tensor.unsqueeze(0)
    parts = []
    for ratio in map_ratios(settings, mae):
        network = mae.network(ratio).to(device)
        parts.append(
            torch.cat(
                [_batch_residual(network, mae, part.to(device), ratio, settings, seed).cpu() for part in items.split(_BATCH)]
            )
        )
    maps = torch.cat(parts, dim=1)
    maps = maps.transpose(0, 1) if mae.spatial_dims == 2 else maps[0]
    return np.ascontiguousarray(maps.numpy())


@torch.inference_mode()
def _batch_residual(
    network: MaskedAutoencoder, mae: MaeBundle, image: Tensor, ratio: float, settings: ResidualSettings, seed: int
) -> Tensor:
    size = tuple(image.shape[2:])
    window, rounded = _window(size, mae.window, network.patch)
    padded = torch.nn.functional.pad(
        image, [n for edge, full in zip(reversed(size), reversed(rounded), strict=True) for n in (0, full - edge)], "replicate"
    )
    total, weight = torch.zeros_like(padded), torch.zeros(1, 1, *rounded, device=image.device)
    ramp = _blend_weight(window, image.device)
    for start in _window_starts(rounded, window, settings.overlap, network.patch):
        where = (slice(None), slice(None), *(slice(s, s + w) for s, w in zip(start, window, strict=True)))
        middle = [s + w / 2 - edge / 2 for s, w, edge in zip(start, window, size, strict=True)]
        origin = torch.tensor(middle, device=image.device).expand(image.shape[0], -1)
        generator = torch.Generator().manual_seed(seed)
        total[where] += ramp * rebuild_hidden(network, padded[where], ratio, generator, origin)
        weight[where] += ramp
    rebuilt = (total / weight)[(slice(None), slice(None), *(slice(0, edge) for edge in size))]
    return residual_map(image, rebuilt, settings.kind, settings.cosine_window)


def _window(size: Sequence[int], trained: Sequence[int], patch: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Window and padded image size: the whole image up to half again the trained window, else the trained one."""
    window, rounded = [], []
    for edge, wide in zip(size, trained, strict=True):
        whole = math.ceil(edge / patch) * patch
        one = whole if whole <= 1.5 * wide else wide
        window.append(one)
        rounded.append(max(whole, one))
    return tuple(window), tuple(rounded)


def _window_starts(
    size: Sequence[int], window: Sequence[int], overlap: float, patch: int
) -> Iterator[tuple[int, ...]]:
    axes = []
    for edge, wide in zip(size, window, strict=True):
        step = max(patch, int(wide * (1 - overlap)) // patch * patch)
        axes.append(sorted({*range(0, edge - wide, step), edge - wide}))
    return itertools.product(*axes)


def _blend_weight(window: Sequence[int], device: torch.device) -> Tensor:
    """Weight of a window's voxels: falls from the middle to the rim, never zero."""
    weight = torch.ones(1, 1, *([1] * len(window)), device=device)
    for axis, wide in enumerate(window):
        ramp = 1.0 - (torch.arange(wide, device=device) - (wide - 1) / 2).abs() / wide
        weight = weight * ramp.reshape([-1 if i == axis + 2 else 1 for i in range(len(window) + 2)])
    return weight
