"""Whether a probability means what it says: reliability curve, calibration error, and a threshold chosen elsewhere."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grcsf.arrays import AnyArray, BoolArray
from grcsf.errors import DatasetError, GridMismatch, ImageError, LeakageError
from grcsf.evaluation.overlap import Confusion

__all__ = ["CalibrationBin", "Reliability", "Threshold", "best_threshold", "reliability", "threshold_counts"]

N_BINS = 20
"""Bins of equal width; 0.05 each, so that a bin border lies on 0.5."""

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Thresholds that are tried, 0.05 to 0.95."""


@dataclass(frozen=True)
class CalibrationBin:
    """Voxels whose probability lies in one interval.

    Attributes:
        low: lower end, which belongs to the bin.
        high: upper end, which does not (the last bin holds 1).
        n: voxels.
        mean_probability: what they were said to be; nan without a voxel.
        share_positive: what they were; nan without a voxel.
    """

    low: float
    high: float
    n: int
    mean_probability: float
    share_positive: float


@dataclass(frozen=True, eq=False)
class Reliability:
    """Counts behind a reliability curve; ``+`` adds up cases, so that no map needs to be kept.

    Attributes:
        n: voxels of each bin.
        probability: sum of their probabilities.
        positive: how many of them are lesion.
        squares: sum over all voxels of (probability - truth) squared.
    """

    n: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]
    positive: npt.NDArray[np.int64]
    squares: float

    def __add__(self, other: Reliability) -> Reliability:
        if len(self.n) != len(other.n):
            raise ValueError(f"{len(self.n)} and {len(other.n)} bins; count both with the same number")
        return Reliability(
            self.n + other.n,
            self.probability + other.probability,
            self.positive + other.positive,
            self.squares + other.squares,
        )

    def bins(self) -> list[CalibrationBin]:
        """The curve, from the lowest probability up."""
        edges = np.linspace(0, 1, len(self.n) + 1)
        return [
            CalibrationBin(
                float(edges[k]),
                float(edges[k + 1]),
                int(self.n[k]),
                float(self.probability[k] / self.n[k]) if self.n[k] else math.nan,
                float(self.positive[k] / self.n[k]) if self.n[k] else math.nan,
            )
            for k in range(len(self.n))
        ]

    def ece(self, *, candidates: bool = False) -> float:
        """Expected calibration error, ``sum over bins of n_k / n * |share positive - mean probability|``, in [0, 1].

        Nearly all voxels of a scan are background that nobody doubts, which makes the error of any method look small;
        with ``candidates`` the lowest bin is left out, so that it is over voxels with some suspicion.

        Args:
            candidates: leave out the lowest bin.

        Returns:
            Nan without a voxel.

        Source: standard, Naeini 2015 (https://doi.org/10.1609/aaai.v29i1.9602), of the positive class; candidates own.
        """
        part = slice(1 if candidates else 0, None)
        n = int(self.n[part].sum())
        return float(np.abs(self.positive[part] - self.probability[part]).sum() / n) if n else math.nan

    def brier(self) -> float:
        """Mean of (probability - truth) squared over all voxels; nan without a voxel. Source: standard, Brier 1950."""
        n = int(self.n.sum())
        return self.squares / n if n else math.nan


@dataclass(frozen=True)
class Threshold:
    """A threshold and how it was chosen.

    Attributes:
        value: a voxel is lesion if its probability is above this, as in prediction (``inference.threshold``).
        score: mean Dice over ``cases`` at this threshold.
        scores: threshold -> mean Dice, all that were tried.
        cases: cases it was chosen on that have a lesion, by name.
    """

    value: float
    score: float
    scores: Mapping[float, float]
    cases: tuple[str, ...]


def reliability(reference: BoolArray, probability: AnyArray, n_bins: int = N_BINS) -> Reliability:
    """Counts of one case.

    Args:
        reference: boolean mask.
        probability: of the lesion, in [0, 1], same shape.
        n_bins: bins of equal width.

    Raises:
        TypeError: a mask that is not boolean.
        GridMismatch: different shapes.
        ImageError: probabilities outside 0 to 1, or not finite.
        ValueError: fewer than two bins.
    """
    if n_bins < 2:
        raise ValueError(f"{n_bins} bins, expected at least 2")
    truth, prob = _checked(reference, probability)
    index = np.minimum((prob * n_bins).astype(np.int64), n_bins - 1)
    return Reliability(
        np.bincount(index, minlength=n_bins),
        np.bincount(index, weights=prob, minlength=n_bins).astype(np.float64),
        np.bincount(index[truth], minlength=n_bins),
        float(((prob - truth) ** 2).sum()),
    )


