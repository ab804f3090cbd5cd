"""Picture rows of chosen cases: image, reference, prediction, residual maps; small PNG files inside the page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from grcsf.arrays import AnyArray, BoolArray
from grcsf.evaluation.summary import CaseScore
from grcsf.report.views import CaseView

__all__ = ["CasePanel", "ColourScale", "Tile", "choose_cases", "draw_tiles", "window_of_plan"]

REFERENCE_COLOUR, PREDICTION_COLOUR = "#56b4e9", "#e69f00"
"""Okabe and Ito's sky blue and orange; the prediction is dashed as well."""
_SIGNED_MAP, _POSITIVE_MAP = "RdBu_r", "cividis"
_LONG_SIDE_INCHES, _DPI = 2.6, 110
_MARGIN = 4
_CASES_PER_GROUP = 3


@dataclass(frozen=True)
class Tile:
    """One picture: a title, a PNG data URI, and a text for those who do not see it."""

    title: str
    uri: str
    alt: str


@dataclass(frozen=True)
class ColourScale:
    """The colours of residual maps from ``low`` to ``high`` as CSS colours, left to right."""

    low: float
    high: float
    colours: tuple[str, ...]

    @property
    def is_signed(self) -> bool:
        """Whether zero is in the middle."""
        return self.low < 0


@dataclass(frozen=True)
class CasePanel:
    """One case of the page: where it stands in the ranking, its scores in words, and its pictures."""

    case: str
    fold: str
    dice: float
    size: str
    place: str
    tiles: tuple[Tile, ...]
    scale: ColourScale | None
    notes: tuple[str, ...]


