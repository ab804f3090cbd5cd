"""Sizes instead of overlap: specificity, differences in size and in number of lesions, and agreement over cases."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

from grcsf.arrays import BoolArray
from grcsf.evaluation.lesions import LesionScores
from grcsf.evaluation.overlap import Confusion

__all__ = ["Agreement", "agreement", "icc_absolute", "score_volume", "simple_count", "specificity", "volume_columns"]

Sizes = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How far predicted sizes agree with those of the references over the cases of a data set.

    Attributes:
        n: cases, those with empty masks included (size 0).
        pearson: linear correlation; blind to a factor and an offset. Nan with fewer than two cases or equal sizes.
        spearman: the same of the ranks.
        icc: two-way intraclass correlation for absolute agreement of single measurements, ICC(2,1); a factor or an
            offset lowers it.
        bias: mean of prediction minus reference, ml or mm2.
        limits: bias -/+ 1.96 standard deviations of the differences (Bland and Altman); nan with fewer than two cases.
    """

    n: int
    pearson: float
    spearman: float
    icc: float
    bias: float
    limits: tuple[float, float]


def specificity(counts: Confusion) -> float:
    """Share of the voxels outside the reference that were left alone, ``TN / (TN + FP)``, in [0, 1].

    It depends on how much background the image shows, so it compares methods on one data set only. Two empty masks
    score 1 by the formula; nan where the reference fills the image.

    Source: standard.

    >>> specificity(Confusion(tp=48, fp=20, fn=16, tn=80))
    0.8
    """
    return counts.tn / (counts.tn + counts.fp) if counts.tn + counts.fp else math.nan


def volume_columns(spatial_dims: int) -> tuple[str, ...]:
    """Names of what :func:`score_volume` gives; sizes in ml (3-D) or mm2 (2-D)."""
    size, unit = ("volume", "ml") if spatial_dims == 3 else ("area", "mm2")
    return (
        "specificity",
        f"{size}_difference_{unit}",
        f"absolute_{size}_difference_{unit}",
        f"relative_{size}_difference",
        f"absolute_relative_{size}_difference",
        f"fn_{size}_{unit}",
        f"fp_{size}_{unit}",
        "lesion_count_difference",
        "simple_count_difference",
    )


def score_volume(
    reference: BoolArray, prediction: BoolArray, counts: Confusion, voxel_size: float, lesions: LesionScores
) -> dict[str, float]:
    """Specificity and differences of one case, by the names of :func:`volume_columns`.

    Signed differences are prediction minus reference. Relative ones are divided by the reference: nan without one.
    ``fn`` and ``fp`` are the sizes of all missed and of all false voxels. ``lesion_count_difference`` (signed) counts
    lesions by the preset; ``simple_count_difference`` is the absolute difference of the numbers of face-connected
    components, whatever the preset.

    Args:
        reference: boolean mask, 2-D or 3-D.
        prediction: boolean mask of the same shape.
        counts: their voxels.
        voxel_size: size of a voxel, ml or mm2.
        lesions: scores lesion by lesion.

    Source: standard; simple count: ATLAS R2.0 (https://atlas.grand-challenge.org/Evaluation/).
    """
    difference = (counts.n_prediction - counts.n_reference) * voxel_size
    relative = counts.n_prediction / counts.n_reference - 1 if counts.n_reference else math.nan
    values = (
        specificity(counts),
        difference,
        abs(difference),
        relative,
        abs(relative),
        counts.fn * voxel_size,
        counts.fp * voxel_size,
        float(lesions.n_prediction - lesions.n_reference),
        float(abs(simple_count(prediction) - simple_count(reference))),
    )
    return dict(zip(volume_columns(reference.ndim), values, strict=True))


def simple_count(mask: BoolArray) -> int:
    """Number of face-connected components (6 neighbours in 3-D, 4 in 2-D)."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    return int(ndimage.label(mask[boxes[0]])[1]) if boxes else 0


def agreement(reference: Sizes, prediction: Sizes) -> Agreement:
    """Agreement of sizes over cases.

    Args:
        reference: one size per case, finite.
        prediction: sizes of the same cases in the same order.

    Raises:
        ValueError: different numbers of sizes, or one that is not finite.

    Source: standard; ICC(2,1) Shrout and Fleiss 1979 (https://doi.org/10.1037/0033-2909.86.2.420), limits Bland and
    Altman 1986 (https://doi.org/10.1016/S0140-6736(86)90837-8).
    """
    table = _table([reference, prediction])
    n = len(table)
    if not n:
        return Agreement(0, math.nan, math.nan, math.nan, math.nan, (math.nan, math.nan))
    difference = table[:, 1] - table[:, 0]
    bias = float(difference.mean())
    reach = 1.96 * float(difference.std(ddof=1)) if n > 1 else math.nan
    ranks = stats.rankdata(table, axis=0)
    limits = (bias - reach, bias + reach)
    return Agreement(n, _pearson(table), _pearson(ranks), icc_absolute(table.T), bias, limits)


def icc_absolute(raters: Sequence[Sizes] | npt.NDArray[np.float64]) -> float:
    """ICC(2,1): two-way random effects, absolute agreement, single measurement.

    ``(MSR - MSE) / (MSR + (k - 1) MSE + k (MSC - MSE) / n)`` with the mean squares of cases (R), raters (C) and the
    rest (E). Nan with fewer than two cases or raters, or if all values are equal.

    Args:
        raters: for each rater one value per case.

    Source: standard, Shrout and Fleiss 1979 (https://doi.org/10.1037/0033-2909.86.2.420).
    """
    table = _table(raters)
    n, k = table.shape
    if n < 2 or k < 2:
        return math.nan
    centre = table.mean()
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    rest = table - rows[:, None] - columns[None, :] + centre
    msr = k * float(((rows - centre) ** 2).sum()) / (n - 1)
    msc = n * float(((columns - centre) ** 2).sum()) / (k - 1)
    mse = float((rest**2).sum()) / ((n - 1) * (k - 1))
    whole = msr + (k - 1) * mse + k * (msc - mse) / n
    return (msr - mse) / whole if whole > 0 else math.nan


def _table(raters: Sequence[Sizes] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cases x raters."""
    lengths = [len(rater) for rater in raters]
    if len(set(lengths)) > 1:
        raise ValueError(f"{lengths} sizes, expected the same cases in the same order")
    table = np.asarray([np.asarray(rater, dtype=np.float64) for rater in raters]).T
    if not np.isfinite(table).all():
        raise ValueError("a size that is not finite, expected sizes of masks (0 for an empty one)")
    return table


def _pearson(table: npt.NDArray[np.float64]) -> float:
    if len(table) < 2 or (np.ptp(table, axis=0) == 0).any():  # the std of equal sizes may be a rounding error
        return math.nan
    with warnings.catch_warnings():  # nearly equal sizes: the value is what it is
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        return float(stats.pearsonr(table[:, 0], table[:, 1]).statistic)
