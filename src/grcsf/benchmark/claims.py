"""What decides a run's result, and whether a run that is stored was made in the way that is asked for today."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from grcsf.config import Settings, load_settings
from grcsf.datasets.sources.registry import read_dataset
from grcsf.datasets.splits import SPLITS_FILE
from grcsf.io.files import to_plain

__all__ = [
    "CONTENT",
    "CONTENTS",
    "ONTO_CONTENT",
    "UNLABELLED_CONTENT",
    "claim_changes",
    "content_hash",
    "deciding_settings",
]

CONTENT = "data_content"
ONTO_CONTENT = "onto_content"
UNLABELLED_CONTENT = "unlabelled_content"
CONTENTS = (CONTENT, ONTO_CONTENT, UNLABELLED_CONTENT)
"""Entries of a claim that tell what data sets hold, which is in no name of a folder."""

_WHERE_BOTH_KNOW = (*CONTENTS, "reference")
"""Stored since later than runs were; and the data may not be at hand."""

_AS_BEFORE = load_settings(
    None,
    [
        "training.carve_mix=0",
        "training.dice=sample",
        "training.map_dropout=0",
        "inference.min_lesion_peak=0",
        "inference.unknown_anatomy=as-is",
    ],
).model_dump(mode="json")
"""The defaults, but for settings whose default is not what was done before they came."""


def claim_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between the claim of a stored run and the same run's claim today, ``a.b: 1 there, 2 now``.

    What the data sets hold and how the reference of equal parameters is made are compared where both know it. A setting
    that did not exist when the run was stored counts as what the run did: its default or, where that changed what is
    done, the value that leaves things as they were.
    """
    claim, today = dict(before), to_plain(now)
    unknown = {key for key in _WHERE_BOTH_KNOW if key not in claim or key not in today}
    claim, today = ({key: value for key, value in tree.items() if key not in unknown} for tree in (claim, today))
    for key in ("settings", "reference"):
        if isinstance(today.get(key), Mapping):
            claim[key] = _completed(_without_steps(claim.get(key) or {}), today[key], _AS_BEFORE)
    return _differences(claim, today)


def _without_steps(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without the network's steps, which were once written down as the default that no run had."""
    kept = {key: value for key, value in settings.get("training", {}).items() if key != "steps"}
    return {**settings, "training": kept} if "training" in settings else dict(settings)


def _completed(before: Any, now: Any, default: Any) -> Any:
    """``before`` with the keys of ``now`` that it lacks, at their defaults."""
    if not all(isinstance(tree, Mapping) for tree in (before, now, default)):
        return before
    missing = {key: default.get(key) for key in now if key not in before}
    return missing | {key: _completed(value, now.get(key), default.get(key)) for key, value in before.items()}


def _differences(before: object, now: object, prefix: str = "") -> list[str]:
    """``a.b: 1 there, 2 now`` for every value that differs between two trees."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = {**before, **now}
        return [line for key in keys for line in _differences(before.get(key), now.get(key), f"{prefix}{key}.")]
    return [] if before == now else [f"{prefix.rstrip('.')}: {before!s:.40} there, {now!s:.40} now"]


@cache
def content_hash(dataset: Path) -> str:
    """Hash of the folds, and of name, subject and mask size of each case; tells data sets of the same name apart."""
    cases = [(case.name, case.group, _bytes(case.label)) for case in read_dataset(dataset).cases]
    splits = dataset / SPLITS_FILE  # one that is only predicted needs none
    text = (splits.read_text("utf-8") if splits.is_file() else "") + json.dumps(sorted(cases))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _bytes(label: object) -> int:
    return label.stat().st_size if isinstance(label, Path) and label.is_file() else 0


def deciding_settings(settings: Settings) -> dict[str, Any]:
    """Settings that decide a result; those of stages and units that a network does without are left out.

    So are the steps of the network, for they are the budget's.
    """
    network = settings.network
    unused = {name for name in type(network).model_fields if name.startswith("rcu_") and not network.rcu}
    left_out: dict[str, Any] = {
        "workers": True,
        "training": {"minutes", "steps"},
        "network": unused,
        "mae": {"minutes"},
    }
    if not network.uses_residual:
        left_out |= {"mae": True, "residual": True, "inference": {"unknown_anatomy"}}
        left_out["training"].add("map_dropout")
    found = settings.model_dump(mode="json", exclude=left_out)
    found["network"]["deep_supervision"] = network.has_coarse_heads  # as it was written before it could be none
    if settings.preprocess.dimensions != "auto":  # as it was written before it could be none
        found["training"]["batch_size"] = settings.training.patches(2 if settings.preprocess.dimensions == "2d" else 3)
    return found
