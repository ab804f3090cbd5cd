"""How well two scorings of the same subjects agree: weighted kappa, ICC(2,1), Bland-Altman; each with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["BlandAltman", "Icc", "Kappa", "bland_altman", "icc_absolute", "weighted_kappa"]

Values = Sequence[float] | npt.NDArray[np.float64]
Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kappa:
    """Chance-corrected agreement of ordered categories.

    Attributes:
        value: 1 for full agreement, 0 for that of chance; nan without subjects or where both scorings use one and
            the same category only.
        low: lower end of its interval, cut at -1.
        high: upper end, cut at 1.
        agreement: share of subjects in the same category.
        n: subjects.
        table: counts, categories of the first scoring by rows.
        level: coverage of the interval.
    """

    value: float
    low: float
    high: float
    agreement: float
    n: int
    table: tuple[tuple[int, ...], ...]
    level: float = 0.95


@dataclass(frozen=True)
class Icc:
    """Intraclass correlation, two-way random, absolute agreement, single rater.

    Attributes:
        value: at most 1; nan with fewer than two subjects or without any difference.
        low: lower end of its interval.
        high: upper end.
        n: subjects.
        raters: scorings.
        level: coverage of the interval.
    """

    value: float
    low: float
    high: float
    n: int
    raters: int
    level: float = 0.95


@dataclass(frozen=True)
class BlandAltman:
    """Differences ``first - second``.

    Attributes:
        bias: their mean; nan without a subject.
        bias_low, bias_high: its interval; nan with fewer than two subjects, as all below.
        sd: their standard deviation (n - 1).
        lower, upper: limits of agreement.
        lower_low, lower_high: interval of the lower limit.
        upper_low, upper_high: interval of the upper limit.
        n: subjects.
        level: coverage of the limits and of the intervals.
    """

    bias: float
    bias_low: float
    bias_high: float
    sd: float
    lower: float
    lower_low: float
    lower_high: float
    upper: float
    upper_low: float
    upper_high: float
    n: int
    level: float = 0.95


def weighted_kappa(first: Sequence[int], second: Sequence[int], categories: int, *, level: float = 0.95) -> Kappa:
    """Linearly weighted kappa of two scorings, with the large-sample interval.

    ``kappa = (po - pe) / (1 - pe)`` with agreement weights ``1 - |i - j| / (categories - 1)``, where ``po`` is the
    weighted agreement and ``pe`` that of the products of the margins. The weights count empty categories too.

    Args:
        first: category of each subject, 0 to ``categories - 1``.
        second: the same of the other scoring, in the same order.
        categories: how many there are, at least 2.
        level: coverage of the interval.

    Raises:
        ValueError: different lengths, fewer than two categories, a category that does not exist, or a wrong level.

    Source: standard, Cohen 1968 (https://doi.org/10.1037/h0026256); weights Cicchetti and Allison 1971; variance
    Fleiss, Cohen and Everitt 1969 (https://doi.org/10.1037/h0028106).
    """
    _check(len(first), len(second), level)
    pairs = np.array([first, second], dtype=np.int64).reshape(2, -1)
    if categories < 2 or (pairs.size and (pairs.min() < 0 or pairs.max() >= categories)):
        raise ValueError(f"categories {np.unique(pairs).tolist()}, expected numbers from 0 to {categories - 1}")
    table = np.zeros((categories, categories), dtype=np.int64)
    np.add.at(table, (pairs[0], pairs[1]), 1)
    rows = tuple(tuple(int(count) for count in row) for row in table)
    n = pairs.shape[1]
    if not n:
        return Kappa(math.nan, math.nan, math.nan, math.nan, 0, rows, level)
    same = float(np.trace(table)) / n
    value, error = _kappa(table / n, n)
    reach = float(stats.norm.ppf((1 + level) / 2)) * error
    return Kappa(value, max(-1.0, value - reach), min(1.0, value + reach), same, n, rows, level)


def _kappa(shares: Table, n: int) -> tuple[float, float]:
    """Kappa and its standard error; nan for both where chance alone agrees fully."""
    index = np.arange(len(shares))
    weights = 1 - np.abs(index[:, None] - index[None, :]) / (len(shares) - 1)
    by_row, by_column = shares.sum(axis=1), shares.sum(axis=0)
    observed = float((weights * shares).sum())
    chance = float(by_row @ weights @ by_column)
    if 1 - chance < 1e-12:
        return math.nan, math.nan
    kappa = (observed - chance) / (1 - chance)
    expected = (weights @ by_column)[:, None] + (by_row @ weights)[None, :]
    spread = float((shares * (weights - expected * (1 - kappa)) ** 2).sum())
    variance = (spread - (kappa - chance * (1 - kappa)) ** 2) / (n * (1 - chance) ** 2)
    return kappa, math.sqrt(max(0.0, variance))


def icc_absolute(ratings: Sequence[Values] | Table, *, level: float = 0.95) -> Icc:
    """ICC(2,1): how much of the variance lies between subjects, differences between raters counted as error.

    With the mean squares of subjects (B), raters (J) and error (E) of a two-way analysis of variance, n subjects and k
    raters: ``icc = (B - E) / (B + (k - 1) E + k (J - E) / n)``.

    Args:
        ratings: one row per subject, one column per rater; no nan.
        level: coverage of the interval.

    Raises:
        ValueError: fewer than two raters, a value that is not finite, or a wrong level.

    Source: standard, Shrout and Fleiss 1979 (https://doi.org/10.1037/0033-2909.86.2.420); interval McGraw and Wong 1996
    (https://doi.org/10.1037/1082-989X.1.1.30), ICC(A,1).
    """
    _check(0, 0, level)
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2 or not np.isfinite(table).all():
        raise ValueError(
            f"ratings of shape {table.shape}, expected finite numbers, two or more raters for each subject"
        )
    n, k = table.shape
    if n < 2:
        return Icc(math.nan, math.nan, math.nan, n, k, level)
    subjects, raters, error = _mean_squares(table)
    whole = subjects + (k - 1) * error + k * (raters - error) / n
    if whole <= 0:
        return Icc(math.nan, math.nan, math.nan, n, k, level)
    value = (subjects - error) / whole
    if raters == error == 0:  # every rater gave the same: no error to estimate an interval from
        return Icc(1.0, 1.0, 1.0, n, k, level)
    low, high = _icc_ends((subjects, raters, error), (n, k), value, level)
    return Icc(value, low, high, n, k, level)


def _mean_squares(table: Table) -> tuple[float, float, float]:
    """Mean squares of subjects, raters and error; what rounding alone makes is 0."""
    n, k = table.shape
    mean = table.mean()
    by_subject, by_rater = table.mean(axis=1) - mean, table.mean(axis=0) - mean
    rest = table - mean - by_subject[:, None] - by_rater[None, :]
    squares = (
        k * float((by_subject**2).sum()) / (n - 1),
        n * float((by_rater**2).sum()) / (k - 1),
        float((rest**2).sum()) / ((n - 1) * (k - 1)),
    )
    tiny = 1e-24 * float((table**2).sum())
    return tuple(square if square > tiny else 0.0 for square in squares)  # type: ignore[return-value]


def _icc_ends(
    squares: tuple[float, float, float], size: tuple[int, int], value: float, level: float
) -> tuple[float, float]:
    subjects, raters, error = squares
    n, k = size
    share = k * value / (n * (1 - value))
    rest = 1 + share * (n - 1)
    if share == error == 0:  # subjects that do not differ, raters a constant apart
        return math.nan, math.nan
    parts = (share * raters) ** 2 / (k - 1) + (rest * error) ** 2 / ((n - 1) * (k - 1))
    freedom = (share * raters + rest * error) ** 2 / parts
    below = float(stats.f.ppf((1 + level) / 2, n - 1, freedom))
    above = float(stats.f.ppf((1 + level) / 2, freedom, n - 1))
    noise = k * raters + (k * n - k - n) * error
    low = n * (subjects - below * error) / (below * noise + n * subjects)
    high = n * (above * subjects - error) / (noise + n * above * subjects)
    return low, high


def bland_altman(first: Values, second: Values, *, level: float = 0.95) -> BlandAltman:
    """Bias and limits of agreement of two scorings, with their intervals.

    Limits are ``bias -+ z sd`` (z = 1.96 for 0.95). Standard errors: ``sd / sqrt(n)`` of the bias and
    ``sd sqrt(1 / n + z^2 / (2 (n - 1)))`` of a limit, both with the t quantile of n - 1.

    Args:
        first: one value per subject.
        second: values of the same subjects in the same order.
        level: coverage of limits and intervals.

    Raises:
        ValueError: different lengths, a value that is not finite, or a wrong level.

    Source: standard, Bland and Altman 1999 (https://doi.org/10.1177/096228029900800204).
    """
    one, two = np.asarray(first, dtype=np.float64).reshape(-1), np.asarray(second, dtype=np.float64).reshape(-1)
    _check(one.size, two.size, level)
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ValueError("values that are not finite; leave these subjects out and say how many they are")
    differences = one - two
    n = int(differences.size)
    bias = float(differences.mean()) if n else math.nan
    if n < 2:
        nan = math.nan
        return BlandAltman(bias, nan, nan, nan, nan, nan, nan, nan, nan, nan, n, level)
    sd = float(differences.std(ddof=1))
    z, t = float(stats.norm.ppf((1 + level) / 2)), float(stats.t.ppf((1 + level) / 2, n - 1))
    reach, edge = t * sd / math.sqrt(n), t * sd * math.sqrt(1 / n + z**2 / (2 * (n - 1)))
    lower, upper = bias - z * sd, bias + z * sd
    ends = (lower, lower - edge, lower + edge, upper, upper - edge, upper + edge)
    return BlandAltman(bias, bias - reach, bias + reach, sd, *ends, n=n, level=level)


def _check(first: int, second: int, level: float) -> None:
    if first != second:
        raise ValueError(f"{first} and {second} values; give the same subjects in the same order")
    if not 0 < level < 1:
        raise ValueError(f"level {level}, expected a number between 0 and 1")
