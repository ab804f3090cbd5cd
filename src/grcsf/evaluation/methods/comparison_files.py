"""``comparison.json``, ``comparison.csv`` and ``comparison.md``: what comparing methods leaves on disk."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grcsf.evaluation.methods.comparison import Comparison, LabelComparison, MethodNumbers
from grcsf.evaluation.methods.measures import FALSE_ALARMS, FOUND, Difference
from grcsf.evaluation.methods.statistics import Interval
from grcsf.evaluation.summary import Summary
from grcsf.evaluation.table import aligned, empty_rule
from grcsf.io.files import atomic_path, write_json

__all__ = ["COMPARISON_FILES", "comparison_text", "comparison_tree", "write_comparison"]

COMPARISON_FILES = ("comparison.json", "comparison.csv", "comparison.md")
FORMAT = 1
"""Raised by one whenever a key of ``comparison.json`` changes its meaning."""

_MAIN = ("dice", "iou", "precision", "recall", "lesion_f1", "lesion_precision", "lesion_recall", FALSE_ALARMS)
_COLUMNS = ("label", "kind", "a", "b", "measure", "mean", "low", "high", "n", "n_missing", "n_infinite")
_TESTS = ("effect", "p_value", "p_holm")


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write all three files; each atomic."""
    write_json(folder / COMPARISON_FILES[0], comparison_tree(comparison))
    table = folder / COMPARISON_FILES[1]
    with atomic_path(table) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*_COLUMNS, *_TESTS])
        for label in comparison.labels.values():
            writer.writerows(_csv_rows(label))
    with atomic_path(folder / COMPARISON_FILES[2]) as partial:
        partial.write_text(comparison_text(comparison), encoding="utf-8")


def comparison_tree(comparison: Comparison) -> dict[str, Any]:
    """The content of ``comparison.json``; null stands for nan and infinity, which are counted beside."""
    first = next(iter(comparison.summaries.values()))
    return {
        "version": FORMAT,
        "methods": list(comparison.summaries),
        "against": comparison.against,
        "n_cases": len(comparison.cases),
        "n_subjects": comparison.n_subjects,
        "left_out": {case: list(names) for case, names in comparison.left_out.items()},
        "when_empty": first.when_empty.value,
        "when_missed": _when_missed(first),
        "lesion_preset": first.preset.to_dict() if first.preset else None,
        "size_unit": first.size_unit,
        "correction": "Holm, over all pairs of one measure and label",
        "labels": {
            name: {
                "methods": {method.name: _method_tree(method) for method in label.methods},
                "pairs": [asdict(pair) for pair in label.pairs],
            }
            for name, label in comparison.labels.items()
        },
    }


def comparison_text(comparison: Comparison) -> str:
    """Markdown that also reads well as plain text: means with intervals, strata, then the tests."""
    first = next(iter(comparison.summaries.values()))
    names = ", ".join(comparison.summaries)
    lines = [
        f"{len(comparison.cases)} cases of {comparison.n_subjects} subjects, compared: {names}. Means over subjects "
        "with 95 % bootstrap intervals.",
        "Differences: paired Wilcoxon test, p corrected after Holm; effect is rank-biserial, from -1 to 1.",
        empty_rule(first),
    ]
    if comparison.left_out:
        left = "; ".join(f"{case} (no score of {', '.join(who)})" for case, who in comparison.left_out.items())
        lines.append(f"Left out for all methods: {len(comparison.left_out)} cases: {left}.")
    for label in comparison.labels.values():
        lines += _label_lines(label, first)
    return "\n".join(lines) + "\n"


