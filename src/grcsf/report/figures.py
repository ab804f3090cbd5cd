"""Curves and scatter plots as SVG for the page: text and axes take the colour of the page, light or dark."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator, NullFormatter

__all__ = ["COLOURS", "INK", "MANY", "MARKERS", "STYLES", "curve_figure", "scatter_figure", "short_name", "svg_figure"]

COLOURS = ("#2b8cbe", "#e07b16", "#1b9e77", "#a970b5", "#c24a3a", "#8a8a2b")
"""Told apart under the common forms of colour blindness and on white and near-black; line styles and marks help."""
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK = "#010203"
"""Stands for the text colour of the page and is replaced by it."""
_SIZE_INCHES = (5.2, 3.0)
_LONGEST_NAME = 28
MANY = 1000
"""Marks from which on they become one picture: the page stays small and quick."""

Points = Sequence[tuple[float, float]]


def curve_figure(name: str, lines: Mapping[str, Points], y_label: str, log_y: bool = False) -> Markup | None:
    """Line plot of (step, value) points, one line per fold; none if no line has a point.

    Args:
        name: unique within the page; starts every id of the SVG.
        lines: label -> points.
        y_label: what the values are.
        log_y: logarithmic axis, if every value is above zero and they span more than a factor of ten.
    """
    drawn = {label: points for label, points in lines.items() if points}
    if not drawn:
        return None
    heights = [y for points in drawn.values() for _, y in points]
    logarithmic = log_y and min(heights) > 0 and max(heights) > 10 * min(heights)

    def draw(axes: Any) -> None:
        for (label, points), style, colour in zip(
            drawn.items(), itertools.cycle(STYLES), itertools.cycle(COLOURS), strict=False
        ):
            marker = "o" if len(points) == 1 else None
            axes.plot(
                *zip(*points, strict=True),
                label=short_name(label),
                linestyle=style,
                color=colour,
                marker=marker,
                lw=1.6,
            )
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(LogFormatter())
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        axes.set_xlabel("optimiser step")
        axes.set_ylabel(y_label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(drawn) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=INK)

    ends = "; ".join(f"{label}: {points[0][1]:.3g} to {points[-1][1]:.3g}" for label, points in drawn.items())
    return svg_figure(name, f"{y_label} over optimiser steps, first to last value. {ends}.", draw)


def scatter_figure(name: str, groups: Mapping[str, Points], x_label: str, y_label: str) -> Markup | None:
    """Scatter plot with a logarithmic x axis, one mark per group; none without points of positive x."""
    drawn = {label: [(x, y) for x, y in points if x > 0] for label, points in groups.items()}
    drawn = {label: points for label, points in drawn.items() if points}
    if not drawn:
        return None

    many = sum(map(len, drawn.values())) > MANY

    def draw(axes: Any) -> None:
        for (label, points), marker, colour in zip(
            drawn.items(), itertools.cycle(MARKERS), itertools.cycle(COLOURS), strict=False
        ):
            x, y = zip(*points, strict=True)
            axes.scatter(
                x,
                y,
                label=short_name(label),
                marker=marker,
                s=18,
                facecolors="none",
                edgecolors=colour,
                linewidths=1.1,
                rasterized=many,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(-0.04, 1.04)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(drawn) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=INK)

    counts = ", ".join(f"{label}: {len(points)} cases" for label, points in drawn.items())
    return svg_figure(name, f"{y_label} of each case against {x_label}. {counts}; numbers in the table of cases.", draw)


def short_name(text: str) -> str:
    """A name that leaves room for the axes; Matplotlib hides names that start with an underscore.

    >>> short_name("_a"), len(short_name("a" * 90))
    (' _a', 28)
    """
    text = f" {text}" if text.startswith("_") else text
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def svg_figure(
    name: str, alt: str, draw: Callable[[Any], None], size_inches: tuple[float, float] = _SIZE_INCHES
) -> Markup:
    """One pair of axes as SVG in the ink of the page.

    Args:
        name: unique within the page; starts every id of the SVG.
        alt: what the figure says, for those who do not see it.
        draw: fills the axes; what it marks as rasterised becomes one picture.
        size_inches: width and height.
    """
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,  # names of cases and methods are words, whatever they hold
        "font.family": "sans-serif",
        "font.size": 10,
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size_inches, dpi=200, layout="constrained", facecolor="none")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color=INK, alpha=0.15, linewidth=0.6)
        axes.patch.set_alpha(0.0)
        draw(axes)
        stream = io.StringIO()
        FigureCanvasSVG(figure).print_svg(stream, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))  # type: ignore[no-untyped-call]
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = text.replace(INK, "currentColor")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg (.*?)width="[^"]*"', r"<svg \1", text, count=1, flags=re.DOTALL)
    text = re.sub(r'<svg height="[^"]*"', "<svg", text, count=1)
    text = text.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(alt), 1)
    return Markup(text)  # Matplotlib escapes every label
