"""The average brain the phantoms are made from: MNI152 T1 and tissue maps, which nilearn carries in its package."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.ndimage as ndi

from grcsf.arrays import BoolArray, FloatArray
from grcsf.io.geometry import FloatArray64

__all__ = ["CHANNELS", "Templates", "load_templates"]

CHANNELS = ("brain", "white", "grey", "detail", "near_ventricle")
REACH_MM = 16.0
"""How far outside the average brain a phantom's brain may reach."""
_LEAST = 0.004  # probability below which a tissue map is rounding


@dataclass(frozen=True, eq=False)
class Templates:
    """The average brain on a grid.

    Attributes:
        maps: (5, x, y, z) float32, the channels of ``CHANNELS``: brain mask 0 to 1; log odds of white and of grey
            matter against fluid; what the T1 shows beyond the three tissues (share of white-matter brightness);
            white matter by nearness to the ventricles, 0 to 1.
        reach: where a phantom's brain may be, (x, y, z).
        affine_ras: (4, 4) voxel -> MNI152 mm.
        spacing_mm: edge of a voxel.
    """

    maps: FloatArray
    reach: BoolArray
    affine_ras: FloatArray64
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        x, y, z = self.reach.shape
        return x, y, z


@lru_cache(maxsize=2)
def load_templates(spacing_mm: float) -> Templates:
    """The average brain at a voxel size; read once, then kept in memory.

    Source: MNI ICBM152 2009 non-linear symmetric average (Fonov et al. 2011,
    https://doi.org/10.1016/j.neuroimage.2010.07.033) as packed by nilearn; no network is used.
    """
    from nilearn import datasets as nilearn

    t1, origin_mm = _resampled(nilearn.load_mni152_template(resolution=1), spacing_mm)
    grey, _ = _resampled(nilearn.load_mni152_gm_template(resolution=1), spacing_mm)
    white, _ = _resampled(nilearn.load_mni152_wm_template(resolution=1), spacing_mm)
    brain = (np.clip(t1 / 0.3, 0.0, 1.0)).astype(np.float32)
    total = np.maximum(grey + white, 1.0)
    grey, white = grey / total, white / total
    fluid = 1.0 - grey - white
    logs = [np.log(np.maximum(tissue, _LEAST)) for tissue in (white, grey, fluid)]
    detail = np.where(brain > 0.5, t1 - (0.865 * white + 0.65 * grey + 0.42 * fluid), 0.0) / 0.865
    near = white * np.exp(-_from_ventricles_mm(fluid, brain, spacing_mm) / 7.0)
    maps = np.stack([brain, logs[0] - logs[2], logs[1] - logs[2], np.clip(detail, -0.3, 0.3), near]).astype(np.float32)
    outside_mm = ndi.distance_transform_edt(brain < 0.5, sampling=spacing_mm)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = origin_mm
    for array in (maps, affine):
        array.flags.writeable = False
    return Templates(maps, outside_mm < REACH_MM, affine, spacing_mm)


def _resampled(image: Any, spacing_mm: float) -> tuple[FloatArray, FloatArray64]:
    """A 1 mm map, blurred as a larger voxel would, on the grid of that voxel size; and the grid's origin, mm."""
    values = np.asarray(image.dataobj, dtype=np.float32)
    if spacing_mm > 1.0:
        values = ndi.gaussian_filter(values, 0.35 * spacing_mm)
    size = [int((length - 1) // spacing_mm) + 1 for length in values.shape]
    sampled = ndi.affine_transform(values, np.full(3, spacing_mm), output_shape=tuple(size), order=1)
    return np.where(sampled > _LEAST, sampled, 0.0).astype(np.float32), np.asarray(image.affine[:3, 3], np.float64)


def _from_ventricles_mm(fluid: FloatArray, brain: FloatArray, spacing_mm: float) -> FloatArray:
    depth_mm = ndi.distance_transform_edt(brain > 0.5, sampling=spacing_mm)
    labelled, _ = ndi.label((fluid > 0.5) & (depth_mm > 25.0))
    largest = np.argmax(np.bincount(labelled.ravel())[1:]) + 1
    distance: FloatArray = ndi.distance_transform_edt(labelled != largest, sampling=spacing_mm)
    return distance
