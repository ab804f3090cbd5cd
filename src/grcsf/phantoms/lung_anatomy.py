"""Branching vessels and airways of a lung CT phantom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grcsf.arrays import FloatArray
from grcsf.io.geometry import FloatArray64
from grcsf.phantoms.ct_grid import CtGrid, paint, share_inside, tube_level

__all__ = ["Tree", "draw_airways", "draw_vessels", "paint_airways", "paint_vessels"]

_THINNEST_MM = 0.7
_WALL = 0.7  # radius of an airway's lumen as a share of the whole
_VESSEL_HU, _WALL_HU, _AIR_HU = 45.0, 20.0, -1000.0
_HILUM_MM = (38.0, -26.0, 26.0)  # of the right lung; the left one is its mirror image


@dataclass(frozen=True, eq=False)
class Tree:
    """Points (n, 3) in mm along all branches and the radius at each."""

    points_mm: FloatArray64
    radii_mm: FloatArray64


def draw_vessels(rng: np.random.Generator) -> Tree:
    """The vessels of both lungs: each branch splits into two, of radii that keep the sum of cubes (Murray's law)."""
    return _both_lungs(rng, radius_mm=6.0, generations=7)


def draw_airways(rng: np.random.Generator) -> Tree:
    """Windpipe, main bronchi and the branches that can still be seen."""
    carina = np.array([0.0, -24.0, 52.0])
    straight = [_segment(np.array([0.0, -20.0, 190.0]), carina, 9.0)]
    straight += [_segment(carina, np.array([side, 1.0, 1.0]) * _HILUM_MM, 6.5) for side in (-1.0, 1.0)]
    rest = _both_lungs(rng, radius_mm=4.5, generations=4)
    points, radii = zip(*straight, strict=True)
    return Tree(np.concatenate([*points, rest.points_mm]), np.concatenate([*radii, rest.radii_mm]))


def paint_vessels(grid: CtGrid, tree: Tree, image: FloatArray, lungs: FloatArray) -> FloatArray:
    """Paint vessels inside the lungs; returns their share of each voxel, (x, y, z)."""
    share = share_inside(tube_level(grid, tree.points_mm, tree.radii_mm)) * lungs
    paint(image, share, _VESSEL_HU)
    return share


def paint_airways(grid: CtGrid, tree: Tree, image: FloatArray) -> FloatArray:
    """Paint walls and the air in them; returns the share of each voxel of both, (x, y, z)."""
    level = tube_level(grid, tree.points_mm, tree.radii_mm)
    share = share_inside(level)
    paint(image, share, _WALL_HU)
    paint(image, share_inside(level, _WALL), _AIR_HU)
    return share


def _both_lungs(rng: np.random.Generator, radius_mm: float, generations: int) -> Tree:
    points: list[FloatArray64] = []
    radii: list[FloatArray64] = []
    for side in (-1.0, 1.0):
        hilum = np.array([side, 1.0, 1.0]) * np.array(_HILUM_MM)
        for up in (0.9, 0.0, -0.9):  # a branch to each part of the lung
            first = np.array([side, float(rng.normal(0, 0.4)), up + float(rng.normal(0, 0.15))])
            _grow(rng, [_Tip(hilum, first / np.linalg.norm(first), radius_mm * 0.75, generations)], points, radii)
    return Tree(np.concatenate(points), np.concatenate(radii))


@dataclass(frozen=True, eq=False)
class _Tip:
    """Where a branch begins, where it goes, how thick it is and how many generations it has."""

    start_mm: FloatArray64
    direction: FloatArray64
    radius_mm: float
    generations: int


def _grow(rng: np.random.Generator, tips: list[_Tip], points: list[FloatArray64], radii: list[FloatArray64]) -> None:
    """Add every branch and the two that each splits into, until they are too thin or old enough."""
    while tips:
        tip = tips.pop()
        end = tip.start_mm + tip.direction * tip.radius_mm * float(rng.uniform(4.5, 7.5))
        along, thick = _segment(tip.start_mm, end, tip.radius_mm)
        points.append(along)
        radii.append(thick)
        if tip.generations > 1:
            tips += _split(rng, tip, end)


def _split(rng: np.random.Generator, tip: _Tip, end_mm: FloatArray64) -> list[_Tip]:
    share = float(rng.uniform(0.35, 0.65))
    aside = rng.standard_normal(3)
    aside -= (aside @ tip.direction) * tip.direction
    aside /= np.linalg.norm(aside)
    children = []
    for part, sign in ((share, 1.0), (1.0 - share, -1.0)):
        radius = tip.radius_mm * part ** (1 / 3)  # r^3 = r1^3 + r2^3
        angle = float(np.radians(rng.uniform(22, 48)))
        turned = np.cos(angle) * tip.direction + sign * np.sin(angle) * aside
        if radius >= _THINNEST_MM:
            children.append(_Tip(end_mm, np.asarray(turned, np.float64), radius, tip.generations - 1))
    return children


def _segment(start_mm: FloatArray64, end_mm: FloatArray64, radius_mm: float) -> tuple[FloatArray64, FloatArray64]:
    number = max(2, int(np.ceil(np.linalg.norm(end_mm - start_mm) / (0.6 * radius_mm))))
    at = np.linspace(0, 1, number)[:, None]
    return np.asarray(start_mm + at * (end_mm - start_mm), np.float64), np.full(number, radius_mm)
