"""From two folders of masks to pairs of checked label arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.errors import DatasetError, ImageError
from grcsf.io.volume import IMAGE_ENDINGS, Volume, check_same_grid, read_volume, stem_of

__all__ = ["LoadedPair", "find_masks", "load_pair"]

TOLERANCE_MM = 0.01
"""How far the corners of two grids may lie apart: far below any voxel, far above the rounding of image headers."""


@dataclass(frozen=True)
class LoadedPair:
    """Label values of a reference and a prediction on one grid, and the edge lengths of a voxel."""

    reference: AnyArray
    prediction: AnyArray
    spacing_mm: tuple[float, ...]


def find_masks(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Image files of a folder by stem; more than one file of a stem (``A.nii.gz``, ``A.nrrd``) is kept as it is.

    Raises:
        DatasetError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; expected a folder of masks")
    found: dict[str, tuple[Path, ...]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.lower().endswith(IMAGE_ENDINGS) and not path.name.startswith("."):
            found[stem_of(path)] = (*found.get(stem_of(path), ()), path)
    if not found:
        raise DatasetError(f"{folder}: no mask in it; expected files ending in {', '.join(IMAGE_ENDINGS)}")
    return found


def load_pair(
    case: str,
    reference: Path,
    prediction: Path,
    labels: Mapping[str, int],
    spacing_mm: tuple[float, ...] | None = None,
) -> LoadedPair:
    """Read two masks and make sure they can be compared.

    Args:
        case: name for the messages.
        reference: mask of an expert.
        prediction: mask of a method.
        labels: name -> value, the background included or not.
        spacing_mm: pixel size of PNG files, which do not carry one.

    Raises:
        GridMismatch: the two differ in size or position.
        ImageError: a file that cannot be read, or values that are no label.
    """
    truth, found = read_volume(reference, spacing_mm), read_volume(prediction, spacing_mm)
    check_same_grid(truth, found, f"{case}: reference and prediction", TOLERANCE_MM)
    known = {0, *labels.values()}
    return LoadedPair(_label_values(case, truth, known), _label_values(case, found, known), truth.geometry.spacing_mm)


def _label_values(case: str, volume: Volume, known: set[int]) -> AnyArray:
    values = np.unique(volume.array)
    whole = values.astype(np.int64)
    if not np.array_equal(whole, values):
        raise ImageError(
            f"{case}: {volume.path.name} holds fractions such as {values[whole != values][0]:.4g}, expected label "
            "values; give the mask, not the probability map"
        )
    unknown = [int(value) for value in whole if int(value) not in known]
    if unknown:
        raise ImageError(
            f"{case}: {volume.path.name} holds the values {unknown[:5]}, expected only {sorted(known)}; "
            "name them in the labels of dataset.json or correct the mask"
        )
    return volume.array