def _label_lines(label: LabelComparison, summary: Summary) -> Iterator[str]:
    known = list(dict.fromkeys(key for method in label.methods for key in method.scores))
    further = [key for key in label.methods[0].scores if key in _further(label)]
    groups = (
        ("cases with a lesion; false alarms: share of lesion-free subjects", [key for key in _MAIN if key in known]),
        ("on request, cases with a lesion", further),
        ("by size of the lesion of the case", [key for key in known if "@" in key and not key.startswith(FOUND)]),
        ("share of lesions found, by size and contrast of each", [key for key in known if key.startswith(FOUND)]),
    )
    for title, keys in groups:
        if keys:
            yield from ("", f"**{label.label}**, {title}", "")
            header = ["measure", "of", *(method.name for method in label.methods)]
            rows = [[key, "lesions" if key.startswith(FOUND) else "cases", *_cells(label, key)] for key in keys]
            yield from aligned([header, *rows])
    yield ""
    yield from (_missed(method) for method in label.methods)
    yield from (_sizes(method, summary.size_unit) for method in label.methods)
    yield from ("", f"**{label.label}**, differences (a - b)", "")
    header = ["measure", "a - b", "mean", "n", "effect", "p", "p (Holm)"]
    rows = [
        [key, f"{pair.a} - {pair.b}", *_difference(found)]
        for key in known
        for pair in label.pairs
        if (found := pair.differences.get(key)) is not None
    ]
    yield from aligned([header, *rows])


def _difference(found: Difference) -> list[str]:
    mean = f"{found.mean:+.3f}"
    if not math.isnan(found.low):
        mean += f" ({found.low:+.3f} to {found.high:+.3f})"
    tests = [_number(found.effect), _p(found.p_value), _p(found.p_holm)]
    return [mean, _n(found.n, found.n_missing), *tests]


def _further(label: LabelComparison) -> set[str]:
    tested = {key for pair in label.pairs for key in pair.differences}
    return {key for key in tested if key not in _MAIN and "@" not in key}


def _cells(label: LabelComparison, key: str) -> list[str]:
    return [_cell(method.scores.get(key), method.n_infinite.get(key, 0)) for method in label.methods]


def _cell(interval: Interval | None, n_infinite: int) -> str:
    if interval is None or not interval.n:
        return "-"
    endless = f", {n_infinite} infinite" if n_infinite else ""
    ends = "" if math.isnan(interval.low) else f" ({_number(interval.low)} to {_number(interval.high)})"
    return f"{_number(interval.mean)}{ends} n={_n(interval.n, interval.n_missing)}{endless}"


def _missed(method: MethodNumbers) -> str:
    return (
        f"{method.name}: nothing predicted in {method.n_missed} of {method.n_lesion_cases} cases with a lesion, "
        f"something in {method.n_false} of {method.n_lesion_free} without."
    )


def _sizes(method: MethodNumbers, unit: str) -> str:
    sizes = method.sizes
    return (
        f"{method.name}: sizes of {sizes.n} cases: bias {_number(sizes.bias)} {unit} (limits of agreement "
        f"{_number(sizes.limits[0])} to {_number(sizes.limits[1])}), Pearson {_number(sizes.pearson)}, "
        f"Spearman {_number(sizes.spearman)}, ICC {_number(sizes.icc)}."
    )


def _method_tree(method: MethodNumbers) -> dict[str, Any]:
    tree = asdict(method)
    tree.pop("name")
    return tree


def _csv_rows(label: LabelComparison) -> Iterator[Sequence[str | int]]:
    for method in label.methods:
        for key, one in method.scores.items():
            numbers = (_exact(one.mean), _exact(one.low), _exact(one.high), one.n, one.n_missing)
            yield (label.label, "mean", method.name, "", key, *numbers, method.n_infinite.get(key, 0), "", "", "")
    for pair in label.pairs:
        for key, two in pair.differences.items():
            numbers = (_exact(two.mean), _exact(two.low), _exact(two.high), two.n, two.n_missing)
            tests = (_exact(two.effect), _exact(two.p_value), _exact(two.p_holm))
            yield (label.label, "difference", pair.a, pair.b, key, *numbers, "", *tests)


def _when_missed(summary: Summary) -> str | None:
    return summary.extra_rules.when_missed.value if "surface" in summary.extra_rules.groups else None


def _exact(value: float) -> str:
    return f"{value:.7g}"


def _n(n: int, n_missing: int) -> str:
    return f"{n} ({n_missing} without)" if n_missing else str(n)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
