"""The command ``grcsf evaluate``; apart from the others because its options are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from grcsf.cli.options import (
    ConfigOption,
    ImagesOption,
    OverwriteOption,
    ResumeOption,
    SetOption,
    end_with,
    numbers_of,
    say,
    settings_of,
)

__all__ = ["evaluate"]


def evaluate(
    input: Annotated[
        list[Path],
        typer.Option("-i", "--input", "-p", help="Folder of predicted masks, or NAME=FOLDER; repeat to compare."),
    ],
    reference: Annotated[Path, typer.Option("-r", "--reference", help="Folder of reference masks (labelsTr).")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for cases.csv, summary.json.")] = None,
    images: ImagesOption = None,
    metrics: Annotated[str | None, typer.Option(help="Further scores: surface, volume, or surface,volume.")] = None,
    against: Annotated[str, typer.Option(help="Pairs to test: all, or each against the first.")] = "all",
    subjects: Annotated[Path | None, typer.Option(help="JSON file of case: subject; default: the data set's.")] = None,
    probabilities: Annotated[
        list[Path] | None, typer.Option("--probabilities", help="Folder of CASE_prob maps; one for each -p.")
    ] = None,
    spacing_mm: Annotated[str | None, typer.Option(help="Pixel spacing of PNG masks, such as 1,1.")] = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes that score cases; 0: this one only.")] = 0,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Score masks: DSC, IoU, F1, precision, recall, and lesion by lesion; with several -p, compare the methods."""
    extra = (f"evaluation.metrics=[{metrics}]",) if metrics is not None else ()
    settings = settings_of(config, set_, None, None, extra)
    keywords: dict[str, Any] = {
        "images": images,
        "settings": settings,
        "spacing_mm": numbers_of(spacing_mm),
        "workers": workers,
        "resume": resume,
        "overwrite": overwrite,
    }
    if len(input) > 1:
        from grcsf.evaluation.methods.comparison_files import comparison_text
        from grcsf.verbs.compare import compare

        maps = {"against": cast(Any, against), "subjects": subjects, "probabilities": probabilities}
        comparison = compare(reference, input, output, **maps, **keywords)
        say(comparison_text(comparison))
        end_with(comparison.failed)
        return
    from grcsf.evaluation.table import summary_table
    from grcsf.verbs.compare import name_methods
    from grcsf.verbs.evaluate import evaluate as call

    if len(probabilities or []) > 1:
        raise typer.BadParameter(
            "give one folder of probabilities for one folder of masks", param_hint="--probabilities"
        )
    (folder,) = name_methods(input).values()
    summary = call(reference, folder, output, probabilities=probabilities[0] if probabilities else None, **keywords)
    say(summary_table(summary))
    end_with(summary.failed)
