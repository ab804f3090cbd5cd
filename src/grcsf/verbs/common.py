"""What the verbs share: settings, folds, models in folders, safe output folders."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grcsf.config import Settings
from grcsf.datasets.dataset import Dataset, Fold
from grcsf.errors import DatasetError, ModelError, OutputError
from grcsf.fitting.weights import has_model
from grcsf.io.files import PARTIAL_PREFIX, ensure_new, flat_pairs, make_folder, read_json, to_plain, write_json
from grcsf.preprocess.store import CaseStore

__all__ = [
    "clear_folder",
    "clear_partial",
    "clear_stage",
    "hash_names",
    "label_subset",
    "lasting",
    "model_folders",
    "open_stage",
    "refuse_other",
    "require_cases",
    "selection_split",
]

logger = logging.getLogger("grcsf")

CLAIM_FILE = "stage.json"
_STAGE_FILES = (
    *("history.csv", "last.ckpt", "best.ckpt", "model.json", "model.safetensors"),
    *(CLAIM_FILE, "run.json", "grcsf.log"),
)


def open_stage(folder: Path, claim: Mapping[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Prepare the folder of a training stage.

    Args:
        folder: of the stage.
        claim: what decides the result (settings, fold, plan); kept in the folder, so that a resumed run cannot mix two.
        resume: go on with what is there.
        overwrite: replace it.

    Returns:
        Whether the stage is done already (``resume`` and a complete model).

    Raises:
        OutputError: something is there and neither flag was given, it was made with another claim, or the folder
            cannot be written.
    """
    ensure_new(folder, overwrite, resume)
    make_folder(folder)
    clear_partial(folder)
    if overwrite and not resume:
        clear_stage(folder)
    path = folder / CLAIM_FILE
    if path.is_file():
        refuse_other(folder, read_json(path, OutputError), claim)
    else:
        write_json(path, claim)
    return resume and has_model(folder)


_NOTED_LATER = ("cases", "labels")
"""Of claims; a folder that was made before says nothing of them."""


def hash_names(names: Iterable[str]) -> str:
    """Hash of a set of case names, for claims."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def refuse_other(folder: Path, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with what was made in another way.

    Raises:
        OutputError: naming what differs.
    """
    before, after = dict(flat_pairs(there)), dict(flat_pairs(to_plain(now)))
    known = {**before, **{key: value for key, value in after.items() if key in before or key not in _NOTED_LATER}}
    keys = [key for key in known if before.get(key) != after.get(key)]
    if keys:
        changes = "; ".join(f"{key}: {_short(before.get(key))} there, {_short(after.get(key))} now" for key in keys[:5])
        raise OutputError(
            f"{folder}: was made with other settings or data ({changes}); choose another output or --overwrite"
        )


def lasting(settings: Settings) -> dict[str, Any]:
    """Settings that decide a result: without worker count and wall-clock budgets, which may change on ``--resume``."""
    return settings.model_dump(mode="json", exclude={"workers": True, "mae": {"minutes"}, "training": {"minutes"}})


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def clear_stage(folder: Path) -> None:
    """Remove what an earlier run of a training stage left; nothing else in the folder is touched."""
    for name in _STAGE_FILES:
        (folder / name).unlink(missing_ok=True)
    for extra in folder.glob("unlabelled_*"):
        clear_folder(extra)


def clear_partial(folder: Path) -> None:
    """Remove the half-written files that a run which was killed left in a folder."""
    for left in folder.glob(f"{PARTIAL_PREFIX}*"):
        if left.is_file():
            left.unlink(missing_ok=True)


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
    patients = sorted(dataset.groups(fold.train))
    order = np.random.default_rng([seed, 3]).permutation(len(patients))
    kept = {patients[index] for index in order[: max(1, round(fraction * len(patients)))]}
    return tuple(name for name in fold.train if dataset.case(name).group in kept)


def selection_split(
    dataset: Dataset, names: Sequence[str], settings: Settings
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and selection cases: the latter watch training and come from the fold's training part only.

    Whole patients go to one side. Fewer than ten patients leave none to spare.
    """
    patients = sorted(dataset.groups(names))
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
