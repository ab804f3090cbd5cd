"""From stored scores to numbers with intervals: means over subjects, strata, paired differences, seeds, costs.

A subject counts once: its value is the mean over its cases and over the seeds that its fold was run with. Intervals
are bootstrapped over subjects, so they say nothing of seeds; the spread over seeds stands in a table of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import sub
from statistics import fmean
from types import MappingProxyType

from grcsf.benchmark.costs import Costs, costs_of
from grcsf.benchmark.scores import RunScores
from grcsf.benchmark.spec import Benchmark, Cell
from grcsf.errors import OutputError
from grcsf.evaluation.methods.measures import Difference, Measure, corrected_differences, standard_measures
from grcsf.evaluation.methods.measures import subject_values as values_of_rows
from grcsf.evaluation.methods.statistics import (
    Interval,
    PairedDifference,
    SeedSpread,
    bootstrap_mean,
    paired_difference,
    spread,
)
from grcsf.evaluation.strata import size_strata

__all__ = [
    "FALSE_FINDINGS",
    "LESION_FREE",
    "EntryNumbers",
    "Group",
    "SeedDifference",
    "SeedRow",
    "make_groups",
    "subject_values",
]

LESION_FREE = "lesion-free"
FALSE_FINDINGS: Mapping[str, str] = MappingProxyType(
    {"lesions_false": "False lesions", "false_area_mm2": "False mm2", "false_volume_ml": "False ml"}
)
"""Columns of ``cases.csv`` and their words: over lesion-free cases they tell apart what has a false alarm in most."""


@dataclass(frozen=True)
class EntryNumbers:
    """All numbers of one entry in a group, by key of the measure."""

    name: str
    description: str
    runs: int
    planned: int
    scores: Mapping[str, Interval]
    differences: Mapping[str, Difference]
    costs: Costs


@dataclass(frozen=True)
class SeedRow:
    """Spread of one measure over seeds, beside that over subjects, on the folds that all seeds were run on."""

    name: str
    key: str
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    spread: SeedSpread


@dataclass(frozen=True)
class SeedDifference:
    """Entry minus reference for each seed of its own, and over all of them with each subject's mean over seeds."""

    name: str
    key: str
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    by_seed: tuple[float, ...]
    over_seeds: PairedDifference


@dataclass(frozen=True)
class Group:
    """Runs that may be compared: one data set, label, label fraction, multiple of the budget, and data set predicted.

    ``onto`` is empty where that is the data set of the training. ``part`` is the title of an extra block that has
    tables of its own, ``reference`` the entry that the others are paired with.
    """

    data_set: str
    label: str
    fraction: float
    times: float
    onto: str
    part: str
    reference: str
    strata: tuple[str, ...]
    when_empty: str
    preset: str
    entries: tuple[EntryNumbers, ...]
    seeds: tuple[SeedRow, ...]
    seed_differences: tuple[SeedDifference, ...]

    @property
    def title(self) -> str:
        """Words for a heading."""
        longer = "" if self.times == 1 else f", {self.times:g} times the budget"
        onto = f", predicted on {self.onto}" if self.onto else ""
        part = f"{self.part}: " if self.part else ""
        return f"{part}{self.data_set}, {self.label}, {100 * self.fraction:g} % of the labels{longer}{onto}"


def make_groups(spec: Benchmark, runs: Sequence[RunScores]) -> list[Group]:
    """All tables of a benchmark, in the order of its file.

    Where the full grid has runs of a group, they alone give its means, so that entries with further seeds are not
    compared with others that have fewer; further runs then show in the spread over seeds only. An extra block with a
    title has tables of its own, of exactly its runs, after these.
    """
    main = set(spec.main_cells())
    groups: list[Group] = []
    for key, cells in _by_key(spec.untitled_cells()).items():
        here = [run for run in runs if _key(run.cell) == key]
        grid = [cell for cell in cells if cell in main] or cells
        groups += _groups(spec, grid, here, "", spec.paired_with)
    for block, own in spec.titled():
        for part in _by_key(own).values():
            here = [run for run in runs if run.cell in set(part)]
            groups += _groups(spec, part, here, block.title, block.reference or spec.paired_with)
    return groups


