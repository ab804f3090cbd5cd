"""Scores that are made on request: distances between surfaces, and sizes. Their names, values and means."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from grcsf.errors import SettingsError
from grcsf.evaluation.lesions import LesionScores
from grcsf.evaluation.metrics import CasePair
from grcsf.evaluation.overlap import WhenEmpty
from grcsf.evaluation.surface import WhenMissed, score_surface, surface_columns
from grcsf.evaluation.volumes import Agreement, score_volume, volume_columns

__all__ = ["ExtraGroup", "ExtraMean", "ExtraRules", "ExtraSummary", "extra_columns", "extra_means", "extra_scores"]

ExtraGroup = Literal["surface", "volume"]


@dataclass(frozen=True)
class ExtraRules:
    """Which further scores are made, and how.

    Attributes:
        groups: any of ``surface`` and ``volume``; none: no further score.
        tolerances_mm: of NSD.
        when_missed: distances of a case with exactly one empty mask.

    Raises:
        SettingsError: an unknown group or rule, or a tolerance that is not a number above 0.
    """

    groups: tuple[str, ...] = ()
    tolerances_mm: tuple[float, ...] = (1.0, 2.0)
    when_missed: WhenMissed = WhenMissed.DIAGONAL

    def __post_init__(self) -> None:
        known = get_args(ExtraGroup)
        wrong = [name for name in self.groups if name not in known]
        if wrong:
            raise SettingsError(f"metrics {', '.join(wrong)}: unknown; known: {', '.join(known)}")
        if not all(0 < tolerance < math.inf for tolerance in self.tolerances_mm):
            raise SettingsError(f"NSD tolerances {self.tolerances_mm} mm, expected numbers above 0")
        if len(set(surface_columns(self.tolerances_mm))) < len(surface_columns(self.tolerances_mm)):
            raise SettingsError(f"NSD tolerances {self.tolerances_mm} mm, expected each only once")
        if self.when_missed not in list(WhenMissed):
            raise SettingsError(f"when_missed {self.when_missed}; known: {', '.join(WhenMissed)}")


@dataclass(frozen=True)
class ExtraMean:
    """One further score over some cases: nothing that was left out or is infinite goes unsaid.

    Attributes:
        mean: over the values that are not nan; infinite if one is; nan if there is none.
        median: the same; one missed lesion hardly moves it.
        n: cases.
        n_used: values that are not nan.
        n_infinite: values that are infinite.
    """

    mean: float
    median: float
    n: int
    n_used: int
    n_infinite: int


@dataclass(frozen=True)
class ExtraSummary:
    """Further scores of one label.

    Attributes:
        all_cases: score -> its mean over all cases.
        lesion_cases: the same over cases whose reference is not empty.
        n_missed: lesion cases with an empty prediction.
        n_false: lesion-free cases with a prediction.
        n_both_empty: cases with both masks empty.
        agreement: of the sizes; none unless ``volume`` was asked for.
    """

    all_cases: Mapping[str, ExtraMean]
    lesion_cases: Mapping[str, ExtraMean]
    n_missed: int
    n_false: int
    n_both_empty: int
    agreement: Agreement | None


def extra_columns(rules: ExtraRules, spatial_dims: int) -> tuple[str, ...]:
    """Names of the scores that the rules ask for, in order."""
    surface = surface_columns(rules.tolerances_mm) if "surface" in rules.groups else ()
    return (*surface, *(volume_columns(spatial_dims) if "volume" in rules.groups else ()))


def extra_scores(
    masks: CasePair, rules: ExtraRules, when_empty: WhenEmpty, voxel_size: float, lesions: LesionScores
) -> dict[str, float]:
    """The scores of one case, by the names of :func:`extra_columns`.

    Args:
        masks: one label of one case.
        rules: what is asked for.
        when_empty: surface scores with both masks empty; sizes need no rule.
        voxel_size: ml or mm2.
        lesions: scores of the same masks lesion by lesion.
    """
    found: dict[str, float] = {}
    if "surface" in rules.groups:
        found |= score_surface(
            masks.reference,
            masks.prediction,
            masks.spacing_mm,
            tolerances_mm=rules.tolerances_mm,
            when_empty=when_empty,
            when_missed=rules.when_missed,
        )
    if "volume" in rules.groups:
        found |= score_volume(masks.reference, masks.prediction, masks.counts, voxel_size, lesions)
    return found


def extra_means(cases: Iterable[Mapping[str, float]], names: Sequence[str]) -> dict[str, ExtraMean]:
    """Means and medians of further scores over cases."""
    cases = list(cases)
    return {name: _mean([case[name] for case in cases]) for name in names}


def _mean(values: Sequence[float]) -> ExtraMean:
    every = np.array(values, dtype=np.float64)
    used = every[~np.isnan(every)]
    mean, median = (float(used.mean()), float(np.median(used))) if used.size else (math.nan, math.nan)
    return ExtraMean(mean, median, int(every.size), int(used.size), int(np.isinf(used).sum()))
