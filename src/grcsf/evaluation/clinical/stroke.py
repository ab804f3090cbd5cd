"""Stroke measures of a mask: lesion load, number of lesions, side of the brain, and volume by territory of an atlas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from grcsf.arrays import AnyArray, BoolArray
from grcsf.errors import GridMismatch, ImageError
from grcsf.evaluation.clinical.rules import Rules
from grcsf.evaluation.matching import label_lesions
from grcsf.evaluation.presets import Connectivity, LesionPreset
from grcsf.io.geometry import FloatArray64, Geometry, Volume

__all__ = [
    "OUTSIDE",
    "Side",
    "StrokeMeasures",
    "StrokeRules",
    "Territory",
    "measure_lesions",
    "midline_mm",
    "territory_loads",
]

Side = Literal["left", "right", "both", "none"]

OUTSIDE = "outside"
"""Name of the row of lesion voxels that lie in no territory."""

_ON_PLANE_MM = 1e-3


class StrokeRules(Rules):
    """How stroke lesions are measured.

    Source: own; connectivity as in ISLES 2022 and the presets ``isles2022`` and ``atlas2022``.
    """

    connectivity: Connectivity = Field("full", description="What is one lesion: face 6, edge 18, full 26 neighbours.")
    min_lesion_mm3: float = Field(0.0, ge=0, description="Components below this size count in no measure.")
    midline: Literal["origin", "centre", "given"] = Field(
        "origin", description="Mid-sagittal plane: x = 0 of the affine (MNI space), centre of the grid, or given."
    )
    midline_x_mm: float | None = Field(None, description="Its x in mm RAS, for midline=given.")
    min_side_share: float = Field(
        0.05, ge=0, le=0.5, description="Share of the load that the smaller side must exceed for both sides to count."
    )

    @model_validator(mode="after")
    def _given_has_a_place(self) -> StrokeRules:
        if (self.midline == "given") != (self.midline_x_mm is not None):
            raise ValueError(f"midline {self.midline} with x {self.midline_x_mm}: give an x with midline=given only")
        return self


@dataclass(frozen=True)
class StrokeMeasures:
    """Measures of one label of one case.

    Attributes:
        voxels: that count.
        load_ml: lesion load.
        lesions: number of lesions.
        largest_ml: size of the largest; 0 without any.
        left_ml: load left of the midline (the patient's left); half of what lies on it.
        right_ml: the rest.
        side: where the load is; ``both`` if the smaller side exceeds ``min_side_share``.
        midline_x_mm: where the midline was, RAS.
    """

    voxels: int
    load_ml: float
    lesions: int
    largest_ml: float
    left_ml: float
    right_ml: float
    side: Side
    midline_x_mm: float


@dataclass(frozen=True)
class Territory:
    """Load in one territory.

    Attributes:
        name: of the territory, or :data:`OUTSIDE`.
        load_ml: lesion load in it.
        share_of_load: of the whole load; nan without any.
        territory_ml: its own volume; nan for :data:`OUTSIDE`.
    """

    name: str
    load_ml: float
    share_of_load: float
    territory_ml: float


def midline_mm(geometry: Geometry, rules: StrokeRules, case: str) -> float:
    """Where the mid-sagittal plane is: its x, mm RAS; it is not tilted.

    Raises:
        ImageError: it lies outside of the image.
    """
    corners = geometry.corners_mm()[:, 0]
    low, high = float(corners.min()), float(corners.max())
    place = {"origin": 0.0, "centre": (low + high) / 2, "given": rules.midline_x_mm or 0.0}[rules.midline]
    if not low <= place <= high:
        raise ImageError(
            f"{case}: the midline x = {place:g} mm ({rules.midline}) lies outside of the image, whose x runs from "
            f"{low:.4g} to {high:.4g} mm; choose --midline centre, or give its x"
        )
    return place


def measure_lesions(
    mask: BoolArray, geometry: Geometry, rules: StrokeRules | None = None, *, case: str = "case"
) -> tuple[StrokeMeasures, BoolArray]:
    """Load, number and side of the lesions of a mask.

    Args:
        mask: boolean, 3-D, ``geometry.shape``.
        geometry: its grid.
        rules: none: the defaults.
        case: name for the messages.

    Returns:
        The measures, and the mask without lesions that are too small.

    Raises:
        GridMismatch: another shape than the grid.
        ImageError: not 3-D, or a midline outside of the image.
    """
    rules = rules or StrokeRules()
    if mask.shape != geometry.shape:
        raise GridMismatch(f"{case}: mask of shape {mask.shape}, but its grid has {geometry}")
    if mask.ndim != 3:
        raise ImageError(f"{case}: a {mask.ndim}-D mask has no volume; expected a 3-D one")
    voxel_ml = _voxel_ml(geometry)
    preset = LesionPreset("stroke", connectivity_3d=rules.connectivity, min_size_mm=rules.min_lesion_mm3)
    numbers, sizes = label_lesions(mask, geometry.edges_mm, preset)
    kept: BoolArray = numbers > 0
    place = midline_mm(geometry, rules, case)
    left, right = _sides(_positions_mm(kept, geometry)[:, 0] - place)
    voxels = int(sizes.sum())
    return StrokeMeasures(
        voxels=voxels,
        load_ml=voxels * voxel_ml,
        lesions=int(sizes.size),
        largest_ml=int(sizes.max(initial=0)) * voxel_ml,
        left_ml=left * voxel_ml,
        right_ml=right * voxel_ml,
        side=_side(left, right, rules.min_side_share),
        midline_x_mm=place,
    ), kept


def territory_loads(mask: BoolArray, geometry: Geometry, atlas: Volume, names: Mapping[str, int]) -> list[Territory]:
    """Load by territory: each lesion voxel takes the label of the atlas voxel nearest to its centre.

    Atlas and mask need not share a grid, but must be in the same space (MNI); nothing is registered here.

    Args:
        mask: boolean, 3-D.
        geometry: its grid.
        atlas: label values of territories.
        names: territory -> value; other values of the atlas count as outside.

    Returns:
        Territories in the order of ``names``, then :data:`OUTSIDE`.
    """
    inverse = np.linalg.inv(atlas.geometry.affine_ras)
    index = _positions_mm(mask, geometry) @ inverse[:3, :3].T + inverse[:3, 3]
    nearest = np.floor(index + 0.5).astype(np.int64)
    within = np.all((nearest >= 0) & (nearest < atlas.array.shape), axis=1)
    values = np.zeros(len(nearest), dtype=np.int64)
    values[within] = atlas.array[tuple(nearest[within].T)].astype(np.int64)
    voxel_ml, atlas_ml = _voxel_ml(geometry), _voxel_ml(atlas.geometry)
    whole = len(values)
    found = []
    for name, value in names.items():
        count, size = int(np.count_nonzero(values == value)), int(np.count_nonzero(atlas.array == value))
        found.append(Territory(name, count * voxel_ml, count / whole if whole else math.nan, size * atlas_ml))
    rest = whole - int(np.isin(values, list(names.values())).sum())
    return [*found, Territory(OUTSIDE, rest * voxel_ml, rest / whole if whole else math.nan, math.nan)]


def _positions_mm(mask: AnyArray, geometry: Geometry) -> FloatArray64:
    """World positions of the voxels of a mask, (voxels, 3), mm RAS."""
    index = np.argwhere(mask).astype(np.float64)
    return np.asarray(index @ geometry.affine_ras[:3, :3].T + geometry.affine_ras[:3, 3], dtype=np.float64)


def _sides(offsets_mm: FloatArray64) -> tuple[float, float]:
    """Voxels left and right of the plane; one whose centre is on it counts half on each side."""
    on = int(np.count_nonzero(np.abs(offsets_mm) <= _ON_PLANE_MM))
    left = int(np.count_nonzero(offsets_mm < -_ON_PLANE_MM))
    return left + on / 2, offsets_mm.size - left - on / 2


def _side(left: float, right: float, min_share: float) -> Side:
    if left + right == 0:
        return "none"
    if min(left, right) > min_share * (left + right):
        return "both"
    return "left" if left > right else "right"


def _voxel_ml(geometry: Geometry) -> float:
    return geometry.voxel_size / 1000.0  # 1 ml = 1000 mm3
