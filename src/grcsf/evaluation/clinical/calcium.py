"""Calcium scores of many scans: read, check, score, and compare with reference masks if there are any."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from grcsf.arrays import AnyArray
from grcsf.errors import DatasetError, GrcsfError, SettingsError
from grcsf.evaluation.clinical.agatston import TOTAL, CalciumScore, score_calcium
from grcsf.evaluation.clinical.calcium_rules import CalciumRules
from grcsf.evaluation.clinical.orcascore import Detection, detect_calcium
from grcsf.evaluation.clinical.slices import AxialSlices, axial_slices
from grcsf.evaluation.html import calcium_html
from grcsf.evaluation.pairs import TOLERANCE_MM, label_values
from grcsf.io.geometry import Volume, check_same_grid
from grcsf.io.progress import track
from grcsf.io.volume import read_volume

__all__ = ["CalciumCase", "CalciumScan", "CalciumSummary", "check_labels", "score_scans"]

_log = logging.getLogger("grcsf")


@dataclass(frozen=True)
class CalciumScan:
    """A scan to score.

    Attributes:
        case: its name.
        image: reads the CT, HU.
        mask: file of the mask to score.
        reference: file of the reference mask; none: not compared.
    """

    case: str
    image: Callable[[], Volume]
    mask: Path
    reference: Path | None = None


@dataclass(frozen=True)
class CalciumCase:
    """Scores of one scan.

    Attributes:
        case: its name.
        slices: its axial slices.
        scores: label -> scores, the total last.
        reference: the same of the reference mask; empty without one.
        detection: label -> what was found and invented; empty without a reference.
    """

    case: str
    slices: AxialSlices
    scores: Mapping[str, CalciumScore]
    reference: Mapping[str, CalciumScore]
    detection: Mapping[str, Detection]


@dataclass(frozen=True)
class CalciumSummary:
    """Scores of all scans.

    Attributes:
        rules: how they were scored.
        labels: name -> value.
        cases: scans that were scored.
        failed: name -> why not.
    """

    rules: CalciumRules
    labels: Mapping[str, int]
    cases: tuple[CalciumCase, ...]
    failed: Mapping[str, str]

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        return calcium_html(self)

    @property
    def detection(self) -> dict[str, Detection]:
        """Label -> detection of all cases pooled, each calcification with the same weight; empty without references."""
        pooled: dict[str, Detection] = {}
        for case in self.cases:
            for name, found in case.detection.items():
                pooled[name] = pooled.get(name, Detection()) + found
        return pooled


def score_scans(scans: list[CalciumScan], labels: Mapping[str, int], rules: CalciumRules) -> CalciumSummary:
    """Score scans one after another; one that cannot be scored is named with its reason and does not stop the others.

    Args:
        scans: what to score.
        labels: name -> value; the background (0) is left out.
        rules: how.

    Raises:
        SettingsError: no label, or one called ``total``.
        DatasetError: not one of the scans could be scored.
    """
    named = check_labels(labels)
    cases: list[CalciumCase] = []
    failed: dict[str, str] = {}
    for scan in track(scans, "Scoring", total=len(scans)):
        try:
            cases.append(_score_scan(scan, named, rules))
        except GrcsfError as error:
            failed[scan.case] = str(error)
            _log.warning("not scored: %s", error)
    if not cases:
        reasons = "; ".join(list(failed.values())[:3])
        raise DatasetError(f"not one of {len(scans)} scans could be scored ({reasons})")
    return CalciumSummary(rules, named, tuple(cases), failed)


def check_labels(labels: Mapping[str, int]) -> dict[str, int]:
    """Labels without the background.

    Raises:
        SettingsError: none is left, two share a value, or one has the name of the row of all labels.
    """
    named = {name: int(value) for name, value in labels.items() if value != 0}
    if not named or len(set(named.values())) < len(named) or TOTAL in named:
        raise SettingsError(
            f"labels {dict(labels)}: expected one or more names with a value each, such as LAD=1, none called {TOTAL}"
        )
    return named


def _score_scan(scan: CalciumScan, labels: Mapping[str, int], rules: CalciumRules) -> CalciumCase:
    image = scan.image()
    mask = _load(scan.case, image, scan.mask, labels, "mask")
    scores = score_calcium(image.array, mask, image.geometry, labels, rules, case=scan.case)
    reference: Mapping[str, CalciumScore] = {}
    detection: Mapping[str, Detection] = {}
    if scan.reference is not None:
        truth = _load(scan.case, image, scan.reference, labels, "reference")
        reference = score_calcium(image.array, truth, image.geometry, labels, rules, case=scan.case)
        detection = detect_calcium(image.array, truth, mask, image.geometry, labels)
    return CalciumCase(scan.case, axial_slices(image.geometry, scan.case), scores, reference, detection)


def _load(case: str, image: Volume, path: Path, labels: Mapping[str, int], role: str) -> AnyArray:
    mask = read_volume(path)
    check_same_grid(image, mask, f"{case}: image and {role}", TOLERANCE_MM)
    return label_values(case, mask, {0, *labels.values()})
