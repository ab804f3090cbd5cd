"""Classes of lesions by size and by contrast, and what they are called in files."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["CONTRAST_LIMITS", "CONTRAST_STRATA", "SIZE_LIMITS", "contrast_stratum", "size_strata", "size_stratum"]

SIZE_LIMITS: Mapping[int, tuple[str, float, float]] = MappingProxyType({2: ("mm2", 100.0, 500.0), 3: ("ml", 1.0, 10.0)})
"""Spatial dimensions -> unit of size, end of the small and start of the large lesions; own choice."""

CONTRAST_LIMITS = (1.1, 1.3)
"""End of the low and start of the high contrasts, of the ratio or its inverse (dark lesions).

Source: own; of 1,049 lesions in FLAIR training slices of strokes 21 % lie below the first and 39 % above the second.
"""

CONTRAST_STRATA = ("low", "middle", "high", "unknown")
"""Names of the classes of contrast; the last is for lesions whose contrast is not known."""


def size_strata(spatial_dims: int) -> tuple[str, ...]:
    """Names of the classes, smallest first, such as ``below 1 ml``."""
    unit, low, high = SIZE_LIMITS[spatial_dims]
    return f"below {low:g} {unit}", f"{low:g} to {high:g} {unit}", f"above {high:g} {unit}"


def size_stratum(size: float, spatial_dims: int) -> str:
    """Class of a size in mm2 (2-D) or ml (3-D); both limits belong to the middle class.

    >>> size_stratum(500.0, 2)
    '100 to 500 mm2'
    """
    _, low, high = SIZE_LIMITS[spatial_dims]
    small, middle, large = size_strata(spatial_dims)
    return small if size < low else middle if size <= high else large


def contrast_stratum(contrast: float) -> str:
    """Class of a ratio of lesion to surroundings; a ratio and its inverse are the same; nan and 0 are ``unknown``.

    >>> contrast_stratum(0.5) == contrast_stratum(2.0) == "high"
    True
    """
    low, middle, high, unknown = CONTRAST_STRATA
    if not contrast > 0:  # files round what is next to nothing to 0
        return unknown
    strength = max(contrast, 1 / contrast)
    return low if strength < CONTRAST_LIMITS[0] else middle if strength <= CONTRAST_LIMITS[1] else high
