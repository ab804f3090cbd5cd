"""The optional ``dataset.json`` beside plain folders and tables: names of channels and labels, spacing of PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from grcsf.datasets.header import Header, parse_header
from grcsf.datasets.sources.lazy import LesionMask
from grcsf.datasets.sources.source import BINARY, Draft
from grcsf.errors import DatasetError
from grcsf.io.files import read_json
from grcsf.io.volume import IMAGE_ENDINGS, ImageRef, ending_of

__all__ = ["Description", "commonest_ending", "read_description"]


class Description:
    """What is said about images and masks; where nothing is, masks are binary and PNG pixels 1 mm.

    Args:
        header: entries of ``dataset.json``; none: there is no such file.
        path: of it.
    """

    def __init__(self, header: Header | None, path: Path) -> None:
        self.header = header or Header()
        self.files = (path,) if header is not None else ()

    @property
    def labels(self) -> dict[str, int]:
        """Value of each class."""
        return self.header.labels or dict(BINARY)

    def mask(self, path: Path) -> ImageRef:
        """The mask as it is where its values are declared, else read as a binary one."""
        return path if self.header.labels else LesionMask((path,), self.header.spacing_mm)


def read_description(folder: Path, draft: Draft) -> Description:
    """Read ``dataset.json`` if it is there; ``channel_names``, ``labels``, ``spacing_mm``, ``groups`` may be left out.

    Its faults become problems of the draft.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        return Description(None, path)
    try:
        raw = read_json(path, DatasetError)
        header, faults = parse_header(raw if isinstance(raw, dict) else {})
    except DatasetError as error:
        draft.error(None, "dataset-json", str(error))
        return Description(None, path)
    given = set(raw) if isinstance(raw, dict) else set()
    for fault in faults:
        if fault.split()[0] in given or (fault.startswith("channel_names") and "modality" in given):
            draft.error(None, "dataset-json", f"dataset.json: {fault}")
    return Description(header, path)


def commonest_ending(paths: Sequence[Path]) -> str:
    """The ending most files have."""
    endings = [ending_of(path) or "" for path in paths]
    return max(IMAGE_ENDINGS, key=endings.count) if endings else IMAGE_ENDINGS[0]
