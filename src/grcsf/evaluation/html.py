"""Scores and comparisons as notebooks show them; numbers only, for the reasons of failures may name folders."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from grcsf.evaluation.metrics import METRICS
from grcsf.io.html import block, number, paragraph, table

if TYPE_CHECKING:
    from grcsf.evaluation.clinical.calcium import CalciumSummary
    from grcsf.evaluation.clinical.stroke_cases import StrokeSummary
    from grcsf.evaluation.methods.comparison import Comparison, LabelComparison
    from grcsf.evaluation.methods.statistics import Interval
    from grcsf.evaluation.summary import LabelSummary, Summary

__all__ = ["calcium_html", "comparison_html", "failed_html", "stroke_html", "summary_html"]


def summary_html(summary: Summary) -> str:
    """Means per label with the number of cases behind each, and the rule for empty masks."""
    rows = [row for name, label in summary.labels.items() for row in _summary_rows(name, label)]
    notes = [
        paragraph(
            f"{name}: {label.n_false_alarms} of {label.n_lesion_free} lesion-free cases with a false positive; "
            f"Dice of all voxels together {number(label.global_dice)}{_lesions(label)}"
        )
        for name, label in summary.labels.items()
    ]
    return block(
        f"Scores of {summary.n_cases} cases",
        table(["label", "cases", "n", *METRICS], rows, words=2),
        *notes,
        paragraph(f"Cases with both masks empty: when_empty={summary.when_empty.value}."),
        failed_html(summary.failed, "scored"),
    )


def comparison_html(comparison: Comparison) -> str:
    """Means of the methods with their intervals, and the differences of every pair."""
    parts = []
    for label in comparison.labels.values():
        methods = [method.name for method in label.methods]
        parts += [
            paragraph(f"{label.label}: means over subjects (95 % bootstrap interval, n)"),
            table(["measure", *methods], _method_rows(label)),
            paragraph(f"{label.label}: differences (paired Wilcoxon test, p after Holm)"),
            table(["measure", "a - b", "mean", "n", "effect", "p (Holm)"], _pair_rows(label), words=2),
        ]
    return block(
        f"{len(comparison.summaries)} methods on {len(comparison.cases)} cases of {comparison.n_subjects} subjects",
        *parts,
        paragraph(f"Left out for all methods: {len(comparison.left_out)} cases.") if comparison.left_out else "",
    )


def calcium_html(summary: CalciumSummary) -> str:
    """Scores of every scan and label."""
    rows = [
        (case.case, label, f"{one.agatston:.1f}", f"{one.volume_mm3:.1f}", number(one.mass_mg), one.lesions)
        for case in summary.cases
        for label, one in case.scores.items()
    ]
    header = ["case", "label", "Agatston", "volume (mm³)", "mass (mg)", "lesions"]
    title = f"Calcium of {len(summary.cases)} scans"
    return block(title, table(header, rows, words=2), failed_html(summary.failed, "scored"))


def stroke_html(summary: StrokeSummary) -> str:
    """Measures of every case and label."""
    rows = [
        (
            *(one.case, one.label, f"{one.measures.load_ml:.3f}", one.measures.lesions),
            *(f"{one.measures.largest_ml:.3f}", f"{one.measures.left_ml:.3f}", f"{one.measures.right_ml:.3f}"),
        )
        for one in summary.cases
    ]
    header = ["case", "label", "load (ml)", "lesions", "largest (ml)", "left (ml)", "right (ml)"]
    title = f"Lesions of {len({one.case for one in summary.cases})} cases"
    return block(title, table(header, rows, words=2), failed_html(summary.failed, "measured"))


def failed_html(failed: Mapping[str, str], done: str) -> str:
    """How many cases failed and which, without the reasons; nothing where none did."""
    if not failed:
        return ""
    return paragraph(f"Not {done}: {len(failed)} ({', '.join(failed)}); .failed says why.")


def _summary_rows(name: str, label: LabelSummary) -> Iterator[tuple[object, ...]]:
    groups = {"all": label.all_cases, "with lesion": label.lesion_cases}
    groups |= {size: scores for size, scores in label.by_size.items() if scores.n}
    for cases, scores in groups.items():
        yield name, cases, scores.n_used, *(number(scores.mean[metric]) for metric in METRICS)


def _lesions(label: LabelSummary) -> str:
    found = label.lesions
    if found is None:
        return ""
    return (
        f"; {found.n_detected} of {found.n_reference} lesions detected, "
        f"{found.n_false} of {found.n_prediction} predicted ones false"
    )


def _method_rows(label: LabelComparison) -> Iterator[tuple[str, ...]]:
    for key in dict.fromkeys(key for method in label.methods for key in method.scores):
        yield key, *(_interval(method.scores.get(key)) for method in label.methods)


def _pair_rows(label: LabelComparison) -> Iterator[tuple[object, ...]]:
    for pair in label.pairs:
        for key, found in pair.differences.items():
            p = "-" if math.isnan(found.p_holm) else f"{found.p_holm:.3g}"
            yield key, f"{pair.a} - {pair.b}", f"{found.mean:+.3f}", found.n, number(found.effect), p


def _interval(found: Interval | None) -> str:
    if found is None or not found.n:
        return "-"
    ends = "" if math.isnan(found.low) else f" ({number(found.low)} to {number(found.high)})"
    return f"{number(found.mean)}{ends} n={found.n}"
