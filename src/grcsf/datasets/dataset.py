"""What a data set is: its cases, their files and patients, and the folds that split them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from grcsf.errors import DatasetError
from grcsf.io.lazy import ImageRef, files_of

__all__ = ["Case", "Dataset", "Fold"]


@dataclass(frozen=True)
class Case:
    """One scan.

    Attributes:
        name: unique within the data set.
        images: one per channel, in channel order: files, or ways to make an image from files.
        label: the lesion mask, if there is one.
        group: the patient; cases of one group are never on both sides of a split.
        facts: what else the source tells, such as ("site", "R001"); columns of the cases table.
    """

    name: str
    images: tuple[ImageRef, ...]
    label: ImageRef | None
    group: str
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def image_files(self) -> tuple[Path, ...]:
        """Every file that the images are read from, each once."""
        return tuple(dict.fromkeys(path for image in self.images for path in files_of(image)))


@dataclass(frozen=True)
class Dataset:
    """A folder of scans.

    Attributes:
        name: name of the folder.
        root: the folder; ``splits_final.json`` is looked for in it.
        cases: those to train and validate on, sorted by name.
        test_cases: those kept apart, sorted by name.
        channel_names: what each channel is, such as ("FLAIR", "T1").
        labels: value of each class, such as {"background": 0, "lesion": 1}.
        file_ending: such as ".nii.gz".
        spacing_mm: (rows, columns) of PNG images; none where the files carry their spacing.
        source: which layout it was read from.
        folds: those that the source itself gives; a ``splits_final.json`` comes first.
        described_by: files that say what the data set is, such as ``dataset.json``; their hashes are recorded.
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
    test_cases: tuple[Case, ...]
    channel_names: tuple[str, ...]
    labels: dict[str, int]
    file_ending: str
    spacing_mm: tuple[float, ...] | None
    source: str = "nnU-Net raw"
    folds: tuple[Fold, ...] | None = None
    described_by: tuple[Path, ...] = ()

    def case(self, name: str) -> Case:
        """The case of that name, among ``cases`` or ``test_cases``.

        Raises:
            DatasetError: there is none.
        """
        for case in (*self.cases, *self.test_cases):
            if case.name == name:
                return case
        known = ", ".join(case.name for case in self.cases[:5])
        raise DatasetError(f"{self.name}: no case {name!r}; it has {len(self.cases)} cases ({known}, ...)")

    def groups(self, names: Iterable[str]) -> set[str]:
        """Patients of the cases of these names.

        Raises:
            DatasetError: as :meth:`case`.
        """
        return {self.case(name).group for name in names}

    @property
    def case_names(self) -> tuple[str, ...]:
        """Names of ``cases``, in order."""
        return tuple(case.name for case in self.cases)


@dataclass(frozen=True)
class Fold:
    """Case names to train on and to validate on."""

    train: tuple[str, ...]
    val: tuple[str, ...]
