"""Names of BIDS files: ``sub-01_ses-1_space-MNI_T1w.nii.gz`` is entities and a suffix.

Source: standard, Brain Imaging Data Structure (https://bids-specification.readthedocs.io).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grcsf.datasets.sources.source import without_hidden
from grcsf.io.volume import ending_of, stem_of

__all__ = ["BidsFile", "bids_files"]


@dataclass(frozen=True)
class BidsFile:
    """A file and what its name says.

    Attributes:
        path: the file.
        subject: with prefix, such as "sub-01".
        entities: the others, such as (("ses", "1"), ("space", "MNI")).
        suffix: the last part in small letters, such as "t1w".
    """

    path: Path
    subject: str
    entities: tuple[tuple[str, str], ...]
    suffix: str

    def entity(self, key: str) -> str:
        """Value of an entity; empty where the name has none."""
        return next((value for name, value in self.entities if name == key), "")

    @property
    def visit(self) -> str:
        """Subject, session and run: what one scan of a kind is named after."""
        parts = [f"{key}-{value}" for key in ("ses", "run") if (value := self.entity(key))]
        return "_".join([self.subject, *parts])


def bids_files(root: Path) -> list[BidsFile]:
    """Every NIfTI file below a folder whose name begins with a subject, sorted by path."""
    found = []
    for path in without_hidden(root.rglob("sub-*_*.nii*"), root):
        if ending_of(path) not in (".nii", ".nii.gz") or not path.is_file():
            continue
        subject, *middle, suffix = stem_of(path).split("_")
        pairs = tuple((part.split("-", 1)[0], part.split("-", 1)[1]) for part in middle if "-" in part)
        found.append(BidsFile(path, subject, pairs, suffix.lower()))
    return found
