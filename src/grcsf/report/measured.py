"""Means with intervals by subject: computed from the cases of a run, or taken from ``comparison.json`` as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grcsf.datasets.dataset import Dataset
from grcsf.datasets.naming import guess_group
from grcsf.errors import GrcsfError
from grcsf.evaluation.methods.comparison import MethodNumbers, PairNumbers, values_with_gaps
from grcsf.evaluation.methods.comparison_files import COMPARISON_FILES
from grcsf.evaluation.methods.measures import FALSE_ALARMS, LESION_WISE, OVERLAP, CaseRow, Difference, standard_measures
from grcsf.evaluation.methods.statistics import Interval, bootstrap_mean
from grcsf.evaluation.metrics import METRICS
from grcsf.evaluation.strata import CONTRAST_STRATA, contrast_stratum, size_strata, size_stratum
from grcsf.evaluation.volumes import Agreement, agreement
from grcsf.report.collect import FoldContents, RunContents

__all__ = ["FoundLesions", "LabelNumbers", "Subjects", "find_subjects", "label_numbers", "main_keys", "shared_cases"]

_NO_FURTHER = {
    *("n_reference", "n_prediction", "tp", "fp", "fn", *METRICS, *LESION_WISE),
    *("lesions_reference", "lesions_prediction", "lesions_detected", "lesions_missed", "lesions_false"),
    *("volume_precision", "volume_recall", "matched_dice", "panoptic_quality"),
    *("missed_volume_ml", "false_volume_ml", "missed_area_mm2", "false_area_mm2"),
    *("reference_volume_ml", "prediction_volume_ml", "reference_area_mm2", "prediction_area_mm2"),
}
"""Columns of ``cases.csv`` that every scoring writes; what else is there was asked for with ``--metrics``."""


@dataclass(frozen=True)
class Subjects:
    """Who is who: case -> subject, and where that was read, in words."""

    of: Mapping[str, str]
    source: str

    def rows(self, rows: Iterable[CaseRow]) -> list[CaseRow]:
        """Rows with their subjects."""
        return [replace(row, subject=self.of.get(row.case, row.case)) for row in rows]


@dataclass(frozen=True)
class FoundLesions:
    """Lesions of the references of one class: how many each method detected of how many."""

    stratum: str
    counts: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class LabelNumbers:
    """All numbers of one label.

    Attributes:
        label: its name.
        methods: of the run as a whole, or of each method.
        pairs: tested differences of methods; none for one method.
        by_size: lesions found by size of the lesion.
        by_contrast: lesions found by contrast.
    """

    label: str
    methods: tuple[MethodNumbers, ...]
    pairs: tuple[PairNumbers, ...]
    by_size: tuple[FoundLesions, ...]
    by_contrast: tuple[FoundLesions, ...]

    @property
    def keys(self) -> list[str]:
        """Every measure of any method, in order."""
        return list(dict.fromkeys(key for method in self.methods for key in method.scores))


def find_subjects(run: RunContents, dataset: Dataset | None, given: Mapping[str, str] | None) -> Subjects:
    """Subjects as they were given, of the data set, of a file in the folder, else guessed from the names of cases."""
    if given is not None:
        return Subjects(given, "the file given")
    if dataset is not None:
        return Subjects({case.name: case.group for case in (*dataset.cases, *dataset.test_cases)}, "the data set")
    if run.subjects:
        return Subjects(run.subjects, "the folder's own list")
    cases = {score.case for fold in run.folds if fold.scores for score in fold.scores.cases}
    return Subjects({case: guess_group(case) for case in cases}, "the names of the cases")


def shared_cases(run: RunContents) -> set[str]:
    """Cases that every method of a comparison was scored on; of a run all cases."""
    known = [{score.case for score in fold.scores.cases} for fold in run.folds if fold.scores]
    if not known:
        return set()
    return set.intersection(*known) if run.is_comparison else set.union(*known)


def main_keys(numbers: LabelNumbers) -> list[str]:
    """Measures of the overview: overlap, detection, what was asked for, false alarms; F1 is Dice and left out."""
    first = [key for key in (*OVERLAP, *LESION_WISE) if key != "f1"]
    further = [key for key in numbers.keys if "@" not in key and key not in (*first, "f1", FALSE_ALARMS)]
    return [key for key in (*first, *further, FALSE_ALARMS) if key in numbers.keys]


def label_numbers(run: RunContents, subjects: Subjects) -> list[LabelNumbers]:
    """Numbers of each label; of a comparison those that it stored, so that page and file never differ.

    Raises:
        GrcsfError: a ``comparison.json`` that is not what comparing writes.
    """
    scored = [fold for fold in run.folds if fold.scores]
    labels = list(dict.fromkeys(score.label for fold in scored if fold.scores for score in fold.scores.cases))
    parts = {fold.name: [fold] for fold in scored} if run.is_comparison else {run.name: scored}
    stored = run.comparison.get("labels")
    found = []
    for label in labels:
        tree = stored.get(label) if isinstance(stored, dict) else None
        if run.is_comparison and isinstance(tree, dict):
            try:
                methods, pairs = _stored(tree)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                raise GrcsfError(
                    f"{run.name}/{COMPARISON_FILES[0]}: not what grcsf evaluate writes (label {label}); compare again"
                ) from None
        else:
            methods, pairs = tuple(_method(name, label, part, subjects) for name, part in parts.items()), ()
        lesions = _lesions(label, parts, shared_cases(run))
        found.append(LabelNumbers(label, methods, pairs, *_found(lesions, run.spatial_dims)))
    return found


def _method(name: str, label: str, folds: Sequence[FoldContents], subjects: Subjects) -> MethodNumbers:
    tables = [fold.scores for fold in folds if fold.scores]
    rows = subjects.rows(row for table in tables for row in table.rows if row.label == label)
    lesions = subjects.rows(row for table in tables for row in table.lesions if row.label == label)
    known = {key for row in rows[:1] for key in row.values}
    further = [key for key in (rows[0].values if rows else ()) if key not in _NO_FURTHER]
    measures = standard_measures(known, tables[0].spatial_dims, lesions=bool(lesions), further=further)
    values = {m.key: values_with_gaps(rows if m.of == "cases" else lesions, label, m) for m in measures}
    scores = [score for table in tables for score in table.cases if score.label == label]
    lesion = [score for score in scores if score.has_lesion]
    free = [score for score in scores if not score.has_lesion]
    sizes = [(s.reference_size, s.prediction_size) for s in scores]
    sizes = [pair for pair in sizes if all(map(math.isfinite, pair))]
    endless = {key: sum(map(math.isinf, found.values())) for key, found in values.items()}
    return MethodNumbers(
        name=name,
        scores={key: bootstrap_mean(list(found.values())) for key, found in values.items() if found},
        n_infinite={key: count for key, count in endless.items() if count},
        n_missed=sum(score.counts.n_prediction == 0 for score in lesion),
        n_lesion_cases=len(lesion),
        n_false=sum(score.counts.n_prediction > 0 for score in free),
        n_lesion_free=len(free),
        sizes=agreement([a for a, _ in sizes], [b for _, b in sizes]),
    )


def _stored(tree: Mapping[str, Any]) -> tuple[tuple[MethodNumbers, ...], tuple[PairNumbers, ...]]:
    """Methods and pairs of one label of ``comparison.json``, whose null stands for nan or infinity."""
    methods = []
    for name, part in (tree.get("methods") or {}).items():
        sizes = {key: value for key, value in (part.get("sizes") or {}).items() if key != "limits"}
        limits = (part.get("sizes") or {}).get("limits") or (None, None)
        endless = part.get("n_infinite") or {}
        methods.append(
            MethodNumbers(
                name=str(name),
                scores={key: _interval(one, endless.get(key, 0)) for key, one in (part.get("scores") or {}).items()},
                n_infinite=endless,
                **{key: int(part.get(key) or 0) for key in ("n_missed", "n_lesion_cases", "n_false", "n_lesion_free")},
                sizes=Agreement(
                    n=int(sizes.get("n") or 0),
                    limits=(_float(limits[0]), _float(limits[1])),
                    **{key: _float(sizes.get(key)) for key in ("pearson", "spearman", "icc", "bias")},
                ),
            )
        )
    pairs = tuple(
        PairNumbers(str(p["a"]), str(p["b"]), {key: _difference(one) for key, one in p["differences"].items()})
        for p in tree.get("pairs") or ()
    )
    return tuple(methods), pairs


def _interval(one: Mapping[str, Any], endless: int) -> Interval:
    mean = math.inf if endless and one.get("mean") is None else _float(one.get("mean"))
    ends = (_float(one.get("low")), _float(one.get("high")))
    return Interval(mean, *ends, n=int(one.get("n") or 0), n_missing=int(one.get("n_missing") or 0))


def _difference(one: Mapping[str, Any]) -> Difference:
    numbers = {key: _float(one.get(key)) for key in ("mean", "low", "high", "effect", "p_value", "p_holm")}
    return Difference(**numbers, n=int(one.get("n") or 0), n_missing=int(one.get("n_missing") or 0))


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _lesions(label: str, parts: Mapping[str, Sequence[FoldContents]], cases: set[str]) -> dict[str, list[CaseRow]]:
    return {
        name: [
            row
            for fold in folds
            if fold.scores
            for row in fold.scores.lesions
            if row.label == label and row.case in cases and math.isfinite(row.values["size"])
        ]
        for name, folds in parts.items()
    }


def _found(
    lesions: Mapping[str, Sequence[CaseRow]], spatial_dims: int
) -> tuple[tuple[FoundLesions, ...], tuple[FoundLesions, ...]]:
    def count(names: Sequence[str], class_of: Any) -> tuple[FoundLesions, ...]:
        classes = {
            name: [(class_of(row), row.values["detected"] > 0) for row in rows] for name, rows in lesions.items()
        }
        table = [
            FoundLesions(
                stratum,
                {
                    n: (sum(hit for c, hit in own if c == stratum), sum(c == stratum for c, _ in own))
                    for n, own in classes.items()
                },
            )
            for stratum in names
        ]
        return tuple(row for row in table if any(n for _, n in row.counts.values()))

    by_size = count(size_strata(spatial_dims), lambda row: size_stratum(row.values["size"], spatial_dims))
    return by_size, count(CONTRAST_STRATA, lambda row: contrast_stratum(_usable(row.values["contrast"])))


def _usable(contrast: float) -> float:
    """Contrast of zero or below zero (values of a normalised image) has no class."""
    return contrast if contrast > 0 else math.nan
