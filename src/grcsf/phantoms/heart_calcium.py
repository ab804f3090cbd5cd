"""Calcifications on the walls of a phantom's coronary arteries: where, how large, how dense, and how they are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi

from grcsf.arrays import AnyArray, BoolArray, FloatArray, LabelArray
from grcsf.io.geometry import FloatArray64
from grcsf.phantoms.ct_grid import CtGrid, supersampled_share
from grcsf.phantoms.draws import log_uniform
from grcsf.phantoms.heart_anatomy import VESSELS, Heart, Vessel

__all__ = ["CANDIDATE_HU", "Calcification", "calcium_share", "draw_calcifications", "label_calcium", "place_on_wall"]

CANDIDATE_HU = 130
"""Calcium is what is at least this bright. Source: standard, Agatston et al. 1990, doi 10.1016/0735-1097(90)90282-T."""

_ODDS = {"LM": 0.12, "LAD": 0.42, "LCX": 0.18, "RCA": 0.28}
_FINE = (4, 4, 12)  # points in a voxel: 3 mm slices are thicker than pixels are wide
_GAP_MM = 5.0  # between the ends of calcifications
_SEEN = 0.04  # share of a voxel from which calcium counts as there
_TRIES = 60


@dataclass(frozen=True, eq=False)
class Calcification:
    """One calcification, an ellipsoid along its vessel.

    Attributes:
        vessel: LM, LAD, LCX, RCA, or aorta, which is no coronary artery.
        centre_mm: on the vessel's wall.
        axes_mm: half axes; the first along the vessel.
        turn: rows are the directions of the axes.
        hu: of the calcium without partial volume.
        volume_mm3: of the ellipsoid.
        shift_mm: how far it moves while it is scanned.
    """

    vessel: str
    centre_mm: FloatArray64
    axes_mm: FloatArray64
    turn: FloatArray64
    hu: float
    volume_mm3: float
    shift_mm: FloatArray64


def draw_calcifications(
    rng: np.random.Generator,
    heart: Heart,
    number: int,
    *,
    volume_mm3: tuple[float, float],
    hu: tuple[float, float],
    motion_mm: float,
) -> list[Calcification]:
    """Calcifications of the coronary arteries, denser towards their origins, none touching another.

    Args:
        rng: the subject's random numbers.
        heart: whose arteries.
        number: how many; fewer if no free place is found.
        volume_mm3: smallest and largest, log-uniform.
        hu: least and most dense, log-uniform.
        motion_mm: longest way that one moves during the scan.
    """
    names = list(_ODDS)
    found: list[Calcification] = []
    for _ in range(number):
        volume, dense = log_uniform(rng, volume_mm3), log_uniform(rng, hu)
        for _ in range(_TRIES):
            name = names[int(rng.choice(len(names), p=list(_ODDS.values())))]
            drawn = place_on_wall(
                rng,
                name,
                heart.coronaries[name],
                float(rng.beta(1.2, 2.2)),
                volume_mm3=volume,
                hu=dense,
                motion_mm=motion_mm,
            )
            if all(_apart(drawn, other) for other in found):
                found.append(drawn)
                break
    return found


def place_on_wall(
    rng: np.random.Generator,
    name: str,
    vessel: Vessel,
    along: float,
    *,
    volume_mm3: float,
    hu: float,
    motion_mm: float,
) -> Calcification:
    """A calcification on the wall of a vessel, at a share ``along`` of its length and any angle around it."""
    last = len(vessel.points_mm) - 1
    at = int(np.clip(round(along * last), 1, last - 1))
    tangent = vessel.points_mm[at + 1] - vessel.points_mm[at - 1]
    turn = _frame(rng, tangent)
    stretch = float(rng.uniform(1.2, 3.2))
    thick = (3.0 * volume_mm3 / (4.0 * np.pi * stretch)) ** (1 / 3)  # 4/3 pi (stretch b) b b
    centre = vessel.points_mm[at] + vessel.radii_mm[at] * turn[1]
    angle, way = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, motion_mm))
    shift = way * np.array([np.cos(angle), np.sin(angle), 0.0])
    axes = np.array([stretch * thick, thick, thick])
    return Calcification(name, centre, axes, turn, hu, volume_mm3, shift)


def calcium_share(grid: CtGrid, spot: Calcification) -> tuple[tuple[slice, slice, slice], FloatArray]:
    """Share of calcium in the voxels of a box, as seen: the mean over three places along its way.

    Motion smears the calcium out; it adds none. Inside the grid the shares times the volume of a voxel add up to
    ``volume_mm3``.
    """
    reach = float(max(spot.axes_mm)) + max(grid.spacing_mm) + float(np.linalg.norm(spot.shift_mm))
    box = grid.box_around(spot.centre_mm, reach)
    whole = np.zeros(tuple(part.stop - part.start for part in box), np.float32)
    for step in (-0.5, 0.0, 0.5):
        part, share = supersampled_share(grid, spot.centre_mm + step * spot.shift_mm, spot.axes_mm, spot.turn, _FINE)
        inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, box, strict=True))
        whole[inner] += share / np.float32(3.0)
    return box, whole


def label_calcium(
    image: AnyArray, shares: Sequence[FloatArray], vessels: Sequence[str], smallest: int = 1
) -> tuple[BoolArray, LabelArray, list[int]]:
    """What an annotator marks: the connected bright voxels (faces touch) at each coronary calcification.

    Args:
        image: HU as scanned.
        shares: of the calcium of each calcification, blurred as the image is, (x, y, z).
        vessels: artery of each.
        smallest: connected voxels of which a reader takes notice; fewer may be noise and are not marked.

    Returns:
        The mask, the same by artery (`VESSELS`), and how many voxels each calcification has in it: 0 where too few of
        its voxels reach `CANDIDATE_HU`. Voxels further than two voxels from any calcium are never marked.
    """
    bright = image >= CANDIDATE_HU
    by_vessel = np.zeros(image.shape, np.uint8)
    counts = []
    strongest = np.zeros(image.shape, np.float32)
    for share, vessel in zip(shares, vessels, strict=True):
        seen = share > _SEEN
        near = bright & ndi.binary_dilation(seen, iterations=2)
        marked = _without_specks(ndi.binary_propagation(seen & bright, mask=near), smallest)
        stronger = marked & (share >= strongest)
        by_vessel[stronger] = VESSELS[vessel]
        strongest = np.maximum(strongest, share)
        counts.append(int(marked.sum()))
    return by_vessel > 0, by_vessel, counts


def _without_specks(mask: BoolArray, smallest: int) -> BoolArray:
    numbers, count = ndi.label(mask)
    large = np.bincount(numbers.ravel(), minlength=count + 1) >= smallest
    large[0] = False
    kept: BoolArray = large[numbers]
    return kept


def _apart(one: Calcification, other: Calcification) -> bool:
    ends = float(one.axes_mm[0] + other.axes_mm[0])
    return float(np.linalg.norm(one.centre_mm - other.centre_mm)) > ends + _GAP_MM


def _frame(rng: np.random.Generator, tangent: FloatArray64) -> FloatArray64:
    """Three directions at right angles, the first along ``tangent``, the second drawn."""
    first = tangent / np.linalg.norm(tangent)
    drawn = rng.standard_normal(3)
    second = drawn - (drawn @ first) * first
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)])
