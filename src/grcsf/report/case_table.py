"""The table of all cases: a few rows in the HTML, every row as JSON for the script that sorts, filters and pages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from grcsf.evaluation.methods.measures import CaseRow
from grcsf.report.collect import RunContents
from grcsf.report.measured import Subjects
from grcsf.report.words import measure_title, score_text, size_text

__all__ = ["ROWS_PER_PAGE", "CaseTable", "Column", "case_table", "json_block"]

ROWS_PER_PAGE = 50
_COUNTS = {"lesions_reference": "Lesions", "lesions_missed": "Missed", "lesions_false": "False"}
_SCORES = ("dice", "iou", "precision", "recall")
_NOT_SHOWN = {
    *("n_reference", "n_prediction", "tp", "fp", "fn", "f1", "lesions_prediction", "lesions_detected"),
    *("lesion_precision", "lesion_recall", "volume_precision", "volume_recall", "matched_dice", "panoptic_quality"),
    *("missed_volume_ml", "false_volume_ml", "missed_area_mm2", "false_area_mm2"),
}
"""Columns of ``cases.csv`` that the page leaves to that file."""


@dataclass(frozen=True)
class Column:
    """One column: its head, and whether it holds numbers."""

    title: str
    is_number: bool


@dataclass(frozen=True)
class CaseTable:
    """Columns and rows of text as they stand on the page, worst first; ``case`` is the column of the name."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    case: int

    @property
    def first_rows(self) -> tuple[tuple[str, ...], ...]:
        """What is seen without a script."""
        return self.rows[:ROWS_PER_PAGE]


def case_table(run: RunContents, subjects: Subjects) -> CaseTable:
    """Every case and label of every fold or method: lowest Dice first, larger lesions before, no score last."""
    rows = [(fold.name, row) for fold in run.folds if fold.scores for row in fold.scores.rows]
    rows.sort(key=lambda pair: _worst_first(pair[1]))
    known = list(dict.fromkeys(key for _, row in rows[:1] for key in row.values))
    sizes = [key for key in known if key.startswith(("reference_", "prediction_"))]
    further = [key for key in known if key not in (*sizes, *_SCORES, *_COUNTS, *_NOT_SHOWN)]
    keys = [*sizes, *(key for key in (*_SCORES, *_COUNTS) if key in known), *further]
    words = {
        "method" if run.is_comparison else "fold": [name for name, _ in rows],
        "case": [row.case for _, row in rows],
        "subject": [subjects.of.get(row.case, row.case) for _, row in rows],
        "label": [row.label for _, row in rows],
    }
    kept = {key: cells for key, cells in words.items() if key == "case" or len(set(cells)) > 1}
    if kept.get("subject") == kept["case"]:
        kept.pop("subject", None)
    columns = [Column(key.capitalize(), False) for key in kept] + [Column(_title(key, run.unit), True) for key in keys]
    table = [
        (*texts, *(_cell(key, row.values.get(key, math.nan), key in sizes) for key in keys))
        for texts, (_, row) in zip(zip(*kept.values(), strict=True), rows, strict=True)
    ]
    return CaseTable(tuple(columns), tuple(table), list(kept).index("case"))


def json_block(table: CaseTable, places: Mapping[str, int]) -> Markup:
    r"""Rows and the numbers of their pictures as JSON that no HTML parser takes for markup.

    >>> print(json_block(CaseTable((), (("</script>",),), 0), {}))
    {"rows":[["\u003c/script\u003e"]],"places":{}}
    """
    tree: dict[str, Sequence[object] | Mapping[str, int]] = {"rows": table.rows, "places": places}
    text = json.dumps(tree, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _worst_first(row: CaseRow) -> tuple[bool, float, float, str, str]:
    dice = row.values.get("dice", math.nan)
    size = row.size if math.isfinite(row.size) else 0.0
    return math.isnan(dice), 0.0 if math.isnan(dice) else dice, -size, row.case, row.label


def _title(key: str, unit: str) -> str:
    if key.startswith(("reference_", "prediction_")):
        return f"{key.partition('_')[0].capitalize()}, {unit}"
    return _COUNTS.get(key) or ("Dice" if key == "dice" else measure_title(key))


def _cell(key: str, value: float, is_size: bool) -> str:
    if is_size:
        return size_text(value)
    if key in _COUNTS:
        return "-" if math.isnan(value) else f"{value:.0f}"
    return score_text(value)
