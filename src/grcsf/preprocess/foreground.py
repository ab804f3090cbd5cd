"""Which voxels show the patient and which only air or padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, BoolArray, FloatArray

__all__ = ["AIR_HU", "find_foreground", "is_ct", "union_foreground"]

AIR_HU = -900.0
_SPREADS = 4.0  # background noise is cut this many robust standard deviations above its level
_RANGE_SHARE = 0.01  # and at least this share of the grey-value range above it
_MIN_BORDER_SHARE = 0.05  # less dark border than this: the image has no background
_SPECK_SHARE = 1e-3  # pieces smaller than this share of the foreground are noise
_SAMPLE = 500_000


def is_ct(channel_name: str) -> bool:
    """Whether a channel holds Hounsfield units; nnU-Net's rule: its name is CT, in any case."""
    return channel_name.strip().casefold() == "ct"


def find_foreground(image: FloatArray, ct: bool = False) -> BoolArray:
    """Voxels of the patient in one channel.

    Background is what is dark, as dark as the in-plane border of the array, and connected to that border, so dark
    places inside the body (ventricles, lung, bowel gas) count as foreground. Dark means at most `AIR_HU` for CT; for
    any other image at most ``level + max(4 spread, 1 % of the range)``, where level and spread are the median and
    1.4826 MAD of the border voxels below Otsu's threshold. Where that limit does not stay below Otsu's threshold, or
    under 5 % of the border is dark, the image has no background that can be told from tissue: all is foreground.
    Pieces below 0.1 % of the foreground are dropped as noise.

    Args:
        image: ``(D, H, W)``, any axis may have one voxel.
        ct: grey values are Hounsfield units.

    Returns:
        ``(D, H, W)`` mask with at least one true voxel.

    Source: own; Otsu (1979), doi 10.1109/TSMC.1979.4310076.
    """
    border = _border(image.shape)
    limit: float | None = AIR_HU if ct else _dark_limit(image, border)
    everything = np.ones(image.shape, bool)
    if limit is None:
        return everything
    dark = image <= limit
    pieces, _ = ndimage.label(dark)
    outside = np.unique(pieces[border & dark])
    is_outside = np.zeros(int(pieces.max(initial=0)) + 1, bool)
    is_outside[outside] = True
    is_outside[0] = False
    foreground = _without_specks(~is_outside[pieces])
    return foreground if foreground.any() else everything


def union_foreground(channels: Sequence[BoolArray]) -> BoolArray:
    """Voxels that any channel shows; channels without a background (all true) say nothing unless all are so."""
    telling = [mask for mask in channels if not mask.all()]
    if not telling:
        return np.ones(channels[0].shape, bool)
    union: BoolArray = np.logical_or.reduce(telling)
    return union


def _border(shape: tuple[int, ...]) -> BoolArray:
    """Outermost voxels along the in-plane axes: the first and last slice of a stack show tissue."""
    border = np.zeros(shape, bool)
    axes = [axis for axis in (1, 2) if shape[axis] > 1] or [0]
    for axis in axes:
        view = np.moveaxis(border, axis, 0)
        view[0] = True
        view[-1] = True
    return border


def _dark_limit(image: FloatArray, border: BoolArray) -> float | None:
    step = max(1, image.size // _SAMPLE)
    sample = image.reshape(-1)[::step]
    split = _otsu(sample)
    edge = image[border]
    dark = edge[edge <= split]
    if split >= sample.max() or dark.size < _MIN_BORDER_SHARE * edge.size:
        return None
    level = float(np.median(dark))
    spread = 1.4826 * float(np.median(np.abs(dark - level)))
    value_range = float(np.percentile(sample, 99.5)) - level
    limit = level + max(_SPREADS * spread, _RANGE_SHARE * value_range)
    return limit if limit < split else None


def _otsu(values: AnyArray, bins: int = 256) -> float:
    """Threshold with the largest variance between the classes below and above it."""
    low, high = np.percentile(values, (0.1, 99.9))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        return float(high)
    counts, edges = np.histogram(np.clip(values, low, high), bins=bins, range=(float(low), float(high)))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))  # a gap without values is a plateau: take its middle
    return float(edges[best[len(best) // 2] + 1])


def _without_specks(mask: BoolArray) -> BoolArray:
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.reshape(-1))
    sizes[0] = 0
    keep = sizes >= _SPECK_SHARE * sizes.sum()
    keep[0] = False
    kept: BoolArray = keep[pieces]
    return kept
