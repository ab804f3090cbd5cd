"""The grid of a CT phantom, and how much of each voxel a shape fills."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from grcsf.arrays import BoolArray, FloatArray
from grcsf.io.geometry import FloatArray64

__all__ = ["CtGrid", "ellipsoid_level", "paint", "share_inside", "supersampled_share", "tube_level"]


@dataclass(frozen=True)
class CtGrid:
    """Axial slices; x to the right, y to the front, z to the head of the patient (RAS+), mm.

    Attributes:
        shape: voxels along x, y, z.
        spacing_mm: edges of a voxel; z is the slice thickness.
        origin_mm: centre of the first voxel.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    @classmethod
    def centred(
        cls, field_mm: tuple[float, float, float], spacing_mm: tuple[float, float, float], middle_mm: FloatArray64
    ) -> CtGrid:
        """The grid that covers a field around a point; whole voxels, at least one along each axis."""
        x, y, z = (max(1, round(length / step)) for length, step in zip(field_mm, spacing_mm, strict=True))
        first = middle_mm - (np.array([x, y, z]) - 1) / 2 * np.array(spacing_mm)
        return cls((x, y, z), spacing_mm, (float(first[0]), float(first[1]), float(first[2])))

    @property
    def affine_ras(self) -> FloatArray64:
        """(4, 4) voxel -> mm."""
        affine = np.diag([*self.spacing_mm, 1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.spacing_mm))

    def axes_mm(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Positions along x, y and z, shaped to broadcast to (x, y, z)."""
        lines = [
            np.float32(first) + np.float32(step) * np.arange(size, dtype=np.float32)
            for size, step, first in zip(self.shape, self.spacing_mm, self.origin_mm, strict=True)
        ]
        return lines[0][:, None, None], lines[1][None, :, None], lines[2][None, None, :]

    def box_around(self, point_mm: FloatArray64, reach_mm: float) -> tuple[slice, slice, slice]:
        """Voxels within ``reach_mm`` of a point along each axis; empty slices where that is outside the grid."""
        parts = []
        for axis in range(3):
            at, step = float(point_mm[axis]) - self.origin_mm[axis], self.spacing_mm[axis]
            start = min(max(math.floor((at - reach_mm) / step), 0), self.shape[axis])
            stop = min(max(math.ceil((at + reach_mm) / step) + 1, start), self.shape[axis])
            parts.append(slice(start, stop))
        return parts[0], parts[1], parts[2]


def ellipsoid_level(
    grid: CtGrid, centre_mm: FloatArray64, axes_mm: FloatArray64, turn: FloatArray64 | None = None
) -> FloatArray:
    """0 at the centre of an ellipsoid, 1 on its surface, (x, y, z); rows of ``turn`` are its directions."""
    turn = np.eye(3) if turn is None else turn
    x, y, z = (line - np.float32(at) for line, at in zip(grid.axes_mm(), centre_mm, strict=True))
    total = np.zeros(grid.shape, np.float32)
    for row, length in zip(turn, axes_mm, strict=True):
        a, b, c = (np.float32(value / length) for value in row)
        total += (a * x + b * y + c * z) ** 2
    level: FloatArray = np.sqrt(total)
    return level


def tube_level(grid: CtGrid, points_mm: FloatArray64, radii_mm: FloatArray64, reach: float = 2.5) -> FloatArray:
    """Least distance from the points of a curve, each in units of its radius; at most ``reach``.

    Args:
        grid: where.
        points_mm: (n, 3), closer together than the radius.
        radii_mm: (n,).
        reach: how many radii around the curve are looked at; farther voxels get this value.
    """
    level = np.full(grid.shape, reach, np.float32)
    lines = grid.axes_mm()
    for point, radius in zip(points_mm, radii_mm, strict=True):
        box = grid.box_around(point, reach * float(radius))
        x, y, z = (
            (line[tuple(part if n == axis else slice(None) for n in range(3))] - np.float32(point[axis])) ** 2
            for axis, (line, part) in enumerate(zip(lines, box, strict=True))
        )
        near = np.sqrt(x + y + z) / np.float32(radius)
        level[box] = np.minimum(level[box], near)
    return level


def share_inside(level: FloatArray, limit: float = 1.0) -> FloatArray:
    """Share of each voxel where a level is below ``limit``, 0 to 1.

    The level is taken as linear inside a voxel, so the share is ``0.5 + (limit - level) / w``, clipped to [0, 1], with
    ``w`` the change of the level across the voxel, summed over the axes.

    Source: own.
    """
    share = np.zeros_like(level)
    box = _box_of(level <= limit)
    if box is None:
        return share
    part = level[box]
    width = np.zeros_like(part)
    for axis, size in enumerate(part.shape):
        if size > 1:
            width += np.abs(np.gradient(part, axis=axis))
    share[box] = np.clip(0.5 + (np.float32(limit) - part) / np.maximum(width, np.float32(1e-6)), 0.0, 1.0)
    return share


def _box_of(inside: BoolArray) -> tuple[slice, ...] | None:
    """The box around true voxels and two more on each side: a shape's last partial voxels lie there."""
    parts = []
    for axis in range(inside.ndim):
        found = np.flatnonzero(inside.any(axis=tuple(other for other in range(inside.ndim) if other != axis)))
        if not found.size:
            return None
        parts.append(slice(max(0, int(found[0]) - 2), int(found[-1]) + 3))
    return tuple(parts)


def paint(image: FloatArray, share: FloatArray, hu: float) -> None:
    """Put a tissue into the image in place, in each voxel to its share."""
    image += share * (np.float32(hu) - image)


def supersampled_share(
    grid: CtGrid, centre_mm: FloatArray64, axes_mm: FloatArray64, turn: FloatArray64, fine: tuple[int, int, int]
) -> tuple[tuple[slice, slice, slice], FloatArray]:
    """Share of each voxel that an ellipsoid fills, counted at ``fine`` points along the axes of a voxel.

    Returns:
        A box of the grid and the shares in it; outside the box they are 0. Inside the grid their sum times the volume
        of a voxel is the volume of the ellipsoid, up to the counting.
    """
    box = grid.box_around(centre_mm, float(max(axes_mm)) + max(grid.spacing_mm))
    shape = tuple(part.stop - part.start for part in box)
    lines = []
    for axis, (part, count) in enumerate(zip(box, fine, strict=True)):
        step = grid.spacing_mm[axis]
        offsets = ((np.arange(count) + 0.5) / count - 0.5) * step
        centres = grid.origin_mm[axis] + step * np.arange(part.start, part.stop)
        lines.append((centres[:, None] + offsets).ravel() - float(centre_mm[axis]))
    offsets_mm = np.stack(np.meshgrid(*lines, indexing="ij"))
    inside = ((np.tensordot(turn / axes_mm[:, None], offsets_mm, axes=1)) ** 2).sum(axis=0) <= 1.0
    split = inside.reshape(shape[0], fine[0], shape[1], fine[1], shape[2], fine[2])
    return box, split.mean(axis=(1, 3, 5), dtype=np.float32)
