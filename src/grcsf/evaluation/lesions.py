"""Lesion-wise scores of two masks: what was found, missed and invented, and a table of every lesion."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from grcsf.arrays import AnyArray, BoolArray, IntArray
from grcsf.errors import GridMismatch
from grcsf.evaluation.contrast import RING_MM, ring_contrast
from grcsf.evaluation.matching import Pair, label_lesions, match_lesions
from grcsf.evaluation.overlap import WhenEmpty, confusion
from grcsf.evaluation.presets import LesionPreset, resolve_preset

__all__ = ["LESION_SCORES", "Lesion", "LesionScores", "score_lesions"]

Source = Literal["reference", "prediction"]


@dataclass(frozen=True)
class Lesion:
    """One lesion of one mask.

    Attributes:
        source: which mask it stands in.
        number: 1, 2, ... within its mask, in the order of the first voxels.
        voxels: its voxels.
        size: mm2 (2-D) or ml (3-D).
        centroid: mean position of its voxels, in voxel indices of the array.
        matched: numbers of the lesions of the other mask that it is matched with.
        detected: whether there is one; a predicted lesion without one is a false positive.
        overlap: share of its voxels that lie in lesions of the other mask, in [0, 1].
        contrast: mean inside / mean of the ring around (:func:`grcsf.evaluation.contrast.ring_contrast`); nan if no
            image was given or the ratio has no meaning.
    """

    source: Source
    number: int
    voxels: int
    size: float
    centroid: tuple[float, ...]
    matched: tuple[int, ...]
    detected: bool
    overlap: float
    contrast: float


@dataclass(frozen=True)
class LesionScores:
    """Lesion-wise scores of one case.

    ``tp`` are reference lesions with a match, ``fn`` those without, ``fp`` predicted lesions without a match.

    Attributes:
        preset: the rules.
        size_unit: ``mm2`` or ``ml``.
        lesions: every lesion, those of the reference first.
        precision: predicted lesions with a match / predicted lesions.
        recall: ``tp / (tp + fn)``.
        f1: ``2 tp / (2 tp + fp + fn)``; under ``f1_of="volume"`` of the two volume scores instead.
        volume_precision: share of the predicted volume that lies in the reference.
        volume_recall: share of the reference volume that was predicted.
        matched_dice: mean over detected reference lesions of the Dice between the lesion and all predicted lesions
            matched with it; nan if none was detected.
        panoptic_quality: sum over detected reference lesions of the same intersection over union, divided by
            ``tp + fp / 2 + fn / 2``; with one-to-one matching the usual definition.
    """

    preset: LesionPreset
    size_unit: str
    lesions: tuple[Lesion, ...]
    precision: float
    recall: float
    f1: float
    volume_precision: float
    volume_recall: float
    matched_dice: float
    panoptic_quality: float

    def of(self, source: Source, *, detected: bool | None = None) -> list[Lesion]:
        """Lesions of one mask: all, those with a match, or those without."""
        chosen = [lesion for lesion in self.lesions if lesion.source == source]
        return chosen if detected is None else [lesion for lesion in chosen if lesion.detected is detected]

    @property
    def n_reference(self) -> int:
        """Lesions of the reference."""
        return len(self.of("reference"))

    @property
    def n_prediction(self) -> int:
        """Lesions of the prediction."""
        return len(self.of("prediction"))

    @property
    def n_detected(self) -> int:
        """Reference lesions with a match (``tp``)."""
        return len(self.of("reference", detected=True))

    @property
    def n_missed(self) -> int:
        """Reference lesions without a match (``fn``)."""
        return len(self.of("reference", detected=False))

    @property
    def n_false(self) -> int:
        """Predicted lesions without a match (``fp``)."""
        return len(self.of("prediction", detected=False))

    @property
    def missed_size(self) -> float:
        """Size of the missed lesions together, mm2 or ml."""
        return math.fsum(lesion.size for lesion in self.of("reference", detected=False))

    @property
    def false_size(self) -> float:
        """Size of the false lesions together, mm2 or ml."""
        return math.fsum(lesion.size for lesion in self.of("prediction", detected=False))


LESION_SCORES: Mapping[str, str] = MappingProxyType(
    {
        "lesion_f1": "f1",
        "lesion_precision": "precision",
        "lesion_recall": "recall",
        "volume_precision": "volume_precision",
        "volume_recall": "volume_recall",
        "matched_dice": "matched_dice",
        "panoptic_quality": "panoptic_quality",
    }
)
"""Name of a score in files -> attribute of :class:`LesionScores`."""


def score_lesions(
    reference: BoolArray,
    prediction: BoolArray,
    spacing_mm: tuple[float, ...],
    preset: str | Mapping[str, Any] | LesionPreset = "any-overlap",
    *,
    image: AnyArray | None = None,
    foreground: BoolArray | None = None,
    every_label: tuple[BoolArray, BoolArray] | None = None,
) -> LesionScores:
    """Compare two masks lesion by lesion.

    Contrast of a reference lesion does not depend on the prediction: its ring leaves out the reference only. The ring
    of a predicted lesion leaves out both masks. Lesions of other labels belong to no ring either.

    Args:
        reference: boolean mask, 2-D or 3-D.
        prediction: boolean mask of the same shape.
        spacing_mm: edge lengths of a voxel, one per axis.
        preset: name, fields or a :class:`~grcsf.evaluation.presets.LesionPreset`.
        image: grey values of the same shape, for the contrast.
        foreground: voxels of the patient, for the rings; none: all.
        every_label: lesions of any label in reference and prediction, for the rings; none: the two masks themselves.

    Raises:
        TypeError: a mask that is not boolean.
        GridMismatch: shapes or spacing that do not fit.
        SettingsError: a preset that does not exist.
    """
    rules = resolve_preset(preset)
    _check(reference, prediction, spacing_mm, (image, foreground))
    box, start = _box(reference | prediction, spacing_mm)
    parts = reference[box], prediction[box]
    labels: list[IntArray] = []
    sizes: list[IntArray] = []
    for mask in parts:
        numbers, counts = label_lesions(mask, spacing_mm, rules)
        labels.append(numbers)
        sizes.append(counts)
    contrasts: list[Sequence[float]] = [[math.nan] * len(counts) for counts in sizes]
    if image is not None:
        inside = foreground[box] if foreground is not None else None
        known, found = (mask[box] for mask in every_label or (reference, prediction))
        for index, excluded in enumerate((known, known | found)):
            contrasts[index] = ring_contrast(image[box], labels[index], excluded, spacing_mm, foreground=inside)
    pairs = match_lesions(labels[0], labels[1], (sizes[0], sizes[1]), rules)
    voxel_mm = math.prod(spacing_mm)
    size = voxel_mm if reference.ndim == 2 else voxel_mm / 1000.0  # 1 ml = 1000 mm3
    lesions: list[Lesion] = []
    sources: tuple[Source, Source] = ("reference", "prediction")
    for index, source in enumerate(sources):
        matched: dict[int, list[int]] = defaultdict(list)
        for pair in pairs:
            here, there = (pair.reference, pair.prediction)[:: 1 - 2 * index]
            matched[here].append(there)
        masks = labels[index], labels[1 - index] > 0
        lesions += _table(source, masks, matched, (size, start), contrasts[index])
    return _scores(rules, reference.ndim, lesions, pairs, (labels[0] > 0, labels[1] > 0))


def _check(
    reference: BoolArray,
    prediction: BoolArray,
    spacing_mm: tuple[float, ...],
    others: tuple[AnyArray | None, BoolArray | None],
) -> None:
    for name, array in (("reference", reference), ("prediction", prediction)):
        if array.dtype != np.bool_:
            raise TypeError(f"{name} has dtype {array.dtype}, expected bool; write {name} == 1 for label 1")
    for name, other in (("prediction", prediction), ("image", others[0]), ("foreground", others[1])):
        if other is not None and other.shape != reference.shape:
            raise GridMismatch(f"reference has shape {reference.shape} but {name} {other.shape}; resample it first")
    if reference.ndim not in (2, 3) or len(spacing_mm) != reference.ndim:
        raise GridMismatch(f"masks of shape {reference.shape} with spacing {spacing_mm}, expected 2 or 3 of each")


def _box(mask: BoolArray, spacing_mm: tuple[float, ...]) -> tuple[tuple[slice, ...], tuple[int, ...]]:
    """The part of the grid that holds all lesions and their rings, and its first voxel."""
    box = []
    for axis, edge_mm in enumerate(spacing_mm):
        others = tuple(index for index in range(mask.ndim) if index != axis)
        where = np.flatnonzero(mask.any(axis=others))
        pad = math.ceil(RING_MM / edge_mm)
        box.append(slice(max(0, int(where[0]) - pad), int(where[-1]) + 1 + pad) if where.size else slice(0, 1))
    return tuple(box), tuple(part.start for part in box)


def _table(
    source: Source,
    masks: tuple[IntArray, BoolArray],
    matched: Mapping[int, Sequence[int]],
    grid: tuple[float, tuple[int, ...]],
    contrasts: Sequence[float],
) -> list[Lesion]:
    labels, other = masks
    size, start = grid
    places = np.nonzero(labels)
    numbers = labels[places]
    count = len(contrasts) + 1
    voxels = np.bincount(numbers, minlength=count)
    shared = np.bincount(numbers, weights=other[places], minlength=count)
    sums = [np.bincount(numbers, weights=place, minlength=count) for place in places]
    return [
        Lesion(
            source=source,
            number=number,
            voxels=int(voxels[number]),
            size=int(voxels[number]) * size,
            centroid=tuple(
                float(total[number] / voxels[number]) + first for total, first in zip(sums, start, strict=True)
            ),
            matched=tuple(matched.get(number, ())),
            detected=number in matched,
            overlap=float(shared[number] / voxels[number]),
            contrast=contrasts[number - 1],
        )
        for number in range(1, count)
    ]


def _scores(
    preset: LesionPreset,
    spatial_dims: int,
    lesions: Sequence[Lesion],
    pairs: Sequence[Pair],
    masks: tuple[BoolArray, BoolArray],
) -> LesionScores:
    found = {
        source: [lesion for lesion in lesions if lesion.source == source] for source in ("reference", "prediction")
    }
    truth, made = found["reference"], found["prediction"]
    empty = WhenEmpty(preset.when_empty).score if not truth and not made else None
    tp = sum(lesion.detected for lesion in truth)
    right = sum(lesion.detected for lesion in made)
    fn, fp = len(truth) - tp, len(made) - right
    voxels = confusion(*masks)
    f1 = (2 * tp, 2 * tp + fp + fn)
    if preset.f1_of == "volume":
        f1 = (2 * voxels.tp, 2 * voxels.tp + voxels.fp + voxels.fn)
    dices, ious = _matched_overlaps(truth, made, pairs)
    return LesionScores(
        preset=preset,
        size_unit="mm2" if spatial_dims == 2 else "ml",
        lesions=tuple(lesions),
        precision=_share(right, len(made), empty),
        recall=_share(tp, len(truth), empty),
        f1=_share(*f1, empty),
        volume_precision=_share(voxels.tp, voxels.n_prediction, empty),
        volume_recall=_share(voxels.tp, voxels.n_reference, empty),
        matched_dice=math.fsum(dices) / tp if tp else math.nan,
        panoptic_quality=_share(math.fsum(ious), tp + fp / 2 + fn / 2, empty),
    )


def _matched_overlaps(
    truth: Sequence[Lesion], made: Sequence[Lesion], pairs: Sequence[Pair]
) -> tuple[list[float], list[float]]:
    """Dice and intersection over union of each detected reference lesion with all its matched predictions."""
    shared: dict[int, int] = defaultdict(int)
    for pair in pairs:
        shared[pair.reference] += pair.shared
    dices, ious = [], []
    for lesion in truth:
        if lesion.detected:
            both = lesion.voxels + sum(made[number - 1].voxels for number in lesion.matched)
            dices.append(2 * shared[lesion.number] / both)
            ious.append(shared[lesion.number] / (both - shared[lesion.number]))
    return dices, ious


def _share(part: float, whole: float, empty: float | None) -> float:
    if empty is not None:
        return empty
    return part / whole if whole else 0.0
