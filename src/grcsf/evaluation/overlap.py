"""Voxel overlap of two masks: Dice, IoU, F1, precision and recall, with a named rule for empty masks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from grcsf.arrays import BoolArray
from grcsf.errors import GridMismatch

__all__ = ["Confusion", "WhenEmpty", "confusion", "dice", "f1", "iou", "precision", "recall"]


class WhenEmpty(StrEnum):
    """Score of a case whose reference and prediction are both empty (libraries disagree, so the caller says).

    It governs that one situation and nothing else; with one mask empty every score is 0 under every policy,
    so all scores of a table are means over the same cases. The full table: docs/reference/empty-masks.md.
    """

    SKIP = "skip"
    """Not a number: the case is left out of the means (nnU-Net, MONAI ``ignore_empty=True``)."""
    ONE = "one"
    """1: nothing to find and nothing found (ISLES, MONAI ``ignore_empty=False``)."""
    ZERO = "zero"
    """0: as if the case had been missed."""

    @property
    def score(self) -> float:
        """The score itself: nan, 1 or 0."""
        return {WhenEmpty.SKIP: float("nan"), WhenEmpty.ONE: 1.0, WhenEmpty.ZERO: 0.0}[self]


@dataclass(frozen=True)
class Confusion:
    """Numbers of voxels on which prediction and reference agree or not; ``+`` adds up cases."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n_reference(self) -> int:
        """Voxels of the reference mask."""
        return self.tp + self.fn

    @property
    def n_prediction(self) -> int:
        """Voxels of the predicted mask."""
        return self.tp + self.fp

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)


def confusion(reference: BoolArray, prediction: BoolArray) -> Confusion:
    """Count agreement voxel by voxel.

    Args:
        reference: boolean mask of any shape, True inside the lesion.
        prediction: boolean mask of the same shape.

    Raises:
        TypeError: an array that is not boolean (compare a label map with a label value first).
        GridMismatch: arrays of different shapes.
    """
    for name, array in (("reference", reference), ("prediction", prediction)):
        if array.dtype != np.bool_:
            raise TypeError(f"{name} has dtype {array.dtype}, expected bool; write {name} == 1 for label 1")
    if reference.shape != prediction.shape:
        raise GridMismatch(
            f"reference has shape {reference.shape} but prediction {prediction.shape}; resample the prediction first"
        )
    tp = int(np.count_nonzero(reference & prediction))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(reference)) - tp
    return Confusion(tp, fp, fn, reference.size - tp - fp - fn)


def dice(
    reference: BoolArray | Confusion, prediction: BoolArray | None = None, *, when_empty: WhenEmpty = WhenEmpty.SKIP
) -> float:
    """Dice coefficient ``2 TP / (2 TP + FP + FN)`` in [0, 1].

    Args:
        reference: boolean mask, or a ``Confusion`` counted before (then without ``prediction``).
        prediction: boolean mask of the same shape.
        when_empty: score when both masks are empty; with one of them empty the score is 0.

    Source: standard (Dice 1945, https://doi.org/10.2307/1932409).

    >>> dice(Confusion(tp=48, fp=16, fn=16, tn=80))
    0.75
    """
    c = _counted(reference, prediction)
    return _share(2 * c.tp, 2 * c.tp + c.fp + c.fn, c, when_empty)


def f1(
    reference: BoolArray | Confusion, prediction: BoolArray | None = None, *, when_empty: WhenEmpty = WhenEmpty.SKIP
) -> float:
    """Harmonic mean of voxel precision and voxel recall, in [0, 1].

    Voxel by voxel this is Dice under another name, ``2 P R / (P + R) = 2 TP / (2 TP + FP + FN)``; both are given
    because the GRCSF paper reports both columns. It is not the lesion-wise F1.

    Source: standard. Arguments as in :func:`dice`.
    """
    return dice(reference, prediction, when_empty=when_empty)


def iou(
    reference: BoolArray | Confusion, prediction: BoolArray | None = None, *, when_empty: WhenEmpty = WhenEmpty.SKIP
) -> float:
    """Intersection over union (Jaccard index) ``TP / (TP + FP + FN)`` in [0, 1].

    Source: standard. Arguments as in :func:`dice`.

    >>> iou(Confusion(tp=48, fp=16, fn=16, tn=80))
    0.6
    """
    c = _counted(reference, prediction)
    return _share(c.tp, c.tp + c.fp + c.fn, c, when_empty)


def precision(
    reference: BoolArray | Confusion, prediction: BoolArray | None = None, *, when_empty: WhenEmpty = WhenEmpty.SKIP
) -> float:
    """Share of predicted voxels that are right, ``TP / (TP + FP)``, in [0, 1].

    A prediction that is empty while the reference is not has precision 0 (0 / 0 by the formula): a method that
    finds nothing must not leave the mean of its precision untouched.

    Source: standard, the empty case own. Arguments as in :func:`dice`.
    """
    c = _counted(reference, prediction)
    return _share(c.tp, c.tp + c.fp, c, when_empty)


def recall(
    reference: BoolArray | Confusion, prediction: BoolArray | None = None, *, when_empty: WhenEmpty = WhenEmpty.SKIP
) -> float:
    """Share of reference voxels that were found (sensitivity), ``TP / (TP + FN)``, in [0, 1].

    A reference that is empty while the prediction is not has recall 0 (0 / 0 by the formula), so that every score
    of a table is a mean over the same cases; the mean over lesion cases is free of this choice.

    Source: standard, the empty case own. Arguments as in :func:`dice`.
    """
    c = _counted(reference, prediction)
    return _share(c.tp, c.tp + c.fn, c, when_empty)


def _counted(reference: BoolArray | Confusion, prediction: BoolArray | None) -> Confusion:
    if isinstance(reference, Confusion):
        if prediction is not None:
            raise TypeError("a Confusion already holds the prediction; pass it alone")
        return reference
    if prediction is None:
        raise TypeError("a reference mask needs a prediction mask beside it")
    return confusion(reference, prediction)


def _share(part: int, whole: int, counts: Confusion, when_empty: WhenEmpty) -> float:
    if counts.n_reference == 0 and counts.n_prediction == 0:
        return when_empty.score
    return part / whole if whole else 0.0
