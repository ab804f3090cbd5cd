"""Calcium scores of a labelled mask on a CT: Agatston, volume and mass, by label and in total."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, BoolArray
from grcsf.errors import GridMismatch, ImageError
from grcsf.evaluation.clinical.calcium_rules import RISK_CATEGORIES, CalciumRules, risk_category, weight_of
from grcsf.evaluation.clinical.slices import AxialSlices, axial_slices
from grcsf.io.geometry import Geometry

__all__ = ["TOTAL", "CalciumRegion", "CalciumScore", "calcium_voxels", "check_hu", "score_calcium", "structure"]

TOTAL = "total"
"""Name of the row of all labels together."""


@dataclass(frozen=True)
class CalciumRegion:
    """What is weighted as one: a 2-D lesion of one slice (``slice2d``) or a 3-D object (``object3d``).

    Attributes:
        slice: index of its slice along the axial axis of the array; of an object the first one.
        slices: how many slices it lies in.
        voxels: its voxels.
        area_mm2: its area; of an object the largest in a slice.
        peak_hu: its largest value.
        mean_hu: its mean.
        weight: 1 to 4, from the peak.
        agatston: its part of the score.
    """

    slice: int
    slices: int
    voxels: int
    area_mm2: float
    peak_hu: float
    mean_hu: float
    weight: int
    agatston: float


@dataclass(frozen=True)
class CalciumScore:
    """Scores of one label, or of all.

    Attributes:
        agatston: the Agatston score, or that of its 3-D variant.
        volume_mm3: volume of the voxels that are scored.
        mass_mg: calibration x mean HU x volume, summed over regions; nan without a calibration.
        lesions: 3-D connected components of the voxels that are scored, in either mode.
        regions: what was weighted, in the order of slices.
        peak_hu: largest value that is scored; nan if there is none.
        masked_mm3: volume of the mask itself.
        below_threshold_mm3: part of it that is no calcium by its HU.
        too_small_mm3: part of it in regions below the smallest area.
    """

    agatston: float
    volume_mm3: float
    mass_mg: float
    lesions: int
    regions: tuple[CalciumRegion, ...]
    peak_hu: float
    masked_mm3: float
    below_threshold_mm3: float
    too_small_mm3: float

    @property
    def risk(self) -> str:
        """Category of risk; meant for the total of all coronary arteries."""
        return RISK_CATEGORIES[risk_category(self.agatston)]


def score_calcium(
    image_hu: AnyArray,
    mask: AnyArray,
    geometry: Geometry,
    labels: Mapping[str, int],
    rules: CalciumRules | None = None,
    *,
    case: str = "case",
) -> dict[str, CalciumScore]:
    """Score the calcium of every label and of all together.

    ``agatston = sum over regions of area_mm2 x weight(peak HU) x gap_mm / reference_mm``, where an object of
    ``object3d`` has the sum of its areas over slices. Regions never cross labels.

    Args:
        image_hu: CT, 3-D, HU.
        mask: label values, same shape.
        geometry: the grid of both.
        labels: name -> value; 0 is left out, values of the mask that are not named are not scored.
        rules: none: the Agatston score as published.
        case: name for the messages.

    Returns:
        Label name -> scores, with :data:`TOTAL` last.

    Raises:
        GridMismatch: shapes that differ.
        ImageError: NaN in the image, no value below 0, not 3-D, or slices that are too far from axial.

    Source: standard, Agatston 1990 (``slice2d``); second-hand, AI-CAC (``object3d``), with our area rule and spacing;
    volume and mass: McCollough 2007 (https://doi.org/10.1148/radiol.2432050808), volume without interpolation.
    """
    rules = rules or CalciumRules()
    if not image_hu.shape == mask.shape == geometry.shape:
        raise GridMismatch(
            f"{case}: image {image_hu.shape}, mask {mask.shape}, grid {geometry.shape}; resample one onto the other"
        )
    slices = axial_slices(geometry, case, rules.max_tilt_deg)
    check_hu(image_hu, case, rules.assume_hu)
    values = np.moveaxis(image_hu, slices.axis, 0)
    marks = np.moveaxis(mask, slices.axis, 0)
    named = {name: value for name, value in labels.items() if value != 0}
    scores = {name: _score(values, marks == value, slices, rules) for name, value in named.items()}
    if rules.total == "union":
        scores[TOTAL] = _score(values, np.isin(marks, list(named.values())), slices, rules)
    else:
        scores[TOTAL] = _sum(list(scores.values()), rules)
    return scores


def check_hu(image_hu: AnyArray, case: str, assume_hu: bool = False) -> None:
    """Refuse what cannot be CT in Hounsfield units.

    Raises:
        ImageError: values that are not finite, or none below 0 (air, lung and fat are) without ``assume_hu``.
    """
    if image_hu.dtype.kind == "f" and not np.isfinite(image_hu).all():
        raise ImageError(f"{case}: the image holds NaN or infinite HU; replace them before scoring")
    if not assume_hu and image_hu.size and image_hu.min() >= 0:
        raise ImageError(
            f"{case}: no value of the image is below 0 (lowest {image_hu.min():g}), but CT in HU has air and fat; "
            "apply the rescale intercept, or give --assume-hu if the image holds HU"
        )


def calcium_voxels(image_hu: AnyArray, rules: CalciumRules) -> BoolArray:
    """Voxels that are calcium by their HU alone."""
    found: BoolArray = (
        image_hu >= rules.threshold_hu if rules.threshold == "at-least" else image_hu > rules.threshold_hu
    )
    return found


def structure(rules: CalciumRules, spatial_dims: int) -> BoolArray:
    """Neighbours of a voxel by the rules, 3 along each axis, for ``scipy.ndimage.label``."""
    reach = {"face": 1, "edge": 2, "full": spatial_dims}[rules.connectivity]
    neighbours: BoolArray = ndimage.generate_binary_structure(spatial_dims, min(reach, spatial_dims))
    return neighbours


def _score(values: AnyArray, inside: BoolArray, slices: AxialSlices, rules: CalciumRules) -> CalciumScore:
    """Scores of one boolean mask; slices along the first axis."""
    boxes = ndimage.find_objects(inside.astype(np.uint8))
    box = boxes[0] if boxes else (slice(0, 0),) * 3
    calcium = inside[box] & calcium_voxels(values[box], rules)
    masked, above = int(np.count_nonzero(inside)), int(np.count_nonzero(calcium))
    pieces, count = _pieces(calcium, rules)
    keep, regions = _regions(values[box], pieces, count, slices, rules)
    voxels = sum(region.voxels for region in regions)
    lesions = ndimage.label(keep[pieces], structure(rules, 3))[1] if regions else 0
    mass = math.nan
    if rules.mass_factor is not None:
        mass = math.fsum(rules.mass_factor * region.mean_hu * region.voxels * slices.voxel_mm3 for region in regions)
    return CalciumScore(
        agatston=math.fsum(region.agatston for region in regions),
        volume_mm3=voxels * slices.voxel_mm3,
        mass_mg=mass,
        lesions=int(lesions),
        regions=tuple(replace(region, slice=region.slice + box[0].start) for region in regions),
        peak_hu=max((region.peak_hu for region in regions), default=math.nan),
        masked_mm3=masked * slices.voxel_mm3,
        below_threshold_mm3=(masked - above) * slices.voxel_mm3,
        too_small_mm3=(above - voxels) * slices.voxel_mm3,
    )


def _pieces(calcium: BoolArray, rules: CalciumRules) -> tuple[AnyArray, int]:
    """Number of the region of every voxel (0: none), and how many there are."""
    neighbours = structure(rules, 3 if rules.mode == "object3d" else 2)
    if rules.mode == "slice2d":  # no neighbours above and below
        empty = np.zeros_like(neighbours)
        neighbours = np.stack([empty, neighbours, empty])
    pieces, count = ndimage.label(calcium, neighbours)
    return pieces, int(count)


def _regions(
    values: AnyArray, pieces: AnyArray, count: int, slices: AxialSlices, rules: CalciumRules
) -> tuple[BoolArray, list[CalciumRegion]]:
    """Whether a region is large enough, by its number, and those that are."""
    regions, keep = [], np.zeros(count + 1, dtype=np.bool_)
    smallest_mm2 = rules.min_area_mm2 * (1 - 1e-9)  # 4 pixels of 0.5 mm are 1 mm2, whatever rounding says
    boxes = ndimage.find_objects(pieces, count) if count else []
    for number, box in enumerate(boxes, start=1):
        inside = pieces[box] == number
        area_mm2 = float(inside.sum(axis=(1, 2)).max()) * slices.pixel_mm2
        if area_mm2 < smallest_mm2:
            continue
        hu = values[box][inside].astype(np.float64)
        weight = weight_of(float(hu.max()))
        regions.append(
            CalciumRegion(
                slice=int(box[0].start),
                slices=int(box[0].stop - box[0].start),
                voxels=int(hu.size),
                area_mm2=area_mm2,
                peak_hu=float(hu.max()),
                mean_hu=float(hu.mean()),
                weight=weight,
                agatston=hu.size * slices.pixel_mm2 * weight * slices.gap_mm / rules.reference_mm,
            )
        )
        keep[number] = True
    return keep, regions


def _sum(scores: list[CalciumScore], rules: CalciumRules) -> CalciumScore:
    """Total of scores of labels; a lesion that two labels share is two."""
    peaks = [score.peak_hu for score in scores if not math.isnan(score.peak_hu)]
    return CalciumScore(
        agatston=math.fsum(score.agatston for score in scores),
        volume_mm3=math.fsum(score.volume_mm3 for score in scores),
        mass_mg=math.fsum(score.mass_mg for score in scores) if rules.mass_factor is not None else math.nan,
        lesions=sum(score.lesions for score in scores),
        regions=tuple(sorted((r for score in scores for r in score.regions), key=lambda region: region.slice)),
        peak_hu=max(peaks, default=math.nan),
        masked_mm3=math.fsum(score.masked_mm3 for score in scores),
        below_threshold_mm3=math.fsum(score.below_threshold_mm3 for score in scores),
        too_small_mm3=math.fsum(score.too_small_mm3 for score in scores),
    )
