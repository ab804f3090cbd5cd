"""The command ``grcsf convert``; apart from the others because :mod:`grcsf.cli` is long enough."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grcsf.cli.options import DataOption, OverwriteOption, say

__all__ = ["convert"]


def convert(
    dataset: DataOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder, such as OUT/Dataset501_Stroke.")],
    workers: Annotated[int, typer.Option("--workers", help="Processes that convert cases.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a data set of any known layout as nnU-Net raw."""
    from grcsf.verbs.convert import convert as call

    made = call(dataset, output, workers=workers, overwrite=overwrite)
    say(f"{len(made.cases)} cases and {len(made.test_cases)} test cases in {output}")
