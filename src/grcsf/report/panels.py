"""Pictures of a case: image, reference, predictions, residual and other maps; small JPEG files inside the page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from grcsf.arrays import AnyArray, BoolArray
from grcsf.report.views import CaseView, ShownMap

__all__ = ["ColourScale", "Tile", "draw_tiles", "map_title", "window_of_plan"]

REFERENCE_COLOUR, PREDICTION_COLOUR = "#56b4e9", "#e69f00"
"""Okabe and Ito's sky blue and orange; the prediction is dashed as well."""
_SIGNED_MAP, _POSITIVE_MAP = "RdBu_r", "cividis"
_LONG_SIDE_INCHES, _DPI = 2.6, 110
_MARGIN = 4
_SMALLEST_CLOSE_UP = 32
_JPEG = {"quality": 85, "subsampling": 0, "optimize": True}
"""Thumbnails, not measurements; full colour, so that thin outlines stay what they are."""
_RIM = [withStroke(linewidth=2.6, foreground="#00000080")]
MAP_INK = {True: "#000000", False: "#ffffff"}
"""Colour of the outline on a map, by whether the map is signed."""
_MAP_WORDS = {
    "residual": ("Residual", "residual: image minus reconstruction, in units of the normalised image"),
    "importance": ("Importance", "importance of the patch a voxel lies in, of the Region Compensation Unit"),
    "fusion": ("Fusion", "fusion: weight of a residual map times its importance, the factor the unit multiplies with"),
    "rcu-gain": ("RCU gain", "what the Region Compensation Unit adds, relative to what was there"),
    "gcu-gain": ("GCU gain", "what the Global Compensation Unit adds to a skip, relative to what was there"),
}
"""Kind of map -> name, what its values mean."""


@dataclass(frozen=True)
class Tile:
    """One picture: a title, a JPEG data URI, a text for those who do not see it, a caption, its size in pixels."""

    title: str
    uri: str
    alt: str
    caption: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class ColourScale:
    """The colours of maps from ``low`` to ``high`` as CSS colours, left to right, and what they mean."""

    low: float
    high: float
    colours: tuple[str, ...]
    words: str = ""

    @property
    def is_signed(self) -> bool:
        """Whether zero is in the middle."""
        return self.low < 0


def draw_tiles(
    case: str,
    view: CaseView,
    signed: bool | None = None,
    window: tuple[float, float] | None = None,
    captions: Mapping[str, str] | None = None,
) -> tuple[tuple[Tile, ...], tuple[ColourScale, ...]]:
    """Pictures of a case and the colour scales of its maps.

    Lesions that would be specks are shown as a close-up, framed in the whole image.

    Args:
        case: its name, for the texts.
        view: the slice to draw.
        signed: whether residual maps have a sign; none: they do if any value is below zero.
        window: grey values drawn black and white; none: percentiles 0.5 and 99.5 of the slice.
        captions: method -> what to say below its prediction.
    """
    arrays = (view.image, view.reference, *view.predictions.values(), *(one.values for one in view.maps))
    shape = next(array.shape for array in arrays if array is not None)
    whole = _content_box(view, shape)
    close = _close_up(view, whole, shape)
    box = close or whole
    backdrop = np.zeros(shape, np.float32) if view.image is None else view.image.astype(np.float32)
    low, high = window or _window(backdrop)
    grey: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high}
    tiles = []
    if view.image is not None:
        frame = None if close is None else _relative(close, whole)
        words = "" if close is None else "frame: the close-up beside it"
        tiles.append(_tile("Image", f"Slice of {case}", backdrop[whole], view.aspect, grey, frame=frame, caption=words))
    truth = None if view.reference is None else view.reference[box]
    if truth is not None:
        alt = f"Reference of {case}: {_area(view.reference)}"
        outline = ((REFERENCE_COLOUR, truth),)
        tiles.append(_tile("Reference", alt, backdrop[box], view.aspect, grey, outlines=outline))
    for method, mask in view.predictions.items():
        title = method or "Prediction"
        both = ((PREDICTION_COLOUR, mask[box]),)
        outlines = both if truth is None else ((REFERENCE_COLOUR, truth), *both)
        words = (captions or {}).get(method, "")
        alt = f"Prediction{f' by {method}' if method else ''} of {case}: {_area(mask)}"
        tiles.append(_tile(title, alt, backdrop[box], view.aspect, grey, outlines=outlines, caption=words))
    more, scales = _map_tiles(case, view, box, signed)
    return (*tiles, *more), scales


def _map_tiles(
    case: str, view: CaseView, box: tuple[slice, slice], signed: bool | None
) -> tuple[list[Tile], tuple[ColourScale, ...]]:
    """Pictures of the maps; all maps of one kind share a scale."""
    tiles, scales = [], []
    for kind in dict.fromkeys(one.kind for one in view.maps):
        own = [one for one in view.maps if one.kind == kind]
        scale = _scale([one.values for one in own], signed if kind == "residual" else None, kind)
        scales.append(scale)
        colours = {"cmap": _SIGNED_MAP if scale.is_signed else _POSITIVE_MAP, "vmin": scale.low, "vmax": scale.high}
        ink = MAP_INK[scale.is_signed]
        outlines = () if view.reference is None else ((ink, view.reference[box]),)
        for one in own:
            title = map_title(one)
            alt = f"{title}: map of {case}"
            pixels = one.values[box]
            tiles.append(_tile(title, alt, pixels, view.aspect, colours, outlines=outlines, width=0.7))
    return tiles, tuple(scales)


