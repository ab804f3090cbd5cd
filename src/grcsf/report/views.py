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

__all__ = ["CaseView", "load_view", "residual_files"]

_COARSE = 1.5
"""A volume is shown along its coarsest axis if that is coarser than the others by this factor, else in axial slices."""
_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class CaseView:
    """One slice of a case, rows downwards.

    Attributes:
        image: grey values (rows, columns) or none.
        reference: mask or none.
        prediction: mask or none.
        residuals: mask ratio in per cent -> map.
        aspect: height of a pixel over its width.
        place: in words, such as "axial slice 12 of 40".
        notes: what could not be shown and why.
    """

    image: AnyArray | None
    reference: BoolArray | None
    prediction: BoolArray | None
    residuals: dict[int, AnyArray]
    aspect: float
    place: str
    notes: tuple[str, ...] = ()


def residual_files(case: str, files: Mapping[str, Path]) -> dict[int, Path]:
    """Residual maps of a case among files by stem, by mask ratio in per cent, ascending."""
    pattern = re.compile(re.escape(case) + r"_residual-r(\d+)")
    found = {int(match[1]): path for stem, path in files.items() if (match := pattern.fullmatch(stem))}
    return dict(sorted(found.items()))


def load_view(
    case: str,
    image: ImageRef | None,
    reference: ImageRef | None,
    files: Mapping[str, Path],
    spacing_mm: tuple[float, ...] | None = None,
) -> CaseView | None:
    """The slice with the largest reference area (else the largest prediction, else the middle).

    Args:
        case: its name.
        image: file of the first channel.
        reference: mask of the expert.
        files: predictions and residual maps by stem.
        spacing_mm: pixel size of PNG images.

    Returns:
        The view; none if no file could be read.
    """
    stacks = _Stacks(spacing_mm)
    shown = stacks.add(image)
    truth, found = stacks.add(reference), stacks.add(files.get(case))
    maps = {
        ratio: stack for ratio, path in residual_files(case, files).items() if (stack := stacks.add(path)) is not None
    }
    if stacks.base is None:
        return None
    depth = (shown if shown is not None else stacks.first).shape[0]
    index = _slice_index(depth, truth, found)
    return CaseView(
        image=None if shown is None else shown[index],
        reference=None if truth is None else truth[index] > 0,
        prediction=None if found is None else found[index] > 0,
        residuals={ratio: stack[index] for ratio, stack in maps.items()},
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
