"""Heart, great vessels and coronary arteries of a cardiac CT phantom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from grcsf.arrays import FloatArray
from grcsf.io.geometry import FloatArray64
from grcsf.phantoms.ct_chest import Chest
from grcsf.phantoms.ct_grid import CtGrid, ellipsoid_level, paint, share_inside, tube_level

__all__ = ["VESSELS", "Heart", "Vessel", "draw_heart", "paint_heart"]

VESSELS: Mapping[str, int] = {"LM": 1, "LAD": 2, "LCX": 3, "RCA": 4}
"""Coronary arteries and their values in label maps."""

_STEP_MM = 0.5  # between the points of a curve
_MYOCARDIUM_HU, _BLOOD_HU, _FAT_HU = 52.0, 41.0, -92.0


@dataclass(frozen=True, eq=False)
class Vessel:
    """A curve: points (n, 3) in mm, evenly spaced, and the radius at each."""

    points_mm: FloatArray64
    radii_mm: FloatArray64


@dataclass(frozen=True, eq=False)
class Heart:
    """One heart.

    Attributes:
        centre_mm: middle of the heart.
        axes_mm: half axes; the first from the base to the apex.
        turn: rows are the directions of the axes.
        fat_mm: thickness of the fat around the heart.
        coronaries: by name, see `VESSELS`.
        great: ascending aorta, pulmonary trunk, descending aorta.
    """

    centre_mm: FloatArray64
    axes_mm: FloatArray64
    turn: FloatArray64
    fat_mm: float
    coronaries: Mapping[str, Vessel]
    great: tuple[Vessel, Vessel, Vessel]

    @property
    def descending_aorta(self) -> Vessel:
        """The aorta beside the spine; its wall may calcify, which is no coronary calcium."""
        return self.great[2]


def draw_heart(rng: np.random.Generator, chest: Chest) -> Heart:
    """Draw a heart that fits between breastbone and spine of a chest."""
    front = chest.cavity_half_mm()[1]
    length, thick = float(rng.uniform(55, 62)), float(rng.uniform(36, 41))
    centre = np.array([-14.0, front - thick - 14.0, 0.0]) + rng.normal(0.0, [2.0, 0.8, 2.0])
    first = _unit(np.array([-0.68, 0.36, -0.60]) + rng.normal(0.0, 0.04, 3))
    second = np.array([0.2, 0.8, 0.6])
    second = _unit(second - (second @ first) * first)
    turn = np.stack([first, second, np.cross(first, second)])
    shape = _Surface(centre, np.array([length, thick, thick * float(rng.uniform(0.95, 1.08))]), turn)
    root = shape.inside(-0.62, 0.30, 0.2)
    return Heart(
        centre,
        shape.axes_mm,
        turn,
        float(rng.uniform(5.0, 9.0)),
        _draw_coronaries(rng, shape, root),
        _draw_great(rng, shape, root, chest),
    )


def paint_heart(grid: CtGrid, heart: Heart, image: FloatArray) -> tuple[dict[str, FloatArray], FloatArray]:
    """Paint fat, muscle, blood and vessels.

    Args:
        grid: where.
        heart: what.
        image: HU, changed in place.

    Returns:
        Share of each coronary artery by name, and the share of all great vessels, (x, y, z).
    """
    paint(image, around_heart(grid, heart), _FAT_HU)
    paint(image, share_inside(ellipsoid_level(grid, heart.centre_mm, heart.axes_mm, heart.turn)), _MYOCARDIUM_HU)
    for along, side, size in ((0.05, -0.25, 0.55), (-0.05, 0.45, 0.42)):
        middle = heart.centre_mm + heart.turn[0] * along * heart.axes_mm[0] + heart.turn[2] * side * heart.axes_mm[2]
        cavity = ellipsoid_level(grid, middle, size * heart.axes_mm * np.array([1.1, 1.0, 0.8]), heart.turn)
        paint(image, share_inside(cavity), _BLOOD_HU)
    great = np.zeros(grid.shape, np.float32)
    for vessel in heart.great:
        share = share_inside(tube_level(grid, vessel.points_mm[::6], vessel.radii_mm[::6], 1.5))
        paint(image, share, _BLOOD_HU)
        np.maximum(great, share, out=great)
    levels = {
        name: tube_level(grid, vessel.points_mm, vessel.radii_mm, 4.0) for name, vessel in heart.coronaries.items()
    }
    for level in levels.values():  # each artery lies in a groove full of fat
        paint(image, share_inside(level, 2.8) * (1 - great), _FAT_HU)
    shares = {name: share_inside(level) for name, level in levels.items()}
    for share in shares.values():
        paint(image, share, _BLOOD_HU)
    return shares, great


def around_heart(grid: CtGrid, heart: Heart) -> FloatArray:
    """Share of the heart with the fat around it."""
    return share_inside(ellipsoid_level(grid, heart.centre_mm, heart.axes_mm + heart.fat_mm, heart.turn))


@dataclass(frozen=True, eq=False)
class _Surface:
    """The ellipsoid of the heart; places on it by share of the long axis and angle around it."""

    centre_mm: FloatArray64
    axes_mm: FloatArray64
    turn: FloatArray64

    def at(self, along: FloatArray64, angle: FloatArray64, out_mm: float) -> FloatArray64:
        """Points (n, 3) that lie ``out_mm`` outside the surface; angle 0 is in front, positive to the right."""
        axes, around = self.axes_mm + out_mm, np.sqrt(1 - along**2)
        local = np.stack([along * axes[0], around * axes[1] * np.cos(angle), around * axes[2] * np.sin(angle)], axis=-1)
        return np.asarray(self.centre_mm + local @ self.turn, np.float64)

    def inside(self, along: float, forward: float, right: float) -> FloatArray64:
        """A point by its shares of the three axes."""
        local = np.array([along, forward, right]) * self.axes_mm
        return np.asarray(self.centre_mm + local @ self.turn, np.float64)


def _draw_coronaries(rng: np.random.Generator, shape: _Surface, root: FloatArray64) -> dict[str, Vessel]:
    out = float(rng.uniform(2.0, 3.2))
    base = float(rng.uniform(-0.40, -0.30))  # of the groove between atria and ventricles
    fork = float(rng.uniform(-0.45, -0.30))
    split = shape.at(np.array(base - 0.06), np.array(fork), out)
    left = root + 14.0 * _unit(split - root)
    knots = np.linspace(0, 1, 7)
    wave = 0.05 * rng.standard_normal((3, 7))
    lad = shape.at(base - 0.06 + (0.86 - base) * knots, fork * (1 - knots) ** 2 + wave[0], out)
    lcx = shape.at(base - 0.06 * (1 - knots) + 0.5 * wave[1], fork - 1.9 * knots, out)
    end = float(rng.uniform(2.2, 2.8))
    rca = shape.at(base + 0.5 * wave[2], 0.55 + (end - 0.55) * knots, out)
    right = root + 14.0 * _unit(rca[0] - root)
    lad[0] = lcx[0] = split
    return {
        "LM": _curve(np.stack([left, (left + split) / 2 + rng.normal(0, 0.6, 3), split]), rng.uniform(2.0, 2.5), 1.0),
        "LAD": _curve(lad, rng.uniform(1.7, 2.1), 0.6),
        "LCX": _curve(lcx, rng.uniform(1.5, 1.9), 0.7),
        "RCA": _curve(np.concatenate([right[None], rca]), rng.uniform(1.6, 2.1), 0.7),
    }


def _draw_great(
    rng: np.random.Generator, shape: _Surface, root: FloatArray64, chest: Chest
) -> tuple[Vessel, Vessel, Vessel]:
    rise = np.array([[0.0, 0.0, 0.0], [6.0, 2.0, 22.0], [10.0, -4.0, 55.0], [8.0, -12.0, 110.0]])
    trunk = shape.inside(-0.45, 0.62, -0.25) + np.array([[0.0, 0, 0], [-4.0, -6.0, 22.0], [-8.0, -28.0, 48.0]])
    beside = np.array([chest.spine_mm[0] - 24.0, chest.spine_mm[1] + 20.0, 0.0])
    down = beside + np.array([[0.0, 0, -130.0], [-2.0, 2.0, 0.0], [0.0, 0.0, 130.0]])
    return (
        _curve(root + rise, rng.uniform(14.0, 17.0), 1.0),
        _curve(trunk, rng.uniform(11.0, 13.0), 1.0),
        _curve(down, rng.uniform(10.5, 13.0), 1.0),
    )


def _curve(knots_mm: FloatArray64, radius_mm: float, narrowing: float) -> Vessel:
    """A smooth curve through knots; its radius shrinks evenly to ``narrowing`` of that at the start."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots_mm, axis=0), axis=1))])
    spline = CubicSpline(lengths, knots_mm)
    at = np.linspace(0, lengths[-1], max(3, int(np.ceil(lengths[-1] / _STEP_MM)) + 1))
    return Vessel(np.asarray(spline(at), np.float64), np.linspace(radius_mm, narrowing * radius_mm, len(at)))


def _unit(vector: FloatArray64) -> FloatArray64:
    return np.asarray(vector / np.linalg.norm(vector), np.float64)
