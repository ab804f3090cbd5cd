"""From any format to plain NIfTI for the browser: values and grid, and nothing else of the file's header."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.errors import GridMismatch, ImageError
from grcsf.io.dicom.study import read_dicom
from grcsf.io.geometry import FloatArray64, Geometry, Volume
from grcsf.io.nifti import new_header
from grcsf.io.volume import ending_of, name_of, path_of, read_volume
from grcsf.viewer.layers import Layer

__all__ = ["as_nifti", "is_picture", "read_layer", "upright"]

_TYPES: dict[str, tuple[type[np.generic], ...]] = {
    "i": (np.uint8, np.int16, np.uint16, np.int32),
    "u": (np.uint8, np.int16, np.uint16, np.int32),
}


def is_picture(layer: Layer) -> bool:
    """Whether a layer is a PNG: rows and columns without a position in the patient."""
    return layer.series is None and ending_of(path_of(layer.image)) == ".png"


def read_layer(layer: Layer, base: Layer, spacing_mm: tuple[float, ...] | None = None) -> Volume:
    """A layer as the viewer shows it, always with three axes.

    A PNG becomes one slice with its columns to the right and its first row on top. A map of a PNG in another format
    (its columns along the first axis) is put on the same grid.

    Args:
        layer: what to read.
        base: the layer it lies on, the first of its case.
        spacing_mm: (rows, columns) of PNG images.

    Raises:
        ImageError: the file cannot be read.
        GridMismatch: a map of a PNG of another size.
    """
    if layer.series is not None:
        return upright(read_dicom(path_of(layer.image), (layer.series,), allow_resample=True))
    volume = read_volume(layer.image, spacing_mm)
    if not is_picture(base):
        return upright(volume)
    if not is_picture(layer):
        flat = volume.array.reshape(volume.array.shape[:2]) if volume.array.shape[2:] in ((), (1,)) else volume.array
        volume = replace(volume, array=flat.T)
    ground = read_volume(base.image, spacing_mm) if layer is not base else volume
    if volume.array.shape != ground.array.shape:
        raise GridMismatch(
            f"{name_of(layer.image)}: {' x '.join(map(str, volume.array.shape))} (rows x columns), but the image has "
            f"{' x '.join(map(str, ground.array.shape))}"
        )
    return upright(Volume(volume.array, ground.geometry, Path("slice.png")))


def upright(volume: Volume) -> Volume:
    """Three axes; a PNG (rows, columns) turned to (columns, rows, 1) with its rows from the front to the back."""
    array, geometry = volume.array, volume.geometry
    if ending_of(volume.path) == ".png":
        array = array.T
        rows_mm, columns_mm = geometry.spacing_mm
        affine = np.diag([columns_mm, -rows_mm, 1.0, 1.0])
        affine[1, 3] = (array.shape[1] - 1) * rows_mm
        geometry = Geometry(array.shape, affine)
    if array.ndim == 2:
        array = array[..., None]
        geometry = Geometry(array.shape, geometry.affine_ras)
    return Volume(array, geometry, volume.path)


def as_nifti(volume: Volume) -> bytes:
    """An uncompressed NIfTI-1 file: values, grid, and a header without a word in it.

    Args:
        volume: three axes; whole numbers become uint8, int16, uint16 or int32, all else float32.

    Raises:
        ImageError: an axis of more than 32767 voxels, which NIfTI-1 cannot hold.
    """
    if max(volume.array.shape) > np.iinfo(np.int16).max:
        raise ImageError(
            f"{volume.path.name}: {volume.array.shape} voxels; the viewer shows at most 32767 along an axis"
        )
    values = _shown(volume.array)
    header: Any = new_header(values.shape, _finite(volume.geometry.affine_ras))
    header.set_data_dtype(values.dtype)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = header.sizeof_hdr + 4
    return bytes(header.binaryblock + b"\0\0\0\0" + values.tobytes(order="F"))


def _shown(array: AnyArray) -> AnyArray:
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in _TYPES:
        low, high = int(array.min()), int(array.max())
        for kind in _TYPES[array.dtype.kind]:
            limits = np.iinfo(kind)  # type: ignore[type-var]
            if limits.min <= low and high <= limits.max:
                return array.astype(np.dtype(kind).newbyteorder("<"))
    return array.astype("<f4")


def _finite(affine: FloatArray64) -> FloatArray64:
    return np.array(affine, dtype=np.float64)
