"""How calcium is scored: mode, threshold, smallest area, weights, calibration; and the categories of risk."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from grcsf.evaluation.clinical.rules import Rules
from grcsf.evaluation.presets import Connectivity

__all__ = ["RISK_CATEGORIES", "CalciumRules", "Mode", "risk_category", "weight_of"]

Mode = Literal["slice2d", "object3d"]
"""``slice2d``: lesions and their peaks slice by slice, as published; ``object3d``: one peak for a whole 3-D object."""

RISK_CATEGORIES = ("0", "1-10", "11-100", "101-400", ">400")
"""Names of the categories of risk, from the lowest."""

_RISK_LIMITS = (0.0, 10.0, 100.0, 400.0)
_WEIGHT_STEPS_HU = (200.0, 300.0, 400.0)


class CalciumRules(Rules):
    """The rules of a calcium score; the defaults are the Agatston score as published.

    Source: standard, Agatston 1990 (https://doi.org/10.1016/0735-1097(90)90282-T): mode, threshold, smallest area,
    weights, 3 mm; own: connectivity (that of orCaScore's lesions), total, limit of tilt;
    docs/reference/calcium-scores.md.
    """

    mode: Mode = Field("slice2d", description="slice2d: lesions slice by slice, as published; object3d: 3-D objects.")
    threshold_hu: float = Field(130.0, gt=0, description="HU from which a voxel of the mask is calcium.")
    threshold: Literal["at-least", "above"] = Field(
        "at-least", description="Whether a voxel at the threshold itself is calcium; orCaScore says above."
    )
    min_area_mm2: float = Field(
        1.0, ge=0, description="Smallest area of a lesion in a slice; an object of object3d needs one slice of it."
    )
    connectivity: Connectivity = Field(
        "face", description="What is one lesion: face (4 neighbours in a slice, 6 in 3-D), edge (8, 18), full (8, 26)."
    )
    reference_mm: float = Field(3.0, gt=0, description="Slice spacing that scores are scaled to.")
    mass_factor: float | None = Field(
        None, gt=0, description="Calibration of the scanner, mg / (mm3 HU); none: no mass score."
    )
    total: Literal["sum", "union"] = Field(
        "sum", description="sum: total of the labels; union: labels joined before lesions are formed."
    )
    max_tilt_deg: float = Field(
        20.0, ge=0, le=90, description="How far the slices may be turned out of the axial plane; more is refused."
    )
    assume_hu: bool = Field(False, description="Accept an image without a value below 0, which CT in HU has.")


def weight_of(peak_hu: float) -> int:
    """Density weight of a lesion: 1 below 200 HU, 2 below 300, 3 below 400, else 4.

    The published steps (130-199, 200-299, ...) are for whole numbers; a peak of 199.6 HU stays below 200.

    >>> [weight_of(hu) for hu in (130, 199, 199.6, 200, 300, 400, 1000)]
    [1, 1, 1, 2, 3, 4, 4]
    """
    return 1 + sum(peak_hu >= step for step in _WEIGHT_STEPS_HU)


def risk_category(agatston: float) -> int:
    """Category of risk of an Agatston score, an index into :data:`RISK_CATEGORIES`.

    The limits are upper ends: 0; above 0 to 10; above 10 to 100; above 100 to 400; above 400. A score between two
    whole numbers, such as 10.4, is thus in the upper of the two categories; only what rounding of sums makes (1e-6) is
    taken off first.

    Raises:
        ValueError: a score that is negative or not finite.

    Source: standard (Rumberger 1999, https://doi.org/10.4065/74.3.243) for whole numbers; own between them.

    >>> [RISK_CATEGORIES[risk_category(score)] for score in (0, 0.2, 10, 10.4, 100, 101, 400, 400.1)]
    ['0', '1-10', '1-10', '11-100', '11-100', '101-400', '101-400', '>400']
    """
    if not 0 <= agatston < math.inf:
        raise ValueError(f"Agatston score {agatston}, expected a finite number of at least 0")
    return sum(round(agatston, 6) > limit for limit in _RISK_LIMITS)
