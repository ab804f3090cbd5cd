"""A summary of scores as a Markdown table that also reads well as plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from grcsf.evaluation.extras import ExtraSummary
from grcsf.evaluation.lesion_summary import LesionSummary
from grcsf.evaluation.metrics import METRICS
from grcsf.evaluation.overlap import WhenEmpty
from grcsf.evaluation.summary import LabelSummary, MeanScores, Summary
from grcsf.evaluation.surface import WhenMissed

__all__ = ["aligned", "empty_rule", "summary_table"]

_POLICY = {
    WhenEmpty.SKIP: "left out of the means",
    WhenEmpty.ONE: "scored 1",
    WhenEmpty.ZERO: "scored 0",
}

_MISSED = {
    WhenMissed.DIAGONAL: "the diagonal of the image",
    WhenMissed.INFINITE: "infinite",
    WhenMissed.SKIP: "left out of the means",
}


def summary_table(summary: Summary) -> str:
    """Means per label with the number of cases behind each, and the rule for empty masks in words.

    ``n`` is the number of cases that entered the mean of the row.
    """
    header = ["label", "cases", "n", *METRICS]
    rows = [row for name, label in summary.labels.items() for row in _rows(name, label)]
    lines = [*aligned([header, *rows]), ""]
    lines += [
        f"{name}: Dice of all voxels together {_number(label.global_dice)}; "
        f"{label.n_false_alarms} of {label.n_lesion_free} lesion-free cases with a false positive."
        for name, label in summary.labels.items()
    ]
    if summary.preset:
        lines += [_lesions(name, label.lesions, summary.preset.name) for name, label in summary.labels.items()]
    lines += [line for name, label in summary.labels.items() for line in _extra(name, label.extra)]
    lines.append(empty_rule(summary))
    if summary.failed:
        lines.append(f"Not scored: {len(summary.failed)} ({', '.join(summary.failed)}).")
    return "\n".join(lines) + "\n"


def empty_rule(summary: Summary) -> str:
    """What became of cases with both masks empty and, where distances were made, with one."""
    text = f"Cases with both masks empty: {_POLICY[summary.when_empty]} (when_empty={summary.when_empty.value})."
    if "surface" not in summary.extra_rules.groups:
        return text
    missed = summary.extra_rules.when_missed
    return f"{text}\nDistances with one mask empty: {_MISSED[missed]} (when_missed={missed.value}); NSD 0."


def _extra(name: str, extra: ExtraSummary | None) -> Iterable[str]:
    """Nothing where no further score was asked for: the table is then what it always was."""
    if extra is None:
        return
    n = next(iter(extra.lesion_cases.values())).n
    yield (
        f"{name}: nothing predicted in {extra.n_missed} of {n} cases with a lesion, something in {extra.n_false} "
        f"without; both masks empty in {extra.n_both_empty}."
    )
    header = ["label", "with lesion", "mean", "median", "n", "infinite"]
    rows = [
        [name, key, _number(one.mean), _number(one.median), f"{one.n_used} of {one.n}", str(one.n_infinite)]
        for key, one in extra.lesion_cases.items()
    ]
    yield from ("", *aligned([header, *rows]), "")
    if extra.agreement:
        sizes = extra.agreement
        yield (
            f"{name}: sizes of {sizes.n} cases: bias {_number(sizes.bias)}, Pearson {_number(sizes.pearson)}, "
            f"Spearman {_number(sizes.spearman)}, ICC {_number(sizes.icc)}."
        )


def _rows(name: str, label: LabelSummary) -> Iterable[list[str]]:
    yield _row(name, "all", label.all_cases)
    yield _row(name, "with lesion", label.lesion_cases)
    for size, scores in label.by_size.items():
        if scores.n:
            yield _row(name, size, scores)


def _lesions(name: str, lesions: LesionSummary | None, preset: str) -> str:
    if lesions is None:
        return f"{name}: not scored by lesion."
    sizes = ", ".join(f"{size}: {part.n_detected} of {part.n}" for size, part in lesions.by_size.items() if part.n)
    return (
        f"{name}: {lesions.n_detected} of {lesions.n_reference} lesions detected{f' ({sizes})' if sizes else ''}, "
        f"{lesions.n_false} of {lesions.n_prediction} predicted ones false, "
        f"lesion F1 {_number(lesions.f1)} (rules: {preset})."
    )


def _row(name: str, cases: str, scores: MeanScores) -> list[str]:
    return [name, cases, str(scores.n_used), *(_number(scores.mean[metric]) for metric in METRICS)]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table with cells of equal width; the first row is the header, two columns are words."""
    words = 2  # the first columns are words, set to the left; the others numbers, to the right
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = zip(row[:words], widths, strict=False), zip(row[words:], widths[words:], strict=True)
        lines.append(" | ".join([*(cell.ljust(w) for cell, w in cells[0]), *(cell.rjust(w) for cell, w in cells[1])]))
    rule = [*("-" * w for w in widths[:words]), *("-" * (w - 1) + ":" for w in widths[words:])]
    lines.insert(1, " | ".join(rule))
    return [f"| {line} |" for line in lines]
