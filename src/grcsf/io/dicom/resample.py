"""Uneven, gapped or tilted slices onto an even grid, and masks back onto the slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, FloatArray
from grcsf.io.dicom.stack import Stack
from grcsf.io.geometry import FloatArray64

__all__ = ["EvenGrid", "even_grid", "onto_grid", "onto_slices"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class EvenGrid:
    """An even, upright grid that covers a stack.

    Attributes:
        shape: columns, rows, slices.
        affine_ras: (4, 4), voxel -> mm RAS+.
        gap_mm: between its slices.
        low_mm: shift of its first column and row against those of the first slice.
    """

    shape: tuple[int, int, int]
    affine_ras: FloatArray64
    gap_mm: float
    low_mm: FloatArray64


def even_grid(stack: Stack) -> EvenGrid:
    """The grid: pixels as they are, slices at the usual distance, as wide as tilted slices reach.

    Source: own; the distance is the median, so that a missing slice is filled and the others stay where they are.
    """
    columns, rows, _ = stack.shape
    low, high = stack.drift_mm.min(axis=0), stack.drift_mm.max(axis=0)
    extra = np.ceil((high - low) / stack.spacing_mm - 1e-3).astype(int)
    slices = int(np.floor(stack.offsets_mm[-1] / stack.gap_mm + 1e-3)) + 1
    affine: FloatArray64 = np.eye(4)
    affine[:3, :3] = stack.axes_lps * [*stack.spacing_mm, stack.gap_mm]
    affine[:3, 3] = np.array(stack.frames[0].position_lps) + stack.axes_lps[:, :2] @ low
    shape = (columns + int(extra[0]), rows + int(extra[1]), slices)
    return EvenGrid(shape, np.asarray(_LPS_TO_RAS @ affine, dtype=np.float64), stack.gap_mm, low)


def onto_grid(array: AnyArray, stack: Stack, grid: EvenGrid) -> FloatArray:
    """Linear interpolation between the two slices beside each new one, each moved to where it was measured.

    Args:
        array: (columns, rows, slices) of the stack.
        stack: where its slices lie.
        grid: from :func:`even_grid`.

    Returns:
        ``grid.shape`` float32; the smallest value of the image where nothing was measured.
    """
    fill = float(array.min())
    out = np.full(grid.shape, fill, np.float32)
    moved: dict[int, Any] = {}
    for index in range(grid.shape[2]):
        place = index * grid.gap_mm
        upper = min(int(np.searchsorted(stack.offsets_mm, place - 1e-6)), len(stack.frames) - 1)
        lower = max(upper - 1, 0)
        moved = {key: value for key, value in moved.items() if key >= lower}
        for key in (lower, upper):
            if key not in moved:
                moved[key] = _moved(array[:, :, key], stack, grid, key, fill)
        span = stack.offsets_mm[upper] - stack.offsets_mm[lower]
        weight = np.clip((place - stack.offsets_mm[lower]) / span, 0.0, 1.0) if span else 0.0
        out[:, :, index] = (1 - weight) * moved[lower] + weight * moved[upper]
    return out


def onto_slices(array: AnyArray, stack: Stack, grid: EvenGrid) -> AnyArray:
    """Values of the even grid at the nearest voxel of every pixel of every slice, (columns, rows, slices)."""
    columns, rows, slices = stack.shape
    out = np.zeros(stack.shape, array.dtype)
    for key in range(slices):
        index = min(int(np.rint(stack.offsets_mm[key] / grid.gap_mm)), grid.shape[2] - 1)
        x, y = np.rint((stack.drift_mm[key] - grid.low_mm) / stack.spacing_mm).astype(int)
        piece = array[x : x + columns, y : y + rows, index]
        out[: piece.shape[0], : piece.shape[1], key] = piece
    return out


def _moved(piece: AnyArray, stack: Stack, grid: EvenGrid, key: int, fill: float) -> AnyArray:
    shift = (stack.drift_mm[key] - grid.low_mm) / stack.spacing_mm
    whole = np.floor(shift + 1e-6).astype(int)
    padded = np.full(grid.shape[:2], fill, np.float64)
    target = padded[whole[0] : whole[0] + piece.shape[0], whole[1] : whole[1] + piece.shape[1]]
    target[...] = piece[: target.shape[0], : target.shape[1]]
    part = np.maximum(shift - whole, 0.0)
    if part.max() < 1e-4:
        return padded
    return np.asarray(ndimage.shift(padded, part, order=1, mode="constant", cval=fill))
