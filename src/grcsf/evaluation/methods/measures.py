"""What a table of methods holds: numbers of single cases, and which of them are averaged over which cases.

A subject counts once: its value is the mean over its cases (and over whatever else they were predicted with).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from grcsf.evaluation.methods.statistics import holm, paired_difference
from grcsf.evaluation.strata import CONTRAST_STRATA, contrast_stratum, size_strata, size_stratum

__all__ = [
    "FALSE_ALARMS",
    "FOUND",
    "LESION_WISE",
    "OVERLAP",
    "CaseRow",
    "Difference",
    "Measure",
    "corrected_differences",
    "standard_measures",
    "subject_values",
]

OVERLAP = ("dice", "iou", "f1", "precision", "recall")
LESION_WISE = ("lesion_f1", "lesion_precision", "lesion_recall")
FALSE_ALARMS = "false_alarms"
FOUND = "lesions_found"

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class CaseRow:
    """One label of one case: its subject and every number of ``cases.csv``; nan where there is none.

    Lesions of references are rows too, with ``size``, ``detected`` (1 or 0) and ``contrast``.
    """

    case: str
    subject: str
    label: str
    values: Mapping[str, float]

    @property
    def has_lesion(self) -> bool:
        """Whether the reference holds a lesion."""
        return self.values["n_reference"] > 0

    @property
    def size(self) -> float:
        """Lesion of the reference, ml (3-D) or mm2 (2-D)."""
        return next((value for key, value in self.values.items() if key.startswith("reference_")), math.nan)


@dataclass(frozen=True)
class Measure:
    """One number of a case, over some of the cases.

    Attributes:
        key: name in the tables' files, such as ``dice`` or ``dice@below 1 ml``.
        value: number of a row; nan leaves it out.
        counts: whether a row belongs here.
        paired: whether differences between methods are tested.
        of: rows are cases, or lesions of the references.
    """

    key: str
    value: Callable[[CaseRow], float]
    counts: Callable[[CaseRow], bool]
    paired: bool
    of: Literal["cases", "lesions"] = "cases"


@dataclass(frozen=True)
class Difference:
    """One method minus another, over the subjects that both have; p corrected after Holm.

    ``n_missing`` are subjects left out because one of the two has no value.
    """

    mean: float
    low: float
    high: float
    n: int
    effect: float
    p_value: float
    p_holm: float
    n_missing: int = 0


def subject_values(rows: Iterable[CaseRow], label: str, measure: Measure) -> dict[str, float]:
    """Value of each subject, sorted by subject: the mean over its rows; subjects without a value are left out.

    Args:
        rows: cases or lesions, as the measure says, of one or several predictions of the same method.
        label: whose rows count.
        measure: what is averaged.
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.label == label and measure.counts(row) and not math.isnan(value := measure.value(row)):
            found.setdefault(row.subject, []).append(value)
    return {subject: float(np.mean(found[subject])) for subject in sorted(found)}


def corrected_differences(
    pairs: Mapping[Key, tuple[Sequence[float], Sequence[float]]],
) -> dict[Key, Difference]:
    """Paired differences of several pairs of methods on one measure, Holm's correction over all of them.

    Args:
        pairs: values of the same subjects, of the one method and of the other.
    """
    tested = {key: paired_difference(*values) for key, values in pairs.items()}
    corrected = holm([test.p_value for test in tested.values()])
    return {
        key: Difference(test.mean, test.low, test.high, test.n, test.effect, test.p_value, p_holm, test.n_missing)
        for (key, test), p_holm in zip(tested.items(), corrected, strict=True)
    }


def standard_measures(
    known: Collection[str], spatial_dims: int, *, lesions: bool, further: Sequence[str] = ()
) -> list[Measure]:
    """What is measured: overlap and detection in lesion cases, false alarms elsewhere, both by class.

    Dice and recall go by the lesion of the whole case, the share of lesions found by the size and contrast of each
    lesion.

    Args:
        known: numbers that the rows hold; a measure of another one is left out.
        spatial_dims: 2 or 3; decides the classes of size.
        lesions: whether there are rows of lesions, for the share found.
        further: numbers made on request, measured in lesion cases and tested too.
    """
    paired = {"dice", "recall", "lesion_f1", "lesion_recall", *further}
    found = [
        Measure(key, _reader(key), lambda row: row.has_lesion, key in paired)
        for key in (*OVERLAP, *LESION_WISE, *further)
        if key in known
    ]
    for index, name in enumerate(size_strata(spatial_dims)):
        for key in ("dice", "recall"):
            if key in known:
                found.append(Measure(f"{key}@{name}", _reader(key), _case_of_size(name, spatial_dims), index == 0))
        if lesions:
            of_size = _lesion_of_size(name, spatial_dims)
            found.append(Measure(f"{FOUND}@{name}", _reader("detected"), of_size, index == 0, "lesions"))
    for name in CONTRAST_STRATA if lesions else ():
        found.append(Measure(f"{FOUND}@{name} contrast", _reader("detected"), _of_contrast(name), False, "lesions"))
    alarm = Measure(
        FALSE_ALARMS, lambda row: float(row.values["n_prediction"] > 0), lambda row: not row.has_lesion, True
    )
    return [*found, alarm]


def _reader(key: str) -> Callable[[CaseRow], float]:
    return lambda row: row.values.get(key, math.nan)


def _case_of_size(name: str, spatial_dims: int) -> Callable[[CaseRow], bool]:
    return lambda row: row.has_lesion and size_stratum(row.size, spatial_dims) == name


def _lesion_of_size(name: str, spatial_dims: int) -> Callable[[CaseRow], bool]:
    return lambda row: size_stratum(row.values["size"], spatial_dims) == name


def _of_contrast(name: str) -> Callable[[CaseRow], bool]:
    return lambda row: contrast_stratum(row.values["contrast"]) == name
