"""Score a folder of predicted masks against a folder of reference masks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from grcsf.errors import DatasetError
from grcsf.evaluation.case import CaseJob, CaseRules, score_cases
from grcsf.evaluation.extras import ExtraRules
from grcsf.evaluation.files import write_cases, write_summary
from grcsf.evaluation.lesion_files import write_lesions
from grcsf.evaluation.overlap import WhenEmpty
from grcsf.evaluation.pairs import find_images, find_masks, reference_masks
from grcsf.evaluation.presets import LesionPreset, resolve_preset
from grcsf.evaluation.summary import CaseScore, Summary, summarise
from grcsf.io.files import ensure_new, make_folder
from grcsf.io.map_names import case_of_map
from grcsf.io.progress import track
from grcsf.io.volume import ImageRef

__all__ = ["CASES_FILE", "LESIONS_FILE", "SUMMARY_FILE", "evaluate_folder"]

CASES_FILE, LESIONS_FILE, SUMMARY_FILE = "cases.csv", "lesions.csv", "summary.json"
Masks = Mapping[str, tuple[ImageRef, ...]]
_log = logging.getLogger("grcsf")


def evaluate_folder(
    reference: Path | Mapping[str, ImageRef],
    prediction: Path,
    out: Path | None,
    labels: Mapping[str, int],
    when_empty: WhenEmpty | str,
    *,
    cases: Sequence[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    spacing_mm: tuple[float, ...] | None = None,
    images: Path | Mapping[str, ImageRef] | None = None,
    preset: str | LesionPreset = "any-overlap",
    extra: ExtraRules | None = None,
    workers: int = 0,
) -> Summary:
    """Compare every reference mask with the prediction of the same stem.

    A case that cannot be scored (no prediction, another grid, values that are no label) does not stop the others; it
    is named with its reason in ``failed`` and counts in no mean. Predictions without a reference are ``unmatched``.

    Args:
        reference: folder of reference masks, any image ending; or the masks by case.
        prediction: folder of predicted masks; the ending may differ from the reference's.
        out: folder for ``cases.csv``, ``lesions.csv`` and ``summary.json``; none: nothing is written.
        labels: label name -> value; the background (0) is left out.
        when_empty: score of a case where both masks are empty; the words of the settings will do.
        cases: stems to score; none: all references.
        resume: scores that are there already are replaced (masks may have changed since; scoring is cheap).
        overwrite: as ``resume``.
        spacing_mm: pixel size of PNG files.
        images: folder of the images (``CASE_0000`` or ``CASE``), for the contrast of lesions; their first channel is
            used; or the images by case; none: no contrast.
        preset: rules of the lesion-wise scores, by name, file or :class:`~grcsf.evaluation.presets.LesionPreset`.
        extra: which further scores are made; none: none.
        workers: processes that score cases side by side; 0: this one only. A script that asks for some needs the
            usual ``if __name__ == "__main__"``.

    Raises:
        SettingsError: a preset that does not exist.
        DatasetError: a folder without masks, no label but the background, or not one case that could be scored.
        OutputError: scores in ``out`` already, with neither ``resume`` nor ``overwrite``.
    """
    policy, rules = WhenEmpty(when_empty), resolve_preset(preset)
    foreground = {name: value for name, value in labels.items() if value != 0}
    if not foreground:
        raise DatasetError(f"labels {dict(labels)}: expected at least one label besides the background (0)")
    if out is not None:
        ensure_new(out / SUMMARY_FILE, overwrite=overwrite, resume=resume)
    truth = reference_masks(reference)
    found = find_masks(prediction)
    names = sorted(truth) if cases is None else sorted(set(cases))
    grey = find_images(images, names) if isinstance(images, Path) else images or {}
    how = CaseRules(foreground, policy, rules, extra or ExtraRules(), spacing_mm)
    jobs = [CaseJob(name, truth.get(name, ()), found.get(name, ()), grey.get(name), how) for name in names]
    scores, failed, spatial_dims = _collect(jobs, workers)
    if not scores:
        reasons = "; ".join(list(failed.values())[:3])
        raise DatasetError(f"{prediction}: not one of {len(names)} cases could be scored ({reasons})")
    by_label = {
        name: summarise([score for score in scores if score.label == name], value, spatial_dims)
        for name, value in foreground.items()
    }
    unmatched = tuple(name for name in found if not _belongs(name, truth))
    summary = Summary(policy, spatial_dims, by_label, tuple(scores), failed, unmatched, rules, how.extra)
    if out is not None:
        make_folder(out)
        write_cases(out / CASES_FILE, summary)
        write_lesions(out / LESIONS_FILE, summary)
        write_summary(out / SUMMARY_FILE, summary)
    return summary


def _collect(jobs: Sequence[CaseJob], workers: int) -> tuple[list[CaseScore], dict[str, str], int]:
    """Scores of the cases that can be scored, reasons for the others, and the dimensions of the masks."""
    scores: list[CaseScore] = []
    failed: dict[str, str] = {}
    spatial_dims = 0
    for job, result in zip(jobs, track(score_cases(jobs, workers), "Scoring", total=len(jobs)), strict=True):
        message = result.error
        if not message and spatial_dims not in (0, result.spatial_dims):
            message = f"{job.case}: a {result.spatial_dims}-D mask among {spatial_dims}-D masks; score them apart"
        if message:
            failed[job.case] = message
            _log.warning("not scored: %s", message)
            continue
        spatial_dims = result.spatial_dims
        scores += result.scores
    return scores, failed, spatial_dims


def _belongs(name: str, references: Masks) -> bool:
    """Whether a prediction has a reference, or stands beside one that has (``CASE_prob``, ``CASE_residual-r50``)."""
    return name in references or case_of_map(name) in references
