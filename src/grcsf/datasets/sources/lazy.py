"""Images that a source puts together: a channel of a 4-D file, the union of masks, one image on the grid of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grcsf.arrays import AnyArray, FloatArray
from grcsf.errors import ImageError
from grcsf.io.nifti import geometry_of_nifti, read_nifti
from grcsf.io.volume import (
    Geometry,
    Volume,
    VolumeSource,
    check_same_grid,
    corner_distance_mm,
    ending_of,
    read_geometry,
    read_volume,
)

__all__ = ["ChannelOf", "LesionMask", "OnGridOf"]

SAME_GRID_MM = 1e-3
"""Images whose corners are closer than this are taken as they are; the tolerance of ``grcsf validate``."""


@dataclass(frozen=True)
class ChannelOf(VolumeSource):
    """One channel of a NIfTI file that has its channels along the fourth axis.

    Attributes:
        path: the file.
        channel: from 0.
        channels: how many the file must have.
    """

    path: Path
    channel: int
    channels: int

    @property
    def name(self) -> str:
        """File and channel, counted from 0."""
        return f"{self.path.name} (channel {self.channel})"

    def geometry(self) -> Geometry:
        """The grid in space."""
        self._check()
        return geometry_of_nifti(self.path, channels=self.channels)

    def read(self) -> Volume:
        """The channel; the whole file is read and checked."""
        self._check()
        return read_nifti(self.path, self.channel, self.channels)

    def _check(self) -> None:
        if ending_of(self.path) not in (".nii", ".nii.gz"):
            raise ImageError(f"{self.path}: several channels in one file are read from NIfTI only; convert it")
        if not self.path.is_file():
            raise ImageError(f"{self.path}: no such file")


@dataclass(frozen=True)
class LesionMask(VolumeSource):
    """The union of binary masks: 1 wherever any of them is set.

    A mask may be stored as 0/1 or as 0/255; any other value is refused, as it may be a probability or another class.

    Attributes:
        masks: at least one file, all on one grid.
        spacing_mm: pixel size of PNG files.
    """

    masks: tuple[Path, ...]
    spacing_mm: tuple[float, ...] | None = None

    @property
    def path(self) -> Path:  # type: ignore[override]
        """The first mask."""
        return self.masks[0]

    @property
    def name(self) -> str:
        """The first mask, and how many more there are."""
        more = len(self.masks) - 1
        return self.path.name + (f" and {more} more" if more else "")

    @property
    def files(self) -> tuple[Path, ...]:
        """All masks."""
        return self.masks

    @property
    def remark(self) -> str:
        """How many masks were merged, where there are several."""
        return f"{len(self.masks)} masks merged by union" if len(self.masks) > 1 else ""

    def geometry(self) -> Geometry:
        """The grid of the first mask."""
        return read_geometry(self.path, self.spacing_mm)

    def read(self) -> Volume:
        """The union, uint8."""
        first = read_volume(self.path, self.spacing_mm)
        union = _marked(first)
        for path in self.masks[1:]:
            other = read_volume(path, self.spacing_mm)
            check_same_grid(first, other, f"{self.path.name} and {path.name}", SAME_GRID_MM)
            union |= _marked(other)
        return Volume(union.astype(np.uint8), first.geometry, self.path)


@dataclass(frozen=True)
class OnGridOf(VolumeSource):
    """An image put onto the grid of another by linear interpolation; as it is where it lies on that grid already.

    Positions are those of the headers: nothing is registered. Outside the image the values are 0.
    Source: own, docs/how-to/data-sources.md.

    Attributes:
        path: the image whose grid is taken.
        image: the image that is moved.
    """

    path: Path
    image: Path

    @property
    def name(self) -> str:
        """The image that is moved."""
        return self.image.name

    @property
    def files(self) -> tuple[Path, ...]:
        """Both images."""
        return (self.image, self.path)

    @property
    def remark(self) -> str:
        """From which grid, where it is moved."""
        here, there = read_geometry(self.image), self.geometry()
        return "" if _same(here, there) else f"{self.name} put onto the grid of {self.path.name} ({here} -> {there})"

    def geometry(self) -> Geometry:
        """The grid that is taken."""
        return read_geometry(self.path)

    def read(self) -> Volume:
        """The image on that grid: float32 where it was moved, as stored where not."""
        there, moved = self.geometry(), read_volume(self.image)
        if _same(moved.geometry, there):
            return Volume(moved.array, there, self.image)
        if len(there.shape) != 3 or moved.array.ndim != 3:
            raise ImageError(f"{self.image}: can be put onto another grid in 3-D only")
        return Volume(_resampled(moved, there), there, self.image)


def _resampled(moved: Volume, there: Geometry) -> FloatArray:
    from scipy import ndimage  # here, because every verb imports this file and few data sets need it

    to_index = np.linalg.inv(moved.geometry.affine_ras) @ there.affine_ras
    values = moved.array.astype(np.float32)
    out = ndimage.affine_transform(
        values, to_index[:3, :3], to_index[:3, 3], output_shape=there.shape, order=1, mode="grid-constant", cval=0.0
    )
    return np.asarray(out, dtype=np.float32)


def _same(one: Geometry, two: Geometry) -> bool:
    return one.shape == two.shape and corner_distance_mm(one, two) <= SAME_GRID_MM


def _marked(volume: Volume) -> AnyArray:
    values = np.unique(volume.array)
    wrong = [float(value) for value in values if value not in (0, 1, 255)]
    if wrong or {1, 255} <= set(values.tolist()):
        raise ImageError(
            f"{volume.path}: a binary mask (0/1 or 0/255) was expected, but it holds "
            f"{', '.join(f'{value:g}' for value in values[:6])}{', ...' if len(values) > 6 else ''}; correct the mask, "
            "or name its values where the layout allows it"
        )
    return np.asarray(volume.array > 0)