def choose_cases(scores: Sequence[CaseScore], most: int = _CASES_PER_GROUP) -> dict[str, list[CaseScore]]:
    """Best, median and worst cases by Dice among those with a lesion, each case once.

    Few cases make smaller groups: with one case the only group is "Best", with two "Best" and "Worst".
    """
    ranked = sorted(
        (score for score in scores if score.has_lesion and math.isfinite(score.scores["dice"])),
        key=lambda score: (-score.scores["dice"], score.case, score.label),
    )
    each = min(most, max(1, len(ranked) // 3))
    best = ranked[:each]
    worst = ranked[each:][-each:][::-1]
    between = ranked[each : len(ranked) - len(worst)]
    start = max(0, (len(between) - each) // 2)
    groups = {"Best": best, "Median": between[start : start + each], "Worst": worst}
    return {name: cases for name, cases in groups.items() if cases}


def draw_tiles(
    case: str, view: CaseView, signed: bool | None = None, window: tuple[float, float] | None = None
) -> tuple[tuple[Tile, ...], ColourScale | None]:
    """Pictures of a case and the colour scale its residual maps share.

    Args:
        case: its name, for the texts.
        view: the slice to draw.
        signed: whether residual maps have a sign; none: they do if any value is below zero.
        window: grey values drawn black and white; none: percentiles 0.5 and 99.5 of the slice.
    """
    shape = next(
        array.shape
        for array in (view.image, view.reference, view.prediction, *view.residuals.values())
        if array is not None
    )
    box = _content_box(view, shape)
    aspect = view.aspect
    tiles = []
    backdrop = np.zeros(shape, np.float32) if view.image is None else view.image.astype(np.float32)
    low, high = window or _window(backdrop)
    grey: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high}
    if view.image is not None:
        tiles.append(_tile("Image", f"Slice of {case}", backdrop[box], aspect, grey))
    for title, mask, colour in (
        ("Reference", view.reference, REFERENCE_COLOUR),
        ("Prediction", view.prediction, PREDICTION_COLOUR),
    ):
        if mask is not None:
            outline = {colour: mask[box]}
            area = int(mask.sum())
            alt = f"{title} of {case}: {f'outline around {area} pixels' if area else 'empty in this slice'}"
            tiles.append(_tile(title, alt, backdrop[box], aspect, grey, outlines=outline))
    scale = _scale(view.residuals, signed)
    if scale is not None:
        colours = {"cmap": _SIGNED_MAP if scale.is_signed else _POSITIVE_MAP, "vmin": scale.low, "vmax": scale.high}
        outline = {} if view.reference is None else {"#000000" if scale.is_signed else "#ffffff": view.reference[box]}
        for ratio, residual in view.residuals.items():
            alt = f"Residual map of {case} at mask ratio {ratio} per cent"
            tiles.append(
                _tile(f"Residual, {ratio} % hidden", alt, residual[box], aspect, colours, outlines=outline, width=0.7)
            )
    return tuple(tiles), scale


def _scale(residuals: Mapping[int, AnyArray], signed: bool | None) -> ColourScale | None:
    if not residuals:
        return None
    values = np.concatenate([np.ravel(residual) for residual in residuals.values()]).astype(np.float64)
    inside = np.abs(values[values != 0])
    high = max(float(np.percentile(inside, 99)) if inside.size else 1.0, 1e-6)
    is_signed = bool(values.min() < 0) if signed is None else signed
    colours = matplotlib.colormaps[_SIGNED_MAP if is_signed else _POSITIVE_MAP](np.linspace(0, 1, 11))
    css = tuple("#" + "".join(f"{round(255 * part):02x}" for part in colour[:3]) for colour in colours)
    return ColourScale(-high if is_signed else 0.0, high, css)


def _window(image: AnyArray) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(image, (0.5, 99.5)))
    return (low, high) if high > low else (float(image.min()), float(image.max()) + 1.0)


def _content_box(view: CaseView, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Box around what is not background, a little wider; the whole slice if that cannot be told."""
    content: BoolArray = np.zeros(shape, bool)
    if view.image is not None:
        low, high = _window(view.image)
        content |= view.image > low + 0.03 * (high - low)
    for mask in (view.reference, view.prediction):
        if mask is not None:
            content |= mask
    if not content.any():
        return slice(0, shape[0]), slice(0, shape[1])
    rows, columns = np.flatnonzero(content.any(1)), np.flatnonzero(content.any(0))
    return (
        slice(max(0, int(rows[0]) - _MARGIN), int(rows[-1]) + 1 + _MARGIN),
        slice(max(0, int(columns[0]) - _MARGIN), int(columns[-1]) + 1 + _MARGIN),
    )


def _tile(
    title: str,
    alt: str,
    pixels: AnyArray,
    aspect: float,
    colours: Mapping[str, Any],
    *,
    outlines: Mapping[str, BoolArray] | None = None,
    width: float = 1.4,
) -> Tile:
    rows, columns = pixels.shape
    height, wide = rows * aspect, float(columns)
    inches = _LONG_SIDE_INCHES / max(height, wide)
    figure = Figure(figsize=(max(wide * inches, 0.2), max(height * inches, 0.2)), dpi=_DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.imshow(pixels, aspect="auto", interpolation="nearest", **colours)
    for colour, mask in (outlines or {}).items():
        if not mask.any():
            continue
        x, y = np.arange(-1, columns + 1), np.arange(-1, rows + 1)
        style = "dashed" if colour == PREDICTION_COLOUR else "solid"
        ring = np.pad(mask.astype(np.float32), 1)
        lines = axes.contour(x, y, ring, levels=[0.5], colors=[colour], linewidths=width, linestyles=style)
        if colour in (REFERENCE_COLOUR, PREDICTION_COLOUR):  # a dark rim keeps them visible on white tissue
            lines.set(path_effects=[withStroke(linewidth=width + 1.2, foreground="#00000080")])
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return Tile(title, "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii"), alt)


def window_of_plan(plan: Mapping[str, Any]) -> tuple[float, float] | None:
    """The clip window of the first channel where the plan has one in grey values (CT), else none."""
    channels = plan.get("channels")
    first = channels[0] if isinstance(channels, list) and channels and isinstance(channels[0], dict) else {}
    low, high = first.get("clip_low"), first.get("clip_high")
    if first.get("scheme") != "ct" or not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return (float(low), float(high)) if high > low else None
