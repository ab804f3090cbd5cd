"""Numbers and rules in words: what stands in the cells of the page, and nothing that tells of the machine."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from grcsf.evaluation.methods.measures import FALSE_ALARMS, FOUND
from grcsf.evaluation.methods.statistics import Interval

__all__ = [
    "interval_text",
    "measure_title",
    "number_text",
    "p_text",
    "policy_text",
    "preset_text",
    "score_text",
    "size_text",
    "threshold_text",
    "unit_text",
    "without_folders",
]

_TITLES = {
    "dice": "Dice (F1)",
    "iou": "IoU",
    "precision": "Precision",
    "recall": "Recall",
    "lesion_f1": "Lesion F1",
    "lesion_precision": "Lesion precision",
    "lesion_recall": "Lesion recall",
    FALSE_ALARMS: "False alarms",
}
_POLICIES = {
    "skip": "left out of the means (when_empty = skip)",
    "one": "scored 1 (when_empty = one)",
    "zero": "scored 0 (when_empty = zero)",
}
_OVERLAPS = {
    "any": "a lesion is found if one voxel is shared",
    "voxels": "a lesion is found if at least {threshold:g} voxels are shared",
    "share": "a lesion is found if at least {threshold:g} of it is covered",
    "iou": "a lesion is found at an intersection over union of at least {threshold:g}",
}
_PART = r"(?:(?!\.\w{1,5}[\s,)])[^/\\:;*?\"'<>|\n])+"  # may hold blanks, as names of people do; a file ends one
_FOLDERS = re.compile(rf"(?<![\w:/.<])(?:~?/|[A-Za-z]:[\\/]|\\\\)(?:{_PART}[\\/])+(?=[^\s/\\])")


def without_folders(text: str) -> str:
    r"""Text in which files are called by their names alone: absolute paths tell of people and machines.

    >>> without_folders("preset: /home/jane/rules.yaml, https://arxiv.org/abs/1 and C:\\Users\\jane\\a.nii.gz")
    'preset: rules.yaml, https://arxiv.org/abs/1 and a.nii.gz'
    """
    return _FOLDERS.sub("", text)


def score_text(value: float | None) -> str:
    """A score with three decimals; a dash for nan."""
    if value is None or math.isnan(value):
        return "-"
    return "∞" if math.isinf(value) else f"{value:.3f}"


def size_text(value: float, *, signed: bool = False) -> str:
    """A lesion size with three figures, never in powers of ten; a dash for nan.

    >>> size_text(1234.5), size_text(-0.0567, signed=True) == "\u22120.0567"
    ('1234', True)
    """
    if math.isnan(value):
        return "-"
    sign = "+" if signed else ""
    if 0 < abs(value) < 1e-4:
        return "0.000"
    return format(value, f"{sign}.0f" if abs(value) >= 100 else f"{sign}.3g").replace("-", "\u2212")


def number_text(value: float, *, signed: bool = False) -> str:
    """A number of any range: whole from 1000 on, else with three decimals; a dash for nan."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "\u2212∞"
    sign = "+" if signed else ""
    text = format(value, f"{sign}.0f" if abs(value) >= 1000 else f"{sign}.1f" if abs(value) >= 100 else f"{sign}.3f")
    return text.replace("-", "\u2212") if float(text) else text.lstrip("-+")


def interval_text(found: Interval | None) -> str:
    """``mean (low to high)``; without the brackets where there is no interval."""
    if found is None or not found.n:
        return "-"
    if math.isnan(found.low):
        return number_text(found.mean)
    return f"{number_text(found.mean)} ({number_text(found.low)} to {number_text(found.high)})"


def p_text(value: float) -> str:
    """A p value with three decimals.

    >>> p_text(0.0004), p_text(0.0421)
    ('< 0.001', '0.042')
    """
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def measure_title(key: str) -> str:
    """What a measure is called on the page.

    >>> measure_title("dice@below 1 ml"), measure_title("hd95_mm"), measure_title("lesions_found@low contrast")
    ('Dice (F1), below 1 ml', 'hd95 (mm)', 'Lesions found, low contrast')
    """
    base, _, stratum = key.partition("@")
    unit = re.fullmatch(r"(.+)_(mm|ml|mm2)", base)
    title = "Lesions found" if base == FOUND else _TITLES.get(base, base)
    if title == base:
        title = f"{unit[1].replace('_', ' ')} ({unit_text(unit[2])})" if unit else base.replace("_", " ")
    return f"{title}, {unit_text(stratum)}" if stratum else title


def unit_text(text: str) -> str:
    """Squares as one writes them."""
    return text.replace("mm2", "mm²")


def policy_text(names: set[str | None]) -> str:
    """What became of cases with both masks empty, from the names of the policy in the summaries."""
    if len(names) > 1:
        return "treated differently in different folds (" + ", ".join(sorted(str(name) for name in names)) + ")"
    name = next(iter(names), None)
    return _POLICIES.get(name, name) if name else "treated in a way that summary.json does not record"


def threshold_text(inference: Mapping[str, Any]) -> str:
    """From which probability a voxel became lesion, and which components went, from the settings of a prediction."""
    limit, peak, size = (inference.get(key) for key in ("threshold", "min_lesion_peak", "min_lesion_mm"))
    if not isinstance(limit, int | float):
        return "not recorded here"
    parts = [f"probability above {limit:g}"]
    if isinstance(peak, int | float) and peak > limit:
        parts.append(f"and above {peak:g} somewhere in each component")
    if isinstance(size, int | float) and size > 0:
        parts.append(f"components below {size:g} mm² or mm³ are left out")
    return "; ".join(parts)


def preset_text(preset: Mapping[str, Any], spatial_dims: int) -> str:
    """The rules of a lesion preset in one sentence; fields that an older file lacks are left out."""
    if not preset.get("name"):
        return "not recorded"
    parts = []
    touching = preset.get(f"connectivity_{spatial_dims}d")
    if touching:
        parts.append(f"voxels of one lesion touch by {'any corner' if touching == 'full' else touching}")
    threshold = preset.get("threshold")
    rule = _OVERLAPS.get(str(preset.get("overlap")))
    if rule:
        parts.append(rule.format(threshold=threshold if isinstance(threshold, int | float) else math.nan))
    if preset.get("matching"):
        parts.append(f"matched {str(preset['matching']).replace('-', ' ')}")
    if preset.get("min_voxels") not in (None, 1):
        parts.append(f"lesions below {preset['min_voxels']} voxels are left out")
    if preset.get("min_size_mm"):
        parts.append(f"lesions below {preset['min_size_mm']:g} mm² or mm³ are left out")
    if preset.get("when_empty"):
        words = _POLICIES.get(str(preset["when_empty"]), str(preset["when_empty"]))
        parts.append(f"a case without any lesion is {words.partition(' (')[0]}")
    version = f", version {preset['version']}" if preset.get("version") else ""
    return f"{preset['name']}{version}: {'; '.join(parts)}" if parts else f"{preset['name']}{version}"
