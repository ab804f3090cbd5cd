"""Everything wrong with a data set of any source: its layout, its images, its folds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from grcsf.datasets.case_check import CaseFiles, Problem
from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.sources.nnunet import NNUNET
from grcsf.datasets.sources.registry import find_dataset, find_source
from grcsf.datasets.splits import fold_faults, read_folds
from grcsf.datasets.validate import ValidationReport, check_cases, empty_masks, validate_dataset
from grcsf.errors import DatasetError, GrcsfError
from grcsf.io.volume import VolumeSource

__all__ = ["remarks", "validate_source"]


def validate_source(path: Path, tolerance_mm: float = 1e-3, workers: int = 0) -> ValidationReport:
    """Read every file of a data set of any known source and report all that is wrong at once.

    Args:
        path: a folder, or a CSV table.
        tolerance_mm: how far the corner voxels of two images of a case may be apart, mm.
        workers: threads that read cases beside each other; 0 reads in this one.

    Returns:
        A report; nothing is raised for what is wrong with the data.

    Raises:
        GrcsfError: the source needs a package that is not installed.
    """
    try:
        source = find_source(path)
        if source is NNUNET or (source is None and (path / "dataset.json").is_file()):
            return replace(validate_dataset(path, tolerance_mm, workers), source=NNUNET.title)
        source, found = find_dataset(path)
    except DatasetError as error:
        return ValidationReport(problems=[Problem(None, "error", "layout", str(error))])
    data = found.dataset
    cases = [CaseFiles(case.name, case.images, case.label) for case in (*data.cases, *data.test_cases)]
    channels = len(data.channel_names)
    checks, problems, estimate = check_cases(
        cases, data.labels, data.spacing_mm, tolerance_mm=tolerance_mm, workers=workers, channels=channels
    )
    every = [*found.problems, *_changed(data), *problems, *empty_masks(checks), *_folds(data)]
    with_lesion = sum(check.has_lesion for check in checks)
    return ValidationReport(len(checks), with_lesion, every, estimate, source.title)


def remarks(dataset: Dataset) -> dict[str, list[str]]:
    """What is done to images while they are read, by case: masks merged, channels put onto another grid."""
    found = {case.name: [text for _, text in _remarks(case)] for case in (*dataset.cases, *dataset.test_cases)}
    return {name: texts for name, texts in found.items() if texts}


def _remarks(case: Case) -> Iterator[tuple[str, str]]:
    for image in (*case.images, case.label):
        try:
            if isinstance(image, VolumeSource) and (text := image.remark):
                yield type(image).__name__, text
        except GrcsfError:
            continue  # reading the image says what is wrong


def _changed(data: Dataset) -> list[Problem]:
    """One warning for each way in which images are changed, with the first case as example."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for case in (*data.cases, *data.test_cases):
        for kind, text in _remarks(case):
            found[kind].append((case.name, text))
    return [
        Problem(
            None,
            "warning",
            "changed-on-reading",
            f"{len(cases)} image(s) change on reading; {cases[0][0]}: {cases[0][1]}",
        )
        for cases in found.values()
    ]


def _folds(data: Dataset) -> list[Problem]:
    try:
        folds = read_folds(data)
    except DatasetError as error:
        return [Problem(None, "error", "folds", str(error))]
    return [Problem(None, "error", "folds", fault) for fault in fold_faults(data, folds or [])]
