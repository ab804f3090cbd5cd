"""Preprocessed cases for batch making: kept in memory while they fit, read in part where they do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.preprocess.plan import Plan

__all__ = ["ArrayCache", "cut_window", "slice_with_context", "window_start"]


class ArrayCache:
    """Arrays by case name, kept in memory up to a limit in bytes.

    Args:
        read: reads the whole array of a case.
        limit_bytes: cases beyond it are read again at every use.
    """

    def __init__(self, read: Callable[[str], AnyArray], limit_bytes: int = 2**31) -> None:
        self._read, self._left, self._kept = read, limit_bytes, dict[str, AnyArray]()

    def __call__(self, name: str) -> AnyArray:
        """The array of case ``name``."""
        kept = self._kept.get(name)
        if kept is None:
            kept = self._read(name)
            if kept.nbytes <= self._left:
                self._left -= kept.nbytes
                self._kept[name] = kept
        return kept


def window_start(size: Sequence[int], window: Sequence[int], centre: Sequence[int]) -> tuple[int, ...]:
    """First voxel of a window near ``centre`` that stays inside an image of ``size`` where it fits.

    Along an axis where the image is smaller than the window the start is negative, the image in its middle.
    """
    start = []
    for edge, wide, at in zip(size, window, centre, strict=True):
        if edge <= wide:
            start.append(-((wide - edge) // 2))
        else:
            start.append(min(max(at - wide // 2, 0), edge - wide))
    return tuple(start)


def cut_window(array: AnyArray, start: Sequence[int], window: Sequence[int], fill: float | None = None) -> AnyArray:
    """Window of an array ``(C, *space)``; outside the image the edge is repeated, or ``fill`` is put."""
    size = array.shape[1:]
    inside = tuple(slice(max(s, 0), min(s + wide, edge)) for s, wide, edge in zip(start, window, size, strict=True))
    part = array[(slice(None), *inside)]
    pads = [(0, 0)]
    for s, wide, edge in zip(start, window, size, strict=True):
        pads.append((max(-s, 0), max(s + wide - edge, 0)))
    if not any(after or before for before, after in pads):
        return np.ascontiguousarray(part)
    if fill is None:
        return np.pad(part, pads, mode="edge")
    return np.pad(part, pads, mode="constant", constant_values=fill)


def slice_with_context(image: AnyArray, index: int, plan: Plan) -> AnyArray:
    """Channels of one slice and its neighbours, ``(C * (2 context + 1), H, W)``; edge slices are repeated."""
    if plan.context == 0:
        return image[:, index]
    depth = image.shape[1]
    wanted = np.clip(np.arange(index - plan.context, index + plan.context + 1), 0, depth - 1)
    return image[:, wanted].reshape(-1, *image.shape[2:])
