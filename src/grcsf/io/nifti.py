"""NIfTI-1 and NIfTI-2 files, plain or gzipped, with headers kept bit for bit.

Source: standard, NIfTI-1.1 (https://nifti.nimh.nih.gov/nifti-1) and NIfTI-2. nibabel interprets the headers;
unlike ITK it accepts an sform that is not orthonormal. Header extensions, which may name a patient, are not copied.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from grcsf.arrays import AnyArray
from grcsf.errors import ImageError
from grcsf.io.files import atomic_path
from grcsf.io.geometry import FloatArray64, Geometry, Volume, make_geometry

__all__ = ["geometry_of_nifti", "new_header", "read_header", "read_nifti", "write_nifti"]

_nibabel: Any = nibabel  # typed in part only
_HeaderError = _nibabel.spatialimages.HeaderDataError
_LOGGER = logging.getLogger(__name__)
_HEADER_BYTES = {348: _nibabel.Nifti1Header, 540: _nibabel.Nifti2Header}
_MAX_HEADER = 540
_BROKEN = (EOFError, OSError, zlib.error)


def read_header(path: Path) -> Any:
    """The header of a NIfTI file, unchanged (a ``nibabel.Nifti1Header`` or ``Nifti2Header``).

    Raises:
        ImageError: truncated, or not a NIfTI file.
    """
    try:
        with _open(path) as file:
            block = file.read(_MAX_HEADER)
    except _BROKEN as error:
        raise ImageError(f"{path}: cannot be read, truncated or not a NIfTI file ({_reason(error)})") from None
    return _parse_header(block, path)


def geometry_of_nifti(path: Path, header: Any | None = None, channels: int | None = None) -> Geometry:
    """The grid of a NIfTI file; only its header is read.

    Args:
        path: of the file.
        header: that was read already.
        channels: of a file with the channels along its fourth axis; none: the file holds one image.

    Raises:
        ImageError: not a readable NIfTI header, not 2-D or 3-D (or of other channels), or without a usable affine.
    """
    checked = (read_header(path) if header is None else header).copy()
    try:
        checked.check_fix(logger=_LOGGER)
        shape = tuple(int(size) for size in checked.get_data_shape())
        affine = np.diag([*[_unit_mm(checked)] * 3, 1.0]) @ checked.get_best_affine()
    except (_HeaderError, ValueError) as error:
        raise ImageError(f"{path}: the NIfTI header is not usable ({error})") from None
    return make_geometry(
        _two_or_three(shape, path) if channels is None else _space(shape, channels, path), affine, path
    )


def read_nifti(path: Path, channel: int = 0, channels: int | None = None) -> Volume:
    """The image in a NIfTI file; the whole file is read and its gzip checksum verified.

    Args:
        path: of the file.
        channel: which one, from 0, where there are several.
        channels: as in :func:`geometry_of_nifti`.

    Raises:
        ImageError: as :func:`geometry_of_nifti`, a truncated file, or a colour or complex image.
    """
    try:
        with _open(path) as file:
            content = file.read()
    except _BROKEN as error:
        raise ImageError(f"{path}: truncated, damaged or not a NIfTI file ({_reason(error)}); copy it again") from None
    header = _parse_header(content[:_MAX_HEADER], path)
    geometry = geometry_of_nifti(path, header, channels)
    try:
        dtype = header.get_data_dtype()
        slope, inter = header.get_slope_inter()
    except (_HeaderError, KeyError) as error:
        raise ImageError(f"{path}: the NIfTI header is not usable ({error})") from None
    if dtype.kind not in "iuf":
        raise ImageError(f"{path}: voxels of type {dtype}; expected one number per voxel, not colours or complex ones")
    start = max(int(header.get_data_offset()), header.sizeof_hdr + 4)
    count = int(np.prod(geometry.shape, dtype=np.int64))
    start += channel * count * dtype.itemsize
    needed = start + (max(channels or 1, 1) - channel) * count * dtype.itemsize
    if len(content) < needed:
        raise ImageError(f"{path}: truncated NIfTI file, {len(content)} bytes of {needed}; copy it again")
    stored = np.frombuffer(content, dtype, count, start).reshape(geometry.shape, order="F")
    return Volume(_scaled(stored, slope, inter), geometry, path)


def new_header(shape: tuple[int, ...], affine_ras: FloatArray64) -> Any:
    """A NIfTI-1 header for a grid that came from another format: sform and qform set, mm."""
    header = _nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_sform(affine_ras, code="scanner")
    header.set_qform(affine_ras, code="scanner", strip_shears=True)
    header.set_xyzt_units("mm")
    return header


def nifti_bytes(volume: Volume) -> bytes:
    """A volume as the bytes of an uncompressed NIfTI file, under a header made anew; a 2-D image gets a third axis."""
    array = volume.array.astype(np.uint8) if volume.array.dtype.kind == "b" else volume.array
    if array.dtype.itemsize == 8 or array.dtype == np.float16:
        array = array.astype(np.float32)
    shape = (*array.shape, 1)[:3] if array.ndim == 2 else array.shape
    header = new_header(shape, volume.geometry.affine_ras)
    return _nibabel.Nifti1Image(array.reshape(shape), None, header).to_bytes()  # type: ignore[no-any-return]


def write_nifti(array: AnyArray, header: Any, path: Path) -> None:
    """Write ``array`` under ``header``, of which only type, scaling (1, 0) and display range (none) change.

    The file is atomic, and gzipped output is the same at every run (no time stamp, no name inside).

    Args:
        array: 2-D or 3-D, a type NIfTI can hold.
        header: from :func:`read_header` or :func:`new_header`; not changed.
        path: output, ``.nii`` or ``.nii.gz``.

    Raises:
        OutputError: the file cannot be written.
    """
    out = header.copy()
    steps = out["pixdim"].copy()
    out.set_data_shape(array.shape)
    out["pixdim"] = steps  # set_data_shape resets the steps of axes it drops
    out.set_data_dtype(array.dtype)
    out["scl_slope"], out["scl_inter"] = 1, 0
    out["cal_max"], out["cal_min"] = 0, 0
    out["vox_offset"] = out.sizeof_hdr + 4
    stored = array.astype(array.dtype.newbyteorder(out.endianness), copy=False)
    with atomic_path(path) as partial, partial.open("wb") as file:
        content = out.binaryblock + b"\0\0\0\0"  # no extensions
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=file, mtime=0) as packed:
                packed.write(content)
                packed.write(stored.tobytes(order="F"))
        else:
            file.write(content)
            file.write(stored.tobytes(order="F"))


def _open(path: Path) -> Any:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def _parse_header(block: bytes, path: Path) -> Any:
    for size, kind in _HEADER_BYTES.items():
        if block[:4] in (size.to_bytes(4, "little"), size.to_bytes(4, "big")) and len(block) >= size:
            return kind(block[:size], check=False)
    if len(block) < min(_HEADER_BYTES):
        raise ImageError(f"{path}: truncated NIfTI file, {len(block)} bytes of a 348 byte header; copy it again")
    raise ImageError(f"{path}: not a NIfTI file (it does not begin with a NIfTI header)")


def _unit_mm(header: Any) -> float:
    """Millimetres in the header's unit of length; an unknown unit is taken for mm, as ITK does."""
    return {1: 1e3, 3: 1e-3}.get(int(header["xyzt_units"]) & 7, 1.0)


