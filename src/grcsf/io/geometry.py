"""Where the voxels of an image are: its grid in millimetres, and whether two grids are the same."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from grcsf.arrays import AnyArray
from grcsf.errors import GridMismatch, ImageError

__all__ = ["FloatArray64", "Geometry", "Volume", "check_same_grid", "corner_distance_mm", "make_geometry"]

FloatArray64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Geometry:
    """The grid of an image, as its header states it.

    Attributes:
        shape: voxels along each axis of the file, 2 or 3 numbers: (x, y[, z]) for NIfTI, NRRD and MetaImage,
            (rows, columns) for PNG.
        affine_ras: (4, 4), voxel index -> world position in mm, axes to the right, anterior, superior (RAS+).
            A PNG has no position: a diagonal of its spacing.
    """

    shape: tuple[int, ...]
    affine_ras: FloatArray64

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Distance between neighbouring voxels along each axis of ``shape``, mm."""
        lengths = np.linalg.norm(self.affine_ras[:3, : len(self.shape)], axis=0)
        return tuple(float(length) for length in lengths)

    @property
    def voxel_size(self) -> float:
        """Area (mm2, two axes) or volume (mm3, three) of a voxel, for axes that are not at right angles too."""
        first, second, third = self.affine_ras[:3, :3].T
        normal = np.cross(first, second)
        return float(np.linalg.norm(normal)) if len(self.shape) == 2 else abs(float(normal @ third))

    @property
    def edges_mm(self) -> tuple[float, ...]:
        """Edges of an upright box as large as a voxel: ``spacing_mm``, the last one shorter where axes are slanted."""
        *first, last = self.spacing_mm
        upright = self.voxel_size / float(np.prod(first))
        return (*first, last if abs(upright - last) < 1e-6 * last else upright)

    @property
    def axes(self) -> str:
        """Where each axis of ``shape`` points, such as ``RAS``: the closest anatomical direction of each."""
        return "".join(_axis_name(self.affine_ras[:3, axis]) for axis in range(len(self.shape)))

    def corners_mm(self) -> FloatArray64:
        """World positions of the centres of the corner voxels, (2 ** axes, 3), mm RAS+."""
        ends = [(0, size - 1) for size in self.shape] + [(0,)] * (3 - len(self.shape))
        index = np.array(list(itertools.product(*ends)), dtype=np.float64)
        return np.asarray(index @ self.affine_ras[:3, :3].T + self.affine_ras[:3, 3], dtype=np.float64)

    def __str__(self) -> str:
        """Size, spacing and position of the first voxel, for messages."""
        size = " x ".join(str(length) for length in self.shape)
        spacing = " x ".join(f"{step:.4g}" for step in self.spacing_mm)
        origin = ", ".join(f"{value:.6g}" for value in self.affine_ras[:3, 3] + 0.0)
        return f"{size} voxels of {spacing} mm, axes {self.axes}, first voxel at ({origin}) mm RAS"


@dataclass(frozen=True, eq=False)
class Volume:
    """An image in memory.

    Attributes:
        array: ``geometry.shape``, after slope and intercept: whole numbers as stored, all else float32.
        geometry: its grid.
        path: the file it came from.
    """

    array: AnyArray
    geometry: Geometry
    path: Path

    def _repr_html_(self) -> str:
        """A slice, size, spacing and axes, for notebooks."""
        from grcsf.io.thumbnail import volume_html

        return volume_html(self)


def make_geometry(shape: tuple[int, ...], affine_ras: FloatArray64, path: Path) -> Geometry:
    """A checked geometry; the third axis of a 2-D image is made a unit normal where the header leaves it empty.

    Raises:
        ImageError: an axis without voxels, or an affine that is not finite or cannot be inverted.
    """
    if any(size <= 0 for size in shape):
        raise ImageError(f"{path}: empty image, its size is {shape}; expected at least one voxel along each axis")
    affine = np.array(affine_ras, dtype=np.float64)
    if len(shape) == 2 and np.all(np.isfinite(affine)) and not affine[:3, 2].any():
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        length = float(np.linalg.norm(normal))
        affine[:3, 2] = normal / length if length else 0.0
    if not np.all(np.isfinite(affine)) or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        rows = np.array2string(affine[:3], precision=4, separator=", ").replace("\n", "")
        raise ImageError(f"{path}: the header gives no usable position and spacing (affine {rows}); mend the header")
    affine.flags.writeable = False
    return Geometry(shape, affine)


def corner_distance_mm(first: Geometry, second: Geometry) -> float:
    """Largest distance between corresponding corner voxels of two grids of the same shape, mm."""
    return float(np.linalg.norm(first.corners_mm() - second.corners_mm(), axis=1).max())


def check_same_grid(first: Volume | Geometry, second: Volume | Geometry, what: str, tolerance_mm: float = 1e-3) -> None:
    """Refuse two images whose voxels do not coincide.

    Args:
        first: an image or its grid.
        second: the other.
        what: case and roles for the message, such as ``"case-01: image and label"``.
        tolerance_mm: how far corner voxels may be apart, mm.

    Raises:
        GridMismatch: the sizes differ, or a corner is further off than the tolerance; both grids are printed.
    """
    one = first.geometry if isinstance(first, Volume) else first
    two = second.geometry if isinstance(second, Volume) else second
    if one.shape != two.shape:
        raise GridMismatch(f"{what} have grids of different size: {one}; {two}; resample one onto the other first")
    distance_mm = corner_distance_mm(one, two)
    if not distance_mm <= tolerance_mm:
        raise GridMismatch(
            f"{what} lie up to {distance_mm:.4g} mm apart (tolerance {tolerance_mm:g} mm): {one}; {two}; "
            "resample one onto the other, or mend the header that is wrong"
        )


def _axis_name(direction: FloatArray64) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return ("RAS" if direction[axis] > 0 else "LPI")[axis]
