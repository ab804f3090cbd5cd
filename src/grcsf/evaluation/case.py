"""One case from its files to its scores, in this process or in others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

from grcsf.errors import DatasetError, GrcsfError
from grcsf.evaluation.contrast import image_foreground
from grcsf.evaluation.extras import ExtraRules, extra_scores
from grcsf.evaluation.lesions import score_lesions
from grcsf.evaluation.metrics import METRICS, CasePair
from grcsf.evaluation.overlap import WhenEmpty
from grcsf.evaluation.pairs import LoadedPair, load_pair
from grcsf.evaluation.presets import LesionPreset
from grcsf.evaluation.summary import CaseScore
from grcsf.io.volume import ImageRef, name_of

__all__ = ["CaseJob", "CaseResult", "CaseRules", "score_case", "score_cases"]


@dataclass(frozen=True)
class CaseRules:
    """How every case is scored: label values, empty masks, lesion-wise and further scores, pixel size of PNG files."""

    labels: Mapping[str, int]
    when_empty: WhenEmpty
    preset: LesionPreset
    extra: ExtraRules
    spacing_mm: tuple[float, ...] | None


@dataclass(frozen=True)
class CaseJob:
    """Files of a case (one reference and one prediction are expected) and the rules to score it by."""

    case: str
    reference: tuple[ImageRef, ...]
    prediction: tuple[ImageRef, ...]
    image: ImageRef | None
    rules: CaseRules


@dataclass(frozen=True)
class CaseResult:
    """Scores of the labels of a case, or why there are none."""

    scores: tuple[CaseScore, ...] = ()
    spatial_dims: int = 0
    error: str = ""


def score_cases(jobs: Sequence[CaseJob], workers: int = 0) -> Iterator[CaseResult]:
    """Results in the order of the jobs, which do not depend on the number of processes.

    Args:
        jobs: what to score.
        workers: processes; 0: this one only.

    Raises:
        DatasetError: a process that was ended from outside.
    """
    if workers < 1 or len(jobs) < 2:
        yield from map(score_case, jobs)
        return
    # spawned processes behave the same on every system, and inherit no threads that a fork would leave locked
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(score_case, job) for job in jobs]
        try:
            for job, future in zip(jobs, futures, strict=True):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    raise DatasetError(
                        f"{job.case}: a process that scored it or a later case ended without a word, which is mostly "
                        "too little memory; use fewer --workers, 0 for none"
                    ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def score_case(job: CaseJob) -> CaseResult:
    """Read and score one case; what is the user's to mend comes back as ``error``."""
    try:
        files = _one(job.case, job.reference, "reference"), _one(job.case, job.prediction, "prediction")
        pair = load_pair(job.case, *files, job.rules.labels, job.rules.spacing_mm, image=job.image)
    except GrcsfError as error:
        return CaseResult(error=str(error))
    scores = _score(job.case, pair, job.rules, (name_of(files[0]), name_of(files[1])))
    return CaseResult(tuple(scores), pair.reference.ndim)


def _one(case: str, files: tuple[ImageRef, ...], role: str) -> ImageRef:
    if not files:
        raise DatasetError(f"{case}: no {role} mask; expected a file {case}.nii.gz (or another image ending)")
    if len(files) > 1:
        names = ", ".join(name_of(mask) for mask in files)
        raise DatasetError(f"{case}: {len(files)} {role} masks ({names}), expected one; remove the others")
    return files[0]


def _score(case: str, pair: LoadedPair, rules: CaseRules, files: tuple[str, str]) -> list[CaseScore]:
    voxel_mm = math.prod(pair.spacing_mm)
    size = voxel_mm / 1000.0 if pair.reference.ndim == 3 else voxel_mm  # 1 ml = 1000 mm3
    rows = []
    inside = image_foreground(pair.image, pair.spacing_mm) if pair.image is not None else None
    for name, value in rules.labels.items():
        masks = CasePair(pair.reference == value, pair.prediction == value, pair.spacing_mm)
        values = {metric: function(masks, rules.when_empty) for metric, function in METRICS.items()}
        sizes = masks.counts.n_reference * size, masks.counts.n_prediction * size
        lesions = score_lesions(
            masks.reference,
            masks.prediction,
            pair.spacing_mm,
            rules.preset,
            image=pair.image,
            foreground=inside,
            every_label=(pair.reference > 0, pair.prediction > 0),
        )
        extras = extra_scores(masks, rules.extra, rules.when_empty, size, lesions)
        rows.append(CaseScore(case, name, masks.counts, *sizes, values, files, lesions, extras))
    return rows
