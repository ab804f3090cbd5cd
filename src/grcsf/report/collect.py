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
from grcsf.evaluation.calibration_files import CALIBRATION_FILES
from grcsf.evaluation.methods.comparison_files import COMPARISON_FILES
from grcsf.io.volume import ending_of, stem_of
from grcsf.report.score_table import NEEDED, ScoreTable, case_row, case_score, is_reference, lesion_row, number_of
from grcsf.report.words import without_folders

__all__ = ["FoldContents", "History", "Record", "RunContents", "collect_run", "files_of"]

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
class FoldContents:
    """What one fold left: curves, scores, and the files of ``validation/`` by stem. In a comparison: one method."""

    name: str
    mae: History | None
    train: History | None
    scores: ScoreTable | None
    predictions: dict[str, Path]
    weights_sha256: str | None


@dataclass(frozen=True)
class RunContents:
    """Everything the page is made from; ``notes`` tell what could not be read.

    Attributes:
        folds: what each fold left, or in a comparison each method.
        comparison: content of ``comparison.json``; empty: one method.
        subjects: case -> subject, from a file of the folder; empty: it has none.
        inference: settings that the predictions were made with; empty: not recorded.
    """

    name: str
    folds: tuple[FoldContents, ...]
    records: tuple[Record, ...]
    settings_yaml: str | None
    settings: dict[str, Any]
    plan: dict[str, Any]
    fingerprint: dict[str, Any]
    notes: tuple[str, ...]
    comparison: dict[str, Any] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)
    inference: dict[str, Any] = field(default_factory=dict)

    @property
    def is_comparison(self) -> bool:
        """Whether the parts are methods on the same cases."""
        return bool(self.comparison)

    @property
    def unit(self) -> str:
        """Unit of sizes, ``ml`` or ``mm²``."""
        return "ml" if self.spatial_dims == 3 else "mm²"

    @property
    def spatial_dims(self) -> int:
        """2 or 3; 3 without scores."""
        return next((fold.scores.spatial_dims for fold in self.folds if fold.scores), 3)


def collect_run(run: Path) -> RunContents:
    """Read a run folder, a fold, the output of one stage, or what ``grcsf evaluate`` wrote of one or several methods.

    Raises:
        GrcsfError: no such folder, or nothing in it that a report could show.
    """
    if not run.is_dir():
        raise GrcsfError(f"{run}: no such folder; expected the output of grcsf run (or of train, predict or evaluate)")
    reader = _Reader(run)
    comparison = reader.tree(run / COMPARISON_FILES[0])
    if comparison and not _methods(run, comparison):
        raise GrcsfError(
            f"{run}: a comparison without the folders of its methods; give the whole output of grcsf evaluate"
        )
    folders = _methods(run, comparison) or sorted(
        (path for path in run.glob("fold_*") if _is_fold(path)), key=_number_of
    )
    folds = tuple(reader.fold(path, path.resolve().name) for path in folders or [run])
    if not folders and not any(
        (fold.mae, fold.train, fold.scores, fold.predictions) != (None, None, None, {}) for fold in folds
    ):
        raise GrcsfError(
            f"{run}: nothing to report; expected fold_0/, or mae/, train/, validation/ or scores/, "
            "or a history.csv or cases.csv"
        )
    places = [run, run / "preprocessed", *(folder / stage for folder in folders or [run] for stage in STAGES)]
    places += folders if comparison else []
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
        notes=tuple(without_folders(note) for note in reader.notes),
        comparison=comparison,
        subjects=reader.subjects(folders or [run]),
        inference=reader.inference(folders or [run], settings),
    )


def files_of(folder: Path) -> dict[str, Path]:
    """Image files of a folder by stem; none without such a folder."""
    if not folder.is_dir():
        return {}
    return {stem_of(path): path for path in sorted(folder.iterdir()) if ending_of(path) and path.is_file()}


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
            predictions=files_of(predictions),
            weights_sha256=_text(model.get("weights_sha256")),
        )

    def history(self, folder: Path) -> History | None:
        rows = self.rows(folder / "history.csv")
        if not rows:
            return None
        return History({name: [number_of(row.get(name)) for row in rows] for name in rows[0]})

    def scores(self, folder: Path) -> ScoreTable | None:
        rows = self.rows(folder / "cases.csv")
        if not rows:
            return None
        summary = self.tree(folder / "summary.json")
        missing = [name for name in NEEDED if name not in rows[0]]
        if missing:
            self.note(folder / "cases.csv", f"has no column {', '.join(missing)}")
            return None
        try:
            cases = tuple(case_score(row) for row in rows)
        except (TypeError, ValueError) as error:
            self.note(folder / "cases.csv", f"holds a value that is no number ({error})")
            return None
        failed, preset = summary.get("failed"), summary.get("lesion_preset")
        return ScoreTable(
            cases=cases,
            when_empty=_text(summary.get("when_empty")),
            spatial_dims=3 if "reference_volume_ml" in rows[0] else 2,
            failed={str(k): without_folders(str(v)) for k, v in failed.items()} if isinstance(failed, dict) else {},
            rows=tuple(case_row(row) for row in rows),
            lesions=tuple(lesion_row(row) for row in self.rows(folder / "lesions.csv") if is_reference(row)),
            preset=preset if isinstance(preset, dict) else {},
            calibration=self.tree(folder / CALIBRATION_FILES[0]),
        )

    def subjects(self, folders: Sequence[Path]) -> dict[str, str]:
        """Case -> subject, as the run, the comparison or the scoring wrote it down; empty if none did."""
        found = {row["case"]: row["subject"] for row in self.rows(self.run / "data_cases.csv") if row.get("subject")}
        for place in (self.run, *folders, *(folder / "scores" for folder in folders)):
            tree = self.tree(place / "subjects.json")
            found |= {case: who for case, who in tree.items() if isinstance(who, str)}
        return found

    def inference(self, folders: Sequence[Path], settings: dict[str, Any]) -> dict[str, Any]:
        """Of the predictions as they were made, else of the settings of the run."""
        trees = [self.tree(folder / "validation" / "prediction.json") for folder in folders]
        for tree in (*trees, settings):
            part = tree.get("inference")
            if isinstance(part, dict) and isinstance(part.get("threshold"), int | float):
                return part
        return {}

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


def _number_of(path: Path) -> int:
    return int(path.name.removeprefix("fold_"))


def _methods(run: Path, comparison: dict[str, Any]) -> list[Path]:
    """Folders of the methods of a comparison, in its order; a name never leads out of the folder."""
    names = comparison.get("methods")
    found = [run / name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return [folder for folder in found if folder.is_dir() and folder.parent == run and folder.name not in (".", "..")]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
