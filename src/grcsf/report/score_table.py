"""``cases.csv`` and ``lesions.csv`` as plain values: what scoring left, row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grcsf.evaluation.methods.measures import CaseRow
from grcsf.evaluation.metrics import METRICS
from grcsf.evaluation.overlap import Confusion
from grcsf.evaluation.summary import CaseScore

__all__ = ["NEEDED", "ScoreTable", "case_row", "case_score", "is_reference", "lesion_row", "number_of"]

NEEDED = ("case", "label", "tp", "fp", "fn", *METRICS)
"""Columns without which a ``cases.csv`` is of no use."""
_WORDS = ("case", "label", None)


@dataclass(frozen=True)
class ScoreTable:
    """Scores of one folder.

    Attributes:
        cases: scores per case and label.
        when_empty: the policy for empty masks.
        spatial_dims: 2 or 3.
        failed: case -> why it has no score.
        rows: every number of ``cases.csv``; the subject of a row is its case.
        lesions: lesions of the references with ``detected``, ``size``, ``contrast``, as rows.
        preset: rules of the lesion-wise scores; empty: not recorded.
        calibration: content of ``calibration.json``; empty: there is none.
    """

    cases: tuple[CaseScore, ...]
    when_empty: str | None
    spatial_dims: int
    failed: dict[str, str] = field(default_factory=dict)
    rows: tuple[CaseRow, ...] = ()
    lesions: tuple[CaseRow, ...] = ()
    preset: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)


def case_score(row: Mapping[str, str]) -> CaseScore:
    """The scores of one row of ``cases.csv``.

    Raises:
        ValueError: a cell that should be a number and is none.
    """
    size = "volume_ml" if "reference_volume_ml" in row else "area_mm2"
    return CaseScore(
        case=row["case"],
        label=row["label"],
        counts=Confusion(int(row["tp"]), int(row["fp"]), int(row["fn"]), tn=0),
        reference_size=float(row.get(f"reference_{size}") or math.nan),
        prediction_size=float(row.get(f"prediction_{size}") or math.nan),
        scores={name: float(row[name] or math.nan) for name in METRICS},
        files=("", ""),
    )


def case_row(row: Mapping[str, str]) -> CaseRow:
    """Every number of one row of ``cases.csv``; the subject is the case."""
    values = {key: math.nan if (v := number_of(cell)) is None else v for key, cell in row.items() if key not in _WORDS}
    return CaseRow(row["case"], row["case"], row["label"], values)


def lesion_row(row: Mapping[str, str]) -> CaseRow:
    """``detected``, ``size`` and ``contrast`` of one row of ``lesions.csv``."""
    numbers = {key: number_of(row.get(key)) for key in ("detected", "size", "contrast")}
    values = {key: math.nan if value is None else value for key, value in numbers.items()}
    return CaseRow(str(row.get("case")), str(row.get("case")), str(row.get("label")), values)


def is_reference(row: Mapping[str, str]) -> bool:
    """Whether a row of ``lesions.csv`` is a lesion of the reference."""
    return row.get("source") == "reference"


def number_of(cell: str | None) -> float | None:
    """The number in a cell; none if there is none."""
    try:
        return float(cell) if cell else None
    except ValueError:
        return None
