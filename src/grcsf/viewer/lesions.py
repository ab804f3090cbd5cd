"""The lesions of a case as a list to click through: size, match, score, and a voxel that lies inside each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, BoolArray
from grcsf.evaluation.lesions import Lesion, score_lesions
from grcsf.evaluation.matching import label_lesions
from grcsf.evaluation.presets import LesionPreset
from grcsf.io.geometry import Geometry

Source = Literal["reference", "prediction"]

__all__ = ["MOST_LESIONS", "LesionList", "list_lesions"]

MOST_LESIONS = 300
"""Longer lists keep the largest; a mask of noise has tens of thousands of components."""


@dataclass(frozen=True)
class LesionList:
    """Lesions of a case.

    Attributes:
        unit: of the sizes, ``ml`` or ``mm2``.
        lesions: as JSON, the largest first: ``label``, ``source`` (``reference`` or ``prediction``), ``number``,
            ``size``, ``voxels``, ``state`` (``matched``, ``missed``, ``false``, or ``single`` where there is nothing
            to match with), ``score`` (mean lesion probability inside, none without such a map), ``overlap``,
            ``voxel`` (of the file sent), ``mm`` (RAS).
        left_out: how many more there are.
    """

    unit: str
    lesions: tuple[dict[str, Any], ...]
    left_out: int = 0


def list_lesions(
    reference: AnyArray | None,
    prediction: AnyArray | None,
    geometry: Geometry,
    labels: Mapping[int, str],
    preset: LesionPreset,
    *,
    probability: AnyArray | None = None,
    picture: bool = False,
) -> LesionList:
    """Lesions of one or two masks on one grid.

    A lesion is what the preset says (connectivity, smallest size); its voxel is the one nearest to its centroid, in
    mm, so that the crosshair lands inside however the lesion is bent.

    Args:
        reference: label values, three axes; none: there is no such mask.
        prediction: the same.
        geometry: their grid, three axes.
        labels: value -> name; values not named are shown as ``label 3``.
        preset: rules of :mod:`grcsf.evaluation.presets`.
        probability: lesion probability on the same grid.
        picture: sizes in mm2 instead of ml (the volume is one slice without thickness).
    """
    found: list[dict[str, Any]] = []
    total = 0
    values = {int(value) for mask in (reference, prediction) if mask is not None for value in np.unique(mask)} - {0}
    for value in sorted(values):
        masks = [None if mask is None else mask == value for mask in (reference, prediction)]
        name = labels.get(value, f"label {value}")
        rows, count = _of_label(name, masks, geometry, preset, probability=probability, picture=picture)
        found += rows
        total += count
    found.sort(key=lambda lesion: -lesion["size"])
    return LesionList("mm2" if picture else "ml", tuple(found[:MOST_LESIONS]), total - len(found[:MOST_LESIONS]))


def _of_label(
    name: str,
    masks: list[BoolArray | None],
    geometry: Geometry,
    preset: LesionPreset,
    *,
    probability: AnyArray | None,
    picture: bool,
) -> tuple[list[dict[str, Any]], int]:
    """Rows of the largest lesions of one label, and how many there are in all."""
    single = any(mask is None for mask in masks)
    there = next(mask for mask in masks if mask is not None)
    full = [np.zeros_like(there) if mask is None else mask for mask in masks]
    box, start = _box(full[0] | full[1])
    parts = [_flat(mask[box], picture) for mask in full]
    spacing = geometry.edges_mm[: parts[0].ndim]
    scores = score_lesions(parts[0], parts[1], spacing, preset)
    chance = None if probability is None else _flat(probability[box], picture)
    rows: list[dict[str, Any]] = []
    sources: tuple[Source, Source] = ("reference", "prediction")
    for source, part in zip(sources, parts, strict=True):
        numbers, _ = label_lesions(part, spacing, preset)
        boxes = ndimage.find_objects(numbers)
        largest = sorted(scores.of(source), key=lambda lesion: -lesion.voxels)[:MOST_LESIONS]
        for lesion in largest:
            inside = boxes[lesion.number - 1]
            own = numbers[inside] == lesion.number
            corner = [edge.start for edge in inside]
            rows.append(
                {
                    "label": name,
                    "source": source,
                    "number": lesion.number,
                    "size": lesion.size,
                    "voxels": lesion.voxels,
                    "state": "single" if single else _state(lesion),
                    "score": None if chance is None else float(chance[inside][own].mean()),
                    "overlap": None if single else lesion.overlap,
                    **_place(own, corner, lesion, start, geometry),
                }
            )
    return rows, len(scores.lesions)


def _state(lesion: Lesion) -> str:
    if lesion.detected:
        return "matched"
    return "missed" if lesion.source == "reference" else "false"


def _place(
    own: BoolArray, corner: list[int], lesion: Lesion, start: tuple[int, ...], geometry: Geometry
) -> dict[str, Any]:
    """The voxel of the lesion nearest to its centroid, and its position."""
    voxels = np.argwhere(own) + corner
    steps = np.array(geometry.spacing_mm[: own.ndim])
    nearest = voxels[np.square((voxels - np.array(lesion.centroid)) * steps).sum(axis=1).argmin()]
    voxel = [int(place) + first for place, first in zip([*nearest, 0][:3], start, strict=True)]
    mm = geometry.affine_ras[:3, :3] @ np.array(voxel, np.float64) + geometry.affine_ras[:3, 3]
    return {"voxel": voxel, "mm": [float(value) for value in mm]}


def _flat(array: Any, picture: bool) -> Any:
    return array[..., 0] if picture else array


def _box(mask: BoolArray) -> tuple[tuple[slice, ...], tuple[int, ...]]:
    """The part of the grid that holds the mask, and its first voxel; an empty mask leaves one voxel."""
    box = []
    for axis in range(3):
        where = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 1))
    return tuple(box), tuple(part.start for part in box)
