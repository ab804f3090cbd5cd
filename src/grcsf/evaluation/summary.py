"""From the scores of single cases to the numbers of a table: means, lesion cases, lesion-free cases, sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from grcsf.evaluation.extras import ExtraRules, ExtraSummary, extra_means
from grcsf.evaluation.html import summary_html
from grcsf.evaluation.lesion_summary import LesionSummary, summarise_lesions
from grcsf.evaluation.lesions import LesionScores
from grcsf.evaluation.metrics import METRICS
from grcsf.evaluation.overlap import Confusion, WhenEmpty, dice
from grcsf.evaluation.presets import LesionPreset
from grcsf.evaluation.strata import SIZE_LIMITS, size_strata, size_stratum
from grcsf.evaluation.volumes import agreement

__all__ = ["SIZE_LIMITS", "CaseScore", "LabelSummary", "MeanScores", "Summary", "summarise"]


@dataclass(frozen=True)
class CaseScore:
    """Scores of one label in one case.

    Attributes:
        case: name of the case.
        label: name of the label.
        counts: voxels agreed on or not.
        reference_size: lesion of the reference, ml (3-D) or mm2 (2-D).
        prediction_size: lesion of the prediction, same unit.
        scores: metric name -> value; nan where ``when_empty`` leaves the case out.
        files: names of the reference and the prediction file.
        lesions: scores lesion by lesion; none: not made.
        extras: scores made on request (:mod:`grcsf.evaluation.extras`): name -> value.
    """

    case: str
    label: str
    counts: Confusion
    reference_size: float
    prediction_size: float
    scores: Mapping[str, float]
    files: tuple[str, str]
    lesions: LesionScores | None = None
    extras: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_lesion(self) -> bool:
        """Whether the reference is not empty."""
        return self.counts.n_reference > 0


@dataclass(frozen=True)
class MeanScores:
    """Means over some cases: ``n`` cases belong here, the mean of each metric leaves out its nan."""

    n: int
    n_used: int
    mean: Mapping[str, float]


@dataclass(frozen=True)
class LabelSummary:
    """All numbers of one label.

    Attributes:
        value: value of the label in the masks.
        all_cases: means under the policy for empty masks.
        lesion_cases: means over cases whose reference is not empty; no policy touches them.
        n_lesion_free: cases whose reference is empty.
        n_false_alarms: lesion-free cases with at least one predicted voxel.
        global_dice: Dice of the voxels of all cases added up (large lesions weigh more); nan if there are none.
        by_size: size of the reference lesion (total of the case) -> means over lesion cases of that size.
        lesions: numbers by lesion; none if the cases were not scored so.
        extra: scores made on request; none if there are none.
    """

    value: int
    all_cases: MeanScores
    lesion_cases: MeanScores
    n_lesion_free: int
    n_false_alarms: int
    global_dice: float
    by_size: Mapping[str, MeanScores]
    lesions: LesionSummary | None = None
    extra: ExtraSummary | None = None


@dataclass(frozen=True)
class Summary:
    """Scores of a folder of predictions.

    Attributes:
        when_empty: policy for cases where both masks are empty.
        spatial_dims: 2 (sizes in mm2) or 3 (sizes in ml).
        labels: label name -> its numbers.
        cases: scores per case and label, in order of the case names.
        failed: case name -> why it could not be scored.
        unmatched: predictions without a reference, which no number counts.
        preset: rules of the lesion-wise scores; none: not made.
        extra_rules: which scores were made on request.
    """

    when_empty: WhenEmpty
    spatial_dims: int
    labels: Mapping[str, LabelSummary]
    cases: tuple[CaseScore, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()
    preset: LesionPreset | None = None
    extra_rules: ExtraRules = field(default_factory=ExtraRules)

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        return summary_html(self)

    @property
    def n_cases(self) -> int:
        """Cases that were scored."""
        return len({score.case for score in self.cases})

    @property
    def n_with_lesion(self) -> int:
        """Scored cases with any label in the reference."""
        return len({score.case for score in self.cases if score.has_lesion})

    @property
    def n_lesion_free(self) -> int:
        """Scored cases with no label in the reference."""
        return self.n_cases - self.n_with_lesion

    @property
    def size_unit(self) -> str:
        """Unit of lesion sizes, ``ml`` or ``mm2``."""
        return SIZE_LIMITS[self.spatial_dims][0]


def summarise(cases: Sequence[CaseScore], value: int, spatial_dims: int) -> LabelSummary:
    """Numbers of one label from the scores of its cases.

    Args:
        cases: scores of one label, one per case.
        value: value of the label.
        spatial_dims: 2 or 3; decides the size classes.
    """
    lesion = [score for score in cases if score.has_lesion]
    healthy = [score for score in cases if not score.has_lesion]
    counts = sum((score.counts for score in cases), Confusion(0, 0, 0, 0))
    return LabelSummary(
        value=value,
        all_cases=_mean(cases),
        lesion_cases=_mean(lesion),
        n_lesion_free=len(healthy),
        n_false_alarms=sum(score.counts.n_prediction > 0 for score in healthy),
        global_dice=dice(counts, when_empty=WhenEmpty.SKIP),
        by_size=_by_size(lesion, spatial_dims),
        lesions=_lesions(lesion, healthy, spatial_dims),
        extra=_extra(cases),
    )


def _by_size(lesion: Sequence[CaseScore], spatial_dims: int) -> dict[str, MeanScores]:
    classes = [(score, size_stratum(score.reference_size, spatial_dims)) for score in lesion]
    return {name: _mean(score for score, found in classes if found == name) for name in size_strata(spatial_dims)}


def _lesions(lesion: Sequence[CaseScore], healthy: Sequence[CaseScore], spatial_dims: int) -> LesionSummary | None:
    found = [[score.lesions for score in part if score.lesions is not None] for part in (lesion, healthy)]
    if not any(found):
        return None
    return summarise_lesions(found[0], found[1], spatial_dims)


def _extra(cases: Sequence[CaseScore]) -> ExtraSummary | None:
    names = tuple(cases[0].extras) if cases else ()
    if not names:
        return None
    lesion = [score for score in cases if score.has_lesion]
    found = [score.counts.n_prediction > 0 for score in cases]
    sizes = [[score.reference_size for score in cases], [score.prediction_size for score in cases]]
    return ExtraSummary(
        all_cases=extra_means((score.extras for score in cases), names),
        lesion_cases=extra_means((score.extras for score in lesion), names),
        n_missed=sum(score.has_lesion and not made for score, made in zip(cases, found, strict=True)),
        n_false=sum(made and not score.has_lesion for score, made in zip(cases, found, strict=True)),
        n_both_empty=sum(not (made or score.has_lesion) for score, made in zip(cases, found, strict=True)),
        agreement=agreement(*sizes) if "specificity" in names else None,
    )


def _mean(scores: Iterable[CaseScore]) -> MeanScores:
    scores = list(scores)
    values = {name: np.array([score.scores[name] for score in scores], dtype=np.float64) for name in METRICS}
    used = {name: found[~np.isnan(found)] for name, found in values.items()}
    means = {name: float(found.mean()) if found.size else math.nan for name, found in used.items()}
    return MeanScores(n=len(scores), n_used=used["dice"].size, mean=means)
