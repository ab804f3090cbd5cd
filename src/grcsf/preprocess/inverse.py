"""From the preprocessed grid back to the scanner's."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, FloatArray, LabelArray
from grcsf.preprocess.geometry import CaseGeometry, from_array_axes
from grcsf.preprocess.resample import resample_linear

__all__ = ["restore", "restore_mask"]


def restore(array: FloatArray, geometry: CaseGeometry, fill: float = 0.0) -> FloatArray:
    """Maps on the native grid, linearly interpolated; voxel for voxel the same where nothing was resampled.

    Args:
        array: ``(K, D, H, W)`` on the preprocessed grid.
        geometry: what `preprocess_case` returned with the case.
        fill: value outside the content box.

    Returns:
        ``(K, *native_shape)`` float32.

    Raises:
        ValueError: an array of another shape than the case's.
    """
    _check(array.shape[1:], geometry)
    restored = np.empty((array.shape[0], *geometry.native_shape), np.float32)
    for index, part in enumerate(array):
        whole = np.full(geometry.array_shape, fill, np.float32)
        whole[geometry.crop] = resample_linear(part.astype(np.float32, copy=False), geometry.cropped_shape)
        restored[index] = from_array_axes(whole, geometry)
    return restored


def restore_mask(mask: AnyArray, geometry: CaseGeometry) -> LabelArray:
    """A label map ``(D, H, W)`` on the native grid, nearest neighbour, zero outside the content box."""
    _check(mask.shape, geometry)
    part = mask.astype(np.uint8, copy=False)
    if geometry.is_resampled:
        factors = [after / before for before, after in zip(mask.shape, geometry.cropped_shape, strict=True)]
        part = ndimage.zoom(part, factors, order=0, mode="nearest", grid_mode=True)
    whole = np.zeros(geometry.array_shape, np.uint8)
    whole[geometry.crop] = part
    return from_array_axes(whole, geometry)


def _check(shape: tuple[int, ...], geometry: CaseGeometry) -> None:
    if tuple(shape) != geometry.resampled_shape:
        raise ValueError(
            f"array of {tuple(shape)} voxels, but this case was preprocessed to {geometry.resampled_shape}"
        )
