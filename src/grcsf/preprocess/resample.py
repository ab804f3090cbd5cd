"""Resampling between grids that cover the same box: voxel edges, not centres, are aligned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, BoolArray, FloatArray, LabelArray
from grcsf.preprocess.geometry import Triple

__all__ = ["coarse_axes", "resample_image", "resample_label", "resample_linear", "resample_mask", "resampled_shape"]

_ANISOTROPY = 3.0  # beyond this ratio an axis is coarse and is not interpolated with splines (nnU-Net's threshold)


def resampled_shape(
    shape: Triple, spacing_mm: Sequence[float], target_mm: Sequence[float | None]
) -> tuple[int, int, int]:
    """Voxels per axis at the target spacing, at least one; an axis whose target is None keeps its number."""
    first, second, third = (
        size if target is None else max(1, int(np.floor(size * spacing / target + 0.5)))
        for size, spacing, target in zip(shape, spacing_mm, target_mm, strict=True)
    )
    return first, second, third


def resample_image(image: FloatArray, shape: Triple, spacing_mm: Sequence[float]) -> FloatArray:
    """Cubic splines, and linear along an axis more than three times coarser than the finest.

    A Gaussian of ``(factor - 1) / 2`` voxels precedes every axis that loses voxels (scikit-image's rule against
    aliasing), and the result is clipped to the range of the input, so that splines cannot overshoot.

    Args:
        image: ``(D, H, W)``.
        shape: target ``(D, H, W)``.
        spacing_mm: of the input; decides which axis is coarse.

    Returns:
        ``(D, H, W)`` float32; the input itself where nothing changes.

    Source: own assembly; scikit-image ``resize`` (anti-aliasing), nnU-Net (anisotropy threshold of 3).
    """
    if image.shape == tuple(shape):
        return image
    factors = [before / after for before, after in zip(image.shape, shape, strict=True)]
    sigma = [max(0.0, (factor - 1) / 2) for factor in factors]
    smooth = ndimage.gaussian_filter(image, sigma, mode="nearest") if any(sigma) else image
    coarse = coarse_axes(spacing_mm)
    result = _zoom(smooth, _target(image.shape, shape, skip=coarse), order=3)
    result = _zoom(result, shape, order=1)
    return np.clip(result, image.min(), image.max()).astype(np.float32, copy=False)


def resample_linear(array: FloatArray, shape: Triple) -> FloatArray:
    """Linear interpolation of ``(D, H, W)``; the input itself where nothing changes."""
    return _zoom(array, shape, order=1)


def resample_mask(mask: BoolArray, shape: Triple) -> BoolArray:
    """A mask, true where the linear interpolation reaches one half."""
    if mask.shape == tuple(shape):
        return mask
    return _zoom(mask.astype(np.float32), shape, order=1) >= 0.5


def resample_label(label: LabelArray, shape: Triple, spacing_mm: Sequence[float]) -> LabelArray:
    """One linear interpolation per label, then the strongest; ties and one half go to the lesion, not the background.

    Nearest neighbour along an axis more than three times coarser than the finest. A label that is too small to reach
    one half anywhere keeps its strongest voxel, so that no case with a lesion turns into one without.

    Args:
        label: ``(D, H, W)``.
        shape: target ``(D, H, W)``.
        spacing_mm: of the input; decides which axis is coarse.
    """
    if label.shape == tuple(shape):
        return label
    middle = _target(label.shape, shape, skip=coarse_axes(spacing_mm))
    result = np.zeros(shape, np.uint8)
    best = np.zeros(shape, np.float32)
    background = np.ones(shape, np.float32)
    parts: list[tuple[int, FloatArray]] = []
    for value in np.unique(label[label > 0]):
        share = _zoom(_zoom((label == value).astype(np.float32), middle, order=1), shape, order=0)
        background -= share
        stronger = share > best
        result[stronger] = value
        best[stronger] = share[stronger]
        parts.append((int(value), share))
    result[best < background] = 0
    for value, share in parts:
        if not (result == value).any():
            result[_strongest(label == value, share)] = value
    return result


def _strongest(mask: BoolArray, share: FloatArray) -> tuple[int, ...]:
    """Voxel with the largest share, or the one that holds the mask's centre if sampling missed it altogether."""
    if share.max() > 0:
        return tuple(int(index) for index in np.unravel_index(int(share.argmax()), share.shape))
    centre = np.argwhere(mask).mean(axis=0) + 0.5
    return tuple(
        min(after - 1, int(place * after / before))
        for place, before, after in zip(centre, mask.shape, share.shape, strict=True)
    )


def coarse_axes(spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Axes whose spacing is more than three times the finest, as of thick slices (nnU-Net's threshold)."""
    finest = min(spacing_mm)
    return tuple(axis for axis, spacing in enumerate(spacing_mm) if spacing > _ANISOTROPY * finest)


def _target(before: tuple[int, ...], after: Triple, skip: tuple[int, ...]) -> Triple:
    first, second, third = (before[axis] if axis in skip else after[axis] for axis in range(3))
    return first, second, third


def _zoom(array: FloatArray, shape: Triple, order: int) -> FloatArray:
    """``scipy.ndimage.zoom`` to an exact shape; slice by slice where only one axis stays, which is much faster."""
    kept = [axis for axis in range(3) if array.shape[axis] == shape[axis]]
    if len(kept) == 3:
        return array
    if len(kept) == 1:
        slices = np.moveaxis(array, kept[0], 0)
        plane = tuple(size for axis, size in enumerate(shape) if axis != kept[0])
        return np.moveaxis(np.stack([_zoom_exactly(part, plane, order) for part in slices]), 0, kept[0])
    return _zoom_exactly(array, shape, order)


def _zoom_exactly(array: AnyArray, shape: tuple[int, ...], order: int) -> FloatArray:
    factors = [after / before for before, after in zip(array.shape, shape, strict=True)]
    result: FloatArray = ndimage.zoom(array, factors, order=order, mode="nearest", grid_mode=True)
    return result
