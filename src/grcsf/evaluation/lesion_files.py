"""The lesion-wise part of what scoring leaves on disk: ``lesions.csv``, columns of ``cases.csv``, a part of a tree."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grcsf.evaluation.lesion_summary import LesionSummary, Stratum
from grcsf.evaluation.lesions import LESION_SCORES, Lesion, LesionScores
from grcsf.evaluation.summary import Summary
from grcsf.io.files import atomic_path

__all__ = ["case_columns", "case_values", "lesion_tree", "write_lesions"]

_COUNTS = {
    "lesions_reference": "n_reference",
    "lesions_prediction": "n_prediction",
    "lesions_detected": "n_detected",
    "lesions_missed": "n_missed",
    "lesions_false": "n_false",
}


def case_columns(spatial_dims: int) -> list[str]:
    """Names of the lesion-wise columns of ``cases.csv``."""
    size = _size(spatial_dims)
    return [*_COUNTS, *LESION_SCORES, f"missed_{size}", f"false_{size}"]


def case_values(scores: LesionScores | None, spatial_dims: int) -> list[str | int]:
    """Values of these columns; empty for a case that was not scored by lesion."""
    if scores is None:
        return [""] * len(case_columns(spatial_dims))
    counts = [getattr(scores, name) for name in _COUNTS.values()]
    values = [f"{getattr(scores, name):.6f}" for name in LESION_SCORES.values()]
    return [*counts, *values, f"{scores.missed_size:.6g}", f"{scores.false_size:.6g}"]


def write_lesions(path: Path, summary: Summary) -> None:
    """Write one row per lesion of either mask; atomic, nan as ``nan``, sizes in ml (3-D) or mm2 (2-D)."""
    header = ["case", "label", "source", "lesion", "voxels", "size", "unit", "centroid", "matched"]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*header, "detected", "overlap", "contrast"])
        for case in summary.cases:
            lesions = case.lesions.lesions if case.lesions else ()
            writer.writerows([case.case, case.label, *_row(lesion, summary.size_unit)] for lesion in lesions)


def lesion_tree(lesions: LesionSummary | None) -> dict[str, Any]:
    """The lesion-wise numbers of one label for ``summary.json``."""
    if lesions is None:
        return {}
    tree = asdict(lesions)
    for key, strata in (("by_size", lesions.by_size), ("by_contrast", lesions.by_contrast)):
        tree[key] = {name: _stratum(stratum) for name, stratum in strata.items()}
    free = lesions.lesion_free
    tree["lesion_free"]["false_per_case"] = free.n_false / free.n_cases if free.n_cases else math.nan
    return tree


def _stratum(stratum: Stratum) -> dict[str, float]:
    return {"n": stratum.n, "n_detected": stratum.n_detected, "recall": stratum.recall}


def _row(lesion: Lesion, unit: str) -> list[str | int]:
    centroid = " ".join(f"{place:.2f}" for place in lesion.centroid)
    matched = " ".join(str(number) for number in lesion.matched)
    start = [lesion.source, lesion.number, lesion.voxels, f"{lesion.size:.6g}", unit, centroid, matched]
    return [*start, int(lesion.detected), f"{lesion.overlap:.6f}", f"{lesion.contrast:.6f}"]


def _size(spatial_dims: int) -> str:
    return "volume_ml" if spatial_dims == 3 else "area_mm2"
