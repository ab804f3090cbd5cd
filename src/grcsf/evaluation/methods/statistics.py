"""How sure a number is: bootstrap intervals over subjects, paired tests, Holm's correction, spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["Interval", "PairedDifference", "SeedSpread", "bootstrap_mean", "holm", "paired_difference", "spread"]

Values = Sequence[float] | npt.NDArray[np.float64]

_CHUNK = 2_000_000
"""Numbers that are drawn at a time: bounds the memory of the bootstrap to about 32 MB."""

_FEW = 13
"""Differences whose signs can all be tried (2 to the 13th ways)."""


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval.

    Attributes:
        mean: of the values that are not nan; nan if there is none.
        low: lower end; nan with fewer than two values.
        high: upper end; nan with fewer than two values.
        n: values used.
        n_missing: values that were nan.
        level: coverage asked for, such as 0.95.
    """

    mean: float
    low: float
    high: float
    n: int
    n_missing: int = 0
    level: float = 0.95


@dataclass(frozen=True)
class PairedDifference:
    """The mean of ``a - b`` over subjects.

    Attributes:
        mean: of the differences; nan if there is no pair.
        low: lower end of its bootstrap interval; nan with fewer than two pairs.
        high: upper end.
        n: pairs used.
        p_value: two-sided Wilcoxon signed-rank test; 1 if all differences are 0, nan with fewer than two pairs.
        effect: matched-pairs rank-biserial correlation in [-1, 1], above 0 if ``a`` is larger; 0 if all
            differences are 0, nan without a pair.
        n_missing: pairs left out because a value was nan.
        level: coverage of the interval.
    """

    mean: float
    low: float
    high: float
    n: int
    p_value: float
    effect: float
    n_missing: int = 0
    level: float = 0.95


@dataclass(frozen=True)
class SeedSpread:
    """Spread over seeds beside that over subjects.

    Attributes:
        mean: of the means of the seeds.
        over_seeds: standard deviation over seeds of the mean over subjects (``n - 1``); nan with one seed.
        over_subjects: standard deviation over subjects of each subject's mean over seeds (``n - 1``); nan with one
            subject.
        n_seeds: seeds.
        n_subjects: subjects that every seed has a value of; the others are left out.
        n_missing: subjects left out.
    """

    mean: float
    over_seeds: float
    over_subjects: float
    n_seeds: int
    n_subjects: int
    n_missing: int = 0


def bootstrap_mean(values: Values, *, samples: int = 10_000, seed: int = 0, level: float = 0.95) -> Interval:
    """Mean of one value per subject and its percentile bootstrap interval.

    Subjects are drawn with replacement, ``samples`` times; the ends are quantiles of the means. The same values in
    the same order and the same seed give the same interval. With an infinite value (a missed lesion under
    ``when_missed=infinite``) the mean is infinite, or nan if both infinities occur, and there is no interval.

    Args:
        values: one per subject; nan is left out and counted.
        samples: bootstrap samples.
        seed: of the draws.
        level: coverage, between 0 and 1.

    Raises:
        ValueError: ``samples`` below 1 or ``level`` outside (0, 1).

    Source: standard, Efron and Tibshirani 1993, chapter 13.
    """
    _check(samples, level)
    every = np.asarray(values, dtype=np.float64).reshape(-1)
    used = every[~np.isnan(every)]
    with np.errstate(invalid="ignore"):  # both infinities
        mean = float(used.mean()) if used.size else math.nan
    low, high = (math.nan, math.nan)
    if used.size > 1 and np.isfinite(used).all():
        low, high = _ends(used, samples, seed, level)
    return Interval(mean, low, high, int(used.size), int(every.size - used.size), level)


def paired_difference(
    a: Values, b: Values, *, samples: int = 10_000, seed: int = 0, level: float = 0.95
) -> PairedDifference:
    """Compare two methods on the same subjects.

    The p value is that of the two-sided Wilcoxon signed-rank test with zero differences dropped: exact up to 50
    differences without ties or 13 with ties, else by the normal approximation with its correction for ties. The effect
    size is ``(R+ - R-) / (R+ + R-)`` of the same ranks. Differences are ranked as five decimals tell them (of values
    below 1, five digits of the largest), so that what rounding does to thirds is a tie and no rank; two equal
    infinities differ by 0, and an infinite difference has the highest rank.

    Args:
        a: one value per subject.
        b: values of the same subjects in the same order; a pair with a nan is left out and counted.
        samples: bootstrap samples.
        seed: of the draws.
        level: coverage of the interval of the mean difference.

    Raises:
        ValueError: different lengths, ``samples`` below 1 or ``level`` outside (0, 1).

    Source: standard, Wilcoxon 1945 (https://doi.org/10.2307/3001968); effect size Kerby 2014
    (https://doi.org/10.2466/11.IT.3.1).
    """
    first, second = np.asarray(a, dtype=np.float64).reshape(-1), np.asarray(b, dtype=np.float64).reshape(-1)
    if first.size != second.size:
        raise ValueError(f"a has {first.size} values but b {second.size}; give the same subjects in the same order")
    with np.errstate(invalid="ignore"):
        difference = np.where(np.isinf(first) & (first == second), 0.0, first - second)
    difference[np.abs(difference) < 1e-12] = 0.0
    interval = bootstrap_mean(difference, samples=samples, seed=seed, level=level)
    used = _ranked_alike(_rounded(difference[~np.isnan(difference)], (first, second)))
    return PairedDifference(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        p_value=_wilcoxon(used),
        effect=_rank_biserial(used),
        n_missing=interval.n_missing,
        level=level,
    )


