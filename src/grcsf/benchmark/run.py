"""``grcsf benchmark``: run the queue, then make the tables from the stored scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from grcsf.benchmark import archive
from grcsf.benchmark.queue import RESULT_FILE, run_queue, state_of
from grcsf.benchmark.spec import Benchmark, Cell, load_benchmark
from grcsf.benchmark.units import refuse_other_claims, run_unit
from grcsf.errors import SettingsError
from grcsf.io.files import make_folder
from grcsf.io.html import block, paragraph, table

__all__ = ["BenchmarkResult", "benchmark", "queue_text"]


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark left: failed runs with their messages, runs that are not done, the page of tables, if any."""

    failed: dict[str, str]
    not_done: tuple[str, ...]
    page: Path | None

    def _repr_html_(self) -> str:
        """How many runs failed or are not done, for notebooks."""
        counts = table(["runs", "n"], [("failed", len(self.failed)), ("not done", len(self.not_done))])
        return block("Benchmark", counts, paragraph(f"Page: {self.page.name}") if self.page else "")


def benchmark(
    config: str | Path,
    output: str | Path,
    *,
    data: str | Path | None = None,
    only: Sequence[str] = (),
    tables_only: bool = False,
    load_scores: str | Path | None = None,
    save_scores: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> BenchmarkResult:
    """Do every run of a benchmark that is not done, then write tables and figures from the stored scores.

    Args:
        config: YAML file of the benchmark (docs/how-to/benchmark.md).
        output: folder of runs, shared stages, scores and tables; what is done there is kept.
        data: folder that relative paths of data sets start from; none: the folder of the YAML file.
        only: names of entries to run now; none: all.
        tables_only: run nothing.
        load_scores: folder of stored scores (see ``save_scores``); runs that are there are not repeated.
        save_scores: folder that gets one small file for each run that is done, without models, masks and paths.
        say: told of each run as it starts and ends.

    Raises:
        SettingsError: a benchmark file that does not fit.
        DatasetError: a data set without ``splits_final.json``, or without one of the folds.
        OutputError: a run in ``output`` that was made in another way.
    """
    path = Path(config)
    spec = load_benchmark(path)
    unknown = [name for name in only if name not in {entry.name for entry in spec.entries}]
    if unknown:
        raise SettingsError(f"--only {unknown[0]}: no such entry; known: {', '.join(e.name for e in spec.entries)}")
    out = make_folder(Path(output)).resolve()
    failed: dict[str, str] = {}
    root = (Path(data) if data is not None else path.parent).resolve()
    todo = () if tables_only else _chosen(spec, only)
    stored = tuple(run_unit(spec, cell, out, root if cell in todo else None) for cell in spec.cells())
    if load_scores is not None:
        archive.load_scores(stored, Path(load_scores))
    refuse_other_claims(unit for unit in stored if (unit.folder / RESULT_FILE).is_file())
    if not tables_only:
        failed = run_queue(spec, todo, out, root, say)
    if save_scores is not None:
        archive.save_scores(stored, Path(save_scores))
    states = {cell.id: state_of(out / "runs" / cell.id) for cell in spec.cells()}
    page = None
    if any(state == "done" for state, _ in states.values()):
        from grcsf.benchmark.write import write_tables

        page = write_tables(spec, out)
    not_done = tuple(name for name, (state, _) in states.items() if state != "done")
    return BenchmarkResult(failed, not_done, page)


def queue_text(config: str | Path, output: str | Path) -> str:
    """State of every run, one a line.

    Raises:
        SettingsError: a benchmark file that does not fit.
    """
    spec = load_benchmark(Path(config))
    lines = []
    for cell in spec.cells():
        state, message = state_of(Path(output) / "runs" / cell.id)
        lines.append(f"{state:<8} {cell.id}{f'  ({message})' if message else ''}")
    return "\n".join(lines)


def _chosen(spec: Benchmark, only: Sequence[str]) -> tuple[Cell, ...]:
    return tuple(cell for cell in spec.cells() if not only or cell.entry in only)
