"""Distances between the surfaces of two masks: HD, HD95, ASSD and NSD in mm, with named rules for empty masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from grcsf.arrays import BoolArray, IntArray
from grcsf.errors import GridMismatch
from grcsf.evaluation.overlap import WhenEmpty

__all__ = [
    "SurfaceDistances",
    "WhenMissed",
    "assd",
    "border",
    "hausdorff",
    "nsd",
    "score_surface",
    "surface_columns",
    "surface_distances",
]

Distances = npt.NDArray[np.float64]

_SLACK = 1e-9
"""Share by which a distance may exceed a tolerance: three steps of 0.1 mm make 0.30000000000000004."""

DISTANCES = ("hd_mm", "hd95_mm", "assd_mm")


class WhenMissed(StrEnum):
    """Distance scores of a case with exactly one empty mask: a missed lesion, or a false one in a healthy scan.

    The definition has no answer, and leaving such cases out rewards a method that predicts nothing. NSD needs no rule:
    no surface voxel lies within reach of an empty mask, so it is 0.
    """

    DIAGONAL = "diagonal"
    """The diagonal of the image in mm: no two voxels lie further apart. Finite, so that means and tests work."""
    INFINITE = "infinite"
    """Infinity: the limit of the definition. The mean of a method with one missed lesion is then infinite too."""
    SKIP = "skip"
    """Not a number: left out of the means, and counted wherever a mean is printed."""


@dataclass(frozen=True)
class SurfaceDistances:
    """For every border voxel of one mask the distance to the nearest border voxel of the other, in mm.

    One array is empty if its mask is; the other then holds infinities.
    """

    from_reference: Distances
    from_prediction: Distances

    @property
    def both_empty(self) -> bool:
        """Whether neither mask has a voxel."""
        return not self.from_reference.size and not self.from_prediction.size

    @property
    def one_empty(self) -> bool:
        """Whether exactly one of the masks has no voxel."""
        return bool(self.from_reference.size) != bool(self.from_prediction.size)


def border(mask: BoolArray) -> BoolArray:
    """Voxels of a mask with a face neighbour that is not in it; beyond the edge of the array nothing is in it.

    Axes of a single voxel do not count: the border of a slice stored as a volume is that of the slice.
    """
    inner = mask.copy()
    for axis, length in enumerate(mask.shape):
        if length <= 1:
            continue
        along, result = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        result[1:] &= along[:-1]
        result[:-1] &= along[1:]
        result[0] = result[-1] = False
    return mask & ~inner if max(mask.shape) > 1 else mask.copy()


def surface_distances(reference: BoolArray, prediction: BoolArray, spacing_mm: tuple[float, ...]) -> SurfaceDistances:
    """Distances from each border to the other, between centres of voxels.

    Only the part of the grid that holds a mask is looked at, and border voxels that both masks share cost nothing.

    Args:
        reference: boolean mask, 2-D or 3-D.
        prediction: boolean mask of the same shape.
        spacing_mm: edge lengths of a voxel, one per axis.

    Raises:
        TypeError: a mask that is not boolean.
        GridMismatch: shapes or spacing that do not fit.

    Source: standard; border voxels as in MONAI's ``get_edge_surface_distance`` without sub-voxels.
    """
    _check(reference, prediction, spacing_mm)
    box = _box(reference, prediction)
    # a crop to one voxel is not an image of one voxel: a frame of background keeps the two apart
    frame = [(1, 1) if length > 1 else (0, 0) for length in reference.shape]
    edges = [border(np.pad(mask[box], frame)) for mask in (reference, prediction)]
    shared = edges[0] & edges[1]
    places = [np.argwhere(edge & ~shared) for edge in edges]
    both = np.argwhere(shared)
    found = [_nearest(places[index], np.concatenate([both, places[1 - index]]), spacing_mm) for index in (0, 1)]
    zeros = np.zeros(len(both))
    return SurfaceDistances(np.concatenate([zeros, found[0]]), np.concatenate([zeros, found[1]]))


def hausdorff(distances: SurfaceDistances, percentile: float = 100.0) -> float:
    """Hausdorff distance in mm: the larger of the two directed percentiles; 100 is the Hausdorff distance itself.

    Each direction takes its own percentile (linear between the two nearest ranks, numpy's default), then the larger
    one counts. Nan if both masks are empty, infinite if one is.

    Raises:
        ValueError: a percentile outside 0 to 100.

    Source: standard, Huttenlocher 1993 (https://doi.org/10.1109/34.232073); the percentile as MONAI takes it.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile {percentile}, expected a number from 0 to 100")
    if distances.both_empty:
        return math.nan
    if distances.one_empty:
        return math.inf
    return max(float(np.percentile(part, percentile)) for part in (distances.from_reference, distances.from_prediction))


def assd(distances: SurfaceDistances) -> float:
    """Average symmetric surface distance in mm: the mean over the border voxels of both masks together.

    Every border voxel has the same weight, so the mask with the longer border has the greater say. Nan if both masks
    are empty, infinite if one is.

    Source: standard, Heimann 2009 (https://doi.org/10.1109/TMI.2009.2013851).
    """
    if distances.both_empty:
        return math.nan
    return float(np.concatenate([distances.from_reference, distances.from_prediction]).mean())


def nsd(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Normalised surface distance (surface Dice): share of border voxels of both masks within a tolerance, in [0, 1].

    A distance equal to the tolerance is within it. Nan if both masks are empty, 0 if one is.

    Raises:
        ValueError: a tolerance below 0 or not finite.

    Source: standard, Nikolov 2021 (https://doi.org/10.2196/26151), border voxels counted in place of areas.
    """
    if not 0 <= tolerance_mm < math.inf:
        raise ValueError(f"tolerance {tolerance_mm} mm, expected a finite number of at least 0")
    if distances.both_empty:
        return math.nan
    every = np.concatenate([distances.from_reference, distances.from_prediction])
    return float(np.count_nonzero(every <= tolerance_mm * (1 + _SLACK)) / every.size)


def surface_columns(tolerances_mm: Sequence[float]) -> tuple[str, ...]:
    """Names of the scores, such as ``hd95_mm`` and ``nsd_2mm``.

    >>> surface_columns((1.0, 2.5))
    ('hd_mm', 'hd95_mm', 'assd_mm', 'nsd_1mm', 'nsd_2.5mm')
    """
    return (*DISTANCES, *(f"nsd_{tolerance:g}mm" for tolerance in tolerances_mm))


def score_surface(
    reference: BoolArray,
    prediction: BoolArray,
    spacing_mm: tuple[float, ...],
    *,
    tolerances_mm: Sequence[float] = (1.0, 2.0),
    when_empty: WhenEmpty = WhenEmpty.SKIP,
    when_missed: WhenMissed = WhenMissed.DIAGONAL,
) -> dict[str, float]:
    """HD, HD95, ASSD and NSD of two masks, by the names of :func:`surface_columns`.

    Args:
        reference: boolean mask, 2-D or 3-D.
        prediction: boolean mask of the same shape.
        spacing_mm: edge lengths of a voxel.
        tolerances_mm: one NSD for each.
        when_empty: both masks empty: ``skip`` nan; ``one`` the best score (0 mm, NSD 1); ``zero`` as if the case had
            been missed (distances after ``when_missed``, NSD 0).
        when_missed: distances with exactly one empty mask; NSD is 0.

    Raises:
        As :func:`surface_distances` and :func:`nsd`.
    """
    distances = surface_distances(reference, prediction, spacing_mm)
    names = surface_columns(tolerances_mm)
    values = [hausdorff(distances), hausdorff(distances, 95.0), assd(distances)]
    values += [nsd(distances, tolerance) for tolerance in tolerances_mm]
    if not (distances.both_empty or distances.one_empty):
        return dict(zip(names, values, strict=True))
    if distances.both_empty and when_empty is not WhenEmpty.ZERO:
        far, share = (math.nan, math.nan) if when_empty is WhenEmpty.SKIP else (0.0, 1.0)
    else:
        diagonal = math.hypot(*(n * edge for n, edge in zip(reference.shape, spacing_mm, strict=True)))
        far = {WhenMissed.DIAGONAL: diagonal, WhenMissed.INFINITE: math.inf, WhenMissed.SKIP: math.nan}[when_missed]
        share = 0.0
    return dict(zip(names, [far] * len(DISTANCES) + [share] * len(tolerances_mm), strict=True))


def _check(reference: BoolArray, prediction: BoolArray, spacing_mm: tuple[float, ...]) -> None:
    for name, array in (("reference", reference), ("prediction", prediction)):
        if array.dtype != np.bool_:
            raise TypeError(f"{name} has dtype {array.dtype}, expected bool; write {name} == 1 for label 1")
    if reference.shape != prediction.shape:
        raise GridMismatch(
            f"reference has shape {reference.shape} but prediction {prediction.shape}; resample the prediction first"
        )
    if reference.ndim not in (2, 3) or len(spacing_mm) != reference.ndim or min(spacing_mm) <= 0:
        raise GridMismatch(f"masks of shape {reference.shape} with spacing {spacing_mm} mm, expected 2 or 3 of each")


def _box(reference: BoolArray, prediction: BoolArray) -> tuple[slice, ...]:
    """The smallest part of the grid that holds every voxel of both masks; nothing if there is none."""
    parts = []
    for axis in range(reference.ndim):
        others = tuple(index for index in range(reference.ndim) if index != axis)
        where = np.flatnonzero(reference.any(axis=others) | prediction.any(axis=others))
        parts.append(slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0))
    return tuple(parts)


def _nearest(places: IntArray, targets: IntArray, spacing_mm: tuple[float, ...]) -> Distances:
    """Distance in mm from each voxel to the nearest target; infinite without a target."""
    if not len(places) or not len(targets):
        return np.full(len(places), math.inf)
    found: Distances = KDTree(targets * spacing_mm, leafsize=32).query(places * spacing_mm)[0]
    return found
