"""One subject's brain: the average brain turned, stretched, bent, and its tissues made thicker or thinner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi

from grcsf.arrays import AnyArray, BoolArray, FloatArray
from grcsf.io.geometry import FloatArray64
from grcsf.phantoms.brain_templates import Templates
from grcsf.phantoms.fields import smooth_field

__all__ = ["Tissue", "make_tissue"]

_SHARPNESS = 1.6  # an average of many brains is blurred; one brain is not
_BENDS_MM = ((30.0, 2.6), (11.0, 1.1))  # scale and size of the bends


@dataclass(frozen=True, eq=False)
class Tissue:
    """A brain, all arrays (x, y, z).

    Attributes:
        brain: the voxels of the brain.
        white: share of white matter, 0 to 1.
        grey: share of grey matter; fluid is the rest.
        detail: anatomy beyond the three tissues, share of white-matter brightness.
        near_ventricle: white matter by nearness to the ventricles, 0 to 1.
        left: voxels left of the middle.
        spacing_mm: edge of a voxel.
    """

    brain: BoolArray
    white: FloatArray
    grey: FloatArray
    detail: FloatArray
    near_ventricle: FloatArray
    left: BoolArray
    spacing_mm: float

    @property
    def fluid(self) -> FloatArray:
        """Share of cerebrospinal fluid."""
        rest: FloatArray = np.where(self.brain, 1.0 - self.white - self.grey, 0.0).astype(np.float32)
        return rest


def make_tissue(rng: np.random.Generator, templates: Templates) -> Tissue:
    """Draw a brain.

    Args:
        rng: the subject's random numbers.
        templates: the average brain.
    """
    shape, spacing_mm = templates.shape, templates.spacing_mm
    where = np.nonzero(templates.reach)
    source = _source_voxels(rng, templates, where)
    sampled = [ndi.map_coordinates(channel, source, order=1) for channel in templates.maps]
    inside = sampled[0] > 0.5
    atrophy = rng.normal(0.0, 0.35)  # log odds of fluid; above 0 wider ventricles and sulci
    white = _SHARPNESS * sampled[1] - atrophy
    grey = _SHARPNESS * sampled[2] - atrophy
    white += 0.6 * smooth_field(rng, shape, spacing_mm, 14.0)[where]
    grey += 0.6 * smooth_field(rng, shape, spacing_mm, 14.0)[where]
    white, grey = np.exp(np.clip(white, -20, 20)), np.exp(np.clip(grey, -20, 20))
    total = 1.0 + white + grey

    def spread(values: FloatArray) -> FloatArray:
        full = np.zeros(shape, np.float32)
        full[where] = np.where(inside, values, 0.0)
        return full

    brain = spread(np.ones_like(inside, dtype=np.float32)) > 0
    left = np.zeros(shape, np.bool_)
    left[where] = source[0] * spacing_mm + templates.affine_ras[0, 3] < 0
    return Tissue(
        brain, spread(white / total), spread(grey / total), spread(sampled[3]), spread(sampled[4]), left, spacing_mm
    )


def _source_voxels(rng: np.random.Generator, templates: Templates, where: tuple[AnyArray, ...]) -> FloatArray64:
    """Where in the average brain each voxel of the subject comes from, (3, voxels), in voxels."""
    spacing_mm = templates.spacing_mm
    centre = -templates.affine_ras[:3, 3] / spacing_mm + np.array([0.0, -18.0, 8.0]) / spacing_mm
    turn = _rotation(rng.normal(0.0, np.radians([2.5, 1.5, 1.5])))
    stretch = np.diag(rng.normal(1.0, [0.025, 0.025, 0.03]))
    shift = rng.normal(0.0, 1.5, 3) / spacing_mm
    source = (turn @ stretch) @ (np.stack(where) - centre[:, None]) + (centre + shift)[:, None]
    for scale_mm, size_mm in _BENDS_MM:
        for axis in range(3):
            source[axis] += size_mm / spacing_mm * smooth_field(rng, templates.shape, spacing_mm, scale_mm)[where]
    return np.asarray(source, np.float64)


def _rotation(angles: FloatArray64) -> FloatArray64:
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[first, first] = step[second, second] = np.cos(angle)
        step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
        turned = turned @ step
    return turned