def threshold_counts(
    reference: BoolArray, probability: AnyArray, thresholds: Sequence[float] = THRESHOLDS
) -> list[Confusion]:
    """Voxel counts of ``probability > threshold`` for each threshold, in one pass over the voxels.

    Args:
        reference: boolean mask.
        probability: of the lesion, in [0, 1], same shape.
        thresholds: in ascending order.

    Raises:
        As :func:`reliability`; ValueError: thresholds that do not ascend within 0 to 1.
    """
    edges = np.asarray(thresholds, dtype=np.float64)
    if not edges.size or (np.diff(edges) <= 0).any() or edges[0] <= 0 or edges[-1] > 1:
        raise ValueError(f"thresholds {list(thresholds)}, expected ascending numbers above 0 and at most 1")
    truth, prob = _checked(reference, probability)
    if probability.dtype.kind == "f":  # 0.35 is another number in single precision, in which predictions are compared
        edges = edges.astype(probability.dtype).astype(np.float64)
    reached = np.searchsorted(edges, prob, side="left")
    counts = [np.bincount(reached[part], minlength=edges.size + 1) for part in (truth, ~truth)]
    tp, fp = (np.cumsum(count[::-1])[::-1][1:] for count in counts)
    positive, negative = int(truth.sum()), int((~truth).sum())
    return [Confusion(int(t), int(f), positive - int(t), negative - int(f)) for t, f in zip(tp, fp, strict=True)]


def best_threshold(
    cases: Iterable[tuple[str, BoolArray, AnyArray]],
    *,
    reported: Collection[str],
    subjects: Mapping[str, str] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Threshold:
    """The threshold of the highest mean Dice on cases that are not reported.

    A threshold that is chosen on the cases whose scores are reported makes these too good; so no case, and no subject,
    may be on both sides. Cases without a lesion have no say in the mean. Of equal means the one nearest to 0.5 wins.

    Args:
        cases: name, reference mask and probabilities, one after the other (a generator keeps memory flat).
        reported: names of the cases whose scores will be reported.
        subjects: case -> subject; a case that is not in it stands for itself.
        thresholds: what is tried, ascending.

    Raises:
        LeakageError: a case or subject on both sides.
        DatasetError: not one case with a lesion to choose on.
        As :func:`threshold_counts` for each case.

    Source: own.
    """
    who = subjects or {}
    apart = {who.get(case, case): case for case in reported}
    rows, names = [], []
    for name, reference, probability in cases:
        if (subject := who.get(name, name)) in apart:
            raise LeakageError(
                f"{name}: subject {subject} is also reported (case {apart[subject]}); choose the threshold on "
                "training cases of other subjects"
            )
        counts = threshold_counts(reference, probability, thresholds)
        if counts[0].n_reference:
            rows.append([2 * c.tp / (2 * c.tp + c.fp + c.fn) for c in counts])
            names.append(name)
    if not rows:
        raise DatasetError("no case with a lesion to choose a threshold on; give training cases that have one")
    means = np.mean(rows, axis=0)
    scores = {float(threshold): float(mean) for threshold, mean in zip(thresholds, means, strict=True)}
    value = max(scores, key=lambda threshold: (round(scores[threshold], 12), -abs(threshold - 0.5), -threshold))
    return Threshold(value, scores[value], scores, tuple(names))


def _checked(reference: BoolArray, probability: AnyArray) -> tuple[BoolArray, npt.NDArray[np.float64]]:
    """Both as flat arrays."""
    if reference.dtype != np.bool_:
        raise TypeError(f"reference has dtype {reference.dtype}, expected bool; write reference == 1 for label 1")
    if reference.shape != probability.shape:
        raise GridMismatch(
            f"reference has shape {reference.shape} but probabilities {probability.shape}; resample them"
        )
    prob = probability.astype(np.float64).reshape(-1)
    low, high = (float(prob.min()), float(prob.max())) if prob.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        raise ImageError(f"probabilities from {low:g} to {high:g}, expected 0 to 1; give the CASE_prob maps")
    return reference.reshape(-1), prob
