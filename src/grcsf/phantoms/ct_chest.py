"""The chest of a CT phantom: skin, fat, muscle, ribs, sternum, spine and the cavity that holds heart and lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grcsf.arrays import FloatArray
from grcsf.io.geometry import FloatArray64
from grcsf.phantoms.ct_grid import CtGrid, ellipsoid_level, paint, share_inside, tube_level

__all__ = ["AIR_HU", "Chest", "draw_chest", "paint_bones", "paint_lungs", "paint_walls"]

AIR_HU = -1000.0
_SKIN_MM = 2.0
_VERTEBRA_MM = 28.0  # with its disc
_DISC_MM = 6.0
_VERTEBRA_HALF_MM = (20.0, 15.0)
_MEDIASTINUM_HU, _LIVER_HU, _DISC_HU = -95.0, 58.0, 85.0


@dataclass(frozen=True)
class Chest:
    """Measures of one chest; the middle of the body is at x = y = 0.

    Attributes:
        half_mm: half width and half depth of the body.
        fat_mm: thickness of the fat under the skin.
        muscle_mm: thickness of the muscles, in which the ribs lie.
        fat_hu: fat.
        muscle_hu: muscle.
        lung_hu: lung without its vessels.
        marrow_hu: inside of the bones.
        cortex_hu: their shell.
        spine_mm: x, y of the middle of the vertebral bodies.
        rib_mm: radius of a rib.
        rib_phase: height of the ribs and vertebrae, as a share of their distance.
    """

    half_mm: tuple[float, float]
    fat_mm: float
    muscle_mm: float
    fat_hu: float
    muscle_hu: float
    lung_hu: float
    marrow_hu: float
    cortex_hu: float
    spine_mm: tuple[float, float]
    rib_mm: float
    rib_phase: float

    def cavity_half_mm(self) -> tuple[float, float]:
        """Half width and half depth of what lies inside the muscles."""
        wall = _SKIN_MM + self.fat_mm + self.muscle_mm
        return self.half_mm[0] - wall, self.half_mm[1] - wall


def draw_chest(rng: np.random.Generator) -> Chest:
    """Draw a chest."""
    half_mm = (float(rng.uniform(145, 168)), float(rng.uniform(98, 110)))
    fat_mm, muscle_mm = float(rng.uniform(7, 18)), float(rng.uniform(13, 17))
    inside_mm = half_mm[1] - _SKIN_MM - fat_mm - muscle_mm
    return Chest(
        half_mm=half_mm,
        fat_mm=fat_mm,
        muscle_mm=muscle_mm,
        fat_hu=float(rng.uniform(-112, -92)),
        muscle_hu=float(rng.uniform(48, 62)),
        lung_hu=float(rng.uniform(-880, -800)),
        marrow_hu=float(rng.uniform(150, 230)),
        cortex_hu=float(rng.uniform(450, 900)),
        spine_mm=(float(rng.normal(0, 1.5)), -inside_mm + 14.0),
        rib_mm=float(rng.uniform(4.5, 6.0)),
        rib_phase=float(rng.uniform(0, 1)),
    )


def paint_walls(grid: CtGrid, chest: Chest) -> tuple[FloatArray, FloatArray]:
    """Air, skin, fat, muscle, and a cavity of fat.

    Returns:
        The image in HU and the share of the cavity in each voxel, (x, y, z).
    """
    image = np.full(grid.shape, AIR_HU, np.float32)
    inset, share = 0.0, np.zeros(grid.shape, np.float32)
    layers = ((0.0, 25.0), (_SKIN_MM, chest.fat_hu), (chest.fat_mm, chest.muscle_hu), (chest.muscle_mm, None))
    for thickness_mm, hu in layers:
        inset += thickness_mm
        share = share_inside(_body_level(grid, chest, inset))
        paint(image, share, _MEDIASTINUM_HU if hu is None else hu)
    return image, share


def paint_lungs(
    grid: CtGrid, chest: Chest, image: FloatArray, cavity: FloatArray, between: FloatArray, *, dome_mm: float
) -> FloatArray:
    """Fill the cavity with lung, but for what lies between and below the lungs.

    Args:
        grid: where.
        chest: its measures.
        image: HU, changed in place.
        cavity: share of the cavity.
        between: share of heart, great vessels and the fat around them.
        dome_mm: height of the top of the diaphragm; liver and spleen are below.

    Returns:
        Share of lung in each voxel.
    """
    spine = np.array([*chest.spine_mm, grid.origin_mm[2]])
    beside = share_inside(_column(grid, spine, (26.0, 22.0)))
    inside = chest.cavity_half_mm()
    middle = np.array([0.0, 0.0, dome_mm - 90.0])
    below = cavity * share_inside(ellipsoid_level(grid, middle, np.array([1.2 * inside[0], 1.2 * inside[1], 90.0])))
    lungs: FloatArray = cavity * (1 - np.maximum(between, beside)) * (1 - below)
    paint(image, lungs, chest.lung_hu)
    paint(image, below * (1 - beside), _LIVER_HU)
    return lungs


def paint_bones(grid: CtGrid, chest: Chest, image: FloatArray) -> FloatArray:
    """Vertebrae with discs and spinous processes, ribs and sternum; each a shell of cortex around marrow.

    Returns:
        Share of bone in each voxel.
    """
    bone = np.zeros(grid.shape, np.float32)
    paint(image, share_inside(_column(grid, np.array([*chest.spine_mm, 0.0]), _VERTEBRA_HALF_MM)), _DISC_HU)
    for level, shell in _bones(grid, chest):
        share = share_inside(level)
        paint(image, share, chest.cortex_hu)
        paint(image, share_inside(level, 1.0 - shell), chest.marrow_hu)
        np.maximum(bone, share, out=bone)
    return bone


def _bones(grid: CtGrid, chest: Chest) -> list[tuple[FloatArray, float]]:
    """Level of each kind of bone and the thickness of its shell as a share of its size."""
    spine = np.array([*chest.spine_mm, 0.0])
    z = grid.axes_mm()[2]
    along = np.abs(((z / _VERTEBRA_MM + chest.rib_phase) % 1.0) - 0.5) * _VERTEBRA_MM  # from the middle of a body
    bodies = np.maximum(_column(grid, spine, _VERTEBRA_HALF_MM), along / np.float32((_VERTEBRA_MM - _DISC_MM) / 2))
    back = spine - np.array([0.0, 34.0, 0.0])
    process = np.maximum(_column(grid, back, (4.0, 14.0)), along / np.float32(9.0))
    front_mm = chest.cavity_half_mm()[1] + chest.muscle_mm * 0.5
    sternum = _column(grid, np.array([0.0, front_mm, 0.0]), (17.0, 5.5))
    points = _rib_points(grid, chest)
    ribs = tube_level(grid, points, np.full(len(points), chest.rib_mm))
    return [(bodies, 0.08), (process, 0.3), (sternum, 0.2), (ribs, 0.3)]


def _rib_points(grid: CtGrid, chest: Chest) -> FloatArray64:
    """Points along both ribs of each pair, from the spine round to the front, sloping down by 60 mm."""
    inside = chest.cavity_half_mm()
    wide, deep = inside[0] + chest.muscle_mm * 0.5, inside[1] + chest.muscle_mm * 0.5
    angle = np.linspace(0.10, 0.88, 260) * np.pi
    drop = -60.0 * (angle / np.pi) ** 1.3
    low, high = grid.origin_mm[2] - 90.0, grid.origin_mm[2] + grid.shape[2] * grid.spacing_mm[2] + 90.0
    points = []
    number = np.floor(low / _VERTEBRA_MM)
    while (number - chest.rib_phase + 0.5) * _VERTEBRA_MM < high:
        height = (number - chest.rib_phase + 0.5) * _VERTEBRA_MM
        x, y = np.abs(np.sin(angle)) ** (2 / 2.5), np.cos(angle)
        y = -np.sign(y) * np.abs(y) ** (2 / 2.5)
        for side in (-1.0, 1.0):
            points.append(np.stack([side * wide * x, deep * y, height + 20.0 + drop], axis=1))
        number += 1
    every = np.concatenate(points)
    near = np.ones(len(every), bool)
    for axis in range(3):
        first = grid.origin_mm[axis]
        last = first + grid.shape[axis] * grid.spacing_mm[axis]
        near &= (every[:, axis] > first - 15.0) & (every[:, axis] < last + 15.0)
    return np.asarray(every[near], np.float64)


def _body_level(grid: CtGrid, chest: Chest, inset_mm: float) -> FloatArray:
    """A superellipse of exponent 2.5 in each slice, smaller by ``inset_mm`` all around; the same in all slices."""
    x, y, _ = grid.axes_mm()
    wide, deep = (np.float32(half - inset_mm) for half in chest.half_mm)
    flat = (np.abs(x / wide) ** 2.5 + np.abs(y / deep) ** 2.5) ** np.float32(1 / 2.5)
    return np.broadcast_to(flat, grid.shape).astype(np.float32)


def _column(grid: CtGrid, centre_mm: FloatArray64, half_mm: tuple[float, float]) -> FloatArray:
    """An ellipse that is the same in all slices."""
    return ellipsoid_level(grid, centre_mm, np.array([*half_mm, 1e9]))
