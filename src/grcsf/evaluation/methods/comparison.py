"""Several methods on the same cases: means with intervals by subject, and paired tests between the methods."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from grcsf.errors import DatasetError, SettingsError
from grcsf.evaluation.extras import extra_columns
from grcsf.evaluation.html import comparison_html
from grcsf.evaluation.lesions import LESION_SCORES
from grcsf.evaluation.methods.measures import (
    CaseRow,
    Difference,
    Measure,
    corrected_differences,
    standard_measures,
    subject_values,
)
from grcsf.evaluation.methods.statistics import Interval, bootstrap_mean
from grcsf.evaluation.summary import CaseScore, Summary
from grcsf.evaluation.volumes import Agreement, agreement

__all__ = [
    "Against",
    "Comparison",
    "LabelComparison",
    "MethodNumbers",
    "PairNumbers",
    "check_against",
    "compare_summaries",
    "values_with_gaps",
]

Against = Literal["all", "first"]
"""Which pairs are tested: every two methods, or each method against the first one."""


@dataclass(frozen=True)
class MethodNumbers:
    """Numbers of one method on one label.

    Attributes:
        name: of the method.
        scores: measure -> mean over subjects with its interval; ``n_missing`` are subjects without a value.
        n_infinite: measure -> subjects whose value is infinite; measures without one are left out.
        n_missed: lesion cases that it predicted nothing in.
        n_lesion_cases: cases with a lesion in the reference.
        n_false: lesion-free cases that it predicted something in.
        n_lesion_free: cases without a lesion in the reference.
        sizes: agreement of predicted sizes with those of the references, over cases.
    """

    name: str
    scores: Mapping[str, Interval]
    n_infinite: Mapping[str, int]
    n_missed: int
    n_lesion_cases: int
    n_false: int
    n_lesion_free: int
    sizes: Agreement


@dataclass(frozen=True)
class PairNumbers:
    """Differences of two methods, ``a`` minus ``b``, by measure."""

    a: str
    b: str
    differences: Mapping[str, Difference]


@dataclass(frozen=True)
class LabelComparison:
    """All methods on one label."""

    label: str
    methods: tuple[MethodNumbers, ...]
    pairs: tuple[PairNumbers, ...]


@dataclass(frozen=True)
class Comparison:
    """Several methods on the cases that all of them could be scored on.

    Attributes:
        summaries: method -> its own scores, over all its cases.
        labels: label -> numbers of the methods, over the shared cases.
        cases: the shared cases.
        left_out: case -> methods that have no score of it; it is in no number of ``labels``.
        n_subjects: subjects of the shared cases.
        against: which pairs were tested.
    """

    summaries: Mapping[str, Summary]
    labels: Mapping[str, LabelComparison]
    cases: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]
    n_subjects: int
    against: Against

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        return comparison_html(self)

    @property
    def failed(self) -> dict[str, str]:
        """``METHOD/CASE`` -> why it could not be scored."""
        return {f"{name}/{case}": why for name, one in self.summaries.items() for case, why in one.failed.items()}


def compare_summaries(
    summaries: Mapping[str, Summary], subjects: Mapping[str, str] | None = None, against: Against = "all"
) -> Comparison:
    """Compare methods that were scored by the same rules on the same references.

    Only cases that every method has a score of enter, so that no method gains by failing on a hard one; the others are
    listed. The unit is the subject: its value is the mean over its cases. Holm's correction is over all pairs of
    one measure and label.

    Args:
        summaries: method -> its scores; two at least.
        subjects: case -> subject; none, or a case that is not in it: the case stands for itself.
        against: which pairs are tested.

    Raises:
        SettingsError: fewer than two methods, or an unknown word for ``against``.
        DatasetError: methods scored by different rules, or without a shared case.
    """
    check_against(len(summaries), against)
    _check_rules(summaries)
    cases_of = {name: {score.case for score in summary.cases} for name, summary in summaries.items()}
    everything = sorted(set.union(*cases_of.values(), *(set(summary.failed) for summary in summaries.values())))
    left_out = {
        case: absent
        for case in everything
        if (absent := tuple(name for name, known in cases_of.items() if case not in known))
    }
    shared = tuple(case for case in everything if case not in left_out)
    if not shared:
        raise DatasetError(
            f"no case could be scored for all of {', '.join(summaries)}; compare masks of the same cases"
        )
    subject_of = {case: (subjects or {}).get(case, case) for case in shared}
    first = next(iter(summaries.values()))
    labels = {label: _compare_label(label, summaries, subject_of, against) for label in first.labels}
    return Comparison(summaries, labels, shared, left_out, len(set(subject_of.values())), against)


def check_against(n_methods: int, against: str) -> None:
    """Refuse a comparison of fewer than two methods, or an unknown choice of pairs.

    Raises:
        SettingsError: one of these.
    """
    if n_methods < 2:
        raise SettingsError(f"{n_methods} method; expected at least 2 to compare")
    if against not in get_args(Against):
        raise SettingsError(f"against {against}: unknown; known: {', '.join(get_args(Against))}")


def _check_rules(summaries: Mapping[str, Summary]) -> None:
    (name, first), *others = summaries.items()
    for other, summary in others:
        for key in ("spatial_dims", "when_empty", "preset", "extra_rules"):
            if getattr(summary, key) != getattr(first, key):
                raise DatasetError(f"{other} was scored with another {key} than {name}; score all methods in one call")
        if list(summary.labels) != list(first.labels):
            raise DatasetError(f"{other} has the labels {list(summary.labels)} but {name} {list(first.labels)}")


def _compare_label(
    label: str, summaries: Mapping[str, Summary], subject_of: Mapping[str, str], against: Against
) -> LabelComparison:
    chosen = {
        name: [score for score in summary.cases if score.label == label and score.case in subject_of]
        for name, summary in summaries.items()
    }
    rows = {name: [_case_row(score, subject_of) for score in scores] for name, scores in chosen.items()}
    lesions = {
        name: [row for score in scores for row in _lesion_rows(score, subject_of)] for name, scores in chosen.items()
    }
    first = next(iter(summaries.values()))
    further = extra_columns(first.extra_rules, first.spatial_dims)
    known = {key for found in rows.values() for row in found[:1] for key in row.values}
    measures = standard_measures(known, first.spatial_dims, lesions=any(lesions.values()), further=further)
    values: dict[str, dict[str, dict[str, float]]] = {name: {} for name in summaries}
    for name, measure in itertools.product(summaries, measures):
        found = rows[name] if measure.of == "cases" else lesions[name]
        values[name][measure.key] = values_with_gaps(found, label, measure)
    methods = tuple(_method(name, chosen[name], values[name]) for name in summaries)
    tested = [measure.key for measure in measures if measure.paired]
    return LabelComparison(label, methods, _pairs(list(summaries), values, tested, against))


def values_with_gaps(rows: Sequence[CaseRow], label: str, measure: Measure) -> dict[str, float]:
    """Value of each subject that a measure is about, nan where it has none, so that the gap can be counted.

    Args:
        rows: cases or lesions, as the measure says.
        label: whose rows count.
        measure: what is averaged.
    """
    about = sorted({row.subject for row in rows if row.label == label and measure.counts(row)})
    found = subject_values(rows, label, measure)
    return {subject: found.get(subject, math.nan) for subject in about}


def _method(name: str, scores: Sequence[CaseScore], values: Mapping[str, Mapping[str, float]]) -> MethodNumbers:
    lesion = [score for score in scores if score.has_lesion]
    free = [score for score in scores if not score.has_lesion]
    intervals = {key: bootstrap_mean(list(found.values())) for key, found in values.items() if found}
    endless = {key: sum(math.isinf(value) for value in found.values()) for key, found in values.items()}
    return MethodNumbers(
        name=name,
        scores=intervals,
        n_infinite={key: count for key, count in endless.items() if count},
        n_missed=sum(score.counts.n_prediction == 0 for score in lesion),
        n_lesion_cases=len(lesion),
        n_false=sum(score.counts.n_prediction > 0 for score in free),
        n_lesion_free=len(free),
        sizes=agreement([s.reference_size for s in scores], [s.prediction_size for s in scores]),
    )


def _pairs(
    names: Sequence[str],
    values: Mapping[str, Mapping[str, Mapping[str, float]]],
    measures: Sequence[str],
    against: Against,
) -> tuple[PairNumbers, ...]:
    if against == "first":
        pairs = [(name, names[0]) for name in names[1:]]
    else:
        pairs = [(a, b) for b, a in itertools.combinations(names, 2)]
    differences: dict[tuple[str, str], dict[str, Difference]] = {pair: {} for pair in pairs}
    for measure in measures:
        subjects = values[names[0]][measure]  # the same for all methods: it depends on the reference alone
        if not subjects:
            continue
        of = {name: [values[name][measure][subject] for subject in subjects] for name in names}
        for pair, difference in corrected_differences({(a, b): (of[a], of[b]) for a, b in pairs}).items():
            differences[pair][measure] = difference
    return tuple(PairNumbers(a, b, differences[a, b]) for a, b in pairs)


def _case_row(score: CaseScore, subject_of: Mapping[str, str]) -> CaseRow:
    """The numbers of a case by the names of ``cases.csv``."""
    values = {
        "n_reference": float(score.counts.n_reference),
        "n_prediction": float(score.counts.n_prediction),
        "reference_size": score.reference_size,
        **score.scores,
        **score.extras,
    }
    if score.lesions:
        values |= {key: getattr(score.lesions, attribute) for key, attribute in LESION_SCORES.items()}
    return CaseRow(score.case, subject_of[score.case], score.label, values)


def _lesion_rows(score: CaseScore, subject_of: Mapping[str, str]) -> list[CaseRow]:
    found = score.lesions.of("reference") if score.lesions else []
    numbers = ({"detected": float(one.detected), "size": one.size, "contrast": one.contrast} for one in found)
    return [CaseRow(score.case, subject_of[score.case], score.label, values) for values in numbers]
