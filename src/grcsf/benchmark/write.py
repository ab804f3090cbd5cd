"""Tables and figures on disk: Markdown, CSV, JSON and one HTML page, the same bytes for the same stored scores."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from grcsf.benchmark.figures import forest_figure, strata_figure, write_figure
from grcsf.benchmark.scores import read_runs, write_long
from grcsf.benchmark.spec import Benchmark
from grcsf.benchmark.tables import FALSE_FINDINGS, LESION_FREE, Group, SeedDifference, SeedRow, make_groups
from grcsf.evaluation.methods.measures import FALSE_ALARMS, FOUND, LESION_WISE, OVERLAP, Difference
from grcsf.evaluation.strata import CONTRAST_STRATA
from grcsf.io.files import atomic_path, make_folder, write_json

__all__ = ["Table", "group_tables", "write_tables"]


@dataclass(frozen=True)
class Table:
    """A table as text: heading, a sentence below it, header and rows."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """With a heading of level 3."""
        rule = ["---"] + ["---:"] * (len(self.header) - 1)
        lines = [f"| {' | '.join(row)} |" for row in (self.header, rule, *self.rows)]
        return "\n".join([f"### {self.title}", "", *([self.note, ""] if self.note else []), *lines, ""])


def write_tables(spec: Benchmark, out: Path) -> Path:
    """Write ``tables/``: ``scores.csv``, ``tables.md``, ``tables.csv``, ``tables.json``, ``index.html``, ``figures/``.

    Args:
        spec: the benchmark.
        out: folder with ``runs/``; at least one run of it is done.

    Returns:
        The page.

    Raises:
        OutputError: stored scores that are missing or broken, or a folder that cannot be written.
    """
    runs = read_runs(out, spec.cells())
    folder = make_folder(out / "tables")
    write_long(folder / "scores.csv", runs)
    groups = make_groups(spec, runs)
    tables = {group.title: group_tables(group) for group in groups}
    status = f"{len(runs)} of {len(spec.cells())} runs are done."
    write_json(folder / "tables.json", {"title": spec.title, "note": spec.note, "status": status, "groups": groups})
    _write_csv(folder / "tables.csv", groups)
    heads = [f"# {spec.title}", "", *([spec.note, ""] if spec.note else []), f"{status} {_terms(spec)}", ""]
    described = [f"- **{entry.name}**: {entry.description}" for entry in spec.entries if entry.description]
    heads += [*described, ""] if described else []
    parts = [[f"## {title}", "", *(table.to_markdown() for table in found)] for title, found in tables.items()]
    _write_text(folder / "tables.md", "\n".join([*heads, *(line for part in parts for line in part)]).rstrip() + "\n")
    figures = _write_figures(make_folder(folder / "figures"), groups)
    page = folder / "index.html"
    _write_text(page, _html(spec, status, tables, figures))
    return page


def group_tables(group: Group) -> list[Table]:
    """The tables of one group, in the order of reading."""
    small, preset = group.strata[0], f"Preset {group.preset}. " if group.preset else ""
    false_findings = {f"{key}@{LESION_FREE}": name for key, name in FALSE_FINDINGS.items()}
    overlap = _interval_table(
        "Lesion cases",
        "Mean over subjects with a lesion and its bootstrap 95 % interval.",
        group,
        {key: key.capitalize() if key != "iou" else "IoU" for key in OVERLAP},
    )
    lesion_wise = _interval_table(
        "Lesion by lesion, and false alarms",
        f"{preset}Scores are over cases with a lesion. False alarms: share of the lesion-free cases with a predicted "
        "voxel; false lesions and their size: means over all lesion-free cases, those without a prediction included.",
        group,
        {
            **{key: key.replace("_", " ").capitalize() for key in LESION_WISE},
            FALSE_ALARMS: "False alarms",
            **false_findings,
        },
    )
    sizes = [
        _interval_table(f"{name} by size of the case's lesion", "", group, {f"{key}@{s}": s for s in group.strata})
        for key, name in (("dice", "Dice"), ("recall", "Recall"))
    ]
    found_by_size = _interval_table(
        "Lesions found, by size",
        "Share of a subject's lesions of that size that were detected, each lesion by itself.",
        group,
        {f"{FOUND}@{size}": size for size in group.strata},
    )
    contrast = _interval_table(
        "Lesions found, by contrast",
        "Share of a subject's lesions that were detected; lesion to surrounding ratio.",
        group,
        {f"{FOUND}@{name} contrast": f"{name} contrast" for name in CONTRAST_STRATA},
    )
    of_small = (f"{key}@{small}" for key in ("dice", "recall", FOUND))
    keys = ("dice", "recall", "lesion_f1", *of_small, FALSE_ALARMS, *false_findings)
    found = [overlap, lesion_wise, *sizes, found_by_size, contrast, _difference_table(group, keys)]
    found += [_seed_difference_table(group, keys), _seed_table(group), _cost_table(group)]
    return [table for table in found if table is not None]


def _interval_table(title: str, note: str, group: Group, columns: Mapping[str, str]) -> Table | None:
    known = {key: name for key, name in columns.items() if any(key in entry.scores for entry in group.entries)}
    if not known:
        return None
    most = {key: max(e.scores[key].n for e in group.entries if key in e.scores) for key in known}
    rows = [
        (entry.name, f"{entry.runs}/{entry.planned}", *(_counted(entry.scores.get(key), most[key]) for key in known))
        for entry in group.entries
    ]
    header = ("entry", "runs", *(f"{name} (n={most[key]})" for key, name in known.items()))
    return Table(title, note, header, tuple(rows))


def _difference_table(group: Group, keys: Sequence[str]) -> Table | None:
    known = [key for key in keys if any(key in entry.differences for entry in group.entries)]
    if not known:
        return None
    most = {key: max(e.differences[key].n for e in group.entries if key in e.differences) for key in known}
    rows = [
        (entry.name, *(_tested(entry.differences.get(key), most[key]) for key in known))
        for entry in group.entries
        if entry.name != group.reference
    ]
    note = (
        f"Entry minus {group.reference}, paired by subject over the folds and seeds that both have; bootstrap 95 % "
        "interval; p of Wilcoxon's signed-rank test, corrected after Holm over the entries of a column. Both are about "
        "these trainings: another seed of the same entry can differ from the first as much, and as surely."
    )
    header = ("entry", *(f"{_words(key)} (n={most[key]})" for key in known))
    return Table(f"Differences to {group.reference}", note, header, tuple(rows))


def _seed_difference_table(group: Group, keys: Sequence[str]) -> Table | None:
    found = [row for row in group.seed_differences if row.key in keys]
    if not found:
        return None
    rows = tuple(
        (
            *_seeds_of(row),
            " ".join(f"{value:+.3f}" for value in row.by_seed),
            f"{_interval(row.over_seeds, sign=True)} n={row.over_seeds.n}",
        )
        for row in found
    )
    note = (
        f"Entry minus {group.reference} for each seed that both have, and with each subject's mean over these seeds. "
        "A difference whose sign changes with the seed says nothing of the method."
    )
    header = ("entry", "score", "seeds", "folds", "seed by seed", "mean over seeds")
    return Table(f"Differences to {group.reference}, seed by seed", note, header, rows)


def _cost_table(group: Group) -> Table:
    rows = []
    for entry in group.entries:
        c = entry.costs
        parameters = _amount(c.parameters) + (f" + {_amount(c.mae_parameters)}" if c.mae_parameters else "")
        mark = "*" if c.interrupted else ""
        rows.append(
            (
                entry.name,
                parameters,
                _amount(c.forward_multiply_adds),
                _amount(c.training_multiply_adds),
                "-" if c.steps is None else f"{c.steps:.0f}",
                f"{_seconds(c.training_wall_seconds)}{mark} / {_seconds(c.training_cpu_seconds)}{mark}",
                _memory(c.training_memory_mb),
                f"{_seconds(c.prediction_wall_seconds)}{mark} / {_seconds(c.prediction_cpu_seconds)}{mark}",
                _memory(c.prediction_memory_mb),
                f"{c.cases / max(entry.runs, 1):.0f}",
                ", ".join(c.precisions) or "-",
            )
        )
    sizes = ("entry", "parameters (+ MAE)", "multiply-adds forward", "multiply-adds training", "steps")
    times = ("training s wall / CPU", "training MB", "prediction s wall / CPU", "prediction MB", "cases", "precision")
    note = (
        "Means over runs, the largest memory. Training counts three forward passes a step, and charges pre-training "
        "and residual maps to every run that uses them, shared or not; forward is the network alone, prediction "
        "seconds hold the passes that make the maps. * a run was stopped and resumed: a time is that of its last part. "
        "Precision: - where it was not stored."
    )
    return Table("Cost of a run", note, (*sizes, *times), tuple(rows))


def _seed_table(group: Group) -> Table | None:
    if not group.seeds:
        return None
    rows = tuple(
        (
            *_seeds_of(row),
            f"{row.spread.mean:.3f}",
            f"{row.spread.over_seeds:.3f}",
            f"{row.spread.over_subjects:.3f}",
        )
        for row in group.seeds
    )
    note = "Standard deviation of the seeds' means, apart from that of the subjects' means; folds that all seeds have."
    return Table(
        "Spread over seeds",
        note,
        ("entry", "score", "seeds", "folds", "mean", "SD over seeds", "SD over subjects"),
        rows,
    )


def _terms(spec: Benchmark) -> str:
    rule = spec.budget
    amount = f"{rule.steps} steps" if rule.steps else f"{rule.training_multiply_adds:.3g} training multiply-adds"
    same = f", widths scaled to the parameters of {rule.reference}" if rule.reference else ""
    return f"Budget of each run: {amount} ({rule.mode}{same}), on {spec.cores} core(s), device {spec.device}."


def _write_csv(path: Path, groups: Iterable[Group]) -> None:
    header = ["data_set", "label", "fraction", "times", "onto", "part", "entry", "kind", "measure"]
    header += ["mean", "low", "high", "n", "effect", "p_value", "p_holm"]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for group in groups:
            for row in _csv_rows(group):
                terms = [group.data_set, group.label, f"{group.fraction:g}", f"{group.times:g}", group.onto, group.part]
                writer.writerow([*terms, *row])


def _csv_rows(group: Group) -> Iterator[list[str]]:
    for entry in group.entries:
        for key, value in entry.scores.items():
            yield [entry.name, "score", key, *_cells(value.mean, value.low, value.high), str(value.n), "", "", ""]
        for key, d in entry.differences.items():
            tests = _cells(d.effect, d.p_value, d.p_holm)
            yield [entry.name, "difference", key, *_cells(d.mean, d.low, d.high), str(d.n), *tests]


def _cells(*values: float) -> list[str]:
    return [f"{value:.6g}" for value in values]


def _write_figures(folder: Path, groups: Sequence[Group]) -> dict[str, list[Markup]]:
    """Write every figure as SVG and PNG; returns the SVG of each by the title of its group."""
    found: dict[str, list[Markup]] = {}
    for index, group in enumerate(groups):
        drawn = {
            "dice": forest_figure(group, "dice", "Dice over lesion cases"),
            "difference": forest_figure(group, "dice", f"Dice minus {group.reference}", paired=True),
            "strata": strata_figure(group, "dice", "Dice"),
        }
        for kind, figure in drawn.items():
            if figure is not None:
                svg = write_figure(folder / f"group-{index + 1}-{kind}", figure)
                found.setdefault(group.title, []).append(Markup(svg))
    return found


def _html(spec: Benchmark, status: str, tables: Mapping[str, list[Table]], figures: Mapping[str, list[Markup]]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("grcsf.benchmark").joinpath("page.html.j2").read_text("utf-8"))
    entries = [(entry.name, entry.kind, entry.description) for entry in spec.entries]
    return template.render(
        title=spec.title,
        note=spec.note,
        status=status,
        terms=_terms(spec),
        entries=entries,
        groups=[(title, found, figures.get(title, [])) for title, found in tables.items()],
    )


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _interval(value: Any, *, sign: bool = False) -> str:
    if value is None or math.isnan(value.mean):
        return "-"
    digits = 3 if abs(value.mean) < 10 else 1  # areas
    form = f"+.{digits}f" if sign else f".{digits}f"
    if math.isnan(value.low):  # a single subject has no interval
        return f"{value.mean:{form}}"
    return f"{value.mean:{form}} [{value.low:{form}}, {value.high:{form}}]"


def _counted(value: Any, most: int) -> str:
    """An interval, with its n where that is not the one of the header, as where a fold of the entry is not there."""
    text = _interval(value)
    return text if text == "-" or value.n == most else f"{text} n={value.n}"


def _tested(difference: Difference | None, most: int) -> str:
    """A difference with its interval and p, and its n where that is not the one of the header."""
    if difference is None:
        return "-"
    text = f"{_interval(difference, sign=True)} p={_p(difference.p_holm)}"
    return text if difference.n == most else f"{text} n={difference.n}"


def _seeds_of(row: SeedRow | SeedDifference) -> tuple[str, ...]:
    """Entry, score, seeds and folds."""
    return row.name, _words(row.key), " ".join(map(str, row.seeds)), " ".join(map(str, row.folds))


def _words(key: str) -> str:
    return key.replace("@", ", ").replace("_", " ")


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if value >= 0.001 else "<0.001"


def _amount(value: float | None) -> str:
    if value is None:
        return "-"
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _memory(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
