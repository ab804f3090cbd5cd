"""The command ``grcsf benchmark``; apart from the others because its options are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grcsf.cli.options import OutOption, end_with, say

__all__ = ["benchmark"]


def benchmark(
    config: Annotated[Path, typer.Option("-c", "--config", help="YAML file of the benchmark.")],
    output: OutOption,
    data: Annotated[Path | None, typer.Option("-d", "--data", help="Folder of the data sets.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run this entry only; repeat for several.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the state of every run and do nothing.")] = False,
    tables_only: Annotated[bool, typer.Option("--tables-only", help="Tables from stored scores; run nothing.")] = False,
    load: Annotated[Path | None, typer.Option("--load-scores", help="Take over stored scores of this folder.")] = None,
    save: Annotated[Path | None, typer.Option("--save-scores", help="Store the scores of runs that are done.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Runs that are done are always kept.")] = True,
) -> None:
    """Compare methods on equal terms: a resumable queue of runs, then tables; exit code 1 if a run failed."""
    from grcsf.benchmark.run import benchmark as call
    from grcsf.benchmark.run import queue_text

    if list_:
        say(queue_text(config, output))
        return
    result = call(
        config,
        output,
        data=data,
        only=only or [],
        tables_only=tables_only,
        load_scores=load,
        save_scores=save,
        say=say,
    )
    if result.page:
        say(f"tables: {result.page}")
    if result.not_done:
        say(f"not done: {len(result.not_done)} runs ({', '.join(result.not_done[:5])})")
    end_with(result.failed)
