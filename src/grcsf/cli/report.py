"""The command ``grcsf report``; apart from the others because its options are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grcsf.cli.options import OverwriteOption, say

__all__ = ["report"]


def report(
    input: Annotated[Path, typer.Option("-i", "--input", help="Folder of grcsf run or of grcsf evaluate.")],
    dataset: Annotated[Path | None, typer.Option("-d", "--dataset", help="Data set, for pictures.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The page; default INPUT/report.html.")] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option("-p", "--predictions", help="Folder of masks for pictures, or METHOD=FOLDER; one per method."),
    ] = None,
    reference: Annotated[Path | None, typer.Option("-r", "--reference", help="Folder of reference masks.")] = None,
    images: Annotated[Path | None, typer.Option("--images", help="Folder of images.")] = None,
    subjects: Annotated[Path | None, typer.Option(help="JSON file of case: subject; default: the data set's.")] = None,
    cases: Annotated[int, typer.Option("--cases", help="Most cases in pictures; 0: none.")] = 60,
    overwrite: OverwriteOption = False,
) -> None:
    """One self-contained HTML page of a run, or of the scores of one or several methods."""
    from grcsf.verbs.report import report as call

    page = call(
        input,
        dataset,
        output,
        predictions=predictions or [],
        reference=reference,
        images=images,
        subjects=subjects,
        cases=cases,
        overwrite=overwrite,
    )
    say(f"report: {page}")