def _two_or_three(shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    kept = shape
    while len(kept) > 3 and kept[-1] == 1:
        kept = kept[:-1]
    if len(kept) < 2:
        raise ImageError(f"{path}: image of size {shape}; expected 2-D or 3-D")
    if len(kept) > 3:
        raise ImageError(
            f"{path}: {len(kept)}-D image of size {shape}; expected 2-D or 3-D, "
            "store each channel or time point in a file of its own (CASE_0000, CASE_0001, ...)"
        )
    return kept


def _space(shape: tuple[int, ...], channels: int, path: Path) -> tuple[int, ...]:
    """Size in space of a file with its channels along the fourth axis; a single one may have no such axis."""
    found = shape[3:] if any(size != 1 for size in shape[3:]) else (1,)
    if len(shape) < 3 or found != (channels,):
        raise ImageError(
            f"{path}: image of size {shape}; expected 3-D with {channels} channel(s) along the fourth axis, as the "
            "data set declares; correct the declaration, or leave the case out"
        )
    return shape[:3]


def _scaled(stored: AnyArray, slope: float | None, inter: float | None) -> AnyArray:
    scale, offset = (1.0, 0.0) if slope is None or inter is None else (slope, inter)
    identity = (scale, offset) == (1.0, 0.0)
    if identity and stored.dtype.kind in "iu":
        return np.array(stored, dtype=stored.dtype.newbyteorder("="), order="C")
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored if identity else stored.astype(np.float64) * scale + offset
        return np.array(values, dtype=np.float32, order="C")


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
