"""What calcium scoring leaves on disk: ``calcium.csv``, ``regions.csv``, ``orcascore.csv`` and ``calcium.json``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from grcsf.evaluation.clinical.agatston import TOTAL, CalciumScore
from grcsf.evaluation.clinical.calcium import CalciumCase, CalciumSummary
from grcsf.evaluation.clinical.orcascore import DETECTION_SCORES, Detection
from grcsf.evaluation.csv_files import write_rows
from grcsf.io.files import write_json

__all__ = ["REFERENCE_FILE", "SCORES_FILE", "calcium_table", "write_calcium"]

FORMAT = 1
"""Raised by one whenever a key of ``calcium.json`` or a column changes its meaning."""

SCORES_FILE, REFERENCE_FILE, REGIONS_FILE = "calcium.csv", "reference.csv", "regions.csv"
DETECTION_FILE, TREE_FILE = "orcascore.csv", "calcium.json"

_SCORES = ("agatston", "volume_mm3", "mass_mg", "lesions", "peak_hu", "masked_mm3", "below_threshold_mm3")
_REGION = ("slice", "slices", "voxels", "area_mm2", "peak_hu", "mean_hu", "weight", "agatston")
_COUNTS = ("n_reference", "n_prediction", "n_found", "n_right", "reference_mm3", "prediction_mm3", "shared_mm3")


def write_calcium(folder: Path, summary: CalciumSummary) -> None:
    """Write all files of a scoring, each atomically; nan is ``nan`` in CSV and null in JSON.

    ``calcium.csv`` has a row per case and label, ``reference.csv`` (with references) the same of the reference masks,
    ``regions.csv`` a row per region that was weighted, ``orcascore.csv`` (with references) a row per case and label,
    and ``calcium.json`` the rules and everything but the regions.

    Args:
        folder: where to; it exists.
        summary: the scores.
    """
    header = ["case", "label", *_SCORES, "too_small_mm3", "regions", "risk"]
    rows = ([c.case, name, *_score_tree(s).values()] for c in summary.cases for name, s in c.scores.items())
    write_rows(folder / SCORES_FILE, header, rows)
    compared = any(case.reference for case in summary.cases)
    if compared:
        rows = ([c.case, name, *_score_tree(s).values()] for c in summary.cases for name, s in c.reference.items())
        write_rows(folder / REFERENCE_FILE, header, rows)
        rows = ([c.case, name, *_found_tree(d).values()] for c in summary.cases for name, d in c.detection.items())
        write_rows(folder / DETECTION_FILE, ["case", "label", *_COUNTS, *DETECTION_SCORES], rows)
    regions = (
        [case.case, name, *(getattr(region, key) for key in _REGION)]
        for case in summary.cases
        for name, score in case.scores.items()
        if name != TOTAL or summary.rules.total == "union"
        for region in score.regions
    )
    write_rows(folder / REGIONS_FILE, ["case", "label", *_REGION], regions)
    write_json(folder / TREE_FILE, _tree(summary))


def calcium_table(summary: CalciumSummary) -> str:
    """Scores as text: one line per case and label."""
    mode = summary.rules.mode
    header = ["case", "label", "Agatston" if mode == "slice2d" else "score", "mm3", "mg", "lesions", "risk"]
    rows = [header]
    for case in summary.cases:
        for name, score in case.scores.items():
            numbers = (score.agatston, score.volume_mm3, score.mass_mg)
            shown = ["-" if math.isnan(number) else f"{number:.1f}" for number in numbers]
            rows.append([case.case, name, *shown, str(score.lesions), score.risk if name == TOTAL else ""])
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", _rules_line(summary)]
    lines += [
        f"{name}: {found.n_found} of {found.n_reference} calcifications found, "
        f"{found.n_prediction - found.n_right} of {found.n_prediction} false; by volume sensitivity "
        f"{found.volume_sensitivity:.3f}, PPV {found.volume_ppv:.3f}, F1 {found.f1:.3f} (orCaScore)"
        for name, found in summary.detection.items()
    ]
    return "\n".join(lines) + "\n"


def _rules_line(summary: CalciumSummary) -> str:
    rules = summary.rules
    sign = ">=" if rules.threshold == "at-least" else ">"
    what = "Agatston score" if rules.mode == "slice2d" else "3-D object variant, not the published Agatston score"
    return (
        f"mode {rules.mode} ({what}); {sign} {rules.threshold_hu:g} HU, {rules.min_area_mm2:g} mm2 or more, "
        f"{rules.connectivity} neighbours, scaled to {rules.reference_mm:g} mm by slice spacing"
    )


def _tree(summary: CalciumSummary) -> dict[str, Any]:
    return {
        "version": FORMAT,
        "rules": summary.rules.model_dump(mode="json"),
        "labels": dict(summary.labels),
        "n_cases": len(summary.cases),
        "failed": dict(summary.failed),
        "cases": [_case_tree(case) for case in summary.cases],
        "orcascore": {name: _found_tree(found) for name, found in summary.detection.items()},
    }


def _case_tree(case: CalciumCase) -> dict[str, Any]:
    slices = case.slices
    return {
        "case": case.case,
        "slice_axis": slices.axis,
        "slice_gap_mm": slices.gap_mm,
        "pixel_mm2": slices.pixel_mm2,
        "tilt_deg": slices.tilt_deg,
        "scores": {name: _score_tree(score) for name, score in case.scores.items()},
        "reference": {name: _score_tree(score) for name, score in case.reference.items()},
        "orcascore": {name: _found_tree(found) for name, found in case.detection.items()},
    }


def _score_tree(score: CalciumScore) -> dict[str, Any]:
    values = {key: getattr(score, key) for key in (*_SCORES, "too_small_mm3")}
    return {**values, "regions": len(score.regions), "risk": score.risk}


def _found_tree(found: Detection) -> dict[str, float]:
    return {key: getattr(found, key) for key in (*_COUNTS, *DETECTION_SCORES)}
