"""Prediction from DICOM: which series, under which name, and back as volumes and DICOM segmentations.

Nothing written here but the segmentation holds a name, a date, an identifier or free text of the source: cases have
hashed names or the user's, and messages name the case, not the folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grcsf.errors import GrcsfError, SettingsError
from grcsf.inference.predict import MEMORY_ADVICE, Prediction, Predictor, explain_numbers, tell_notes
from grcsf.io.dicom.segmentation import SegmentationText, write_probability_seg, write_seg
from grcsf.io.dicom.series import Part, choose_parts
from grcsf.io.dicom.study import DicomImage, DicomStudy, open_study, read_part
from grcsf.io.dicom.terms import load_terms
from grcsf.io.files import make_folder, write_json
from grcsf.io.geometry import Volume, check_same_grid
from grcsf.io.map_names import EXPLAIN_FILE, files_beside
from grcsf.io.memory import enough_memory
from grcsf.io.private_names import case_salt, check_case_name, private_name
from grcsf.io.progress import track
from grcsf.io.record import RECORD_FILE, RunRecord
from grcsf.io.volume import write_volume
from grcsf.verbs.common import clear_partial
from grcsf.verbs.predict_outputs import Outputs

__all__ = ["FORMATS", "DicomJob", "DicomOptions", "MapOptions", "chosen_ending", "predict_dicom"]

logger = logging.getLogger("grcsf")

FORMATS = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "dicom-seg": None}
"""``--output-format`` -> ending of masks; none where only a DICOM segmentation is written."""


@dataclass(frozen=True)
class DicomOptions:
    """What is asked of a DICOM input.

    Attributes:
        series: which series, one per channel; see ``grcsf.io.dicom.series.choose_parts``. Empty: the only one.
        case: name of the case; none: a hash that a key of this user salts.
        allow_resample: put tilted, uneven or gapped slices onto an even grid.
        terms: file of coded terms for labels.
    """

    series: Sequence[str] = ()
    case: str | None = None
    allow_resample: bool = False
    terms: Path | None = None


@dataclass(frozen=True)
class MapOptions:
    """What is written: format, probability maps, residual maps; and whether to go on with what is there."""

    output_format: str | None
    probabilities: bool
    residuals: bool
    resume: bool


@dataclass(frozen=True)
class DicomJob:
    """The input, what predicts it, where to, the note of models and settings, and the files of the weights."""

    path: Path
    predictor: Predictor
    out: Path
    claim: dict[str, Any]
    weights: Sequence[Path]


def chosen_ending(output_format: str | None, from_dicom: bool, dicom: DicomOptions | None) -> str | None:
    """Ending of masks for ``--output-format``; none where none was asked for.

    Raises:
        SettingsError: an unknown format, or one or flags that need a DICOM input.
    """
    if output_format is not None and output_format not in FORMATS:
        raise SettingsError(f"--output-format {output_format}: expected one of {', '.join(FORMATS)}")
    if not from_dicom and output_format == "dicom-seg":
        raise SettingsError("--output-format dicom-seg: a DICOM segmentation refers to DICOM images; give those as -i")
    if not from_dicom and dicom is not None and dicom != DicomOptions():
        raise SettingsError("--series, --case, --allow-resample and --segment-terms are for DICOM images; -i is none")
    return FORMATS[output_format] if output_format else None


def predict_dicom(job: DicomJob, options: DicomOptions, how: MapOptions) -> dict[str, str]:
    """Predict the series of a DICOM file, folder or zip.

    Args:
        job: what to predict with what.
        options: which series, and how.
        how: what to write.

    Returns:
        Message of each case that failed.

    Raises:
        ImageError: no such series, or input that is refused.
        SettingsError: a case name that is none, or terms that cannot be read.
        OutputError: masks of other models, series or settings in the output folder.
    """
    terms = load_terms(options.terms)
    labels = job.predictor.models[0].plan.labels
    with open_study(job.path) as study:
        chosen = choose_parts(study.parts, options.series, job.predictor.channels, job.path)
        cases = dict(zip(_names(chosen, options.case), chosen, strict=True))
        claim = {
            **job.claim,
            "cases": _identities(chosen),
            "allow_resample": options.allow_resample,
            "terms": repr([(name, terms[name]) for name in sorted(terms)]) if options.terms else None,
        }
        done = {name: [path for path, _ in _targets(name, job.out, how)] for name in cases}
        if job.predictor.explain:
            done = {name: [*paths, _numbers_path(name, job.out)] for name, paths in done.items()}
        files = Outputs(job.out, done, lambda: [path for name in cases for path in _present(name, job.out)], {})
        if how.resume and (job.out / RECORD_FILE).is_file() and files.are_done(claim):
            return {}
        clear_partial(make_folder(job.out))
        files.claim(claim, how.resume)
        text = SegmentationText(labels, terms, "".join(job.claim["models"]))
        settings = {"inference": job.claim["inference"], "allow_resample": options.allow_resample}
        with RunRecord(
            job.out, verb="predict", settings=settings, inputs=job.weights, device=job.predictor.device
        ) as record:
            failed, read = {}, {}
            notes: dict[str, list[str]] = {}
            todo = files.missing() if how.resume else list(cases)
            for name in track(todo, "predict", total=len(todo)):
                try:
                    with enough_memory(MEMORY_ADVICE):
                        read[name] = _predict_case(
                            name,
                            cases[name],
                            study,
                            job,
                            how,
                            text=text,
                            allow_resample=options.allow_resample,
                            notes=notes,
                        )
                except GrcsfError as error:
                    failed[name] = _private(error, job.path, name)
                    logger.error("%s: %s", name, failed[name])
            record.add("cases", len(cases))
            record.add("notes", notes)
            record.add_messages("failed", failed)
            if job.predictor.explain:
                record.add("explain", job.predictor.unit_facts())
            record.add("dicom", {"series": read, "other_objects": study.skipped, "other_files": study.files.others})
    return failed


def _predict_case(
    name: str,
    parts: Sequence[Part],
    study: DicomStudy,
    job: DicomJob,
    how: MapOptions,
    *,
    text: SegmentationText,
    allow_resample: bool,
    notes: dict[str, list[str]],
) -> list[dict[str, Any]]:
    images = [read_part(study, part, allow_resample=allow_resample) for part in parts]
    volumes = [Volume(image.volume.array, image.volume.geometry, Path(name)) for image in images]
    for part, volume in zip(parts[1:], volumes[1:], strict=True):
        check_same_grid(volumes[0], volume, f"{name}: series {parts[0].token} and {part.token}")
    found = job.predictor.predict(volumes)
    tell_notes(found, name, notes)
    for path, value in _maps(name, found, job.out, how).items():
        write_volume(value, volumes[0].geometry, path)
    if how.probabilities and how.output_format in (None, "dicom-seg"):
        write_probability_seg(found.probabilities, images[0], study, text, job.out / f"{name}_prob_seg.dcm")
    if found.explanation is not None:
        write_json(_numbers_path(name, job.out), explain_numbers(found, name))
    for path, write in _targets(name, job.out, how):
        if not (how.resume and path.is_file()):
            write(found, images[0], study, text, path)
    for image in images:
        if image.grid is not None:
            logger.warning("%s: resampled to an even grid: %s", name, image.part.stack.fault_text())
    return [image.record() for image in images]


_Writer = Callable[[Prediction, DicomImage, DicomStudy, SegmentationText, Path], None]


def _targets(name: str, out: Path, how: MapOptions) -> list[tuple[Path, _Writer]]:
    """The masks of a case and how each is written."""
    ending = FORMATS[how.output_format or "nifti"]
    targets: list[tuple[Path, _Writer]] = []
    if how.output_format in (None, "dicom-seg"):
        targets.append((out / f"{name}_seg.dcm", _seg))
    if ending is not None:
        targets.append((out / f"{name}{ending}", _volume))
    return targets


def _seg(found: Prediction, image: DicomImage, study: DicomStudy, text: SegmentationText, path: Path) -> None:
    write_seg(found.mask, image, study, text, path)


def _volume(found: Prediction, image: DicomImage, _study: DicomStudy, _text: SegmentationText, path: Path) -> None:
    write_volume(found.mask, image.volume.geometry, path)


def _maps(name: str, found: Prediction, out: Path, how: MapOptions) -> dict[Path, Any]:
    """Volumes beside the mask; residual maps are NIfTI where masks are segmentations only."""
    ending = FORMATS[how.output_format or "nifti"]
    maps: dict[Path, Any] = {}
    if how.residuals or found.explanation is not None:
        maps |= {out / f"{name}_residual-{key}{ending or '.nii.gz'}": value for key, value in found.residuals.items()}
    if found.explanation is not None:
        maps |= {out / f"{name}_{kind}{ending or '.nii.gz'}": value for kind, value in found.explanation.maps.items()}
    if how.probabilities and ending is not None:
        maps[out / f"{name}_prob{ending}"] = found.probabilities.max(axis=0)
    return {path: value.astype(np.float32) for path, value in maps.items()}


def _present(name: str, out: Path) -> list[Path]:
    masks = [out / f"{name}{ending}" for ending in FORMATS.values() if ending]
    segmentations = [out / f"{name}_seg.dcm", out / f"{name}_prob_seg.dcm"]
    return [*(path for path in (*masks, *segmentations) if path.is_file()), *files_beside(out, name)]


def _numbers_path(name: str, out: Path) -> Path:
    return out / f"{name}_{EXPLAIN_FILE}"


def _names(chosen: Sequence[Sequence[Part]], case: str | None) -> list[str]:
    if case is not None:
        if len(chosen) > 1:
            raise SettingsError(f"--case names one case, but {len(chosen)} series are chosen; leave it out")
        return [check_case_name(case)]
    return _identities(chosen)


def _identities(chosen: Sequence[Sequence[Part]]) -> list[str]:
    """Hashes of study, series and part; the same series has the same one as long as the user's salt is the same."""
    salt = case_salt()
    return [private_name(*(text for part in parts for text in _identity(part)), salt=salt) for parts in chosen]


def _identity(part: Part) -> tuple[str, ...]:
    return part.study_uid, part.series_uid, part.token


def _private(error: GrcsfError, root: Path, name: str) -> str:
    """A message without the path of the input, which may name the patient."""
    return str(error).replace(f"{root}: ", "").replace(str(root), name)
