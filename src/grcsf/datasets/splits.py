"""Folds of cross-validation, which never put one patient on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grcsf.datasets.dataset import Dataset, Fold
from grcsf.errors import DatasetError, LeakageError
from grcsf.io.files import read_json

__all__ = ["SPLITS_FILE", "check_folds", "fold_faults", "get_fold", "make_folds", "read_folds"]

SPLITS_FILE = "splits_final.json"


def make_folds(dataset: Dataset, n: int = 5, seed: int = 0) -> list[Fold]:
    """Split the patients of a data set into ``n`` folds of about as many cases each.

    Patients are shuffled, then the ones with most cases go first, each to the fold that has fewest cases so far.

    Args:
        dataset: at least ``n`` patients.
        n: number of folds, 2 or more.
        seed: of the shuffle; the same seed and patients give the same folds.

    Raises:
        DatasetError: fewer patients than folds, or fewer than 2 folds.
    """
    by_patient: dict[str, list[str]] = {}
    for case in sorted(dataset.cases, key=lambda case: case.name):
        by_patient.setdefault(case.group, []).append(case.name)
    if n < 2 or len(by_patient) < n:
        raise DatasetError(
            f"{dataset.name}: {len(by_patient)} patient(s) for {n} folds; expected 2 <= folds <= patients"
        )
    patients = np.random.default_rng(seed).permutation(sorted(by_patient)).tolist()
    patients.sort(key=lambda patient: -len(by_patient[patient]))  # stable: ties keep their shuffled order
    parts: list[list[str]] = [[] for _ in range(n)]
    for patient in patients:
        min(parts, key=len).extend(by_patient[patient])
    names = {name for part in parts for name in part}
    return [Fold(tuple(sorted(names.difference(part))), tuple(sorted(part))) for part in parts]


def read_folds(dataset: Dataset) -> list[Fold] | None:
    """The folds in ``splits_final.json`` of the data set, else those its source gives, else none. They are not checked.

    Raises:
        DatasetError: the file is not a list of {"train": [names], "val": [names]}.
    """
    path = dataset.root / SPLITS_FILE
    if not path.is_file():
        return list(dataset.folds) if dataset.folds is not None else None
    raw = read_json(path, DatasetError)
    if not isinstance(raw, list) or not raw or not all(_is_fold(entry) for entry in raw):
        raise DatasetError(f'{path}: expected a list of {{"train": [case, ...], "val": [case, ...]}}')
    return [Fold(tuple(entry["train"]), tuple(entry["val"])) for entry in raw]


def check_folds(dataset: Dataset, folds: Sequence[Fold]) -> None:
    """Refuse folds that leak.

    Raises:
        LeakageError: a patient on both sides of a fold, or a case that the data set does not have.
    """
    faults = fold_faults(dataset, folds)
    if faults:
        raise LeakageError(f"{dataset.name}: {'; '.join(faults)}")


def fold_faults(dataset: Dataset, folds: Sequence[Fold]) -> list[str]:
    """Everything wrong with folds: patients on both sides, unknown or repeated cases, an empty side."""
    group_of = {case.name: case.group for case in dataset.cases}
    faults = []
    for index, fold in enumerate(folds):
        unknown = sorted({*fold.train, *fold.val} - group_of.keys())
        if unknown:
            faults.append(
                f"fold {index} names {len(unknown)} case(s) that the data set does not have ({_some(unknown)})"
            )
        sides = [{group_of[name] for name in side if name in group_of} for side in (fold.train, fold.val)]
        both = sorted(sides[0] & sides[1])
        if both:
            faults.append(
                f"fold {index} has {len(both)} patient(s) in both train and val ({_some(both)}); "
                "move all cases of a patient to one side"
            )
        faults += [
            f"fold {index} has no case in {name}"
            for name, side in zip(("train", "val"), sides, strict=True)
            if not side
        ]
    return faults


def get_fold(dataset: Dataset, index: int) -> Fold:
    """One fold: from ``splits_final.json`` if the data set has it, else five folds (fewer for fewer patients).

    Folds that are made do not depend on the seed of a run: trainings of several seeds can then be compared, and
    averaged, for none has seen another's validation cases.

    Args:
        dataset: the data set.
        index: from 0.

    Raises:
        LeakageError: the folds of the file leak (see :func:`check_folds`).
        DatasetError: there is no such fold, or only one patient.
    """
    folds = read_folds(dataset)
    if folds is None:
        patients = len({case.group for case in dataset.cases})
        folds = make_folds(dataset, max(2, min(5, patients)))
    check_folds(dataset, folds)
    if not 0 <= index < len(folds):
        raise DatasetError(f"{dataset.name}: fold {index} asked for; it has {len(folds)} folds, 0 to {len(folds) - 1}")
    return folds[index]


def _is_fold(entry: object) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(side), list) and all(isinstance(name, str) for name in entry[side])
        for side in ("train", "val")
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