def holm(p_values: Iterable[float]) -> list[float]:
    """P values corrected for their number by Holm's step-down method, in the order given.

    nan stays nan and does not count as a test.

    Raises:
        ValueError: a value outside [0, 1].

    Source: standard, Holm 1979 (https://www.jstor.org/stable/4615733).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    given = [float(value) for value in p_values]
    if any(not 0 <= value <= 1 for value in given if not math.isnan(value)):
        raise ValueError(f"p values {given}, expected numbers from 0 to 1")
    order = sorted((index for index, value in enumerate(given) if not math.isnan(value)), key=given.__getitem__)
    corrected, largest = [math.nan] * len(given), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * given[index]))
        corrected[index] = largest
    return corrected


def spread(values_by_seed: Mapping[int, Values] | Sequence[Values]) -> SeedSpread:
    """Tell the luck of the seed from the differences between subjects.

    Args:
        values_by_seed: for each seed one value per subject, the subjects in the same order; a subject with a nan in
            any seed is left out of all.

    Raises:
        ValueError: no seed, or seeds with different numbers of subjects.

    Source: own; both are plain standard deviations.
    """
    rows = list(values_by_seed.values()) if isinstance(values_by_seed, Mapping) else list(values_by_seed)
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError(f"{[len(row) for row in rows]} values by seed; give the same subjects for each seed")
    table = np.asarray([np.asarray(row, dtype=np.float64) for row in rows])
    complete = table[:, ~np.isnan(table).any(axis=0)]
    n_seeds, n_subjects = complete.shape
    if not n_subjects:
        return SeedSpread(math.nan, math.nan, math.nan, n_seeds, 0, table.shape[1])
    return SeedSpread(
        mean=float(complete.mean()),
        over_seeds=float(complete.mean(axis=1).std(ddof=1)) if n_seeds > 1 else math.nan,
        over_subjects=float(complete.mean(axis=0).std(ddof=1)) if n_subjects > 1 else math.nan,
        n_seeds=n_seeds,
        n_subjects=n_subjects,
        n_missing=table.shape[1] - n_subjects,
    )


def _check(samples: int, level: float) -> None:
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"samples {samples}, level {level}; expected at least 1 sample and a level between 0 and 1")


def _ends(values: npt.NDArray[np.float64], samples: int, seed: int, level: float) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    at_a_time = max(1, _CHUNK // values.size)
    means = np.empty(samples)
    for start in range(0, samples, at_a_time):
        part = means[start : start + at_a_time]
        drawn = generator.integers(0, values.size, (part.size, values.size))
        part[:] = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _rounded(
    differences: npt.NDArray[np.float64], values: tuple[npt.NDArray[np.float64], ...]
) -> npt.NDArray[np.float64]:
    """Differences without what scores lose in files of six decimals and in the last bit."""
    scale = max(float(np.abs(one[np.isfinite(one)]).max(initial=0.0)) for one in values)
    decimals = 5 - min(0, math.floor(math.log10(scale))) if scale else 5
    return np.round(differences, decimals)


def _ranked_alike(differences: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Finite differences of the same ranks: tests go by ranks, but scipy refuses infinities."""
    endless = np.isinf(differences)
    if not endless.any():
        return differences
    beyond = 1.0 + float(np.abs(differences[~endless]).max(initial=0.0))
    return np.where(endless, np.sign(differences) * beyond, differences)


def _wilcoxon(differences: npt.NDArray[np.float64]) -> float:
    if differences.size < 2:
        return math.nan
    moved = differences[differences != 0]
    if not moved.size:
        return 1.0
    tied = np.unique(np.abs(moved)).size < moved.size
    method: Any = "exact" if moved.size <= 50 else "asymptotic"
    if tied:  # the exact table knows no ties: all signs are tried while they are few
        method = stats.PermutationMethod(n_resamples=np.inf) if moved.size <= _FEW else "asymptotic"
    return float(stats.wilcoxon(moved, method=method).pvalue)


def _rank_biserial(differences: npt.NDArray[np.float64]) -> float:
    if not differences.size:
        return math.nan
    moved = differences[differences != 0]
    if not moved.size:
        return 0.0
    ranks = stats.rankdata(np.abs(moved))
    return float((ranks[moved > 0].sum() - ranks[moved < 0].sum()) / ranks.sum())
