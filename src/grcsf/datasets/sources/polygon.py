"""Which pixels a polygon covers."""

from __future__ import annotations

import numpy as np

from grcsf.arrays import BoolArray
from grcsf.io.geometry import FloatArray64

__all__ = ["fill_polygon"]

_ON_EDGE = 1e-9


def fill_polygon(points: FloatArray64, shape: tuple[int, int]) -> BoolArray:
    """Pixels whose centre lies inside a closed polygon or on its edge.

    Whole coordinates are pixel centres. Crossings are counted (even-odd rule). A polygon that is so small that it
    covers no centre marks the pixel nearest to the mean of its points, so that no finding is lost.

    Args:
        points: (n, 2) positions along the two axes of ``shape``, n >= 1; the last is joined to the first.
        shape: pixels along each axis.

    Returns:
        Mask of ``shape``; parts of the polygon outside it are cut off.

    Source: standard (even-odd rule), own (edges belong to it, the smallest polygon is one pixel).
    """
    mask = np.zeros(shape, bool)
    low = np.clip(np.floor(points.min(axis=0)).astype(int), 0, np.array(shape))
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 1, 0, np.array(shape))
    if (high > low).all():
        box = slice(low[0], high[0]), slice(low[1], high[1])
        x, y = np.mgrid[box]
        mask[box] = _covered(x.astype(np.float64), y.astype(np.float64), points)
    centre = np.rint(points.mean(axis=0)).astype(int)
    if not mask.any() and (centre >= 0).all() and (centre < shape).all():
        mask[tuple(centre)] = True
    return mask


def _covered(x: FloatArray64, y: FloatArray64, points: FloatArray64) -> BoolArray:
    odd, edge = np.zeros(x.shape, bool), np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if ay != by:
            crossing = ax + (y - ay) / (by - ay) * (bx - ax)
            odd ^= ((ay > y) != (by > y)) & (x < crossing)
        across = np.array([bx - ax, by - ay])
        length = float(across @ across)  # squared; 0 where a point is repeated, as at the end of a closed polygon
        along = ((x - ax) * across[0] + (y - ay) * across[1]) / length if length else np.zeros(x.shape)
        nearest = np.clip(along, 0, 1)
        edge |= np.hypot(x - ax - nearest * across[0], y - ay - nearest * across[1]) <= _ON_EDGE
    return np.asarray(odd | edge)
