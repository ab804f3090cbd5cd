"""From the lesions of single cases to the numbers of a data set: recall by size and contrast, false positives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grcsf.evaluation.lesions import LESION_SCORES, Lesion, LesionScores
from grcsf.evaluation.strata import CONTRAST_STRATA, contrast_stratum, size_strata, size_stratum

__all__ = ["FalseAlarms", "LesionSummary", "Stratum", "summarise_lesions"]


@dataclass(frozen=True)
class Stratum:
    """Reference lesions of one class: how many there are and how many were detected."""

    n: int
    n_detected: int

    @property
    def recall(self) -> float:
        """Share that was detected; nan if there is none."""
        return self.n_detected / self.n if self.n else math.nan


@dataclass(frozen=True)
class FalseAlarms:
    """False lesions in cases whose reference is empty: cases, cases with one, lesions, and their size together."""

    n_cases: int
    n_with_false: int
    n_false: int
    false_size: float


@dataclass(frozen=True)
class LesionSummary:
    """Lesion-wise numbers of one label over all cases; nan where there is nothing to divide by.

    Attributes:
        n_reference: lesions of all references.
        n_detected: those that were detected.
        n_prediction: lesions of all predictions.
        n_false: those without a match.
        missed_size: size of all missed lesions together, mm2 or ml.
        false_size: size of all false lesions together.
        recall: ``n_detected / n_reference``, every lesion the same weight.
        precision: share of the predicted lesions with a match.
        f1: ``2 tp / (2 tp + fp + fn)`` of the same counts, whatever ``f1_of`` says.
        mean: mean over cases of each lesion-wise score, nan left out (the preset says what an empty case scores).
        lesion_cases: the same over cases whose reference is not empty.
        by_size: class of size -> its lesions.
        by_contrast: class of contrast -> its lesions.
        lesion_free: false lesions where there was nothing to find.
    """

    n_reference: int
    n_detected: int
    n_prediction: int
    n_false: int
    missed_size: float
    false_size: float
    recall: float
    precision: float
    f1: float
    mean: Mapping[str, float]
    lesion_cases: Mapping[str, float]
    by_size: Mapping[str, Stratum]
    by_contrast: Mapping[str, Stratum]
    lesion_free: FalseAlarms


def summarise_lesions(
    lesion_cases: Sequence[LesionScores], lesion_free: Sequence[LesionScores], spatial_dims: int
) -> LesionSummary:
    """Numbers of one label from the lesion-wise scores of its cases.

    Args:
        lesion_cases: cases whose reference is not empty.
        lesion_free: cases whose reference is empty.
        spatial_dims: 2 or 3; decides the classes of size.
    """
    cases = [*lesion_cases, *lesion_free]
    truth = [lesion for case in cases for lesion in case.of("reference")]
    made = [lesion for case in cases for lesion in case.of("prediction")]
    tp, right = sum(lesion.detected for lesion in truth), sum(lesion.detected for lesion in made)
    fn, fp = len(truth) - tp, len(made) - right
    return LesionSummary(
        n_reference=len(truth),
        n_detected=tp,
        n_prediction=len(made),
        n_false=fp,
        missed_size=math.fsum(case.missed_size for case in cases),
        false_size=math.fsum(case.false_size for case in cases),
        recall=_share(tp, len(truth)),
        precision=_share(right, len(made)),
        f1=_share(2 * tp, 2 * tp + fp + fn),
        mean=_means(cases),
        lesion_cases=_means(lesion_cases),
        by_size=_strata(truth, size_strata(spatial_dims), lambda lesion: size_stratum(lesion.size, spatial_dims)),
        by_contrast=_strata(truth, CONTRAST_STRATA, lambda lesion: contrast_stratum(lesion.contrast)),
        lesion_free=FalseAlarms(
            n_cases=len(lesion_free),
            n_with_false=sum(case.n_false > 0 for case in lesion_free),
            n_false=sum(case.n_false for case in lesion_free),
            false_size=math.fsum(case.false_size for case in lesion_free),
        ),
    )


def _strata(lesions: Iterable[Lesion], names: Sequence[str], name_of: Callable[[Lesion], str]) -> dict[str, Stratum]:
    found: dict[str, list[bool]] = {name: [] for name in names}
    for lesion in lesions:
        found[name_of(lesion)].append(lesion.detected)
    return {name: Stratum(len(detected), sum(detected)) for name, detected in found.items()}


def _means(cases: Sequence[LesionScores]) -> dict[str, float]:
    means = {}
    for name, attribute in LESION_SCORES.items():
        values = np.array([getattr(case, attribute) for case in cases], dtype=np.float64)
        used = values[~np.isnan(values)]
        means[name] = float(used.mean()) if used.size else math.nan
    return means


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
