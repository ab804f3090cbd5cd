"""Where a preprocessed array came from: everything needed to put it back on the scanner's grid."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np

from grcsf.arrays import AnyArray, BoolArray
from grcsf.config import Frozen
from grcsf.errors import ImageError
from grcsf.io.volume import Geometry

__all__ = [
    "AxisFlips",
    "CaseGeometry",
    "Triple",
    "content_box",
    "from_array_axes",
    "orientation_of",
    "oriented_spacing_mm",
    "to_array_axes",
]

Triple = tuple[int, int, int]
AxisFlips = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

_AS_IT_IS: AxisFlips = ((0, 1), (1, 1), (2, 1))


class CaseGeometry(Frozen):
    """The way from one native grid to its preprocessed array ``(D, H, W)``.

    Attributes:
        native_shape: grid of the file, two numbers for a native 2-D image, else three.
        affine_ras: voxel index of the file -> world mm (RAS+), four rows of four.
        orientation: per native axis, the anatomical axis (0 R, 1 A, 2 S) it becomes and 1 or -1 (flipped).
        axis_order: transposition after orienting; the slice axis first.
        spacing_mm: spacing of the cropped grid before resampling, (D, H, W).
        crop_start: first voxel of the content box, (D, H, W), after transposition.
        crop_stop: one past the last voxel of the content box.
        resampled_shape: shape of the preprocessed array.
    """

    native_shape: tuple[int, ...]
    affine_ras: tuple[tuple[float, float, float, float], ...]
    orientation: AxisFlips
    axis_order: Triple
    spacing_mm: tuple[float, float, float]
    crop_start: Triple
    crop_stop: Triple
    resampled_shape: Triple

    @property
    def array_shape(self) -> Triple:
        """Grid after orienting and transposing, before the crop."""
        native = self.native_shape if len(self.native_shape) == 3 else (1, *self.native_shape)
        oriented = {axis: size for (axis, _), size in zip(self.orientation, native, strict=True)}
        first, second, third = (oriented[axis] for axis in self.axis_order)
        return first, second, third

    @property
    def cropped_shape(self) -> Triple:
        """Grid of the content box, before resampling."""
        first, second, third = (stop - start for start, stop in zip(self.crop_start, self.crop_stop, strict=True))
        return first, second, third

    @property
    def crop(self) -> tuple[slice, slice, slice]:
        """The content box as slices of the transposed grid."""
        first, second, third = (slice(*pair) for pair in zip(self.crop_start, self.crop_stop, strict=True))
        return first, second, third

    @property
    def is_resampled(self) -> bool:
        """Whether any axis changed its number of voxels."""
        return self.cropped_shape != self.resampled_shape

    @property
    def resampled_spacing_mm(self) -> tuple[float, float, float]:
        """Spacing of the preprocessed array: the box keeps its extent, so it may differ a little from the plan."""
        sizes = zip(self.spacing_mm, self.cropped_shape, self.resampled_shape, strict=True)
        first, second, third = (spacing * before / after for spacing, before, after in sizes)
        return first, second, third


def orientation_of(geometry: Geometry, name: str = "image") -> AxisFlips:
    """Closest anatomical axis and direction of each native axis; a native 2-D image stays as it is.

    Raises:
        ImageError: an affine without three independent directions.
    """
    if len(geometry.shape) == 2:
        return _AS_IT_IS
    flips = nib.orientations.io_orientation(geometry.affine_ras)  # type: ignore[no-untyped-call]
    if not np.isfinite(flips).all():
        raise ImageError(f"{name}: its affine does not span three dimensions; repair the header (sform/qform) first")
    first, second, third = ((int(axis), int(flip)) for axis, flip in flips)
    return first, second, third


def oriented_spacing_mm(geometry: Geometry, orientation: AxisFlips) -> tuple[float, float, float]:
    """Spacing along (R, A, S), or (1, rows, columns) of a native 2-D image."""
    native = geometry.spacing_mm if len(geometry.shape) == 3 else (1.0, *geometry.spacing_mm)
    by_axis = {axis: float(spacing) for (axis, _), spacing in zip(orientation, native, strict=True)}
    return by_axis[0], by_axis[1], by_axis[2]


def to_array_axes(array: AnyArray, orientation: AxisFlips, axis_order: Triple) -> AnyArray:
    """Native array (two or three axes) -> a view with axes (D, H, W)."""
    if array.ndim == 2:
        array = array[None]
    flipped = np.flip(array, tuple(axis for axis, (_, flip) in enumerate(orientation) if flip < 0))
    oriented = flipped.transpose(np.argsort([axis for axis, _ in orientation]))
    return oriented.transpose(axis_order)


def from_array_axes(array: AnyArray, geometry: CaseGeometry) -> AnyArray:
    """Inverse of `to_array_axes`: ``(D, H, W)`` of the whole image -> the native axes, voxel for voxel."""
    oriented = array.transpose(np.argsort(geometry.axis_order))
    native = oriented.transpose([axis for axis, _ in geometry.orientation])
    native = np.flip(native, tuple(axis for axis, (_, flip) in enumerate(geometry.orientation) if flip < 0))
    return np.ascontiguousarray(native.reshape(geometry.native_shape))


def content_box(mask: BoolArray) -> tuple[Triple, Triple]:
    """Start and stop of the smallest box around the true voxels; the whole array if there are none."""
    if not mask.any():
        return (0, 0, 0), _triple(mask.shape)
    bounds = []
    for axis in range(3):
        hits = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        bounds.append((int(hits[0]), int(hits[-1]) + 1))
    return _triple([low for low, _ in bounds]), _triple([high for _, high in bounds])


def _triple(values: Any) -> Triple:
    first, second, third = (int(value) for value in values)
    return first, second, third
