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

__all__ = ["curve_figure", "scatter_figure"]

COLOURS = ("#2b8cbe", "#e07b16", "#1b9e77", "#a970b5", "#c24a3a", "#8a8a2b")
"""Told apart under the common forms of colour blindness and on white and near-black; line styles and marks help."""
_STYLES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_INK = "#010203"
"""Stands for the text colour of the page and is replaced by it."""
_SIZE_INCHES = (5.2, 3.0)

Points = Sequence[tuple[float, float]]


def curve_figure(name: str, lines: Mapping[str, Points], y_label: str, log_y: bool = False) -> Markup | None:
    """Line plot of (step, value) points, one line per fold; none if no line has a point.

    Args:
        name: unique within the page; starts every id of the SVG.
        lines: label -> points.
        y_label: what the values are.
        log_y: logarithmic axis, if every value is above zero.
    """
    drawn = {label: points for label, points in lines.items() if points}
    if not drawn:
        return None
    positive = all(y > 0 for points in drawn.values() for _, y in points)

    def draw(axes: Any) -> None:
        for (label, points), style, colour in zip(
            drawn.items(), itertools.cycle(_STYLES), itertools.cycle(COLOURS), strict=False
        ):
            marker = "o" if len(points) == 1 else None
            axes.plot(*zip(*points, strict=True), label=label, linestyle=style, color=colour, marker=marker, lw=1.6)
        if log_y and positive:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(LogFormatter())
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        axes.set_xlabel("optimiser step")
        axes.set_ylabel(y_label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(drawn) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=_INK)

    return _svg(name, draw)


def scatter_figure(name: str, groups: Mapping[str, Points], x_label: str, y_label: str) -> Markup | None:
    """Scatter plot with a logarithmic x axis, one mark per group; none without points of positive x."""
    drawn = {label: [(x, y) for x, y in points if x > 0] for label, points in groups.items()}
    drawn = {label: points for label, points in drawn.items() if points}
    if not drawn:
        return None

    def draw(axes: Any) -> None:
        for (label, points), marker, colour in zip(
            drawn.items(), itertools.cycle(_MARKERS), itertools.cycle(COLOURS), strict=False
        ):
            x, y = zip(*points, strict=True)
            axes.scatter(x, y, label=label, marker=marker, s=18, facecolors="none", edgecolors=colour, linewidths=1.1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(-0.04, 1.04)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if len(drawn) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=_INK)

    return _svg(name, draw)


def _svg(name: str, draw: Callable[[Any], None]) -> Markup:
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.size": 10,
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained", facecolor="none")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color=_INK, alpha=0.15, linewidth=0.6)
        axes.patch.set_alpha(0.0)
        draw(axes)
        stream = io.StringIO()
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = text.replace(_INK, "currentColor")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'<svg (.*?)width="[^"]*"', r"<svg \1", text, count=1, flags=re.DOTALL)
    text = re.sub(r'<svg height="[^"]*"', "<svg", text, count=1)
    return Markup(text)  # Matplotlib escapes every label
