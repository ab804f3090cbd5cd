"""NRRD, MetaImage and PNG files through _sitk.

ITK counts world axes to the left and posterior (LPS); geometries here are RAS+, so the first two rows change sign.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from grcsf.arrays import AnyArray
from grcsf.errors import ImageError, OutputError
from grcsf.io.files import PARTIAL_PREFIX, atomic_path
from grcsf.io.geometry import FloatArray64, Geometry, Volume, make_geometry

__all__ = ["geometry_of_itk", "geometry_of_png", "read_itk", "read_png", "write_itk", "write_png"]

_sitk: Any = SimpleITK  # its functions carry no types
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_IMAGE_IO = {".nrrd": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO", ".png": "PNGImageIO"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LONGEST_LINE = 2**16
_PNG_GREY, _PNG_GREY_ALPHA = 0, 4


def geometry_of_itk(path: Path) -> Geometry:
    """The grid of an NRRD or MetaImage file; only its header is read.

    Raises:
        ImageError: not readable, not 2-D or 3-D, several values per voxel, or no usable affine.
    """
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ImageError(f"{path}: truncated, damaged or not a {path.suffix} file ({_reason(error)})") from None
    return _geometry(reader, reader.GetNumberOfComponents(), path)


def read_itk(path: Path) -> Volume:
    """The image in an NRRD or MetaImage file, axes (x, y[, z]).

    Raises:
        ImageError: as :func:`geometry_of_itk`, or damaged voxels, or fewer of them than the header promises.
    """
    geometry = geometry_of_itk(path)
    if path.suffix.lower() in (".mha", ".mhd"):
        _check_metaimage(path)
    image = _load(path)
    array = _sitk.GetArrayFromImage(image).T.reshape(geometry.shape, order="F")
    return Volume(np.ascontiguousarray(_plain(array)), geometry, path)


def geometry_of_png(path: Path, spacing_mm: tuple[float, ...] | None) -> Geometry:
    """The grid of a PNG image: (rows, columns), with the spacing given or 1 mm.

    Raises:
        ImageError: not a PNG file, or a spacing that is not two positive numbers.
    """
    columns, rows, _, _ = _png_header(path)
    steps = (1.0, 1.0) if spacing_mm is None else tuple(spacing_mm)
    if len(steps) != 2 or min(steps) <= 0:
        raise ImageError(f"{path}: spacing {steps} given for a PNG image; expected two numbers above 0 (rows, columns)")
    return make_geometry((rows, columns), np.diag([*steps, 1.0, 1.0]), path)


def read_png(path: Path, spacing_mm: tuple[float, ...] | None) -> Volume:
    """The grey values of a PNG image, (rows, columns), as stored: 1-bit images give 0 and 1.

    Raises:
        ImageError: not a PNG file, damaged, or a colour image.
    """
    geometry = geometry_of_png(path, spacing_mm)
    _, _, bits, colour = _png_header(path)
    if colour == _PNG_GREY_ALPHA:
        raise ImageError(f"{path}: grey PNG with an alpha channel; save it as grey without alpha")
    array = _grey(_sitk.GetArrayFromImage(_load(path)), path)
    if bits < 8 and colour == _PNG_GREY:
        array = array // (255 // (2**bits - 1))  # libpng stretches small depths to 0..255; palettes have their values
    return Volume(np.ascontiguousarray(array), geometry, path)


def write_itk(array: AnyArray, geometry: Geometry, path: Path, like: Path | None = None) -> None:
    """Write an NRRD or MetaImage file, atomically.

    Args:
        array: (x, y[, z]), uint8 to int64 or float32.
        geometry: its grid, used where ``like`` is none.
        path: output; ``.mhd`` writes its ``.raw`` beside it.
        like: NRRD or MetaImage file whose spacing, origin and direction are copied number for number.

    Raises:
        OutputError: the file cannot be written.
    """
    image = _sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    dimension = array.ndim
    if like is not None:
        reader = _reader(like)
        reader.ReadImageInformation()
        spacing, origin = reader.GetSpacing()[:dimension], reader.GetOrigin()[:dimension]
        direction = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2)[:dimension, :dimension]
    else:
        affine_lps = _LPS_TO_RAS @ geometry.affine_ras
        spacing, origin = geometry.spacing_mm, tuple(affine_lps[:dimension, 3])
        direction = affine_lps[:dimension, :dimension] / np.asarray(spacing)
        if abs(np.linalg.det(direction)) < 1e-3:
            raise OutputError(f"{path}: a 2-D {path.suffix} cannot hold this slice orientation; choose .nii.gz")
    image.SetSpacing([float(value) for value in spacing])
    image.SetOrigin([float(value) for value in origin])
    image.SetDirection([float(value) for value in direction.ravel()])
    if path.suffix.lower() == ".mhd":
        _write_with_raw(image, path)
    else:
        with atomic_path(path) as partial:
            _write(image, partial, path, compress=True)


def write_png(array: AnyArray, path: Path) -> None:
    """Write a (rows, columns) image of uint8 or uint16 as PNG, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as partial:
        _write(_sitk.GetImageFromArray(np.ascontiguousarray(array)), partial, path, compress=True)


