"""Rows of the tables of measures: methods side by side, their differences, and the rules that made the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grcsf.evaluation.methods.comparison import MethodNumbers, PairNumbers
from grcsf.evaluation.methods.measures import Difference
from grcsf.report.collect import RunContents
from grcsf.report.measured import LabelNumbers, Subjects, main_keys, shared_cases
from grcsf.report.words import (
    interval_text,
    measure_title,
    number_text,
    p_text,
    policy_text,
    preset_text,
    score_text,
    size_text,
    threshold_text,
)

__all__ = ["Headline", "MeasureCell", "MeasureTable", "headlines", "main_table", "rules", "sizes_table", "strata_table"]


_COUNTED = "as the comparison counted them; another list changes the table of cases alone, not means and tests"


@dataclass(frozen=True)
class MeasureCell:
    """A mean with its interval as text, subjects behind it, and a remark on those that have none."""

    text: str
    n: str
    remark: str = ""


@dataclass(frozen=True)
class MeasureTable:
    """Measures in rows, methods in columns; with pairs one more row each for every tested difference.

    Attributes:
        methods: names.
        rows: title of the measure, a cell per method, and for each pair the difference, n, effect, p, Holm's p.
        pairs: names of the pairs, in the order of the cells.
    """

    methods: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MeasureCell, ...], tuple[tuple[str, ...], ...]], ...]
    pairs: tuple[str, ...]


@dataclass(frozen=True)
class Headline:
    """One number that is read first, its interval, and what it is."""

    number: str
    interval: str
    words: str


def main_table(numbers: LabelNumbers) -> MeasureTable:
    """Overlap, detection and what was asked for, over cases with a lesion; false alarms over the others."""
    return _table(numbers, main_keys(numbers))


def strata_table(numbers: LabelNumbers) -> MeasureTable:
    """Measures by size of the lesion and by contrast."""
    return _table(numbers, [key for key in numbers.keys if "@" in key])


def _table(numbers: LabelNumbers, keys: Sequence[str]) -> MeasureTable:
    rows = tuple(
        (
            measure_title(key),
            tuple(_cell(method, key) for method in numbers.methods),
            tuple(_difference(pair, key) for pair in numbers.pairs),
        )
        for key in keys
        if any(key in method.scores and method.scores[key].n for method in numbers.methods)
    )
    pairs = tuple(f"{pair.a} \u2212 {pair.b}" for pair in numbers.pairs)
    return MeasureTable(tuple(method.name for method in numbers.methods), rows, pairs)


def _cell(method: MethodNumbers, key: str) -> MeasureCell:
    one = method.scores.get(key)
    if one is None or not one.n:
        return MeasureCell("-", "0")
    remarks = [f"{one.n_missing} without a value"] if one.n_missing else []
    if method.n_infinite.get(key):
        remarks.append(f"{method.n_infinite[key]} infinite")
    return MeasureCell(interval_text(one), str(one.n), ", ".join(remarks))


def _difference(pair: PairNumbers, key: str) -> tuple[str, ...]:
    found: Difference | None = pair.differences.get(key)
    if found is None or not found.n:
        return ()
    mean = number_text(found.mean, signed=True)
    if found.low == found.low:
        mean += f" ({number_text(found.low, signed=True)} to {number_text(found.high, signed=True)})"
    effect = number_text(found.effect, signed=True)
    return mean, str(found.n), effect, p_text(found.p_value), p_text(found.p_holm)


def headlines(run: RunContents, numbers: Sequence[LabelNumbers], subjects: Subjects) -> list[Headline]:
    """Dice of each method and label with its interval, then cases, lesions found, false alarms."""
    found = []
    for label in numbers:
        for method in label.methods:
            dice = method.scores.get("dice")
            if dice is not None and dice.n:
                ends = f"{score_text(dice.low)} to {score_text(dice.high)}" if dice.low == dice.low else ""
                whose = f", {method.name}" if len(label.methods) > 1 else ""
                name = f" of {label.label}" if len(numbers) > 1 else ""
                found.append(Headline(score_text(dice.mean), ends, f"Dice{name}, {dice.n} subjects with lesion{whose}"))
    cases = shared_cases(run)
    who = {subjects.of.get(case, case) for case in cases}
    n_subjects = run.comparison.get("n_subjects") or len(who)
    found.append(Headline(str(len(cases)), "", f"cases of {n_subjects} subject{'' if n_subjects == 1 else 's'}"))
    if len(numbers) == 1 and len(numbers[0].methods) == 1:
        (one,), lesions = numbers[0].methods, numbers[0].by_size
        hits, all_ = (sum(row.counts[one.name][k] for row in lesions) for k in (0, 1))
        if all_:
            found.append(Headline(f"{hits} of {all_}", "", "lesions found"))
        if one.n_lesion_free:
            found.append(Headline(f"{one.n_false} of {one.n_lesion_free}", "", "lesion-free cases with a false alarm"))
        found.append(Headline(f"{one.n_missed} of {one.n_lesion_cases}", "", "cases with lesion, nothing predicted"))
    return found


def rules(run: RunContents, subjects: Subjects) -> list[tuple[str, str]]:
    """What the numbers of the page go by."""
    tables = [fold.scores for fold in run.folds if fold.scores]
    presets = [table.preset for table in tables if table.preset]
    if not tables:
        return []
    policy = policy_text({table.when_empty for table in tables})
    found = [
        ("Means", "over subjects; a subject with several cases counts once, by the mean of its cases"),
        ("Intervals", "95 %, percentile bootstrap over subjects (10,000 samples)"),
        ("Subjects", _COUNTED if run.is_comparison else f"from {subjects.source}"),
        (
            "Empty masks",
            f"Cases whose reference and prediction are both empty are {policy}. If only one of the two is empty, "
            "every overlap score of the case is 0",
        ),
        ("Lesions", preset_text(presets[0] if presets else {}, run.spatial_dims)),
        ("Threshold", threshold_text(run.inference)),
    ]
    if run.comparison.get("when_missed"):
        found.append(("Distances, one mask empty", f"when_missed = {run.comparison['when_missed']}"))
    if run.is_comparison:
        tests = (
            "paired Wilcoxon test by subject, p corrected after Holm over all pairs; effect is rank-biserial, -1 to 1"
        )
        found.append(("Differences", tests))
        left = run.comparison.get("left_out")
        if isinstance(left, dict) and left:
            found.append(("Left out", f"{len(left)} cases that not every method has a score of"))
    return found


def sizes_table(numbers: LabelNumbers, unit: str) -> list[tuple[str, ...]]:
    """Agreement of sizes: name, n, bias, limits, Pearson, Spearman, ICC; empty where no size is known."""
    return [
        (
            method.name,
            str(one.n),
            f"{size_text(one.bias, signed=True)} {unit}",
            " to ".join(size_text(limit, signed=True) for limit in one.limits),
            *(number_text(value) for value in (one.pearson, one.spearman, one.icc)),
        )
        for method in numbers.methods
        if (one := method.sizes).n
    ]
