"""The stored scores of all runs: read from their files, and as one long table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from grcsf.benchmark.queue import RESULT_FILE
from grcsf.benchmark.spec import Cell
from grcsf.errors import OutputError
from grcsf.evaluation.methods.measures import CaseRow
from grcsf.io.files import atomic_path, read_json

__all__ = ["RunScores", "read_run", "read_runs", "write_long"]

_WORDS = ("case", "label")


@dataclass(frozen=True)
class RunScores:
    """What is stored of one run.

    Attributes:
        cell: which run.
        rows: scores by case and label.
        lesions: lesions of the references, one row each: ``size``, ``detected`` (1 or 0), ``contrast``; empty where
            scoring wrote none.
        subjects: subject of each case.
        spatial_dims: 2 (sizes in mm2) or 3 (ml).
        when_empty: policy for cases with both masks empty.
        steps: record of each step: seconds, memory.
        budget: steps, multiply-adds, parameters.
        preset: name and version of the rules of lesion-wise scoring.
        training: what a run inside the package says of its training: precision, versions, commit.
    """

    cell: Cell
    rows: tuple[CaseRow, ...]
    lesions: tuple[CaseRow, ...]
    subjects: Mapping[str, str]
    spatial_dims: int
    when_empty: str
    steps: Mapping[str, Mapping[str, Any]]
    budget: Mapping[str, Any]
    preset: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)


def read_run(folder: Path, cell: Cell) -> RunScores:
    """The stored scores of a run that is done.

    Raises:
        OutputError: a file missing or broken.
    """
    try:
        return _read_run(folder, cell)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise OutputError(
            f"{folder}: its scores are not whole ({type(error).__name__}: {error}); delete {RESULT_FILE} and "
            "steps/score.json there, and the masks are scored again"
        ) from None


def read_runs(out: Path, cells: Sequence[Cell]) -> list[RunScores]:
    """The stored scores of every run of ``cells`` that is done, in their order."""
    folders = ((out / "runs" / cell.id, cell) for cell in cells)
    return [read_run(folder, cell) for folder, cell in folders if (folder / RESULT_FILE).is_file()]


def write_long(path: Path, runs: Sequence[RunScores]) -> None:
    """Write one row per run, case and label, with every number of the runs' ``cases.csv``; atomic."""
    columns = list(dict.fromkeys(key for run in runs for row in run.rows[:1] for key in row.values))
    header = [*Cell.__dataclass_fields__, "case", "subject", "label", *columns]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for run in runs:
            for row in run.rows:
                numbers = (f"{row.values.get(key, math.nan):.7g}" for key in columns)
                writer.writerow([*asdict(run.cell).values(), row.case, row.subject, row.label, *numbers])


def _read_run(folder: Path, cell: Cell) -> RunScores:
    result = read_json(folder / RESULT_FILE, OutputError)
    scores = folder / "scores"
    summary, subjects = (read_json(scores / name, OutputError) for name in ("summary.json", "subjects.json"))
    rows = []
    for row in _rows(scores / "cases.csv"):
        values = {key: _number(value) for key, value in row.items() if key not in _WORDS}
        rows.append(CaseRow(row["case"], subjects.get(row["case"], row["case"]), row["label"], values))
    return RunScores(
        cell=cell,
        rows=tuple(rows),
        lesions=tuple(_lesions(scores / "lesions.csv", subjects)),
        subjects=subjects,
        spatial_dims=int(summary["spatial_dims"]),
        when_empty=str(summary["when_empty"]),
        steps=result["steps"],
        budget=result["budget"],
        preset=_preset(summary),
        training=result.get("training", {}),
    )


def _preset(summary: Mapping[str, Any]) -> str:
    rules = summary.get("lesion_preset")
    return f"{rules.get('name')} {rules.get('version')}" if isinstance(rules, Mapping) else ""


def _lesions(path: Path, subjects: Mapping[str, str]) -> Iterator[CaseRow]:
    """Lesions of the references; an older scoring wrote no such file."""
    if not path.is_file():
        return
    for row in _rows(path):
        if row.get("source") == "reference":
            found = float(row.get("detected", "").lower() in ("1", "true", "yes"))
            values = {"detected": found, "size": _number(row.get("size")), "contrast": _number(row.get("contrast"))}
            yield CaseRow(row["case"], subjects.get(row["case"], row["case"]), row["label"], values)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            yield from csv.DictReader(stream)
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror or error}); score the run again") from None


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
