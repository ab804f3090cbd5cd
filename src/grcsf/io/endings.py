"""Which files are images, by their ending."""

from __future__ import annotations

from pathlib import Path

__all__ = ["IMAGE_ENDINGS", "ending_of", "stem_of"]

IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png")


def ending_of(path: Path) -> str | None:
    """Which of :data:`IMAGE_ENDINGS` a file has (in small letters), none for any other."""
    name = path.name.lower()
    return next((ending for ending in IMAGE_ENDINGS if name.endswith(ending)), None)


def stem_of(path: Path) -> str:
    """The file name without its image ending; a name with another ending is returned whole.

    >>> stem_of(Path("scans/sub-01_0000.nii.gz"))
    'sub-01_0000'
    """
    return path.name[: len(path.name) - len(ending_of(path) or "")]
