"""Read and write images and masks in any of the supported formats; the file ending decides.

Every axis order here is that of the file: (x, y, z) for NIfTI, NRRD and MetaImage, (rows, columns) for PNG.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.errors import GridMismatch, ImageError, OutputError
from grcsf.io import itk, nifti
from grcsf.io.dicom.files import is_dicom_input
from grcsf.io.endings import IMAGE_ENDINGS, ending_of, stem_of
from grcsf.io.geometry import FloatArray64, Geometry, Volume, check_same_grid, corner_distance_mm
from grcsf.io.lazy import ImageRef, VolumeSource, files_of, name_of, path_of

__all__ = [
    "IMAGE_ENDINGS",
    "FloatArray64",
    "Geometry",
    "ImageRef",
    "Volume",
    "VolumeSource",
    "check_same_grid",
    "corner_distance_mm",
    "ending_of",
    "files_of",
    "name_of",
    "path_of",
    "read_geometry",
    "read_volume",
    "stem_of",
    "write_like",
    "write_volume",
]

_NIFTI = (".nii.gz", ".nii")
_ITK = (".nrrd", ".mha", ".mhd")


def read_volume(path: ImageRef, spacing_mm: tuple[float, ...] | None = None) -> Volume:
    """An image or mask with its grid.

    Args:
        path: a file with one of :data:`IMAGE_ENDINGS`, a DICOM file, folder or zip with one image series, or a
            :class:`~grcsf.io.lazy.VolumeSource`.
        spacing_mm: (rows, columns) of a PNG, which carries none; not used for other formats.

    Returns:
        Whole numbers as stored; floating point and scaled values as float32.

    Raises:
        ImageError: the file is missing, truncated, damaged, empty, in colour, neither 2-D nor 3-D, or holds values
            that are not finite.
        GridMismatch: files that a source puts together do not share a grid.
    """
    if isinstance(path, VolumeSource):
        made = path.read()
        if made.array.dtype.kind == "f":
            _check_finite(made.array, path.path)
        return made
    if _is_dicom(path):
        from grcsf.io.dicom.study import read_dicom

        return read_dicom(path)
    ending = _known_ending(path)
    volume = (
        nifti.read_nifti(path)
        if ending in _NIFTI
        else itk.read_itk(path)
        if ending in _ITK
        else itk.read_png(path, spacing_mm)
    )
    if volume.array.dtype.kind == "f":
        _check_finite(volume.array, path)
    return volume


def read_geometry(path: ImageRef, spacing_mm: tuple[float, ...] | None = None) -> Geometry:
    """The grid of an image, from its header alone.

    Args:
        path: as in :func:`read_volume`.
        spacing_mm: as in :func:`read_volume`.

    Raises:
        ImageError: the file is missing, its header damaged, or it is neither 2-D nor 3-D.
    """
    if isinstance(path, VolumeSource):
        return path.geometry()
    if _is_dicom(path):
        from grcsf.io.dicom.study import read_dicom_geometry

        return read_dicom_geometry(path)
    ending = _known_ending(path)
    if ending in _NIFTI:
        return nifti.geometry_of_nifti(path)
    return itk.geometry_of_itk(path) if ending in _ITK else itk.geometry_of_png(path, spacing_mm)


def write_like(array: AnyArray, like: ImageRef, path: Path, spacing_mm: tuple[float, ...] | None = None) -> None:
    """Write ``array`` on the grid of another file, atomically.

    Within NIfTI the whole header is kept bit for bit (affine, sform and qform with their codes, steps, units)
    except type, scaling and display range; within NRRD and MetaImage the spacing, origin and direction are. Between
    formats the grid is the same within rounding. A PNG written as another format has its columns along x.

    Args:
        array: in the shape :func:`read_volume` gives for ``like``. bool becomes uint8, float64 and float16 become
            float32, 64-bit whole numbers the smallest of uint8 and int32 that holds them.
        like: the image whose grid is copied.
        path: output; its ending decides the format.
        spacing_mm: spacing of ``like`` if that is a PNG.

    Raises:
        GridMismatch: the array's shape is not that of ``like``.
        ImageError: ``like`` cannot be read.
        OutputError: ``path`` cannot be written, or a PNG was asked for values it cannot hold.
    """
    geometry, file = read_geometry(like, spacing_mm), path_of(like)
    source, target = ending_of(file), _target_ending(path)
    if array.shape != geometry.shape:
        raise GridMismatch(f"{path.name}: array of shape {array.shape}, but {name_of(like)} has {geometry}")
    values = _storable(array)
    if target == ".png":
        itk.write_png(_for_png(values, path), path)
        return
    if source == ".png":
        values, geometry = values.T, _turned(geometry)
    if target in _NIFTI:
        header = nifti.read_header(file) if source in _NIFTI else nifti.new_header(geometry.shape, geometry.affine_ras)
        nifti.write_nifti(values, header, path)
    else:
        itk.write_itk(values, geometry, path, file if source in _ITK else None)


def write_volume(array: AnyArray, geometry: Geometry, path: Path) -> None:
    """Write ``array`` on a grid that no file has, atomically.

    Args:
        array: ``geometry.shape``; types as in :func:`write_like`.
        geometry: its grid.
        path: output, NIfTI, NRRD or MetaImage by its ending.

    Raises:
        GridMismatch: the array's shape is not that of the grid.
        OutputError: ``path`` cannot be written, or is a PNG.
    """
    target = _target_ending(path)
    if array.shape != geometry.shape:
        raise GridMismatch(f"{path.name}: array of shape {array.shape}, but its grid has {geometry}")
    if target == ".png":
        raise OutputError(f"{path}: a PNG cannot hold a position; choose .nii.gz, .nrrd or .mha")
    values = _storable(array)
    if target in _NIFTI:
        nifti.write_nifti(values, nifti.new_header(geometry.shape, geometry.affine_ras), path)
    else:
        itk.write_itk(values, geometry, path)


def _is_dicom(path: Path) -> bool:
    return ending_of(path) is None and is_dicom_input(path)


def _target_ending(path: Path) -> str:
    ending = ending_of(path)
    if ending is None:
        raise OutputError(f"{path}: cannot be written, its ending is none of {', '.join(IMAGE_ENDINGS)}")
    return ending


def _known_ending(path: Path) -> str:
    ending = ending_of(path)
    if ending is None:
        raise ImageError(f"{path}: not an image grcsf reads; expected a file ending in {', '.join(IMAGE_ENDINGS)}")
    if not path.is_file():
        raise ImageError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    return ending


def _check_finite(array: AnyArray, path: Path) -> None:
    wrong = array.size - int(np.count_nonzero(np.isfinite(array)))
    if wrong:
        raise ImageError(
            f"{path}: {wrong} of {array.size} voxels are NaN or infinite; expected finite values, "
            "replace them (for example by the background value) before use"
        )


def _storable(array: AnyArray) -> AnyArray:
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.itemsize == 8:
        small = array.size == 0 or (array.min() >= 0 and array.max() <= 255)
        return array.astype(np.uint8 if small else np.int32)
    return array


def _for_png(array: AnyArray, path: Path) -> AnyArray:
    if array.ndim != 2:
        raise OutputError(f"{path}: a PNG cannot hold an image of shape {array.shape}; choose .nii.gz or .mha")
    if array.dtype.kind == "f":
        raise OutputError(f"{path}: a PNG cannot hold fractions; choose .mha for maps of numbers")
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.min() < 0 or array.max() > 255:
        raise OutputError(f"{path}: values {array.min()} to {array.max()} do not fit a PNG mask (0 to 255)")
    return array.astype(np.uint8)


def _turned(geometry: Geometry) -> Geometry:
    """The grid of a (rows, columns) image as (x = columns, y = rows), in ITK's frame, where rows go downwards."""
    affine = geometry.affine_ras.copy()
    affine[[0, 1], [0, 1]] = [-affine[1, 1], -affine[0, 0]]
    return Geometry(geometry.shape[::-1], affine)
