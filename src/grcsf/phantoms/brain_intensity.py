"""From tissue to a scan: contrast, lesions and hyperintensities, blur, shading and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.ndimage as ndi

from grcsf.arrays import BoolArray, FloatArray
from grcsf.phantoms.brain_tissue import Tissue
from grcsf.phantoms.fields import smooth_field

__all__ = ["CONTRASTS", "Contrast", "ContrastName", "make_image"]

ContrastName = Literal["t1", "flair"]


@dataclass(frozen=True)
class Contrast:
    """Brightness in a sequence; white matter is 1.

    Attributes:
        grey: of grey matter.
        fluid: of cerebrospinal fluid.
        lesion: lowest and highest of a lesion at full contrast.
        hyperintensity: lowest and highest of a white-matter hyperintensity.
        detail: how much of the T1's finer anatomy shows, and with which sign.
        scatter: standard deviation of grey matter and fluid between subjects.
    """

    grey: float
    fluid: float
    lesion: tuple[float, float]
    hyperintensity: tuple[float, float]
    detail: float
    scatter: float


CONTRASTS: Mapping[ContrastName, Contrast] = {
    "t1": Contrast(0.74, 0.30, (0.26, 0.50), (0.72, 0.86), 1.0, 0.025),  # chronic lesions, dark as fluid
    "flair": Contrast(1.18, 0.25, (1.50, 2.05), (1.45, 2.00), -0.6, 0.05),  # acute lesions, bright
}


def make_image(
    rng: np.random.Generator,
    tissue: Tissue,
    contrast: Contrast,
    lesions: Sequence[tuple[BoolArray, float]],
    hyperintensities: FloatArray,
    *,
    noise: tuple[float, float],
) -> FloatArray:
    """A scan of a brain; outside the brain it is 0, as after skull stripping.

    Args:
        rng: the subject's random numbers.
        tissue: the brain.
        contrast: brightness of the sequence.
        lesions: mask and strength of each; at strength 1 a lesion has its full contrast, at 0 none.
        hyperintensities: strength 0 to 1, (x, y, z).
        noise: lowest and highest standard deviation, share of white matter.

    Returns:
        (x, y, z) float32, arbitrary units of a few hundred, never negative.
    """
    grey, fluid = rng.normal([contrast.grey, contrast.fluid], contrast.scatter)
    image = tissue.white + np.float32(grey) * tissue.grey + np.float32(fluid) * tissue.fluid
    image += np.float32(contrast.detail) * tissue.detail
    image += hyperintensities * (np.float32(rng.uniform(*contrast.hyperintensity)) - image)
    for mask, strength in lesions:
        box = _box_around(mask, margin=4)
        weight = np.float32(strength) * _lesion_weight(rng, mask[box], tissue.spacing_mm)
        image[box] += np.clip(weight, 0.0, 1.0) * (np.float32(rng.uniform(*contrast.lesion)) - image[box])
    shape, spacing_mm = tissue.brain.shape, tissue.spacing_mm
    image = ndi.gaussian_filter(image, rng.uniform(0.35, 0.55))  # voxels: partial volume
    image *= np.exp(np.float32(rng.uniform(0.05, 0.15)) * smooth_field(rng, shape, spacing_mm, 50.0))
    sigma = np.float32(rng.uniform(*noise))
    real = image + sigma * rng.standard_normal(shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(shape, dtype=np.float32)
    scan: FloatArray = np.hypot(real, imaginary) * tissue.brain * np.float32(rng.uniform(300.0, 800.0))
    return scan


def _lesion_weight(rng: np.random.Generator, mask: BoolArray, spacing_mm: float) -> FloatArray:
    """How much of a lesion each voxel is: soft at the border, uneven inside, about 1 on average there."""
    inside = mask.astype(np.float32)
    shape = (mask.shape[0], mask.shape[1], mask.shape[2])
    weight = ndi.gaussian_filter(inside, rng.uniform(0.5, 1.1) * 2.0 / max(spacing_mm, 1.0))
    weight *= np.clip(1.0 / max(float(weight[mask].max()), 1e-3), 1.0, 2.5)  # small lesions keep their contrast
    uneven: FloatArray = np.clip(1.0 + 0.18 * smooth_field(rng, shape, spacing_mm, 6.0), 0.5, 1.25) * weight
    return uneven


def _box_around(mask: BoolArray, margin: int) -> tuple[slice, ...]:
    found = ndi.find_objects(mask.astype(np.uint8))[0]
    return tuple(
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, size in zip(found, mask.shape, strict=True)
    )
