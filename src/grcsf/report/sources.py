"""Where the files of pictures come from: a data set, plain folders, or what the run kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grcsf.datasets.dataset import Case, Dataset
from grcsf.errors import SettingsError
from grcsf.evaluation.pairs import find_images, find_masks
from grcsf.io.volume import ImageRef
from grcsf.report.collect import RunContents, files_of

__all__ = ["PictureSources", "find_sources"]


@dataclass(frozen=True)
class PictureSources:
    """Files by case.

    Attributes:
        cases: case -> its images and reference in the data set.
        images: case -> image of a plain folder.
        references: case -> mask of a plain folder.
        predictions: fold or method -> predictions and maps by stem.
        spacing_mm: pixel size of PNG images.
        notes: what is missing, in sentences.
    """

    cases: Mapping[str, Case]
    images: Mapping[str, Path]
    references: Mapping[str, Path]
    predictions: Mapping[str, Mapping[str, Path]]
    spacing_mm: tuple[float, ...] | None
    notes: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether there is any file to show."""
        return any((self.cases, self.images, self.references, *self.predictions.values()))

    def of_case(self, name: str) -> tuple[ImageRef | None, ImageRef | None, bool]:
        """Image and reference of a case, and whether it is known where one would look for it."""
        case = self.cases.get(name)
        image = self.images.get(name) or (case.images[0] if case else None)
        label = self.references.get(name) or (case.label if case else None)
        return image, label, case is not None or not self.cases


def find_sources(
    run: RunContents,
    dataset: Dataset | None,
    predictions: Mapping[str, Path],
    reference: Path | None = None,
    images: Path | None = None,
) -> PictureSources:
    """Files of the data set and of the folders given; predictions of the run where none are given.

    Args:
        run: what is reported.
        dataset: images and references.
        predictions: method -> folder; for one method the name does not matter.
        reference: folder of reference masks.
        images: folder of images.

    Raises:
        SettingsError: predictions of a method that the folder does not know.
        DatasetError: a folder without images.
    """
    names = [fold.name for fold in run.folds]
    scored = sorted({score.case for fold in run.folds if fold.scores for score in fold.scores.cases})
    files: dict[str, Mapping[str, Path]] = {fold.name: fold.predictions for fold in run.folds}
    unknown = [name for name in predictions if name not in names]
    if unknown and run.is_comparison:
        raise SettingsError(
            f"predictions of {', '.join(unknown)}: expected methods of {run.name}, {', '.join(names)}; give NAME=FOLDER"
        )
    if predictions and not run.is_comparison:
        given = {stem: path for folder in predictions.values() for stem, path in _checked(folder).items()}
        files = dict.fromkeys(names, given)
    elif predictions:
        files |= {name: _checked(folder) for name, folder in predictions.items()}
    shown_images = find_images(images, scored) if images is not None else {}
    masks = {stem: paths[0] for stem, paths in find_masks(reference).items()} if reference is not None else {}
    return PictureSources(
        cases={} if dataset is None else {case.name: case for case in (*dataset.cases, *dataset.test_cases)},
        images=shown_images,
        references=masks,
        predictions=files,
        spacing_mm=dataset.spacing_mm if dataset else None,
        notes=tuple(_missing(run, dataset, files, bool(shown_images), bool(masks))),
    )


def _checked(folder: Path) -> dict[str, Path]:
    find_masks(folder)  # says what is wrong with a folder that holds none
    return files_of(folder)


def _missing(
    run: RunContents, dataset: Dataset | None, files: Mapping[str, Mapping[str, Path]], images: bool, masks: bool
) -> Sequence[str]:
    notes = []
    if dataset is None and not images and not masks:
        notes.append("No data set folder was given, so images and reference masks are not shown.")
    elif dataset is None and not (images and masks):
        notes.append(f"No folder of {'reference masks' if images else 'images'} was given, so these are not shown.")
    if not any(files.values()):
        kept = "No folder of predictions was given" if run.is_comparison else "There is no validation folder"
        notes.append(f"{kept}, so predictions and residual maps are not shown.")
    return notes
