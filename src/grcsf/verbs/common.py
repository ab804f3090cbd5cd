"""What the verbs share: settings, folds, models in folders, safe output folders."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from grcsf.config import Settings
from grcsf.datasets.dataset import Dataset, Fold
from grcsf.errors import DatasetError, ModelError
from grcsf.fitting.weights import has_model
from grcsf.io.files import ensure_new, make_folder
from grcsf.preprocess.store import CaseStore

__all__ = ["clear_stage", "label_subset", "model_folders", "open_stage", "require_cases", "selection_split"]

logger = logging.getLogger("grcsf")

_STAGE_FILES = ("history.csv", "last.ckpt", "best.ckpt", "model.json", "model.safetensors", "run.json", "grcsf.log")


def open_stage(folder: Path, *, resume: bool, overwrite: bool) -> bool:
    """Prepare the folder of a training stage.

    Returns:
        Whether the stage is done already (``resume`` and a complete model).

    Raises:
        OutputError: something is there and neither flag was given, or the folder cannot be written.
    """
    ensure_new(folder, overwrite, resume)
    make_folder(folder)
    if overwrite and not resume:
        clear_stage(folder)
    return resume and has_model(folder)


def clear_stage(folder: Path) -> None:
    """Remove what an earlier run of a training stage left; nothing else in the folder is touched."""
    for name in _STAGE_FILES:
        (folder / name).unlink(missing_ok=True)


def clear_folder(folder: Path) -> None:
    """Remove all files of an output folder that only the chain writes."""
    if folder.is_dir():
        shutil.rmtree(folder)


def require_cases(store: CaseStore, names: Sequence[str]) -> None:
    """Refuse when cases of a fold were not preprocessed.

    Raises:
        DatasetError: naming some of them.
    """
    missing = [name for name in names if name not in store]
    if missing:
        raise DatasetError(
            f"{store.folder}: {len(missing)} cases of the fold are not preprocessed ({', '.join(missing[:5])}); "
            "run grcsf preprocess --resume"
        )


def label_subset(dataset: Dataset, fold: Fold, fraction: float, seed: int) -> tuple[str, ...]:
    """Training cases whose labels are used: a share of the fold's training patients, whole patients only."""
    if fraction >= 1.0:
        return fold.train
    patients = sorted({dataset.case(name).group for name in fold.train})
    order = np.random.default_rng([seed, 3]).permutation(len(patients))
    kept = {patients[index] for index in order[: max(1, round(fraction * len(patients)))]}
    return tuple(name for name in fold.train if dataset.case(name).group in kept)


def selection_split(
    dataset: Dataset, names: Sequence[str], settings: Settings
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and selection cases: the latter watch training and come from the fold's training part only.

    Whole patients go to one side. Fewer than ten patients leave none to spare.
    """
    patients = sorted({dataset.case(name).group for name in names})
    count = round(settings.training.selection_fraction * len(patients))
    if len(patients) < 10 or count == 0:
        return tuple(names), ()
    order = np.random.default_rng([settings.seed, 4]).permutation(len(patients))
    held = {patients[index] for index in order[:count]}
    selection = tuple(name for name in names if dataset.case(name).group in held)
    return tuple(name for name in names if name not in set(selection)), selection


def model_folders(models: Sequence[Path], folds: Sequence[int] = ()) -> list[Path]:
    """Model folders meant by ``-m``: themselves, or the trained folds of a run folder.

    Raises:
        ModelError: no model there.
    """
    found: list[Path] = []
    for path in models:
        if (path / "model.json").is_file() or (path / "model.safetensors").is_file():
            found.append(path)
            continue
        candidates = sorted(path.glob("fold_*/train")) if not folds else [path / f"fold_{i}" / "train" for i in folds]
        trained = [folder for folder in candidates if (folder / "model.json").is_file()]
        if not trained or (folds and len(trained) < len(folds)):
            raise ModelError(
                f"{path}: no trained model; expected model.safetensors and model.json there, "
                "or a run folder with fold_0/train"
            )
        found += trained
    return found
