"""The part of ``summary.json`` that has nnU-Net v2's keys, so that its users' scripts go on working."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from grcsf.evaluation.overlap import Confusion, WhenEmpty, dice, iou
from grcsf.evaluation.summary import Summary

__all__ = ["nnunet_summary"]


def nnunet_summary(summary: Summary) -> dict[str, Any]:
    """``metric_per_case``, ``mean`` (by label value) and ``foreground_mean`` (over labels, nan where one of them is).

    Empty masks follow nnU-Net whatever the policy of ``summary``: nan if both are empty, left out of the means over
    cases. File names stand without their folders.

    Source: second-hand, the keys of nnunetv2/evaluation/evaluate_predictions.py.
    """
    names = list(summary.labels)
    keys = {name: str(summary.labels[name].value) for name in names}
    per_case: dict[str, dict[str, Any]] = {}
    for score in summary.cases:
        entry = per_case.setdefault(
            score.case, {"reference_file": score.files[0], "prediction_file": score.files[1], "metrics": {}}
        )
        entry["metrics"][keys[score.label]] = _metrics(score.counts)
    cases = list(per_case.values())
    mean = {keys[name]: _mean([case["metrics"][keys[name]] for case in cases]) for name in names}
    over_labels = {key: float(np.mean([entry[key] for entry in mean.values()])) for key in next(iter(mean.values()))}
    return {"metric_per_case": cases, "mean": mean, "foreground_mean": over_labels}


def _metrics(counts: Confusion) -> dict[str, float]:
    return {
        "Dice": dice(counts, when_empty=WhenEmpty.SKIP),
        "IoU": iou(counts, when_empty=WhenEmpty.SKIP),
        "TP": counts.tp,
        "FP": counts.fp,
        "FN": counts.fn,
        "TN": counts.tn,
        "n_pred": counts.n_prediction,
        "n_ref": counts.n_reference,
    }


def _mean(entries: Sequence[dict[str, float]]) -> dict[str, float]:
    means = {}
    for key in entries[0] if entries else ():
        values = np.array([entry[key] for entry in entries], dtype=np.float64)
        used = values[~np.isnan(values)]
        means[key] = float(used.mean()) if used.size else float("nan")
    return means
