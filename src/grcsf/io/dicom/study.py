"""A DICOM study as volumes: open, list, choose, read.

Source: standard, DICOM PS3.3; decisions on tilt, gaps and duplicates are our own, docs/how-to/dicom.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.errors import ImageError
from grcsf.io.dicom.files import DicomFiles, ZipLimits, open_files, pydicom_quiet
from grcsf.io.dicom.headers import FileHeader, Frame, read_headers
from grcsf.io.dicom.resample import EvenGrid, even_grid, onto_grid
from grcsf.io.dicom.series import Part, choose_parts, list_parts, skipped_objects
from grcsf.io.geometry import Geometry, Volume, make_geometry

__all__ = ["DicomImage", "DicomStudy", "open_study", "read_dicom", "read_dicom_geometry", "read_part"]

_PIXEL_TAGS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "PixelData", "ExtendedOffsetTable"),
    "ExtendedOffsetTableLengths",
)
_INSTALL = "pip install 'grcsf[dicom-codecs]'"


@dataclass(frozen=True, eq=False)
class DicomStudy:
    """What a DICOM file, folder or zip holds.

    Attributes:
        files: its DICOM files.
        headers: one per file.
        parts: stacks of slices.
        skipped: why files hold none, with their number.
    """

    files: DicomFiles
    headers: tuple[FileHeader, ...]
    parts: tuple[Part, ...]
    skipped: dict[str, int]


@dataclass(frozen=True, eq=False)
class DicomImage:
    """A stack that was read.

    Attributes:
        volume: its values and grid; axes (columns, rows, slices).
        part: what it is.
        grid: the even grid it was resampled to; none where the slices themselves are the grid.
        duplicates: slices left out because an equal one lies at their position.
    """

    volume: Volume
    part: Part
    grid: EvenGrid | None
    duplicates: int

    def record(self) -> dict[str, Any]:
        """What a ``run.json`` keeps: no name, date, identifier or free text."""
        stack = self.part.stack
        resampled = None
        if self.grid is not None:
            resampled = {
                "why": stack.fault_text(),
                "faults": stack.faults,
                "slices_before": stack.shape[2],
                "shape": self.grid.shape,
                "slice_distance_mm": self.grid.gap_mm,
                "interpolation": "linear; masks go back to the slices by the nearest voxel",
            }
        return {
            "modality": self.part.modality,
            "grid": str(self.volume.geometry),
            "duplicates_left_out": self.duplicates,
            "resampled": resampled,
        }


@contextmanager
def open_study(path: Path, limits: ZipLimits | None = None) -> Iterator[DicomStudy]:
    """Read all headers at ``path``; a zip stays unpacked as long as the study is open.

    Raises:
        ImageError: no DICOM there, a damaged file, or a zip that is refused.
        GrcsfError: pydicom is not installed.
    """
    with open_files(path, limits) as files:
        headers = read_headers(files)
        yield DicomStudy(files, tuple(headers), tuple(list_parts(headers)), skipped_objects(headers))


def read_dicom(path: Path, series: Sequence[str] = (), *, allow_resample: bool = False) -> Volume:
    """The image of a DICOM file, folder or zip.

    Args:
        path: where it is.
        series: which one, as ``--series`` takes it; empty: the only one.
        allow_resample: put tilted, uneven or gapped slices onto an even grid instead of refusing them.

    Returns:
        Axes (columns, rows, slices) with the slices along their normal; whole numbers where slope and intercept are,
        else float32.

    Raises:
        ImageError: nothing or several things to choose from, slices that are no even grid, or damaged pixels.
    """
    with open_study(path) as study:
        ((part, *_), *_) = choose_parts(study.parts, series, 1, path)
        return read_part(study, part, allow_resample=allow_resample).volume


def read_dicom_geometry(path: Path) -> Geometry:
    """The grid of the only image at ``path``, from headers alone.

    Raises:
        ImageError: as :func:`read_dicom`.
    """
    with open_study(path) as study:
        ((part, *_), *_) = choose_parts(study.parts, (), 1, path)
        _refuse_faults(part, path, allowed=False)
        return make_geometry(part.stack.shape, part.stack.affine_ras(), path)


def read_part(study: DicomStudy, part: Part, *, allow_resample: bool = False) -> DicomImage:
    """Read the pixels of a stack.

    Raises:
        ImageError: as :func:`read_dicom`.
    """
    root, stack = study.files.root, part.stack
    _refuse_faults(part, root, allowed=allow_resample)
    twins = [frame for _, frame in stack.duplicates]
    values = _frame_values(study.files, [*stack.frames, *twins])
    count = len(stack.frames)
    for (index, _), twin in zip(stack.duplicates, values[count:], strict=True):
        if not np.array_equal(values[index], twin):
            raise ImageError(
                f"{root}: series {part.token} has different slices at one position (slice {index + 1}), and no echo "
                "time, b-value or time point tells them apart; export one volume per series"
            )
    array = _narrow(np.ascontiguousarray(np.stack(values[:count]).transpose(2, 1, 0)))
    if not stack.faults:
        geometry = make_geometry(stack.shape, stack.affine_ras(), root)
        return DicomImage(Volume(array, geometry, root), part, None, len(twins))
    grid = even_grid(stack)
    volume = Volume(onto_grid(array, stack, grid), make_geometry(grid.shape, grid.affine_ras, root), root)
    return DicomImage(volume, part, grid, len(twins))


def _refuse_faults(part: Part, root: Path, allowed: bool) -> None:
    if part.lacking:
        raise ImageError(
            f"{root}: series {part.token} has {part.lacking} slice(s) without position, orientation or pixel spacing; "
            "export it again, or remove them"
        )
    if part.stack.faults and not allowed:
        raise ImageError(
            f"{root}: the slices of series {part.token} are no even grid: {part.stack.fault_text()}; "
            "export the series again, or give --allow-resample to put them onto an even grid"
        )


def _frame_values(files: DicomFiles, frames: Sequence[Frame]) -> list[AnyArray]:
    """Values after slope and intercept, (rows, columns) each: int32 where all scale to whole numbers, else float32."""
    whole = all(frame.slope == 1 and frame.intercept.is_integer() for frame in frames)
    by_file: dict[int, list[int]] = {}
    for index, frame in enumerate(frames):
        by_file.setdefault(frame.file, []).append(index)
    values: list[AnyArray] = [np.empty(0)] * len(frames)
    for file, indices in by_file.items():
        numbers = [frames[index].number for index in indices]
        for index, stored in zip(indices, _stored(files, file, numbers), strict=True):
            frame = frames[index]
            if stored.shape != frame.size:
                raise ImageError(f"{files.name(file)}: pixels {stored.shape}, but its header says {frame.size}")
            if whole and stored.dtype.kind in "iu":
                values[index] = stored.astype(np.int32) + np.int32(frame.intercept)
            else:
                values[index] = (stored.astype(np.float64) * frame.slope + frame.intercept).astype(np.float32)
    return values


def _stored(files: DicomFiles, file: int, numbers: Sequence[int | None]) -> list[AnyArray]:
    name = files.name(file)
    with pydicom_quiet() as pydicom:
        try:
            dataset = pydicom.dcmread(files.paths[file], specific_tags=list(_PIXEL_TAGS))
            syntax = dataset.file_meta.TransferSyntaxUID
        except Exception as error:  # a parser of foreign bytes: any exception means a damaged file
            raise ImageError(f"{name}: truncated or damaged ({type(error).__name__}); copy it again") from None
        if "PixelData" not in dataset:
            raise ImageError(f"{name}: has no pixel data; export the series again with its images")
        decoder = pydicom.pixels.get_decoder
        try:
            available = decoder(syntax).is_available
        except NotImplementedError:
            available = False
        if not available:
            raise ImageError(f"{name}: compressed as {syntax.name}, which needs further packages: {_INSTALL}")
        try:
            wanted = [number or 0 for number in numbers]
            return [np.array(frame) for frame in pydicom.pixels.iter_pixels(dataset, raw=True, indices=wanted)]
        except MemoryError:
            raise
        except Exception as error:  # decoders raise whatever their libraries do
            more = "" if not syntax.is_compressed else f" (compressed as {syntax.name}; {_INSTALL} adds decoders)"
            raise ImageError(
                f"{name}: its pixels cannot be decoded, truncated or damaged ({type(error).__name__}){more}; "
                "copy it again"
            ) from None


def _narrow(array: AnyArray) -> AnyArray:
    if array.dtype.kind == "i" and array.min() >= -(2**15) and array.max() < 2**15:
        return array.astype(np.int16)
    return array
