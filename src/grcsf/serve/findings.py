"""What a mask says in numbers: lesions with their size and position."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, FloatArray
from grcsf.evaluation.matching import label_lesions
from grcsf.evaluation.presets import LesionPreset
from grcsf.io.geometry import Geometry
from grcsf.serve.schemas import Finding, LabelFinding

__all__ = ["MOST_LESIONS", "find_lesions", "size_of"]

MOST_LESIONS = 500
"""Lesions that are listed; further ones count in the numbers of their label."""

_TOUCHING = LesionPreset("serve", connectivity_2d="full", connectivity_3d="full")


def find_lesions(
    mask: AnyArray, probability: FloatArray, geometry: Geometry, labels: dict[str, int]
) -> tuple[list[LabelFinding], list[Finding]]:
    """Lesions by label, and the largest of them one by one.

    Args:
        mask: label values, ``geometry.shape``.
        probability: the largest over the labels, same shape.
        geometry: of the image.
        labels: name to value, background (0) among them or not.

    Returns:
        One entry per label in the order of the values, and at most :data:`MOST_LESIONS` lesions, the largest first.

    Source: own; a lesion is a component of one label whose voxels touch (26 neighbours, 8 in 2-D).
    """
    by_label: list[LabelFinding] = []
    lesions: list[Finding] = []
    boxes = ndimage.find_objects(mask)
    for name, value in sorted(labels.items(), key=lambda item: item[1]):
        if not value:
            continue
        box = boxes[value - 1] if value <= len(boxes) else None
        count, voxels = 0, 0
        if box is not None:
            inside = mask[box] == value
            count, found = _of_label(name, inside, probability[box], box, geometry)
            voxels = int(np.count_nonzero(inside))
            lesions += found
        volume, area = size_of(voxels, geometry)
        by_label.append(LabelFinding(label=name, value=value, lesions=count, volume_ml=volume, area_mm2=area))
    return by_label, sorted(lesions, key=lambda lesion: -lesion.voxels)[:MOST_LESIONS]


def size_of(voxels: int, geometry: Geometry) -> tuple[float | None, float | None]:
    """Volume of so many voxels, ml, and none; or none and their area, mm2, on a grid of two axes."""
    if len(geometry.shape) == 3:
        return voxels * geometry.voxel_size / 1000, None  # 1 ml = 1000 mm3
    return None, voxels * geometry.voxel_size


def _of_label(
    name: str, inside: AnyArray, probability: FloatArray, box: tuple[slice, ...], geometry: Geometry
) -> tuple[int, list[Finding]]:
    """Number of lesions, and the largest of them."""
    numbers, sizes = label_lesions(inside, (1.0,) * inside.ndim, _TOUCHING)
    places = np.nonzero(numbers)
    owner = numbers[places] - 1
    starts = [part.start for part in box]
    centres = np.stack(
        [start + np.bincount(owner, axis, sizes.size) / sizes for start, axis in zip(starts, places, strict=True)],
        axis=1,
    )
    means = np.bincount(owner, probability[places], sizes.size) / sizes
    world = centres @ geometry.affine_ras[:3, : inside.ndim].T + geometry.affine_ras[:3, 3]
    found = []
    for rank, index in enumerate(np.argsort(-sizes, kind="stable")[:MOST_LESIONS], 1):
        volume, area = size_of(int(sizes[index]), geometry)
        found.append(
            Finding(
                label=name,
                number=rank,
                voxels=int(sizes[index]),
                volume_ml=volume,
                area_mm2=area,
                centre_voxel=_rounded(centres[index]),
                centre_mm=_rounded(world[index]),
                mean_probability=round(float(means[index]), 4),
            )
        )
    return int(sizes.size), found


def _rounded(values: AnyArray) -> list[float]:
    return [round(float(value), 3) + 0.0 for value in values if math.isfinite(value)]
