"""Where a run folder keeps its predictions, and the data set that lies beside it."""

from __future__ import annotations

import re
from pathlib import Path

from grcsf.datasets.naming import image_files
from grcsf.datasets.sources.registry import find_source
from grcsf.errors import GrcsfError
from grcsf.io.files import read_json
from grcsf.io.record import RECORD_FILE
from grcsf.io.volume import stem_of

__all__ = ["find_run", "run_predictions"]

_FOLD = re.compile(r"fold_(\d+)")


def find_run(path: Path) -> Path | None:
    """The run folder meant: ``path`` with ``fold_0/validation`` in it, a fold, or the ``run`` in a demo's folder."""
    for folder in (path, path / "run"):
        if _folds(folder):
            return folder
    return None


def run_predictions(run: Path) -> tuple[list[dict[str, Path]], Path | None]:
    """Files by stem of each fold's ``validation``, and the data set of the run if it lies beside it.

    A run records the name of its data set, not where it is; it is looked for in the folders around the run.
    """
    files = [{stem_of(file): file for file in image_files(folder / "validation")} for folder in _folds(run)]
    return files, _dataset_beside(run.resolve())


def _folds(folder: Path) -> list[Path]:
    if _FOLD.fullmatch(folder.name) and (folder / "validation").is_dir():
        return [folder]
    found = [path for path in folder.glob("fold_*") if _FOLD.fullmatch(path.name) and (path / "validation").is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("fold_")))


def _dataset_beside(run: Path) -> Path | None:
    top = run.parent if _FOLD.fullmatch(run.name) else run
    try:
        record = read_json(top / RECORD_FILE)
    except GrcsfError:
        return None
    name = record.get("dataset") if isinstance(record, dict) else None
    if not isinstance(name, str) or not name or Path(name).name != name:
        return None
    for parent in (top.parent, top.parent.parent):
        if (parent / name).exists() and find_source(parent / name) is not None:
            return parent / name
    return None
