"""How much a lesion stands out: its mean grey value against that of a ring of tissue around it."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, BoolArray, IntArray
from grcsf.evaluation.strata import contrast_stratum
from grcsf.preprocess.foreground import find_foreground

__all__ = ["RING_MM", "contrast_stratum", "image_foreground", "ring_contrast"]

RING_MM = 6.0
"""How far the ring reaches from the lesion: three voxels at 2 mm, well inside the tissue around; own choice."""


def ring_contrast(
    image: AnyArray,
    lesions: IntArray,
    excluded: BoolArray,
    spacing_mm: tuple[float, ...],
    *,
    foreground: BoolArray | None = None,
    radius_mm: float = RING_MM,
) -> list[float]:
    """Mean inside each lesion divided by the mean of its ring.

    The ring is every voxel whose centre lies at most ``radius_mm`` from the centre of a lesion voxel, without
    ``excluded`` and what is not foreground.

    Args:
        image: grey values that have a true zero (magnitudes, not Hounsfield units), 2-D or 3-D.
        lesions: number of the lesion of every voxel, 1, 2, ... without gaps; 0 elsewhere.
        excluded: voxels that belong to no ring, all lesions among them.
        spacing_mm: edge lengths of a voxel.
        foreground: voxels of the patient; none: all.
        radius_mm: reach of the ring.

    Returns:
        One ratio per lesion, in order; nan where the ring is empty or a mean is not above 0.

    Source: own.
    """
    reach = [math.ceil(radius_mm / edge) for edge in spacing_mm]
    found = []
    for number, box in enumerate(ndimage.find_objects(lesions), start=1):
        wide = tuple(slice(max(0, part.start - pad), part.stop + pad) for part, pad in zip(box, reach, strict=True))
        inside = lesions[wide] == number
        near = ndimage.distance_transform_edt(~inside, sampling=spacing_mm) <= radius_mm * (1 + 1e-9)
        ring = near & ~inside & ~excluded[wide]
        if foreground is not None:
            ring &= foreground[wide]
        found.append(_ratio(image[wide], inside, ring))
    return found


def image_foreground(image: AnyArray, spacing_mm: tuple[float, ...]) -> BoolArray:
    """Voxels of the patient in an image of any orientation.

    Slices are taken across the axis of the largest spacing (the last of equals).

    Args:
        image: 2-D or 3-D.
        spacing_mm: edge lengths of a voxel.
    """
    values = image.astype(np.float32, copy=False)
    if values.ndim == 2:
        return np.squeeze(find_foreground(values[None]), 0)
    axis = max(range(3), key=lambda index: (spacing_mm[index], index))
    foreground: BoolArray = np.moveaxis(find_foreground(np.moveaxis(values, axis, 0)), 0, axis)
    return foreground


def _ratio(image: AnyArray, inside: BoolArray, ring: BoolArray) -> float:
    if not ring.any():
        return math.nan
    lesion, around = float(image[inside].mean(dtype=np.float64)), float(image[ring].mean(dtype=np.float64))
    return lesion / around if lesion > 0 and around > 0 else math.nan
