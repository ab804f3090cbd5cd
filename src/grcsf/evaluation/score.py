"""Score a folder of predicted masks against a folder of reference masks."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grcsf.errors import DatasetError, GrcsfError
from grcsf.evaluation.contrast import image_foreground
from grcsf.evaluation.files import write_cases, write_summary
from grcsf.evaluation.lesion_files import write_lesions
from grcsf.evaluation.lesions import score_lesions
from grcsf.evaluation.metrics import METRICS, CasePair
from grcsf.evaluation.overlap import WhenEmpty
from grcsf.evaluation.pairs import LoadedPair, find_images, find_masks, load_pair
from grcsf.evaluation.presets import LesionPreset, resolve_preset
from grcsf.evaluation.summary import CaseScore, Summary, summarise
from grcsf.io.files import ensure_new, make_folder
from grcsf.io.progress import track
from grcsf.io.volume import ImageRef, name_of

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
    truth: Masks = (
        find_masks(reference) if isinstance(reference, Path) else {name: (mask,) for name, mask in reference.items()}
    )
    found = find_masks(prediction)
    names = sorted(truth) if cases is None else sorted(set(cases))
    grey = find_images(images, names) if isinstance(images, Path) else images or {}
    how = _Rules(foreground, policy, rules, spacing_mm)
    scores, failed, spatial_dims = _score_all(names, (truth, found), grey, how)
    if not scores:
        reasons = "; ".join(list(failed.values())[:3])
        raise DatasetError(f"{prediction}: not one of {len(names)} cases could be scored ({reasons})")
    by_label = {
        name: summarise([score for score in scores if score.label == name], value, spatial_dims)
        for name, value in foreground.items()
    }
    unmatched = tuple(name for name in found if not _belongs(name, truth))
    summary = Summary(policy, spatial_dims, by_label, tuple(scores), failed, unmatched, rules)
    if out is not None:
        make_folder(out)
        write_cases(out / CASES_FILE, summary)
        write_lesions(out / LESIONS_FILE, summary)
        write_summary(out / SUMMARY_FILE, summary)
    return summary


@dataclass(frozen=True)
class _Rules:
    """How every case is scored: label values, policy for empty masks, lesion-wise rules, pixel size of PNG files."""

    labels: Mapping[str, int]
    when_empty: WhenEmpty
    preset: LesionPreset
    spacing_mm: tuple[float, ...] | None


def _score_all(
    names: Sequence[str], masks: tuple[Masks, Masks], images: Mapping[str, ImageRef], rules: _Rules
) -> tuple[list[CaseScore], dict[str, str], int]:
    """Scores of the cases that can be scored, reasons for the others, and the dimensions of the masks."""
    scores: list[CaseScore] = []
    failed: dict[str, str] = {}
    spatial_dims = 0
    for case in track(names, "Scoring"):
        try:
            files = _one(case, masks[0], "reference"), _one(case, masks[1], "prediction")
            pair = load_pair(case, *files, rules.labels, rules.spacing_mm, image=images.get(case))
            spatial_dims = _same_dims(case, spatial_dims, pair.reference.ndim)
        except GrcsfError as error:
            failed[case] = str(error)
            _log.warning("not scored: %s", error)
            continue
        scores += _score(case, pair, rules, (name_of(files[0]), name_of(files[1])))
    return scores, failed, spatial_dims


def _one(case: str, masks: Masks, role: str) -> ImageRef:
    files = masks.get(case, ())
    if not files:
        raise DatasetError(f"{case}: no {role} mask; expected a file {case}.nii.gz (or another image ending)")
    if len(files) > 1:
        names = ", ".join(name_of(mask) for mask in files)
        raise DatasetError(f"{case}: {len(files)} {role} masks ({names}), expected one; remove the others")
    return files[0]


def _same_dims(case: str, before: int, now: int) -> int:
    if before not in (0, now):
        raise DatasetError(f"{case}: a {now}-D mask among {before}-D masks; score them apart")
    return now


def _score(case: str, pair: LoadedPair, rules: _Rules, files: tuple[str, str]) -> list[CaseScore]:
    voxel_mm = math.prod(pair.spacing_mm)
    size = voxel_mm / 1000.0 if pair.reference.ndim == 3 else voxel_mm  # 1 ml = 1000 mm3
    rows = []
    inside = image_foreground(pair.image, pair.spacing_mm) if pair.image is not None else None
    for name, value in rules.labels.items():
        masks = CasePair(pair.reference == value, pair.prediction == value, pair.spacing_mm)
        values = {metric: function(masks, rules.when_empty) for metric, function in METRICS.items()}
        sizes = masks.counts.n_reference * size, masks.counts.n_prediction * size
        lesions = score_lesions(
            masks.reference, masks.prediction, pair.spacing_mm, rules.preset, image=pair.image, foreground=inside
        )
        rows.append(CaseScore(case, name, masks.counts, *sizes, values, files, lesions))
    return rows


def _belongs(name: str, references: Masks) -> bool:
    """Whether a prediction has a reference, or stands beside one that has (``CASE_prob``, ``CASE_residual-r50``)."""
    return name in references or any(name.startswith(f"{case}_") for case in references)