def map_title(one: ShownMap) -> str:
    """What a map is called, such as ``Residual, 75 % hidden``; with its method, if there are several.

    >>> map_title(ShownMap("ours", "fusion", "1-r50", np.zeros((1, 1))))
    'Fusion, level 1, 50 % hidden, ours'
    """
    known = re.fullmatch(r"(\d*)-?(?:r(\d+))?", one.detail)
    level, ratio = known.groups() if known else ("", None)
    parts = [*([f"level {level}"] if level else []), *([f"{ratio} % hidden"] if ratio else [])]
    words = ", ".join([_MAP_WORDS[one.kind][0], *(parts or [one.detail])])
    return f"{words}, {one.method}" if one.method else words


def _area(mask: BoolArray | None) -> str:
    area = 0 if mask is None else int(mask.sum())
    return f"outline around {area} pixels" if area else "empty in this slice"


def _scale(maps: Sequence[AnyArray], signed: bool | None, kind: str) -> ColourScale:
    values = np.concatenate([np.ravel(one) for one in maps]).astype(np.float64)
    values = values[np.isfinite(values)]
    inside = np.abs(values[values != 0])
    high = max(float(np.percentile(inside, 99)) if inside.size else 1.0, 1e-6)
    is_signed = bool(values.size and values.min() < 0) if signed is None else signed
    colours = matplotlib.colormaps[_SIGNED_MAP if is_signed else _POSITIVE_MAP](np.linspace(0, 1, 11))
    css = tuple("#" + "".join(f"{round(255 * part):02x}" for part in colour[:3]) for colour in colours)
    words = f"{_MAP_WORDS[kind][1]}; {'0 is in the middle' if is_signed else 'without sign'}"
    return ColourScale(-high if is_signed else 0.0, high, css, words)


def _close_up(view: CaseView, whole: tuple[slice, slice], shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """A square around all outlines, where these are small beside what is shown; needs an image to be framed in."""
    masks = [mask for mask in (view.reference, *view.predictions.values()) if mask is not None and mask.any()]
    if view.image is None or not masks:
        return None
    union = np.logical_or.reduce(masks)
    rows, columns = np.flatnonzero(union.any(1)), np.flatnonzero(union.any(0))
    side = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    wide = max(3 * side, _SMALLEST_CLOSE_UP)
    if 2 * wide > max(part.stop - part.start for part in whole):
        return None
    middle = [(int(part[0]) + int(part[-1])) // 2 for part in (rows, columns)]
    starts = [min(max(0, m - wide // 2), max(0, n - wide)) for m, n in zip(middle, shape, strict=True)]
    return (
        slice(starts[0], min(starts[0] + wide, shape[0])),
        slice(starts[1], min(starts[1] + wide, shape[1])),
    )


def _relative(part: tuple[slice, slice], whole: tuple[slice, slice]) -> tuple[float, float, float, float]:
    """Left, top, width and height of a box in the pixels of another."""
    (rows, columns), (first, left) = part, whole
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return columns.start - left.start - 0.5, rows.start - first.start - 0.5, width, height


def _window(image: AnyArray) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(image, (0.5, 99.5)))
    return (low, high) if high > low else (float(image.min()), float(image.max()) + 1.0)


def _content_box(view: CaseView, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Box around what is not background, a little wider; the whole slice if that cannot be told."""
    content: BoolArray = np.zeros(shape, bool)
    if view.image is not None:
        low, high = _window(view.image)
        content |= view.image > low + 0.03 * (high - low)
    for mask in (view.reference, *view.predictions.values()):
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
    outlines: Sequence[tuple[str, BoolArray]] = (),
    width: float = 1.4,
    frame: tuple[float, float, float, float] | None = None,
    caption: str = "",
) -> Tile:
    rows, columns = pixels.shape
    height, wide = rows * aspect, float(columns)
    inches = _LONG_SIDE_INCHES / max(height, wide)
    figure = Figure(figsize=(max(wide * inches, 0.2), max(height * inches, 0.2)), dpi=_DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.imshow(pixels, aspect="auto", interpolation="nearest", **colours)
    for colour, mask in outlines:
        _outline(axes, colour, mask, width)
    if frame is not None:
        left, top, across, down = frame
        edge: dict[str, Any] = {"fill": False, "edgecolor": "#ffffff", "linewidth": 1.2}
        axes.add_patch(Rectangle((left, top), across, down, **edge, path_effects=_RIM))
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_jpg(stream, pil_kwargs=_JPEG)  # type: ignore[no-untyped-call]
    uri = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
    across, down = (round(edge * _DPI) for edge in figure.get_size_inches())
    return Tile(title, uri, alt, caption, across, down)


def _outline(axes: Any, colour: str, mask: BoolArray, width: float) -> None:
    if not mask.any():
        return
    rows, columns = mask.shape
    x, y = np.arange(-1, columns + 1), np.arange(-1, rows + 1)
    style = "dashed" if colour == PREDICTION_COLOUR else "solid"
    ring = np.pad(mask.astype(np.float32), 1)
    lines = axes.contour(x, y, ring, levels=[0.5], colors=[colour], linewidths=width, linestyles=style)
    if colour in (REFERENCE_COLOUR, PREDICTION_COLOUR):  # a dark rim keeps them visible on white tissue
        lines.set(path_effects=_RIM)


def window_of_plan(plan: Mapping[str, Any]) -> tuple[float, float] | None:
    """The clip window of the first channel where the plan has one in grey values (CT), else none."""
    channels = plan.get("channels")
    first = channels[0] if isinstance(channels, list) and channels and isinstance(channels[0], dict) else {}
    low, high = first.get("clip_low"), first.get("clip_high")
    if first.get("scheme") != "ct" or not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return (float(low), float(high)) if high > low else None
