"""A run folder as plain values: histories, scores, records, settings; what is missing or unreadable becomes a note."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from grcsf.errors import GrcsfError
from grcsf.evaluation.metrics import METRICS
from grcsf.evaluation.overlap import Confusion
from grcsf.evaluation.summary import CaseScore
from grcsf.io.volume import ending_of, stem_of

__all__ = ["FoldContents", "History", "Record", "RunContents", "ScoreTable", "collect_run"]

STAGES = ("mae", "residual", "train", "validation", "scores")
_FOLD = re.compile(r"fold_(\d+)")


@dataclass(frozen=True)
class History:
    """A learning curve: column name -> one value per row, none where the cell is empty."""

    columns: dict[str, list[float | None]]

    def points(self, name: str) -> list[tuple[float, float]]:
        """(step, value) where both are known and finite."""
        pairs = zip(self.columns.get("step", []), self.columns.get(name, []), strict=True)
        return [(x, y) for x, y in pairs if x is not None and y is not None and math.isfinite(y)]


@dataclass(frozen=True)
class Record:
    """The ``run.json`` of one stage: its place in the run, such as ``fold_0/train``, and its entries."""

    stage: str
    entries: dict[str, Any]


@dataclass(frozen=True)
class ScoreTable:
    """Scores of one folder: cases, the policy for empty masks, dimensions (2 or 3), and cases without a score."""

    cases: tuple[CaseScore, ...]
    when_empty: str | None
    spatial_dims: int
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FoldContents:
    """What one fold left: curves, scores, and the files of ``validation/`` by stem."""

    name: str
    mae: History | None
    train: History | None
    scores: ScoreTable | None
    predictions: dict[str, Path]
    weights_sha256: str | None


@dataclass(frozen=True)
class RunContents:
    """Everything the page is made from; ``notes`` tell what could not be read."""

    name: str
    folds: tuple[FoldContents, ...]
    records: tuple[Record, ...]
    settings_yaml: str | None
    settings: dict[str, Any]
    plan: dict[str, Any]
    fingerprint: dict[str, Any]
    notes: tuple[str, ...]


def collect_run(run: Path) -> RunContents:
    """Read a run folder, a single fold folder, or a folder with the output of one stage.

    Raises:
        GrcsfError: no such folder, or nothing in it that a report could show.
    """
    if not run.is_dir():
        raise GrcsfError(f"{run}: no such folder; expected the output of grcsf run (or of train, predict or evaluate)")
    reader = _Reader(run)
    folders = sorted((path for path in run.glob("fold_*") if _is_fold(path)), key=_fold_number)
    folds = tuple(reader.fold(path, path.name) for path in folders or [run])
    if not folders and not any(
        (fold.mae, fold.train, fold.scores, fold.predictions) != (None, None, None, {}) for fold in folds
    ):
        raise GrcsfError(
            f"{run}: nothing to report; expected fold_0/, or mae/, train/, validation/ or scores/, "
            "or a history.csv or cases.csv"
        )
    places = [run, run / "preprocessed", *(folder / stage for folder in folders or [run] for stage in STAGES)]
    records = tuple(record for place in places if (record := reader.record(place)) is not None)
    text, settings = reader.settings(records)
    return RunContents(
        name=run.resolve().name,
        folds=folds,
        records=records,
        settings_yaml=text,
        settings=settings,
        plan=reader.tree(run / "preprocessed" / "plan.json"),
        fingerprint=reader.tree(run / "preprocessed" / "fingerprint.json"),
        notes=tuple(reader.notes),
    )


class _Reader:
    """Reads the files of a run; keeps a note of each that is there but cannot be used."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.notes: list[str] = []

    def fold(self, folder: Path, name: str) -> FoldContents:
        mae, train = self.history(folder / "mae"), self.history(folder / "train")
        if mae is None and train is None:  # a folder with the output of one stage alone
            alone = self.history(folder)
            is_mae = alone is not None and "selection_dice" not in alone.columns
            mae, train = (alone, None) if is_mae else (None, alone)
        scores = folder / "scores" if (folder / "scores").is_dir() else folder
        predictions = folder / "validation"
        model = self.tree(folder / "train" / "model.json") or self.tree(folder / "model.json")
        return FoldContents(
            name=name,
            mae=mae,
            train=train,
            scores=self.scores(scores),
            predictions=_images(predictions),
            weights_sha256=_text(model.get("weights_sha256")),
        )

    def history(self, folder: Path) -> History | None:
        rows = self.rows(folder / "history.csv")
        if not rows:
            return None
        return History({name: [_number(row.get(name)) for row in rows] for name in rows[0]})

    def scores(self, folder: Path) -> ScoreTable | None:
        rows = self.rows(folder / "cases.csv")
        if not rows:
            return None
        summary = self.tree(folder / "summary.json")
        missing = [name for name in ("case", "label", "tp", "fp", "fn", *METRICS) if name not in rows[0]]
        if missing:
            self.note(folder / "cases.csv", f"has no column {', '.join(missing)}")
            return None
        try:
            cases = tuple(_case_score(row) for row in rows)
        except (TypeError, ValueError) as error:
            self.note(folder / "cases.csv", f"holds a value that is no number ({error})")
            return None
        failed = summary.get("failed")
        dims = 3 if "reference_volume_ml" in rows[0] else 2
        return ScoreTable(cases, _text(summary.get("when_empty")), dims, failed if isinstance(failed, dict) else {})

    def record(self, folder: Path) -> Record | None:
        entries = self.tree(folder / "run.json")
        stage = folder.relative_to(self.run).as_posix()
        return Record("run" if stage == "." else stage, entries) if entries else None

    def settings(self, records: Sequence[Record]) -> tuple[str | None, dict[str, Any]]:
        path = self.run / "settings.yaml"
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
                tree = yaml.safe_load(text)
                return text, tree if isinstance(tree, dict) else {}
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                self.note(path, f"cannot be read ({' '.join(str(error).split())})")
        for record in records:
            tree = record.entries.get("settings")
            if isinstance(tree, dict) and tree:
                return yaml.safe_dump(tree, sort_keys=False), tree
        return None, {}

    def rows(self, path: Path) -> list[dict[str, str]]:
        if not path.is_file():
            return []
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                return list(csv.DictReader(stream))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            self.note(path, f"cannot be read ({error})")
            return []

    def tree(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            return {}
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self.note(path, f"cannot be read ({error})")
            return {}
        if isinstance(tree, dict):
            return tree
        self.note(path, f"holds a {type(tree).__name__}, expected a JSON object")
        return {}

    def note(self, path: Path, text: str) -> None:
        self.notes.append(f"{path.relative_to(self.run).as_posix()} {text}.")


def _is_fold(path: Path) -> bool:
    return path.is_dir() and _FOLD.fullmatch(path.name) is not None


def _fold_number(path: Path) -> int:
    return int(path.name.removeprefix("fold_"))


def _images(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {stem_of(path): path for path in sorted(folder.iterdir()) if ending_of(path) and path.is_file()}


def _case_score(row: dict[str, str]) -> CaseScore:
    size = "volume_ml" if "reference_volume_ml" in row else "area_mm2"
    return CaseScore(
        case=row["case"],
        label=row["label"],
        counts=Confusion(int(row["tp"]), int(row["fp"]), int(row["fn"]), tn=0),
        reference_size=float(row.get(f"reference_{size}") or math.nan),
        prediction_size=float(row.get(f"prediction_{size}") or math.nan),
        scores={name: float(row[name] or math.nan) for name in METRICS},
        files=("", ""),
    )


def _number(cell: str | None) -> float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
