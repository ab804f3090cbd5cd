"""``grcsf report``: one HTML page of a run, or of the scores of one or several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from grcsf.errors import SettingsError
from grcsf.report.gallery import CASES
from grcsf.report.page import write_report
from grcsf.verbs.compare import given_subjects, name_methods

__all__ = ["report"]


def report(
    run: str | Path,
    dataset: str | Path | None = None,
    output: str | Path | None = None,
    *,
    predictions: Sequence[str | Path] | Mapping[str, str | Path] = (),
    reference: str | Path | None = None,
    images: str | Path | None = None,
    subjects: str | Path | Mapping[str, str] | None = None,
    cases: int = CASES,
    overwrite: bool = False,
) -> Path:
    """Write one self-contained page: scores with intervals, strata, distributions, pictures, all cases, provenance.

    Args:
        run: folder of :func:`grcsf.run`, of :func:`grcsf.evaluate` or of :func:`grcsf.compare`.
        dataset: the data set, for images and references; none leaves them out.
        output: the page; none: ``report.html`` in the folder.
        predictions: folders of masks, by the name of their method as in :func:`grcsf.compare`; none: those of a run.
        reference: folder of reference masks, where there is no data set.
        images: folder of images, where there is no data set.
        subjects: case -> subject, or a JSON file of that; none: of the data set, of the folder, else by the names.
        cases: most cases that are shown in pictures.
        overwrite: replace the page.

    Returns:
        Path of the page.

    Raises:
        SettingsError: a negative number of cases, or predictions of a method that the folder does not know.
        GrcsfError: nothing to report, or files that cannot be read.
    """
    if cases < 0:
        raise SettingsError(f"--cases {cases}: expected a number of at least 0")
    return write_report(
        Path(run),
        Path(dataset) if dataset else None,
        Path(output) if output else None,
        overwrite,
        predictions=name_methods(predictions),
        reference=Path(reference) if reference else None,
        images=Path(images) if images else None,
        subjects=given_subjects(subjects),
        cases=cases,
    )