def _groups(spec: Benchmark, grid: Sequence[Cell], here: list[RunScores], part: str, reference: str) -> Iterator[Group]:
    """One group for each label; ``here`` are the runs that enter the spread over seeds, those of ``grid`` the means."""
    wanted = {name: sum(cell.entry == name for cell in grid) for name in _names(spec)}
    compared = [run for run in here if run.cell in set(grid)]
    for label in dict.fromkeys(row.label for run in here for row in run.rows):
        yield _group(spec, label, compared, here, wanted, part=part, reference=reference)


def _by_key(cells: Iterable[Cell]) -> dict[tuple[str, float, float, str], list[Cell]]:
    found: dict[tuple[str, float, float, str], list[Cell]] = {}
    for cell in cells:
        found.setdefault(_key(cell), []).append(cell)
    return found


def _key(cell: Cell) -> tuple[str, float, float, str]:
    """Runs with the same key may be compared."""
    return cell.data_set, cell.fraction, cell.times, cell.onto


def subject_values(runs: Iterable[RunScores], label: str, measure: Measure) -> dict[str, float]:
    """Value of each subject: the mean over its cases and the runs that predicted them; sorted by subject."""
    rows = (row for run in runs for row in (run.rows if measure.of == "cases" else run.lesions))
    return values_of_rows(rows, label, measure)


def measures_of(runs: Sequence[RunScores]) -> list[Measure]:
    """What is measured: the standard measures, and what was predicted where there is nothing to find."""
    known = {key for run in runs for row in run.rows[:1] for key in row.values}
    found = standard_measures(known, runs[0].spatial_dims, lesions=any(run.lesions for run in runs))
    return [*found, *(_where_nothing_is(key) for key in FALSE_FINDINGS if key in known)]


def _where_nothing_is(key: str) -> Measure:
    return Measure(f"{key}@{LESION_FREE}", lambda row: row.values[key], lambda row: not row.has_lesion, True)


def _names(spec: Benchmark) -> list[str]:
    return [entry.name for entry in spec.entries]


def _group(
    spec: Benchmark,
    label: str,
    grid: list[RunScores],
    every: list[RunScores],
    planned: Mapping[str, int],
    *,
    part: str,
    reference: str,
) -> Group:
    _refuse_other_rules(every)
    cell, measures = every[0].cell, measures_of(every)
    by_entry = {name: [run for run in grid if run.cell.entry == name] for name in _names(spec)}
    by_entry = {name: found for name, found in by_entry.items() if found}
    differences = _differences(reference, by_entry, label, [m for m in measures if m.paired])
    entries = [
        EntryNumbers(
            name=name,
            description=spec.entry(name).description,
            runs=len(found),
            planned=planned[name],
            scores={m.key: interval for m in measures if (interval := _interval(found, label, m)) is not None},
            differences=differences.get(name, {}),
            costs=costs_of(found),
        )
        for name, found in by_entry.items()
    ]
    return Group(
        data_set=cell.data_set,
        label=label,
        fraction=cell.fraction,
        times=cell.times,
        onto=cell.onto,
        part=part,
        reference=reference,
        strata=size_strata(every[0].spatial_dims),
        when_empty=every[0].when_empty,
        preset=every[0].preset,
        entries=tuple(entries),
        seeds=tuple(_seed_rows(spec, every, label, measures)),
        seed_differences=tuple(_seed_differences(spec, every, label, measures, reference)),
    )


def _refuse_other_rules(runs: Sequence[RunScores]) -> None:
    first = runs[0]
    for run in runs:
        for name, mine, its in (("preset", first.preset, run.preset), ("when_empty", first.when_empty, run.when_empty)):
            if mine != its:
                raise OutputError(
                    f"{run.cell.id}: scored with evaluation.{name} {its}, {first.cell.id} with {mine}; one table "
                    "needs one rule: run them with the same settings"
                )
    _refuse_other_cases(runs)


def _refuse_other_cases(runs: Sequence[RunScores]) -> None:
    """Refuse runs of one fold that were scored on other cases or other references, as where folds were made anew."""
    first: dict[int, tuple[RunScores, object]] = {}
    for run in runs:
        mine = _scored_on(run)
        other, its = first.setdefault(run.cell.fold, (run, mine))
        if mine != its:
            raise OutputError(
                f"{run.cell.id}: was scored on other cases or references than {other.cell.id}; delete the one that is "
                "not of today's folds and masks, and run it again"
            )


