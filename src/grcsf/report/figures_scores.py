"""Figures of scores: distributions, strata, agreement of sizes, pairs of methods, calibration; SVG as in figures.py."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from grcsf.evaluation.methods.statistics import Interval
from grcsf.evaluation.volumes import Agreement
from grcsf.report.figures import COLOURS, INK, MANY, MARKERS, STYLES, Points, short_name, svg_figure
from grcsf.report.words import number_text, score_text, size_text

__all__ = [
    "bland_altman_figure",
    "box_figure",
    "calibration_figure",
    "difference_figure",
    "interval_figure",
    "paired_figure",
]

_INCHES_PER_LINE = 0.42
_EVEN = "#808080"
"""Seen on white and on near-black, where marks have become a picture and cannot take the ink of the page."""


def box_figure(name: str, groups: Mapping[str, Sequence[float]], x_label: str) -> Markup | None:
    """Every value as a mark, and a box per group: quartiles, median, whiskers to 1.5 times their distance.

    Args:
        name: unique within the page.
        groups: label -> values in [0, 1]; nan is left out.
        x_label: what the values are.
    """
    drawn = {label: np.array([v for v in values if math.isfinite(v)]) for label, values in groups.items()}
    drawn = {label: values for label, values in drawn.items() if values.size}
    if not drawn:
        return None
    rng = np.random.default_rng(0)  # where the marks are strewn; the same for the same page

    def draw(axes: Any) -> None:
        for line, (values, colour, mark) in enumerate(zip(drawn.values(), *_looks(), strict=False)):
            places = line + rng.uniform(-0.28, 0.28, values.size)
            style: dict[str, Any] = {
                "marker": mark,
                "s": 9,
                "facecolors": "none",
                "edgecolors": colour,
                "linewidths": 0.8,
            }
            axes.scatter(values, places, alpha=0.75, rasterized=values.size > MANY, **style)
            ink = {"color": INK, "linewidth": 1.1}
            axes.boxplot(
                [values],
                positions=[line],
                orientation="horizontal",
                widths=0.62,
                showfliers=False,
                boxprops=ink,
                whiskerprops=ink,
                capprops=ink,
                medianprops={"color": INK, "linewidth": 2.4},
            )
        axes.set_yticks(range(len(drawn)), [short_name(label) for label in drawn])
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel(x_label)

    parts = []
    for label, values in drawn.items():
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        parts.append(f"{label}: median {middle:.3f}, quartiles {low:.3f} and {high:.3f}, {values.size} values")
    return svg_figure(name, f"Box plots of {x_label}. {'; '.join(parts)}.", draw, _lines(1.7 * len(drawn)))


def interval_figure(name: str, rows: Mapping[str, Mapping[str, Interval]], x_label: str) -> Markup | None:
    """Means with intervals, one line per row and method: the first row on top.

    Args:
        name: unique within the page.
        rows: stratum -> method -> its mean and interval.
        x_label: what the means are of.
    """
    drawn = {
        row: {method: one for method, one in methods.items() if one.n and math.isfinite(one.mean)}
        for row, methods in rows.items()
    }
    drawn = {row: methods for row, methods in drawn.items() if methods}
    names = list(dict.fromkeys(method for methods in drawn.values() for method in methods))
    if not drawn:
        return None
    looks = dict(zip(names, zip(*_looks(), strict=False), strict=False))

    def draw(axes: Any) -> None:
        for line, methods in enumerate(drawn.values()):
            for method, one in methods.items():
                place = line + 0.6 * ((names.index(method) + 0.5) / len(names) - 0.5)
                colour, mark = looks[method]
                if math.isfinite(one.low):
                    axes.plot([one.low, one.high], [place, place], color=colour, lw=1.8, solid_capstyle="butt")
                label = short_name(method) if methods is next(m for m in drawn.values() if method in m) else None
                axes.plot([one.mean], [place], mark, color=colour, ms=5.5, label=label, ls="none")
        axes.set_yticks(range(len(drawn)), [short_name(row) for row in drawn])
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel(f"{x_label}, mean and 95 % interval")
        if len(names) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=INK)

    words = [
        f"{row}, {method}: {score_text(one.mean)}"
        + (f" ({one.low:.3f} to {one.high:.3f})" if one.low == one.low else "")
        for row, methods in drawn.items()
        for method, one in methods.items()
    ]
    return svg_figure(name, f"{x_label} by stratum. {'; '.join(words)}.", draw, _lines(len(drawn) * len(names)))


def bland_altman_figure(name: str, points: Points, sizes: Agreement, unit: str) -> Markup | None:
    """Difference of predicted and reference size against their mean, with bias and limits of agreement.

    Args:
        name: unique within the page.
        points: (reference, prediction) of each case.
        sizes: bias and limits of these cases.
        unit: of the sizes.

    Source: standard, Bland and Altman 1986 (https://doi.org/10.1016/S0140-6736(86)90837-8).
    """
    table = np.array([pair for pair in points if all(map(math.isfinite, pair))], dtype=np.float64).reshape(-1, 2)
    if not len(table):
        return None
    mean, difference = table.mean(axis=1), table[:, 1] - table[:, 0]

    def draw(axes: Any) -> None:
        style: dict[str, Any] = {"facecolors": "none", "edgecolors": COLOURS[0], "linewidths": 1.0}
        axes.scatter(mean, difference, s=16, rasterized=len(mean) > MANY, **style)
        axes.axhline(0.0, color=INK, lw=0.8, alpha=0.5)
        lines = ((sizes.bias, "bias", "-"), *((limit, "limit of agreement", "--") for limit in sizes.limits))
        for height, label, line in lines:
            if math.isfinite(height):
                axes.axhline(height, color=COLOURS[1], lw=1.5, ls=line)
                text = f"{label} {size_text(height, signed=True)}"
                place = {"xy": (1.0, height), "xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
                axes.annotate(text, xytext=(-2, 3), ha="right", va="bottom", fontsize=8.5, color=INK, **place)
        axes.set_xlabel(f"mean of reference and prediction, {unit}")
        axes.set_ylabel(f"prediction \u2212 reference, {unit}")
        axes.margins(y=0.12)

    limits = " to ".join(size_text(limit) for limit in sizes.limits)
    alt = f"Bland-Altman plot of {len(table)} cases: bias {size_text(sizes.bias)} {unit}, limits of agreement {limits}."
    return svg_figure(name, alt, draw)


def paired_figure(name: str, pairs: Points, a: str, b: str, what: str) -> Markup | None:
    """One mark per case: its score by ``b`` across, by ``a`` upwards; above the line ``a`` is better.

    Args:
        name: unique within the page.
        pairs: (score of a, score of b) of each case, in [0, 1]; nan is left out.
        a: the one method.
        b: the other.
        what: the score.
    """
    table = np.array([pair for pair in pairs if all(map(math.isfinite, pair))], dtype=np.float64).reshape(-1, 2)
    if not len(table):
        return None

    def draw(axes: Any) -> None:
        for part, colour, mark in _signs(table[:, 0] - table[:, 1]):
            style: dict[str, Any] = {"marker": mark, "facecolors": "none", "edgecolors": colour, "linewidths": 1.0}
            axes.scatter(table[part, 1], table[part, 0], s=18, rasterized=len(table) > MANY, **style)
        axes.plot([0, 1], [0, 1], color=INK, lw=0.9, ls="--", alpha=0.7)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.set_xlabel(f"{what}, {short_name(b)}")
        axes.set_ylabel(f"{what}, {short_name(a)}")

    higher, lower = int((table[:, 0] > table[:, 1]).sum()), int((table[:, 0] < table[:, 1]).sum())
    alt = (
        f"{what} of each case by {a} against {b}: {a} higher in {higher} of {len(table)} cases, {b} in {lower}, "
        f"equal in {len(table) - higher - lower}."
    )
    return svg_figure(name, alt, draw, (4.2, 4.0))


def difference_figure(name: str, pairs: Points, a: str, b: str, what: str) -> Markup | None:
    """The difference ``a`` minus ``b`` of each case, sorted from the lowest to the highest.

    Args:
        name: unique within the page.
        pairs: (score of a, score of b) of each case; nan is left out.
        a: the one method.
        b: the other.
        what: the score.
    """
    difference = np.sort([one - two for one, two in pairs if math.isfinite(one) and math.isfinite(two)])
    if not difference.size:
        return None

    def draw(axes: Any) -> None:
        ranks = np.arange(1, difference.size + 1)
        for part, colour, mark in _signs(difference):
            many = difference.size > MANY
            axes.vlines(ranks[part], 0, difference[part], colors=colour, linewidths=1.0, rasterized=many)
            style: dict[str, Any] = {"marker": mark, "facecolors": "none", "edgecolors": colour, "linewidths": 0.9}
            axes.scatter(ranks[part], difference[part], s=12, rasterized=many, **style)
        axes.axhline(0.0, color=INK, lw=0.8)
        axes.set_xlabel("cases, sorted")
        axes.set_ylabel(f"{what}: {short_name(a)} \u2212 {short_name(b)}")

    low, middle, high = np.quantile(difference, (0.25, 0.5, 0.75))
    words = f"median {number_text(middle)}, quartiles {number_text(low)} and {number_text(high)}"
    ends = f"from {number_text(difference[0])} to {number_text(difference[-1])}"
    alt = f"Differences in {what}, {a} minus {b}, of {difference.size} cases, sorted: {ends}; {words}."
    return svg_figure(name, alt, draw, (5.2, 4.0))


def calibration_figure(name: str, curves: Mapping[str, Points], errors: Mapping[str, float]) -> Markup | None:
    """Share of lesion among voxels against the probability they were given; on the line where both agree.

    Args:
        name: unique within the page.
        curves: method -> (mean probability, share) of each bin that has voxels.
        errors: method -> its expected calibration error.
    """
    drawn = {label: [pair for pair in points if all(map(math.isfinite, pair))] for label, points in curves.items()}
    drawn = {label: points for label, points in drawn.items() if points}
    if not drawn:
        return None

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=INK, lw=0.9, ls="--", alpha=0.7)
        for (label, points), (colour, mark), line in zip(
            drawn.items(), zip(*_looks(), strict=False), itertools.cycle(STYLES), strict=False
        ):
            axes.plot(
                *zip(*points, strict=True), label=short_name(label), color=colour, marker=mark, ls=line, ms=4, lw=1.4
            )
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.set_xlabel("predicted probability, mean of the bin")
        axes.set_ylabel("share of lesion voxels")
        if len(drawn) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=INK)

    words = "; ".join(f"{label}: expected calibration error {errors.get(label, math.nan):.4f}" for label in drawn)
    return svg_figure(
        name, f"Reliability curve over {len(next(iter(drawn.values())))} bins. {words}.", draw, (4.2, 4.0)
    )


def _signs(difference: npt.NDArray[np.float64]) -> tuple[tuple[npt.NDArray[np.bool_], str, str], ...]:
    """Which differences are above, below and at zero, with the colour and the mark of each."""
    return (difference > 0, COLOURS[0], "^"), (difference < 0, COLOURS[1], "v"), (difference == 0, _EVEN, ".")


def _looks() -> tuple[itertools.cycle[str], itertools.cycle[str]]:
    return itertools.cycle(COLOURS), itertools.cycle(MARKERS)


def _lines(count: float) -> tuple[float, float]:
    return 5.2, 0.75 + _INCHES_PER_LINE * max(count, 1.5)
