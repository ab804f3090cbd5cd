"""CarveMix: a lesion of one case, with a margin of its surroundings, put into another case."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from grcsf.arrays import AnyArray
from grcsf.training.augment import Sample

__all__ = ["carve_mix", "carved_region"]


def carve_mix(host: Sample, donor: Sample, rng: np.random.Generator) -> Sample:
    """The host with the lesions of the donor, image, maps and label alike; new arrays.

    Within :func:`carved_region` of the donor's label everything is the donor's, elsewhere the host's. A donor without a
    lesion leaves the host as it is.
    Source: standard (CarveMix, Zhang et al., MICCAI 2021; arXiv 2108.06883).

    Args:
        host: ``image`` (C, *space), ``label`` (1, *space) and, with maps, ``residual`` (R, *space).
        donor: the same keys and shapes.
        rng: draws the margin.
    """
    lesion = donor["label"][0] > 0
    if not lesion.any():
        return host
    region = carved_region(_distance_to_border(lesion), rng)
    return {key: np.where(region, donor[key], host[key]) for key in host}


def carved_region(distance: Float[AnyArray, "*space"], rng: np.random.Generator) -> Bool[AnyArray, "*space"]:
    """Voxels up to a random distance from the border of the lesion.

    Half of the draws are smaller than the lesion, down to half its depth; the others are larger, by up to its depth.

    Args:
        distance: to the border of the lesion in voxels, negative inside; at least one voxel is inside.
        rng: draws the distance.
    """
    depth = float(-distance.min())
    limit = rng.uniform(-depth / 2, 0.0) if rng.random() < 0.5 else rng.uniform(0.0, depth)
    return distance <= limit


def _distance_to_border(lesion: Bool[AnyArray, "*space"]) -> Float[AnyArray, "*space"]:
    if lesion.all():  # no border: all of it is carved
        return np.full(lesion.shape, -1.0)
    inside, outside = (np.asarray(ndimage.distance_transform_edt(mask)) for mask in (lesion, ~lesion))
    return np.where(lesion, -inside, outside)
