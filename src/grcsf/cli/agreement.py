"""The command ``grcsf agreement``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grcsf.cli.options import OverwriteOption, say

__all__ = ["agreement"]


def agreement(
    first: Annotated[Path, typer.Argument(help="calcium.csv or measures.csv of one scoring.")],
    second: Annotated[Path, typer.Argument(help="The same of the other; differences are first - second.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for agreement.csv and .json.")] = None,
    level: Annotated[float, typer.Option("--level", help="Coverage of the intervals.")] = 0.95,
    overwrite: OverwriteOption = False,
) -> None:
    """Agreement of two scorings: ICC(2,1), Bland-Altman, weighted kappa of risk categories, with intervals."""
    from grcsf.verbs.agreement import agreement as call

    say(call(first, second, output, level=level, overwrite=overwrite).to_text())
