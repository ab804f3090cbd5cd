"""Uploaded files as volumes, and arrays written on their grids without any text of their headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.errors import ImageError
from grcsf.io import nifti
from grcsf.io.dicom.files import ZipLimits
from grcsf.io.dicom.series import main_parts
from grcsf.io.dicom.study import open_study, read_part
from grcsf.io.files import atomic_path
from grcsf.io.geometry import Volume
from grcsf.io.volume import ending_of, read_volume, write_like, write_volume
from grcsf.viewer.encode import as_nifti, upright

__all__ = ["output_ending", "read_scan", "write_for_view", "write_on_grid"]

_TEXTS = ("data_type", "db_name", "descrip", "aux_file", "intent_name")


def read_scan(
    path: Path, spacing_mm: tuple[float, ...] | None, max_voxels: int, max_bytes: int
) -> tuple[Volume, list[str]]:
    """The image in an uploaded file, and what a reader should know of how it was read.

    Args:
        path: a file that was checked (:func:`grcsf.serve.formats.check_file`).
        spacing_mm: of PNG.
        max_voxels: of an image from DICOM, known from its headers before any pixel is read.
        max_bytes: of an unpacked zip.

    Raises:
        ImageError: it cannot be read; the message holds no text of the file.
    """
    if path.suffix == ".zip":
        return _read_series(path, max_voxels, max_bytes)
    try:
        volume = read_volume(path, spacing_mm)
    except ImageError:
        if ending_of(path) in (".nrrd", ".mha"):  # whose library quotes lines of headers
            raise ImageError(f"{path}: truncated, damaged, empty, or no 2-D or 3-D image of finite numbers") from None
        raise
    if path.suffix == ".png" and spacing_mm is None:
        return volume, ["a PNG holds no spacing and none was given: sizes are those of pixels of 1 mm"]
    return volume, []


def _read_series(path: Path, max_voxels: int, max_bytes: int) -> tuple[Volume, list[str]]:
    with open_study(path, ZipLimits(members=50_000, total_bytes=max_bytes)) as study:
        parts = main_parts(study.parts)
        if len(parts) != 1:
            raise ImageError(f"{path}: {len(parts)} CT, MR or PET series in the zip; expected one, pack it alone")
        voxels = int(np.prod(parts[0].stack.shape, dtype=np.int64))
        if voxels > max_voxels:
            raise ImageError(f"{path}: the series has {voxels} voxels; at most {max_voxels} are taken")
        image = read_part(study, parts[0])
        left_out = len(study.parts) - 1 + sum(study.skipped.values()) + study.files.others
    notes = [f"{left_out} other image(s) or file(s) in the zip were left out"] if left_out else []
    if image.duplicates:
        notes.append(f"{image.duplicates} slice(s) that came twice were left out")
    return Volume(image.volume.array, image.volume.geometry, path), notes


def output_ending(path: Path, *, fractions: bool) -> str:
    """Ending of a mask or map on the grid of an uploaded file: its own; NIfTI for DICOM, MetaImage for maps of PNG."""
    ending = ending_of(path)
    if ending is None:
        return ".nii.gz"
    if ending == ".png":
        return ".mha" if fractions else ".png"
    return ".nii.gz" if ending == ".nii" else ending


def write_on_grid(array: AnyArray, like: Volume, target: Path, spacing_mm: tuple[float, ...] | None = None) -> None:
    """Write an array on the grid of a scan; of a NIfTI header only the numbers are kept, for its texts may be names.

    Args:
        array: ``like.geometry.shape``.
        like: the scan.
        target: ending as :func:`output_ending` says.
        spacing_mm: of PNG.

    Raises:
        OutputError: it cannot be written.
    """
    source = ending_of(like.path)
    if source in (".nii", ".nii.gz"):
        header: Any = nifti.read_header(like.path)
        for name in _TEXTS:
            if name in header.keys():  # noqa: SIM118  a NIfTI-2 header has fewer, and is no dictionary
                header[name] = b""
        nifti.write_nifti(array, header, target)
    elif source is None:
        write_volume(array, like.geometry, target)
    else:
        write_like(array, like.path, target, spacing_mm)


def write_for_view(array: AnyArray, like: Volume, target: Path) -> None:
    """Write an array as the NIfTI that the page of ``grcsf.viewer`` shows; a PNG becomes one upright slice.

    Raises:
        OutputError: it cannot be written.
    """
    content = as_nifti(upright(Volume(array, like.geometry, like.path)))
    with atomic_path(target) as partial:
        partial.write_bytes(content)
