"""Figures of a benchmark: a forest plot of intervals, and scores by lesion size; same numbers, same bytes."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from grcsf.benchmark.tables import EntryNumbers, Group
from grcsf.io.files import atomic_path
from grcsf.report.figures import COLOURS

__all__ = ["entry_label", "forest_figure", "strata_figure", "write_figure"]

_MARKERS = ("o", "s", "^", "D", "v", "P")
_WIDTH_INCHES, _ROW_INCHES = 6.4, 0.32


def forest_figure(group: Group, key: str, label: str, *, paired: bool = False) -> Figure | None:
    """Mean and interval of each entry, one a line, first entry on top; none if no entry has the score.

    Args:
        group: whose entries.
        key: of the measure.
        label: of the axis.
        paired: differences to the reference entry in place of the scores.
    """
    found = [(entry_label(entry), (entry.differences if paired else entry.scores).get(key)) for entry in group.entries]
    drawn = [(name, value) for name, value in found if value is not None]
    if not drawn:
        return None
    figure, axes = _axes(1.0 + _ROW_INCHES * len(drawn))
    for line, (_, value) in enumerate(drawn):
        colour = COLOURS[0]
        axes.plot([value.low, value.high], [line, line], color=colour, lw=1.8, solid_capstyle="butt")
        axes.plot([value.mean], [line], "o", color=colour, ms=5)
    if paired:
        axes.axvline(0.0, color="0.5", lw=0.9, ls="--")
    axes.set_yticks(range(len(drawn)), [name for name, _ in drawn])
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.set_xlabel(f"{label} (95 % interval over subjects)")
    return figure


def strata_figure(group: Group, key: str, label: str) -> Figure | None:
    """Mean and interval by lesion size, entries side by side; none if no entry has the score."""
    drawn = [entry for entry in group.entries if any(f"{key}@{size}" in entry.scores for size in group.strata)]
    if not drawn:
        return None
    figure, axes = _axes(3.4)
    for index, entry in enumerate(drawn):
        shift = 0.7 * ((index + 0.5) / len(drawn) - 0.5)
        points = [(at, entry.scores.get(f"{key}@{size}")) for at, size in enumerate(group.strata)]
        known = [(at + shift, value) for at, value in points if value is not None]
        colour, marker = COLOURS[index % len(COLOURS)], _MARKERS[index % len(_MARKERS)]
        for at, value in known:
            axes.plot([at, at], [value.low, value.high], color=colour, lw=1.4)
        where, means = [at for at, _ in known], [value.mean for _, value in known]
        axes.plot(where, means, marker, color=colour, ms=5, label=entry_label(entry))
    axes.set_xticks(range(len(group.strata)), group.strata)
    axes.set_ylabel(f"{label} (95 % interval)")
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def entry_label(entry: EntryNumbers) -> str:
    """Its name, with the number of runs where some are not there, for its mean is over other subjects then."""
    return entry.name if entry.runs == entry.planned else f"{entry.name} ({entry.runs} of {entry.planned} runs)"


def write_figure(path: Path, figure: Figure) -> str:
    """Write ``PATH.svg`` and ``PATH.png``; atomic.

    Returns:
        The SVG element, its ids made unique by the name of the file.
    """
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name}):
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    with atomic_path(path.with_name(f"{path.name}.svg")) as partial:
        partial.write_text(stream.getvalue(), encoding="utf-8")
    with atomic_path(path.with_name(f"{path.name}.png")) as partial:
        FigureCanvasAgg(figure).print_png(partial, metadata={"Software": None})  # type: ignore[no-untyped-call]
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{path.name}-', text)
    return re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{path.name}-", text)


def _axes(height: float) -> tuple[Figure, Any]:
    with matplotlib.rc_context({"font.family": "sans-serif", "font.size": 10}):
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained", dpi=150)
        axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, axis="both", color="0.5", alpha=0.2, linewidth=0.6)
    return figure, axes
