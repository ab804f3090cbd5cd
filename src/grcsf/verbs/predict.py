"""``grcsf predict``: lesion masks on the scanner's grid."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grcsf.config import InferenceSettings, load_settings
from grcsf.datasets.dataset import Case
from grcsf.datasets.header import read_header
from grcsf.datasets.inputs import find_inputs
from grcsf.errors import DatasetError
from grcsf.fitting.fit import check_device, torch_device
from grcsf.fitting.weights import WEIGHTS
from grcsf.inference.predict import Predictor, case_files, case_outputs, predict_cases
from grcsf.io.dicom.files import is_dicom_input
from grcsf.io.files import ensure_new, hash_file, make_folder, to_plain
from grcsf.io.map_names import clashing_case
from grcsf.io.record import RECORD_FILE, RunRecord
from grcsf.training.package import load_model
from grcsf.verbs.common import clear_partial, model_folders
from grcsf.verbs.predict_dicom import DicomJob, DicomOptions, MapOptions, chosen_ending, predict_dicom
from grcsf.verbs.predict_outputs import Outputs

__all__ = ["DicomOptions", "inference_settings", "predict", "refuse_map_names"]

_log = logging.getLogger("grcsf")


def predict(
    images: str | Path | Sequence[Case],
    model: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    folds: Sequence[int] = (),
    settings: InferenceSettings | None = None,
    device: str = "auto",
    spacing_mm: tuple[float, ...] | None = None,
    save_probabilities: bool = False,
    save_residuals: bool = False,
    explain: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    output_format: str | None = None,
    dicom: DicomOptions | None = None,
) -> dict[str, str]:
    """Predict an image, a folder of images, a DICOM study, or cases of a data set.

    Args:
        images: a file, a folder (``CASE_0000.nii.gz`` ...), a DICOM file, folder or zip, or cases.
        model: a model folder, several (averaged), or a run folder whose folds are averaged.
        output: folder of the masks.
        folds: of a run folder: which; none: all.
        settings: inference settings; none: those of the (first) model.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        spacing_mm: pixel spacing of PNG images; none: that of a ``dataset.json`` in or beside their folder, else 1 mm.
        save_probabilities: write ``CASE_prob`` maps.
        save_residuals: write ``CASE_residual-r50`` ... maps.
        explain: write maps that say why (``CASE_importance-1``, ``CASE_gcu-gain-0``, residual maps ...) and
            ``CASE_explain.json``; see docs/how-to/explain.md.
        resume: keep the masks that are there.
        overwrite: replace the masks that are there.
        output_format: ``nifti``, ``nrrd``, ``mha`` or ``dicom-seg``; none: that of the images, and for DICOM NIfTI and
            a DICOM segmentation.
        dicom: which series and how; for DICOM only.

    Returns:
        Message of each case that failed; the others were written.

    Raises:
        OutputError: masks of other models, settings or images in ``output``.
        SettingsError: an unknown format, ``dicom-seg`` or ``dicom`` without DICOM images.
    """
    from_dicom = isinstance(images, str | Path) and is_dicom_input(Path(images))
    ending = chosen_ending(output_format, from_dicom, dicom)
    folders = _folders(model, folds)
    check_device(device)
    out = Path(output)
    ensure_new(out, overwrite, resume)
    models = [load_model(folder) for folder in folders]
    chosen = settings or models[0].settings.inference
    predictor = Predictor(models, chosen, torch_device(device), explain=explain)
    claim = _claim(folders, chosen)
    if isinstance(images, str | Path) and from_dicom:
        job = DicomJob(Path(images), predictor, out, claim, [folder / WEIGHTS for folder in folders])
        how = MapOptions(output_format, save_probabilities, save_residuals, resume)
        return predict_dicom(job, dicom or DicomOptions(), how)
    cases, spacing_mm = _inputs(images, predictor, spacing_mm)
    files = _outputs(out, cases, ending, explain)
    if resume and (out / RECORD_FILE).is_file() and files.are_done(claim):
        return {}
    clear_partial(make_folder(out))
    hashes = files.claim(claim, resume)
    dumped = {"inference": chosen.model_dump(mode="json")}
    notes: dict[str, list[str]] = {}
    weights = [folder / WEIGHTS for folder in folders]
    hashes |= zip(weights, claim["models"], strict=True)
    inputs, device = [*weights, *_image_files(cases)], predictor.device
    with RunRecord(out, verb="predict", settings=dumped, inputs=inputs, hashes=hashes, device=device) as record:
        failed = predict_cases(
            predictor,
            cases,
            out,
            spacing_mm=spacing_mm,
            save_probabilities=save_probabilities,
            save_residuals=save_residuals,
            resume=resume,
            ending=ending,
            notes=notes,
        )
        record.add("cases", len(cases))
        record.add("notes", notes)
        record.add_messages("failed", failed)
        if explain:
            record.add("explain", predictor.unit_facts())
    return failed


def _inputs(
    images: str | Path | Sequence[Case], predictor: Predictor, spacing_mm: tuple[float, ...] | None
) -> tuple[tuple[Case, ...], tuple[float, ...] | None]:
    """The cases, with names that can be told apart from those of maps, and the pixel spacing of PNG images."""
    if isinstance(images, str | Path):
        cases = find_inputs(Path(images), predictor.channels)
        spacing_mm = spacing_mm or _png_spacing(Path(images), cases, predictor)
    else:
        cases = tuple(images)
    refuse_map_names(cases)
    return cases, spacing_mm


def _png_spacing(images: Path, cases: Sequence[Case], predictor: Predictor) -> tuple[float, ...] | None:
    """What ``dataset.json`` says of PNG images; none, with a warning where it matters, if nothing does."""
    if not any(path.name.lower().endswith(".png") for path in _image_files(cases)):
        return None
    folder = images if images.is_dir() else images.parent
    for place in (folder, folder.parent):
        if (place / "dataset.json").is_file() and (found := read_header(place)[0].spacing_mm):
            return found
    wanted = predictor.models[0].plan.spacing_mm[1:]
    if wanted not in ((None, None), (1.0, 1.0)):
        _log.warning(
            "PNG images carry no pixel spacing, so theirs is taken for 1 mm, and the model works at %s mm; "
            "--spacing-mm or a dataset.json with spacing_mm beside them says what it is",
            " x ".join(f"{step:g}" for step in wanted if step is not None),
        )
    return None


def _claim(folders: Sequence[Path], settings: InferenceSettings) -> dict[str, Any]:
    """Which models and settings make the masks."""
    models = [hash_file(folder / WEIGHTS) for folder in folders]
    return {"models": models, "inference": to_plain(settings.model_dump(exclude_none=True))}


def inference_settings(
    model: str | Path | Sequence[str | Path], folds: Sequence[int], config: Path | None, overrides: Sequence[str]
) -> InferenceSettings | None:
    """Inference settings of the (first) model, changed by a YAML file and ``a.b=value`` pairs; none if there are none.

    Raises:
        ModelError: no model there.
        SettingsError: an unknown key or a value that does not fit.
    """
    if config is None and not overrides:
        return None
    return load_settings(config, overrides, base=load_model(_folders(model, folds)[0]).settings).inference


def _folders(model: str | Path | Sequence[str | Path], folds: Sequence[int]) -> list[Path]:
    given = [model] if isinstance(model, str | Path) else list(model)
    return model_folders([Path(path) for path in given], folds)


def _image_files(cases: Sequence[Case]) -> list[Path]:
    return list(dict.fromkeys(path for case in cases for path in case.image_files))


def refuse_map_names(cases: Sequence[Case]) -> None:
    """Refuse cases of which one is called like a map of another (``A`` and ``A_prob``): both would be one file.

    Raises:
        DatasetError: naming the two.
    """
    clash = clashing_case(case.name for case in cases)
    if clash:
        raise DatasetError(f"case {clash[0]} is called like a map of case {clash[1]}; rename it, or predict it apart")


def _outputs(out: Path, cases: Sequence[Case], ending: str | None, explain: bool) -> Outputs:
    return Outputs(
        out,
        {case.name: case_outputs(case, out, ending, explain=explain) for case in cases},
        lambda: [path for case in cases for path in case_files(case, out, ending)],
        {case.name: case.image_files for case in cases},
    )
