"""Images that no single file holds (a channel of a 4-D file, a union of masks, polygons), read when they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from grcsf.io.geometry import Geometry, Volume

__all__ = ["ImageRef", "VolumeSource", "files_of", "name_of", "path_of"]


class VolumeSource(ABC):
    """What can be read as one image though it is not one file of its own.

    Subclasses are frozen dataclasses of paths and numbers, so that they can be sent to other processes and compared.

    Attributes:
        path: a file (or DICOM folder) on the very grid of the image; what is written on this grid copies its header.
    """

    path: Path

    @property
    def name(self) -> str:
        """What messages call it, such as "BRATS_001.nii.gz (channel 2)"."""
        return self.path.name

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file it is read from."""
        return (self.path,)

    @property
    def remark(self) -> str:
        """What was done to the data that a user should know, from headers alone; empty: nothing."""
        return ""

    @abstractmethod
    def geometry(self) -> Geometry:
        """The grid, from headers alone.

        Raises:
            ImageError: a file that cannot be read.
        """

    @abstractmethod
    def read(self) -> Volume:
        """The image.

        Raises:
            ImageError: a file that cannot be read or used.
            GridMismatch: files that should share a grid do not.
        """


ImageRef = Path | VolumeSource
"""An image: a file that holds it, or a way to make it from files."""


def path_of(image: ImageRef) -> Path:
    """The file itself, or one on the same grid."""
    return image if isinstance(image, Path) else image.path


def files_of(image: ImageRef) -> tuple[Path, ...]:
    """Every file the image is read from."""
    return (image,) if isinstance(image, Path) else image.files


def name_of(image: ImageRef) -> str:
    """What messages call it; no folders."""
    return image.name
