"""``cases.csv`` and ``summary.json``: what scoring leaves on disk, beside ``lesions.csv``."""

from __future__ import annotations

import csv
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from grcsf.evaluation.extras import extra_columns
from grcsf.evaluation.lesion_files import case_columns, case_values, lesion_tree
from grcsf.evaluation.metrics import METRICS
from grcsf.evaluation.nnunet import nnunet_summary
from grcsf.evaluation.strata import CONTRAST_LIMITS
from grcsf.evaluation.summary import CaseScore, LabelSummary, MeanScores, Summary
from grcsf.io.files import atomic_path, write_json

__all__ = ["summary_tree", "write_cases", "write_summary"]

FORMAT = 1
"""Raised by one whenever a key of ``summary.json`` changes its meaning."""


def write_cases(path: Path, summary: Summary) -> None:
    """Write one row per case and label; atomic, nan as ``nan``, sizes in ml (3-D) or mm2 (2-D)."""
    size = "volume_ml" if summary.spatial_dims == 3 else "area_mm2"
    header = ["case", "label", "n_reference", "n_prediction", f"reference_{size}", f"prediction_{size}", *METRICS]
    extra = extra_columns(summary.extra_rules, summary.spatial_dims)
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*header, "tp", "fp", "fn", *case_columns(summary.spatial_dims), *extra])
        for score in summary.cases:
            writer.writerow([*_row(score, summary.spatial_dims), *(f"{score.extras[name]:.6f}" for name in extra)])


def write_summary(path: Path, summary: Summary) -> None:
    """Write :func:`summary_tree` as JSON; atomic."""
    write_json(path, summary_tree(summary))


def summary_tree(summary: Summary) -> dict[str, Any]:
    """The content of ``summary.json``: nan where there is no value (null in the file).

    ``metric_per_case``, ``mean`` and ``foreground_mean`` have nnU-Net's names and follow nnU-Net's rule for empty
    masks; the other voxel scores follow ``when_empty``, the lesion-wise ones the rules of ``lesion_preset``.
    """
    return {
        "version": FORMAT,
        "grcsf_version": _version(),
        "when_empty": summary.when_empty.value,
        "lesion_preset": summary.preset.to_dict() if summary.preset else None,
        "contrast_limits": list(CONTRAST_LIMITS),
        "spatial_dims": summary.spatial_dims,
        "size_unit": summary.size_unit,
        "n_cases": summary.n_cases,
        "n_with_lesion": summary.n_with_lesion,
        "n_lesion_free": summary.n_lesion_free,
        "n_failed": len(summary.failed),
        "failed": dict(summary.failed),
        "unmatched": list(summary.unmatched),
        **_extra_rules(summary),
        "labels": {name: _label_tree(label) for name, label in summary.labels.items()},
        **nnunet_summary(summary),
    }


def _label_tree(label: LabelSummary) -> dict[str, Any]:
    return {
        "value": label.value,
        "n_cases": label.all_cases.n,
        "n_with_lesion": label.lesion_cases.n,
        "n_lesion_free": label.n_lesion_free,
        "n_lesion_free_with_false_positive": label.n_false_alarms,
        "n_used": label.all_cases.n_used,
        "mean": dict(label.all_cases.mean),
        "lesion_cases": dict(label.lesion_cases.mean),
        "global_dice": label.global_dice,
        "by_size": {name: _mean_tree(scores) for name, scores in label.by_size.items()},
        "lesions": lesion_tree(label.lesions),
        **({"extra": asdict(label.extra)} if label.extra else {}),
    }


def _extra_rules(summary: Summary) -> dict[str, Any]:
    """Nothing where no further score was asked for: the file is then what it always was."""
    rules = summary.extra_rules
    if not rules.groups:
        return {}
    missed = {"when_missed": rules.when_missed.value, "nsd_tolerances_mm": list(rules.tolerances_mm)}
    return {"extra_metrics": list(rules.groups), **(missed if "surface" in rules.groups else {})}


def _mean_tree(scores: MeanScores) -> dict[str, Any]:
    return {"n": scores.n, **scores.mean}


def _row(score: CaseScore, spatial_dims: int) -> list[str | int | float]:
    counts = score.counts
    sizes = (f"{score.reference_size:.6g}", f"{score.prediction_size:.6g}")
    values = (f"{score.scores[name]:.6f}" for name in METRICS)
    voxels = (counts.n_reference, counts.n_prediction)
    lesions = case_values(score.lesions, spatial_dims)
    return [score.case, score.label, *voxels, *sizes, *values, counts.tp, counts.fp, counts.fn, *lesions]


def _version() -> str:
    try:
        return version("grcsf")
    except PackageNotFoundError:
        return "unknown"
