"""Stroke measures of many masks: read, check, measure; and the files that are left on disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from grcsf.config import read_yaml
from grcsf.errors import DatasetError, GrcsfError, ImageError, SettingsError
from grcsf.evaluation.clinical.stroke import (
    OUTSIDE,
    StrokeMeasures,
    StrokeRules,
    Territory,
    measure_lesions,
    territory_loads,
)
from grcsf.evaluation.csv_files import write_rows
from grcsf.evaluation.html import stroke_html
from grcsf.evaluation.pairs import label_values
from grcsf.io.files import write_json
from grcsf.io.geometry import Volume
from grcsf.io.progress import track
from grcsf.io.volume import read_volume

__all__ = ["Atlas", "StrokeCase", "StrokeSummary", "measure_files", "read_atlas", "stroke_table", "write_stroke"]

_log = logging.getLogger("grcsf")


@dataclass(frozen=True, eq=False)
class Atlas:
    """Territories: label values on a grid, and their names."""

    volume: Volume
    names: Mapping[str, int]


@dataclass(frozen=True)
class StrokeCase:
    """Measures of one label of one case, and its territories (none without an atlas)."""

    case: str
    label: str
    measures: StrokeMeasures
    territories: tuple[Territory, ...]


@dataclass(frozen=True)
class StrokeSummary:
    """Measures of all masks.

    Attributes:
        rules: how they were measured.
        labels: name -> value.
        cases: one entry per case and label.
        failed: name -> why not.
        territories: name -> value of the atlas; empty without one.
    """

    rules: StrokeRules
    labels: Mapping[str, int]
    cases: tuple[StrokeCase, ...]
    failed: Mapping[str, str]
    territories: Mapping[str, int]

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        return stroke_html(self)


def read_atlas(path: Path, names: Path | None = None) -> Atlas:
    """An atlas of territories.

    Args:
        path: 3-D label volume; 0 is outside of all territories.
        names: YAML file of ``name: value``; none: every value is called ``territory-VALUE``.

    Raises:
        ImageError: fractions or negative values, not 3-D, or no territory in it.
        SettingsError: a file of names that does not fit.
    """
    volume = read_volume(path)
    if volume.array.ndim != 3:
        raise ImageError(f"{path}: a {volume.array.ndim}-D atlas ({volume.geometry}), expected a 3-D label volume")
    values = np.unique(volume.array)
    label_values("atlas", volume, {int(value) for value in values})
    known = [int(value) for value in values if value != 0]
    if not known or known[0] < 0:
        raise ImageError(f"{path}: atlas with the values {known[:5] or 'of background only'}, expected labels above 0")
    if names is None:
        return Atlas(volume, {f"territory-{value}": value for value in known})
    tree = read_yaml(names)
    wrong = [key for key, value in tree.items() if isinstance(value, bool) or not isinstance(value, int) or value < 1]
    if not tree or wrong or len(set(tree.values())) < len(tree) or OUTSIDE in tree:
        raise SettingsError(
            f"{names}: expected lines such as 'MCA left: 1', each name and value once, none called {OUTSIDE}"
            + (f"; wrong: {', '.join(map(str, wrong[:5]))}" if wrong else "")
        )
    absent = [f"{name} ({value})" for name, value in tree.items() if value not in known]
    if absent:
        raise SettingsError(f"{names}: not in the atlas {path.name}: {', '.join(absent[:5])}; its values: {known[:20]}")
    return Atlas(volume, {str(name): value for name, value in tree.items()})


def measure_files(
    masks: Mapping[str, Path], labels: Mapping[str, int], rules: StrokeRules, atlas: Atlas | None = None
) -> StrokeSummary:
    """Measure masks one after another; one that cannot be measured is named with its reason, the others go on.

    Args:
        masks: case -> file.
        labels: name -> value; the background (0) is left out.
        rules: how.
        atlas: territories in the same space; none: not counted.

    Raises:
        SettingsError: no label.
        DatasetError: not one of the masks could be measured.
    """
    named = {name: int(value) for name, value in labels.items() if value != 0}
    if not named:
        raise SettingsError(f"labels {dict(labels)}: expected at least one besides the background, such as lesion=1")
    cases: list[StrokeCase] = []
    failed: dict[str, str] = {}
    for case, path in track(list(masks.items()), "Measuring", total=len(masks)):
        try:
            cases += _measure(case, path, named, rules, atlas)
        except GrcsfError as error:
            failed[case] = str(error)
            _log.warning("not measured: %s", error)
    if not cases:
        reasons = "; ".join(list(failed.values())[:3])
        raise DatasetError(f"not one of {len(masks)} masks could be measured ({reasons})")
    return StrokeSummary(rules, named, tuple(cases), failed, dict(atlas.names) if atlas else {})


def _measure(
    case: str, path: Path, labels: Mapping[str, int], rules: StrokeRules, atlas: Atlas | None
) -> list[StrokeCase]:
    volume = read_volume(path)
    array = label_values(case, volume, {0, *labels.values()})
    found = []
    for name, value in labels.items():
        measures, kept = measure_lesions(array == value, volume.geometry, rules, case=case)
        loads = territory_loads(kept, volume.geometry, atlas.volume, atlas.names) if atlas else []
        found.append(StrokeCase(case, name, measures, tuple(loads)))
    return found


def write_stroke(folder: Path, summary: StrokeSummary) -> None:
    """Write all files, each atomically; nan is ``nan`` in CSV and null in JSON.

    ``measures.csv`` has a row per case and label, ``territories.csv`` (with an atlas) a row per case, label and
    territory, ``measures.json`` the rules and everything.

    Args:
        folder: where to; it exists.
        summary: the measures.
    """
    names = [field.name for field in fields(StrokeMeasures)]
    rows = ([c.case, c.label, *(getattr(c.measures, name) for name in names)] for c in summary.cases)
    write_rows(folder / "measures.csv", ["case", "label", *names], rows)
    if summary.territories:
        parts = [field.name for field in fields(Territory)][1:]
        rows = (
            [c.case, c.label, place.name, *(getattr(place, part) for part in parts)]
            for c in summary.cases
            for place in c.territories
        )
        write_rows(folder / "territories.csv", ["case", "label", "territory", *parts], rows)
    write_json(folder / "measures.json", _tree(summary))


def stroke_table(summary: StrokeSummary) -> str:
    """Measures as text: one line per case and label."""
    lines = []
    for item in summary.cases:
        found = item.measures
        text = (
            f"{item.case}, {item.label}: {found.load_ml:.3f} ml in {found.lesions} lesions, {found.side} "
            f"(left {found.left_ml:.3f}, right {found.right_ml:.3f} ml)"
        )
        largest = max(item.territories, key=lambda place: place.load_ml, default=None)
        if largest is not None and largest.load_ml > 0:
            text += f"; most in {largest.name} ({largest.load_ml:.3f} ml)"
        lines.append(text)
    rules = summary.rules
    lines.append(f"midline: {rules.midline}; {rules.connectivity} neighbours; at least {rules.min_lesion_mm3:g} mm3")
    return "\n".join(lines) + "\n"


def _tree(summary: StrokeSummary) -> dict[str, Any]:
    return {
        "version": 1,
        "rules": summary.rules.model_dump(mode="json"),
        "labels": dict(summary.labels),
        "territories": dict(summary.territories),
        "failed": dict(summary.failed),
        "cases": [asdict(case) for case in summary.cases],
    }
