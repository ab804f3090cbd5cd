"""Preprocessed cases for batch making: kept in memory while they fit, read in part where they do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch.utils.data import get_worker_info

from grcsf.arrays import AnyArray, Sliceable
from grcsf.preprocess.plan import Plan

__all__ = ["ArrayCache", "cut_window", "slice_with_context", "window_start"]


class ArrayCache:
    """Arrays by case name, kept in memory up to a limit in bytes; those beyond it stay where they are.

    Args:
        find: finds the array of a case.
        limit_bytes: of what is kept, by all loader processes together.
    """

    def __init__(self, find: Callable[[str], Sliceable], limit_bytes: int = 2**31) -> None:
        self._find, self._left, self._kept = find, limit_bytes, dict[str, AnyArray]()
        self._is_share = False

    def __call__(self, name: str) -> Sliceable:
        """The array of case ``name``; cut it, as all of it may be too much."""
        kept = self._kept.get(name)
        if kept is not None:
            return kept
        found = self._find(name)
        if found.nbytes > self._room():
            return found
        self._kept[name] = found[...]
        self._left -= found.nbytes
        return self._kept[name]

    def _room(self) -> int:
        loaders = get_worker_info()
        if loaders is not None and not self._is_share:
            self._left, self._is_share = self._left // loaders.num_workers, True
        return self._left


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


def cut_window(
    array: Sliceable, start: Sequence[int], window: Sequence[int], fill: float | None = None, *, lead: int = 1
) -> AnyArray:
    """Window of an array ``(C, *space)``; outside the image the edge is repeated, or ``fill`` is put.

    ``lead`` axes before the spatial ones are taken whole.
    """
    size = array.shape[lead:]
    inside = tuple(slice(max(s, 0), min(s + wide, edge)) for s, wide, edge in zip(start, window, size, strict=True))
    part: AnyArray = array[(*[slice(None)] * lead, *inside)]
    pads = [(0, 0)] * lead
    for s, wide, edge in zip(start, window, size, strict=True):
        pads.append((max(-s, 0), max(s + wide - edge, 0)))
    if not any(after or before for before, after in pads):
        return np.ascontiguousarray(part)
    if fill is None:
        return np.pad(part, pads, mode="edge")
    return np.pad(part, pads, mode="constant", constant_values=fill)


def slice_with_context(image: Sliceable, index: int, plan: Plan) -> AnyArray:
    """Channels of one slice and its neighbours, ``(C * (2 context + 1), H, W)``; edge slices are repeated."""
    if plan.context == 0:
        one: AnyArray = image[:, index]
        return one
    depth = image.shape[1]
    wanted = np.clip(np.arange(index - plan.context, index + plan.context + 1), 0, depth - 1)
    part: AnyArray = image[:, int(wanted[0]) : int(wanted[-1]) + 1]
    return part[:, wanted - wanted[0]].reshape(-1, *image.shape[2:])
