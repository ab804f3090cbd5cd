"""The few exceptions a user meets; each message says which case, what came, what was expected, what to do."""

from __future__ import annotations

__all__ = [
    "DatasetError",
    "GrcsfError",
    "GridMismatch",
    "ImageError",
    "LeakageError",
    "ModelError",
    "OutputError",
    "SettingsError",
    "TrainingError",
]


class GrcsfError(Exception):
    """Base of every error that is the user's to mend; the command line prints it without a traceback, exit code 1."""


class SettingsError(GrcsfError):
    """A setting, YAML key or flag that does not exist or does not fit; exit code 2."""


class ImageError(GrcsfError):
    """An image or mask file that cannot be read or used (truncated, 4-D, NaN, empty)."""


class GridMismatch(GrcsfError):
    """Two files that should share a grid (size, spacing, position) do not."""


class DatasetError(GrcsfError):
    """A data set folder whose content contradicts itself or its ``dataset.json``."""


class LeakageError(DatasetError):
    """The same patient (or image) stands on both sides of a split."""


class ModelError(GrcsfError):
    """A model folder with a file missing, changed or made for other data."""


class OutputError(GrcsfError):
    """An output that exists already, or a folder that cannot be written."""


class TrainingError(GrcsfError):
    """Training that cannot go on, such as a non-finite loss."""