def _scored_on(run: RunScores) -> tuple[dict[str, str], set[tuple[str, str, float]]]:
    """Subject of each case, and how much of each label its reference has."""
    return dict(run.subjects), {(row.case, row.label, row.values["n_reference"]) for row in run.rows}


def _interval(runs: Sequence[RunScores], label: str, measure: Measure) -> Interval | None:
    values = list(subject_values(runs, label, measure).values())
    return bootstrap_mean(values) if values else None


def _differences(
    reference: str, by_entry: Mapping[str, list[RunScores]], label: str, measures: Sequence[Measure]
) -> dict[str, dict[str, Difference]]:
    """Differences by entry and measure; Holm's correction is over the entries of one measure."""
    found: dict[str, dict[str, Difference]] = {name: {} for name in by_entry}
    base = by_entry.get(reference, [])
    for measure in measures:
        pairs = {
            name: pair
            for name, runs in by_entry.items()
            if name != reference and base and (pair := _paired_values(runs, base, label, measure))[0]
        }
        for name, difference in corrected_differences(pairs).items():
            found[name][measure.key] = difference
    return found


def _paired_values(
    runs: Sequence[RunScores], base: Sequence[RunScores], label: str, measure: Measure
) -> tuple[list[float], list[float]]:
    """Values of the subjects that both have, over the folds and seeds that both were run with."""
    both = {_place(run) for run in runs} & {_place(run) for run in base}
    one, two = (subject_values([run for run in part if _place(run) in both], label, measure) for part in (runs, base))
    subjects = [subject for subject in one if subject in two]
    return [one[subject] for subject in subjects], [two[subject] for subject in subjects]


def _place(run: RunScores) -> tuple[int, int]:
    return run.cell.fold, run.cell.seed


def _seed_rows(
    spec: Benchmark, runs: Sequence[RunScores], label: str, measures: Sequence[Measure]
) -> Iterable[SeedRow]:
    for name in _names(spec):
        mine = [run for run in runs if run.cell.entry == name]
        folds_by_seed = {run.cell.seed: {r.cell.fold for r in mine if r.cell.seed == run.cell.seed} for run in mine}
        seeds, folds = _most_seeds(folds_by_seed)
        if len(seeds) < 2:
            continue
        for measure in measures:
            if "@" in measure.key and not measure.paired:
                continue
            chosen = {
                seed: subject_values([r for r in mine if r.cell.seed == seed and r.cell.fold in folds], label, measure)
                for seed in seeds
            }
            shared = sorted(set.intersection(*(set(values) for values in chosen.values())))
            if shared:
                table = [[values[subject] for subject in shared] for values in chosen.values()]
                yield SeedRow(name, measure.key, tuple(seeds), tuple(sorted(folds)), spread(table))


def _seed_differences(
    spec: Benchmark, runs: Sequence[RunScores], label: str, measures: Sequence[Measure], reference: str
) -> Iterable[SeedDifference]:
    """Differences to the reference over the folds that all shared seeds of both were run on."""
    by_entry = {name: {_place(run): run for run in runs if run.cell.entry == name} for name in _names(spec)}
    base = by_entry.get(reference, {})
    for name, mine in by_entry.items():
        shared = {
            seed: {fold for fold, other in mine if other == seed and (fold, seed) in base} for _, seed in {*mine, *base}
        }
        seeds, folds = _most_seeds({seed: found for seed, found in shared.items() if found})
        if name == reference or len(seeds) < 2:
            continue
        for measure in (m for m in measures if m.paired):
            pairs = {
                seed: _paired_values(
                    [mine[fold, seed] for fold in folds], [base[fold, seed] for fold in folds], label, measure
                )
                for seed in seeds
            }
            every = [(fold, seed) for fold in folds for seed in seeds]
            ours, theirs = _paired_values([mine[at] for at in every], [base[at] for at in every], label, measure)
            if ours and all(one for one, _ in pairs.values()):
                by_seed = tuple(fmean(map(sub, *pair)) for pair in pairs.values())
                over = paired_difference(ours, theirs)
                yield SeedDifference(name, measure.key, tuple(seeds), tuple(sorted(folds)), by_seed, over)


def _most_seeds(folds_by_seed: Mapping[int, set[int]]) -> tuple[list[int], set[int]]:
    """All seeds and the folds they share; where they share none, no seeds."""
    folds = set.intersection(*folds_by_seed.values()) if folds_by_seed else set()
    return (sorted(folds_by_seed), folds) if folds else ([], set())
