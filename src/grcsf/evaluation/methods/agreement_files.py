"""Agreement of two tables (``calcium.csv``, ``measures.csv``), matched by case and label, measure by measure."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from grcsf.errors import DatasetError
from grcsf.evaluation.clinical.calcium_rules import RISK_CATEGORIES, risk_category
from grcsf.evaluation.csv_files import write_rows
from grcsf.evaluation.methods.agreement import BlandAltman, Icc, Kappa, bland_altman, icc_absolute, weighted_kappa

__all__ = [
    "MEASURES",
    "Agreement",
    "agreement_table",
    "agreement_tree",
    "compare_tables",
    "read_table",
    "write_agreement",
]

MEASURES = ("agatston", "volume_mm3", "mass_mg", "lesions", "orcascore_mm3", "load_ml", "left_ml", "right_ml")
"""Columns that are compared where both tables have them."""

Table = Mapping[tuple[str, str], Mapping[str, float]]
"""(case, label) -> measure -> value."""


@dataclass(frozen=True)
class Agreement:
    """How one measure of one label agrees.

    Attributes:
        label: the label.
        measure: the column.
        n: cases with a value in both tables.
        n_missing: cases of both tables without a value (nan) in one of them.
        icc: ICC(2,1).
        bland_altman: of first - second.
        kappa: of the categories of risk; none for anything but the Agatston score.
    """

    label: str
    measure: str
    n: int
    n_missing: int
    icc: Icc
    bland_altman: BlandAltman
    kappa: Kappa | None


def read_table(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """The measures of a CSV file with columns ``case``, ``label`` and at least one of :data:`MEASURES`.

    Raises:
        DatasetError: a file that cannot be read, lacks these columns, has a row twice or holds what is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as CSV ({error}); expected calcium.csv or measures.csv") from None
    measures = [name for name in MEASURES if name in columns]
    if "case" not in columns or "label" not in columns or not measures:
        raise DatasetError(
            f"{path}: columns {', '.join(columns[:8]) or 'none'}; expected case, label and one of {', '.join(MEASURES)}"
        )
    table: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        key = (row["case"], row["label"])
        if key in table:
            raise DatasetError(f"{path}: case {key[0]}, label {key[1]} stands there twice; remove one row")
        table[key] = {name: _number(path, key, name, row[name]) for name in measures}
    return table


def compare_tables(first: Table, second: Table, level: float = 0.95) -> tuple[list[Agreement], list[str], list[str]]:
    """Agreement of every label and measure that both tables have.

    Args:
        first: one scoring.
        second: the other.
        level: coverage of the intervals.

    Returns:
        Agreements in the order of the first table, and the cases that only the first or only the second has.

    Raises:
        DatasetError: no case and label in common, or no measure.
    """
    keys = [key for key in first if key in second]
    if not keys:
        raise DatasetError(
            "the two tables have no case with the same label in common; compare scores of the same scans"
        )
    found = []
    for label in dict.fromkeys(label for _, label in keys):
        chosen = [key for key in keys if key[1] == label]
        for measure in MEASURES:
            if all(measure in first[key] and measure in second[key] for key in chosen):
                found.append(
                    _agree(label, measure, [(first[key][measure], second[key][measure]) for key in chosen], level)
                )
    if not found:
        raise DatasetError(f"the two tables have no measure in common; expected one of {', '.join(MEASURES)} in both")
    cases = {case for case, _ in first}, {case for case, _ in second}
    return found, sorted(cases[0] - cases[1]), sorted(cases[1] - cases[0])


def _agree(label: str, measure: str, pairs: list[tuple[float, float]], level: float) -> Agreement:
    known = [pair for pair in pairs if not any(math.isnan(value) for value in pair)]
    one, two = [pair[0] for pair in known], [pair[1] for pair in known]
    kappa = None
    if measure == "agatston":
        risks = [risk_category(value) for value in one], [risk_category(value) for value in two]
        kappa = weighted_kappa(*risks, len(RISK_CATEGORIES), level=level)
    table = [list(pair) for pair in known]
    icc = icc_absolute(table, level=level) if table else Icc(math.nan, math.nan, math.nan, 0, 2, level)
    return Agreement(
        label, measure, len(known), len(pairs) - len(known), icc, bland_altman(one, two, level=level), kappa
    )


def agreement_tree(found: list[Agreement], only_first: list[str], only_second: list[str]) -> dict[str, Any]:
    """What ``agreement.json`` holds."""
    return {
        "risk_categories": list(RISK_CATEGORIES),
        "only_in_first": only_first,
        "only_in_second": only_second,
        "agreement": [asdict(item) for item in found],
    }


def write_agreement(path: Path, found: list[Agreement]) -> None:
    """Write one row per label and measure as CSV; atomic, nan as ``nan``, kappa empty where it has no meaning."""
    limits = [field.name for field in fields(BlandAltman) if field.name not in ("n", "level")]
    header = ["label", "measure", "n", "n_missing", "level", "icc", "icc_low", "icc_high", *limits]
    write_rows(
        path, [*header, "kappa", "kappa_low", "kappa_high", "same_category"], [_row(item, limits) for item in found]
    )


def agreement_table(found: list[Agreement], only_first: list[str], only_second: list[str]) -> str:
    """The same as text, with the number of cases behind each line."""
    lines = []
    for item in found:
        icc, limits, kappa = item.icc, item.bland_altman, item.kappa
        text = (
            f"{item.label}, {item.measure} (n = {item.n}): ICC(2,1) {icc.value:.3f} [{icc.low:.3f}, {icc.high:.3f}]; "
            f"bias {limits.bias:.4g} [{limits.bias_low:.4g}, {limits.bias_high:.4g}], "
            f"limits of agreement {limits.lower:.4g} to {limits.upper:.4g}"
        )
        if kappa is not None:
            text += f"; risk categories: linearly weighted kappa {kappa.value:.3f} [{kappa.low:.3f}, {kappa.high:.3f}]"
            text += f", {100 * kappa.agreement:.0f} % the same"
        lines.append(text + (f"; {item.n_missing} without a value" if item.n_missing else ""))
    for where, cases in (("first", only_first), ("second", only_second)):
        if cases:
            lines.append(f"only in the {where}, not compared: {len(cases)} cases ({', '.join(cases[:5])})")
    return "\n".join(lines) + "\n"


def _row(item: Agreement, limits: list[str]) -> list[object]:
    icc, kappa = item.icc, item.kappa
    risk = [kappa.value, kappa.low, kappa.high, kappa.agreement] if kappa else [""] * 4
    start = [item.label, item.measure, item.n, item.n_missing, icc.level, icc.value, icc.low, icc.high]
    return [*start, *(getattr(item.bland_altman, name) for name in limits), *risk]


def _number(path: Path, key: tuple[str, str], name: str, text: str | None) -> float:
    try:
        value = float(text or "nan")
    except ValueError:
        value = math.inf
    if math.isinf(value) or (name == "agatston" and value < 0):
        raise DatasetError(f"{path}: case {key[0]}, label {key[1]}: {name} is {text!r}, expected a number")
    return value
