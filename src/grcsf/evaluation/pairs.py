"""From two folders of masks to pairs of checked label arrays."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.datasets.naming import image_files
from grcsf.errors import DatasetError, GrcsfError, ImageError
from grcsf.io.volume import IMAGE_ENDINGS, ImageRef, Volume, check_same_grid, read_volume, stem_of

__all__ = ["TOLERANCE_MM", "LoadedPair", "find_images", "find_masks", "label_values", "load_pair", "reference_masks"]

_log = logging.getLogger("grcsf")

TOLERANCE_MM = 0.01
"""How far the corners of two grids may lie apart: far below any voxel, far above the rounding of image headers."""


@dataclass(frozen=True)
class LoadedPair:
    """Label values of a reference and a prediction on one grid, edges of a voxel, grey values if known.

    ``spacing_mm`` are the edges whose product is the size of a voxel, on slanted grids (gantry tilt) too.
    """

    reference: AnyArray
    prediction: AnyArray
    spacing_mm: tuple[float, ...]
    image: AnyArray | None = None


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


def reference_masks(reference: Path | Mapping[str, ImageRef]) -> Mapping[str, tuple[ImageRef, ...]]:
    """References by case, each as :func:`find_masks` gives them: those of a folder, or one for each case.

    Raises:
        DatasetError: no such folder, or no image in it.
    """
    if isinstance(reference, Path):
        return find_masks(reference)
    return {name: (mask,) for name, mask in reference.items()}


def find_images(folder: Path, cases: Sequence[str]) -> dict[str, Path]:
    """First channel of each case that has one: ``CASE_0000`` or, without such a file, ``CASE``.

    Raises:
        DatasetError: no such folder, or no image of any of the cases in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; expected the images that the masks belong to")
    files = {stem_of(path): path for path in image_files(folder)}
    found = {name: files.get(f"{name}_0000") or files.get(name) for name in cases}
    images = {name: path for name, path in found.items() if path is not None}
    if not images:
        raise DatasetError(f"{folder}: no image of any case; expected files such as {[*cases, 'CASE'][0]}_0000.nii.gz")
    missing = [name for name in cases if name not in images]
    if missing:
        _log.warning("no image, so no contrast, of %d cases (%s)", len(missing), ", ".join(missing[:5]))
    return images


def load_pair(
    case: str,
    reference: ImageRef,
    prediction: ImageRef,
    labels: Mapping[str, int],
    spacing_mm: tuple[float, ...] | None = None,
    *,
    image: ImageRef | None = None,
) -> LoadedPair:
    """Read two masks and make sure they can be compared.

    An image that cannot be used is a warning: scores do not depend on it.

    Args:
        case: name for the messages.
        reference: mask of an expert.
        prediction: mask of a method.
        labels: name -> value, the background included or not.
        spacing_mm: pixel size of PNG files, which do not carry one.
        image: grey values on the same grid; none: not read.

    Raises:
        GridMismatch: the two differ in size or position.
        ImageError: a file that cannot be read, or values that are no label.
    """
    truth, found = read_volume(reference, spacing_mm), read_volume(prediction, spacing_mm)
    check_same_grid(truth, found, f"{case}: reference and prediction", TOLERANCE_MM)
    known = {0, *labels.values()}
    masks = label_values(case, truth, known), label_values(case, found, known)
    return LoadedPair(*masks, truth.geometry.edges_mm, _grey_values(case, truth, image, spacing_mm))


def _grey_values(
    case: str, truth: Volume, image: ImageRef | None, spacing_mm: tuple[float, ...] | None
) -> AnyArray | None:
    if image is None:
        return None
    try:
        grey = read_volume(image, spacing_mm)
        check_same_grid(truth, grey, f"{case}: reference and image", TOLERANCE_MM)
    except GrcsfError as error:
        _log.warning("no contrast of the lesions of %s: %s", case, error)
        return None
    return grey.array


def label_values(case: str, volume: Volume, known: set[int]) -> AnyArray:
    """The array of a mask whose values are all known labels.

    Raises:
        ImageError: fractions, or values that are no label.
    """
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
