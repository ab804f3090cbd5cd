"""The slice of a case that is shown: image, masks and residual maps, turned the way radiologists look at them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from grcsf.arrays import AnyArray, BoolArray
from grcsf.errors import GrcsfError
from grcsf.io.volume import Geometry, ImageRef, Volume, ending_of, name_of, path_of, read_volume
from grcsf.preprocess.geometry import AxisFlips, Triple, orientation_of, oriented_spacing_mm, to_array_axes

__all__ = ["CaseView", "MapFile", "ShownMap", "load_view", "map_files"]

_COARSE = 1.5
"""A volume is shown along its coarsest axis if that is coarser than the others by this factor, else in axial slices."""
_PLANES = ("sagittal", "coronal", "axial")


MAP_KINDS = ("residual", "importance", "fusion", "rcu-gain", "gcu-gain")
"""Maps that may lie beside a prediction as ``CASE_KIND-DETAIL``, in the order they are shown."""


@dataclass(frozen=True)
class MapFile:
    """A map beside a prediction: its kind, what stands behind it in the name (``r75``, ``1-r50``), its file."""

    kind: str
    detail: str
    path: Path


@dataclass(frozen=True)
class ShownMap:
    """The slice of a map: whose it is (empty: there is one method only), its kind and detail, its values."""

    method: str
    kind: str
    detail: str
    values: AnyArray


@dataclass(frozen=True)
class CaseView:
    """One slice of a case, rows downwards.

    Attributes:
        image: grey values (rows, columns) or none.
        reference: mask or none.
        predictions: method -> mask.
        maps: residual and other maps.
        aspect: height of a pixel over its width.
        place: in words, such as "axial slice 12 of 40".
        notes: what could not be shown and why.
    """

    image: AnyArray | None
    reference: BoolArray | None
    predictions: dict[str, BoolArray]
    maps: tuple[ShownMap, ...]
    aspect: float
    place: str
    notes: tuple[str, ...] = ()


def map_files(case: str, files: Mapping[str, Path]) -> list[MapFile]:
    """Maps of a case among files by stem, by kind and then by name, numbers in the order of numbers."""
    pattern = re.compile(re.escape(case) + rf"_({'|'.join(MAP_KINDS)})-([\w.-]+)")
    found = [MapFile(m[1], m[2], path) for stem, path in files.items() if (m := pattern.fullmatch(stem))]
    return sorted(found, key=lambda one: (MAP_KINDS.index(one.kind), _natural(one.detail)))


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def load_view(
    case: str,
    image: ImageRef | None,
    reference: ImageRef | None,
    files: Mapping[str, Mapping[str, Path]],
    spacing_mm: tuple[float, ...] | None = None,
) -> CaseView | None:
    """The slice with the largest reference area (else the largest prediction, else the middle).

    Args:
        case: its name.
        image: file of the first channel.
        reference: mask of the expert.
        files: method -> predictions and maps by stem.
        spacing_mm: pixel size of PNG images.

    Returns:
        The view; none if no file could be read.
    """
    stacks = _Stacks(spacing_mm)
    shown, truth = stacks.add(image), stacks.add(reference)
    added = {method: stacks.add(own.get(case)) for method, own in files.items()}
    found = {method: stack for method, stack in added.items() if stack is not None}
    maps = [
        (method, one, stack)
        for method, own in files.items()
        for one in map_files(case, own)
        if (stack := stacks.add(one.path)) is not None
    ]
    if stacks.base is None:
        return None
    depth = (shown if shown is not None else stacks.first).shape[0]
    index = _slice_index(depth, truth, *found.values())
    return CaseView(
        image=None if shown is None else shown[index],
        reference=None if truth is None else truth[index] > 0,
        predictions={method: stack[index] > 0 for method, stack in found.items()},
        maps=tuple(ShownMap(method, one.kind, one.detail, stack[index]) for method, one, stack in maps),
        aspect=stacks.aspect,
        place=f"{stacks.plane} slice {index + 1} of {depth}" if depth > 1 else "",
        notes=tuple(stacks.notes),
    )


@dataclass
class _Stacks:
    """Turns files of one grid to (slices, rows, columns); the first file that can be read sets the grid."""

    spacing_mm: tuple[float, ...] | None
    base: Volume | None = None
    first: AnyArray = field(default_factory=lambda: np.zeros((0, 0, 0)))
    plane: str = ""
    aspect: float = 1.0
    notes: list[str] = field(default_factory=list)

    def add(self, path: ImageRef | None) -> AnyArray | None:
        if path is None:
            return None
        try:
            volume = read_volume(path, self.spacing_mm)
            if self.base is None:
                return self._start(volume)
            return self._turn(volume)
        except GrcsfError as error:
            message = str(error).replace(str(path_of(path)), name_of(path))
            self.notes.append(f"{name_of(path)} is not shown: {message}")
            return None

    def _start(self, volume: Volume) -> AnyArray:
        self.first = self._turn(volume, volume)
        self.base = volume
        if ending_of(volume.path) == ".png":
            rows_mm, columns_mm = volume.geometry.spacing_mm
        else:
            orientation, order = _turning(volume.geometry)
            spacing = oriented_spacing_mm(_as_volume(volume.geometry), orientation)
            rows_mm, columns_mm = spacing[order[1]], spacing[order[2]]
            self.plane = _PLANES[order[0]]
        self.aspect = rows_mm / columns_mm
        return self.first

    def _turn(self, volume: Volume, base: Volume | None = None) -> AnyArray:
        base = base or self.base
        assert base is not None
        array = volume.array
        if ending_of(base.path) == ".png":
            if ending_of(volume.path) != ".png":
                array = array.T  # other formats hold the columns of a PNG along their first axis
            stack = array[None]
        else:
            if array.shape != base.array.shape:
                raise GrcsfError(f"its size is {array.shape}, that of {base.path.name} {base.array.shape}")
            orientation, order = _turning(base.geometry)
            stack = to_array_axes(np.atleast_3d(array), orientation, order)[:, ::-1, ::-1]
        if self.base is not None and stack.shape != self.first.shape:
            raise GrcsfError(f"its size is {array.shape}, that of {base.path.name} {base.array.shape}")
        return stack


def _as_volume(geometry: Geometry) -> Geometry:
    return Geometry((*geometry.shape, 1)[:3], geometry.affine_ras)


def _turning(geometry: Geometry) -> tuple[AxisFlips, Triple]:
    """Closest anatomical axes, and the order slice, rows, columns."""
    whole = _as_volume(geometry)
    orientation = orientation_of(whole)
    spacing = oriented_spacing_mm(whole, orientation)
    flat = [axis for (axis, _), size in zip(orientation, whole.shape, strict=True) if size == 1]
    first = 2
    if flat:
        first = flat[0]
    elif max(spacing) > _COARSE * sorted(spacing)[1]:
        first = spacing.index(max(spacing))
    row, column = (axis for axis in (2, 1, 0) if axis != first)
    return orientation, (first, row, column)


def _slice_index(depth: int, *masks: AnyArray | None) -> int:
    for mask in masks:
        if mask is not None and mask.any():
            return int(np.count_nonzero(mask, axis=(1, 2)).argmax())
    return depth // 2