def _reader(path: Path) -> Any:
    reader = _sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(_IMAGE_IO[path.suffix.lower()])
    return reader


def _load(path: Path) -> Any:
    try:
        return _reader(path).Execute()
    except RuntimeError as error:
        raise ImageError(f"{path}: truncated or damaged {path.suffix} file ({_reason(error)}); copy it again") from None


def _check_metaimage(path: Path) -> None:
    """Refuse compressed voxels that do not unpack: ITK prints a line and goes on with what it has.

    Raises:
        ImageError: damaged, or not a file that holds what its header says.
    """
    entries: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            while "ElementDataFile" not in entries:
                line = file.readline(_LONGEST_LINE)
                if not line:
                    return  # ITK has read the header, so it is one of another form; the voxels are read by ITK alone
                key, _, value = line.decode("latin-1").partition("=")
                entries[key.strip()] = value.strip()
            data = entries["ElementDataFile"]
            if entries.get("CompressedData", "").lower() != "true" or "%" in data or data.startswith("LIST"):
                return
            packed = file if data.upper() == "LOCAL" else (path.parent / data).open("rb")
            with packed:
                unpacker = zlib.decompressobj()
                while block := packed.read(2**20):
                    unpacker.decompress(block)
        if not unpacker.eof:
            raise zlib.error("the data end early")
    except (OSError, zlib.error) as error:
        raise ImageError(f"{path}: truncated or damaged {path.suffix} file ({error}); copy it again") from None


def _geometry(header: Any, components: int, path: Path) -> Geometry:
    size = tuple(int(length) for length in header.GetSize())
    kept = len(size)
    while kept > 3 and size[kept - 1] == 1:
        kept -= 1
    if kept not in (2, 3) or components != 1:
        shape = (*size, components) if components != 1 else size
        raise ImageError(
            f"{path}: {len(shape)}-D image of size {shape}; expected 2-D or 3-D with one value per voxel, "
            "store each channel or time point in a file of its own (CASE_0000, CASE_0001, ...)"
        )
    direction = np.reshape(header.GetDirection(), (len(size), len(size)))[:kept, :kept]
    affine_lps: FloatArray64 = np.eye(4)
    affine_lps[:kept, :kept] = direction * np.asarray(header.GetSpacing()[:kept])
    affine_lps[:kept, 3] = header.GetOrigin()[:kept]
    return make_geometry(size[:kept], _LPS_TO_RAS @ affine_lps, path)


def _plain(array: AnyArray) -> AnyArray:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _grey(array: AnyArray, path: Path) -> AnyArray:
    if array.ndim == 2:
        return array
    channels = array.shape[-1]
    if channels in (2, 4):
        alpha = array[..., -1]
        if not np.all(alpha == np.iinfo(alpha.dtype).max):
            raise ImageError(f"{path}: PNG with transparency; expected an opaque grey image")
        array = array[..., :-1]
    if array.shape[-1] == 3 and not (
        np.array_equal(array[..., 0], array[..., 1]) and np.array_equal(array[..., 0], array[..., 2])
    ):
        raise ImageError(
            f"{path}: colour image with {channels} channels; expected grey values, "
            "convert it, or store each channel in a file of its own (CASE_0000, CASE_0001, ...)"
        )
    return array[..., 0]


def _png_header(path: Path) -> tuple[int, int, int, int]:
    """Columns, rows, bits per sample and colour type."""
    try:
        with path.open("rb") as file:
            block = file.read(26)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(block) < 26 or not block.startswith(_PNG_SIGNATURE):
        raise ImageError(f"{path}: truncated or not a PNG file ({len(block)} bytes read)")
    columns, rows, bits, colour = struct.unpack(">IIBB", block[16:26])
    return columns, rows, bits, colour


def _write(image: Any, partial: Path, path: Path, compress: bool) -> None:
    try:
        _sitk.WriteImage(image, str(partial), compress)
    except RuntimeError as error:
        raise OutputError(f"{path}: cannot be written ({_reason(error)})") from None


def _write_with_raw(image: Any, path: Path) -> None:
    """The two files of a ``.mhd`` name each other, so both are written in a folder aside; data first, then header."""
    try:
        aside = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=path.parent))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    try:
        _write(image, aside / path.name, path, compress=False)
        for name in (f"{path.stem}.raw", path.name):
            (aside / name).replace(path.with_name(name))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _reason(error: BaseException) -> str:
    """The last line of ITK's long messages, without the address and the path that the caller prints anyway."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split("): ", 1)[-1] if lines else type(error).__name__
