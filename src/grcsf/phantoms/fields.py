"""Smooth random fields: what bends, shades and roughens the phantoms."""

from __future__ import annotations

import numpy as np

from grcsf.arrays import FloatArray

__all__ = ["smooth_field"]


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: float, scale_mm: float
) -> FloatArray:
    """A Gaussian random field on a grid: mean 0, variance 1 at every voxel, smooth over ``scale_mm``.

    Normal random numbers stand on knots ``scale_mm`` apart and are blended by Gaussian bells of that width. The bells
    are separable, so three small matrix products make the field.

    Args:
        rng: source of the random numbers.
        shape: of the field.
        spacing_mm: edge of a voxel.
        scale_mm: standard deviation of the bells; neighbours closer than this are alike.

    Returns:
        float32 array of ``shape``.
    """
    bells = [_bells(size, spacing_mm, scale_mm) for size in shape]
    field = rng.standard_normal(tuple(bell.shape[1] for bell in bells), dtype=np.float32)
    for bell in bells:
        field = np.tensordot(field, bell, axes=(0, 1))  # the first axis goes, the new one comes last
    return np.ascontiguousarray(field)


def _bells(size: int, spacing_mm: float, scale_mm: float) -> FloatArray:
    """Weights (size, knots) of the knots at each voxel of an axis; the squares of a row add up to 1."""
    length_mm = (size - 1) * spacing_mm
    knots_mm = np.arange(-2.0, np.ceil(length_mm / scale_mm) + 3.0) * scale_mm
    apart = (np.arange(size)[:, None] * spacing_mm - knots_mm[None, :]) / scale_mm
    weights = np.exp(-0.5 * apart**2)
    scaled: FloatArray = (weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32)
    return scaled
