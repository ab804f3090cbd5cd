"""Everything wrong with the files of one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.errors import GridMismatch, ImageError
from grcsf.io.files import hash_array
from grcsf.io.volume import (
    Geometry,
    ImageRef,
    Volume,
    check_same_grid,
    files_of,
    name_of,
    path_of,
    read_volume,
)

__all__ = ["CaseCheck", "CaseFiles", "Problem", "check_case", "label_values"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        case: the case it concerns; none for the data set as a whole.
        severity: an error must be mended before training, a warning be known.
        kind: a short fixed name, such as "grid-mismatch".
        message: what came, what was expected, what to do.
    """

    case: str | None
    severity: Severity
    kind: str
    message: str


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case as they were found, complete or not."""

    case: str
    images: tuple[ImageRef, ...]
    label: ImageRef | None


@dataclass
class CaseCheck:
    """What reading a case showed.

    Attributes:
        case: its name.
        problems: what is wrong.
        hashes: content hash of each readable image that is not constant, by file name.
        voxels: in the largest file.
        dimensions: 2 or 3; 0 if no image could be read.
        has_label: whether a mask could be read.
        has_lesion: whether the mask holds anything but background.
    """

    case: str
    problems: list[Problem] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    voxels: int = 0
    dimensions: int = 0
    has_label: bool = False
    has_lesion: bool = False


def check_case(
    files: CaseFiles, labels: Mapping[str, int], spacing_mm: tuple[float, ...] | None, tolerance_mm: float
) -> CaseCheck:
    """Read every file of a case and note what is wrong.

    Args:
        files: of the case.
        labels: value of each class that the data set declares.
        spacing_mm: (rows, columns) of PNG images.
        tolerance_mm: how far the corner voxels of two files may be apart, mm.
    """
    check = CaseCheck(files.case)
    reference: tuple[str, Geometry] | None = None
    for image in (*files.images, *([files.label] if files.label else [])):
        volume, name = _read(image, spacing_mm, check), _name(image)
        if volume is None:
            continue
        if reference is None:
            reference = name, volume.geometry
        else:
            _compare_grids(reference, name, volume.geometry, tolerance_mm, check)
        check.voxels = max(check.voxels, prod(volume.geometry.shape))
        if image is files.label:
            _check_label(volume, name, labels, check)
        else:
            check.dimensions = len(volume.geometry.shape)
            _check_image(volume, name, check)
    return check


def label_values(array: AnyArray) -> list[float]:
    """The different values of a mask, sorted."""
    if array.dtype == np.uint8:
        return [float(value) for value in np.flatnonzero(np.bincount(array.reshape(-1), minlength=1))]
    return [float(value) for value in np.unique(array)]


def _read(image: ImageRef, spacing_mm: tuple[float, ...] | None, check: CaseCheck) -> Volume | None:
    try:
        return read_volume(image, spacing_mm)
    except ImageError as error:
        check.problems.append(Problem(check.case, "error", "unreadable", _relative(str(error), image)))
    except GridMismatch as error:
        check.problems.append(Problem(check.case, "error", "grid-mismatch", _relative(str(error), image)))
    return None


def _compare_grids(
    reference: tuple[str, Geometry], name: str, geometry: Geometry, tolerance_mm: float, check: CaseCheck
) -> None:
    try:
        check_same_grid(reference[1], geometry, f"{reference[0]} and {name}", tolerance_mm)
    except GridMismatch as error:
        check.problems.append(Problem(check.case, "error", "grid-mismatch", str(error)))


def _check_image(volume: Volume, name: str, check: CaseCheck) -> None:
    low, high = volume.array.min(), volume.array.max()
    if low == high:
        message = f"{name}: empty image, all voxels are {low:g}; leave the case out or export it again"
        check.problems.append(Problem(check.case, "error", "constant-image", message))
        return
    check.hashes[name] = hash_array(volume.array)


def _check_label(volume: Volume, name: str, labels: Mapping[str, int], check: CaseCheck) -> None:
    values = label_values(volume.array)
    check.has_label = True
    check.has_lesion = any(value != 0 for value in values)
    unknown = [value for value in values if value not in labels.values()]
    if not unknown or not labels:
        return
    declared = ", ".join(f"{value}: {label}" for label, value in sorted(labels.items(), key=lambda item: item[1]))
    found = ", ".join(f"{value:g}" for value in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
    if set(unknown) == {255.0}:
        advice = "binary masks stored as 0/255 must be divided by 255, or declare the value"
    else:
        advice = "change the mask, or declare the values"
    noun = "value" if len(unknown) == 1 else "values"
    message = f"{name}: {noun} {found} found; dataset.json declares {{{declared}}}; {advice}"
    check.problems.append(Problem(check.case, "error", "label-values", message))


def _name(image: ImageRef) -> str:
    return f"{path_of(image).parent.name}/{name_of(image)}"


def _relative(message: str, image: ImageRef) -> str:
    for path in files_of(image):
        message = message.replace(str(path), f"{path.parent.name}/{path.name}")
    return message
