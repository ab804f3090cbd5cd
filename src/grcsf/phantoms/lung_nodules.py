"""Nodules of a lung CT phantom: solid, part-solid and of ground glass; free, at the wall or at a vessel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi

from grcsf.arrays import BoolArray, FloatArray
from grcsf.io.geometry import FloatArray64
from grcsf.phantoms.ct_grid import CtGrid

__all__ = ["TEXTURES", "Nodule", "draw_nodule", "nodule_share", "paint_nodule", "wall_distance_mm"]

TEXTURES: Mapping[str, int] = {"solid": 1, "part-solid": 2, "ground-glass": 3}
"""Kinds of nodules and their values in label maps."""

_FINE = (3, 3, 5)  # points in a voxel along x, y, z
_LOBES = 5
_SOLID_HU, _GLASS_HU = (10.0, 80.0), (-680.0, -480.0)
_GAP_MM = 4.0


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule.

    Attributes:
        texture: see `TEXTURES`.
        place: free, wall or vessel.
        centre_mm: its middle.
        radius_mm: of the ball that its bumps are added to.
        axes: lengths along x, y, z, times the radius; their product is 1.
        lobes: (n, 4) directions and heights of the bumps.
        hu: of ground glass or, for a solid nodule, of all of it.
        core_hu: of the solid part of a part-solid one.
        core: size of that part, as a share of the nodule's.
    """

    texture: str
    place: str
    centre_mm: FloatArray64
    radius_mm: float
    axes: FloatArray64
    lobes: FloatArray64
    hu: float
    core_hu: float
    core: float


def wall_distance_mm(grid: CtGrid, lungs: FloatArray) -> FloatArray:
    """How far each voxel of the lungs lies from what is no lung; 0 outside the lungs."""
    distance: FloatArray = ndi.distance_transform_edt(lungs > 0.5, sampling=grid.spacing_mm).astype(np.float32)
    return distance


def draw_nodule(
    rng: np.random.Generator,
    grid: CtGrid,
    depth_mm: FloatArray,
    vessels: FloatArray,
    taken: BoolArray,
    *,
    diameter_mm: float,
    texture: str,
    place: str,
) -> Nodule | None:
    """A nodule of a size, in free lung; at the wall some of it is cut off, at a vessel its middle is on the vessel.

    Args:
        rng: the subject's random numbers.
        grid: where.
        depth_mm: from `wall_distance_mm`.
        vessels: share of vessels.
        taken: voxels of other nodules.
        diameter_mm: of the nodule.
        texture: see `TEXTURES`.
        place: free, wall or vessel; where no voxel of the lungs is deep enough, the deepest one is taken.

    Returns:
        The nodule; none if the lungs have no free place.
    """
    radius = diameter_mm / 2
    free = depth_mm > 0
    if taken.any():
        free &= ndi.distance_transform_edt(~taken, sampling=grid.spacing_mm) > radius + _GAP_MM
    if not free.any():
        return None
    fits = depth_mm >= radius + 1.0
    if place == "wall":
        fits = (depth_mm >= 0.45 * radius) & (depth_mm <= max(0.85 * radius, *grid.spacing_mm))
    elif place == "vessel":
        fits = (depth_mm >= radius) & (vessels > 0.5)
    found = np.flatnonzero(free & fits)
    at = int(rng.choice(found)) if found.size else int(np.argmax(np.where(free, depth_mm, -1)))
    voxel = np.array(np.unravel_index(at, grid.shape), np.float64)
    axes = np.exp(rng.normal(0.0, 0.12, 3))
    lobes = np.concatenate([rng.standard_normal((_LOBES, 3)), rng.normal(0.0, 0.06, (_LOBES, 1))], axis=1)
    lobes[:, :3] /= np.linalg.norm(lobes[:, :3], axis=1, keepdims=True)
    return Nodule(
        texture,
        place,
        np.array(grid.origin_mm) + voxel * np.array(grid.spacing_mm),
        radius,
        np.asarray(axes / np.prod(axes) ** (1 / 3), np.float64),
        np.asarray(lobes, np.float64),
        float(rng.uniform(*(_SOLID_HU if texture == "solid" else _GLASS_HU))),
        float(rng.uniform(*_SOLID_HU)),
        float(rng.uniform(0.35, 0.65)),
    )


def nodule_share(grid: CtGrid, nodule: Nodule, size: float = 1.0) -> tuple[tuple[slice, slice, slice], FloatArray]:
    """Share of a nodule (or of its core, ``size`` times as large) in the voxels of a box, counted at 45 points each."""
    box = grid.box_around(nodule.centre_mm, 1.6 * nodule.radius_mm + max(grid.spacing_mm))
    lines = []
    for axis, (part, count) in enumerate(zip(box, _FINE, strict=True)):
        step = grid.spacing_mm[axis]
        offsets = ((np.arange(count) + 0.5) / count - 0.5) * step
        centres = grid.origin_mm[axis] + step * np.arange(part.start, part.stop)
        lines.append(((centres[:, None] + offsets).ravel() - nodule.centre_mm[axis]).astype(np.float32))
    x, y, z = lines[0][:, None, None], lines[1][None, :, None], lines[2][None, None, :]
    distance = np.sqrt(
        sum((line / np.float32(length)) ** 2 for line, length in zip((x, y, z), nodule.axes, strict=True))
    )
    away = np.sqrt(x**2 + y**2 + z**2) + np.float32(1e-6)
    bumps = np.ones_like(distance)
    for a, b, c, height in nodule.lobes.astype(np.float32):
        bumps += height * (3 * ((a * x + b * y + c * z) / away) ** 2 - 1)  # mean 0 over all directions
    inside = distance <= np.float32(size * nodule.radius_mm) * bumps
    shape = [part.stop - part.start for part in box]
    split = inside.reshape(shape[0], _FINE[0], shape[1], _FINE[1], shape[2], _FINE[2])
    return box, split.mean(axis=(1, 3, 5), dtype=np.float32)


def paint_nodule(grid: CtGrid, nodule: Nodule, image: FloatArray, lungs: FloatArray) -> FloatArray:
    """Put a nodule into the lungs; what is denser already, such as vessels in ground glass, still shows.

    Returns:
        Share of the nodule inside the lungs, (x, y, z).
    """
    whole = np.zeros(grid.shape, np.float32)
    parts = [(1.0, nodule.hu)] + ([(nodule.core, nodule.core_hu)] if nodule.texture == "part-solid" else [])
    for size, hu in parts:
        box, share = nodule_share(grid, nodule, size)
        share = share * lungs[box]
        image[box] += share * np.maximum(np.float32(hu) - image[box], 0)
        whole[box] = np.maximum(whole[box], share)
    return whole
