"""``grcsf predict``: lesion masks on the scanner's grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from grcsf.config import InferenceSettings
from grcsf.datasets.dataset import Case
from grcsf.datasets.inputs import find_inputs
from grcsf.errors import OutputError
from grcsf.fitting.fit import torch_device
from grcsf.inference.predict import Predictor, predict_cases
from grcsf.io.files import ensure_new, hash_file, make_folder, read_json, write_json
from grcsf.io.record import RunRecord
from grcsf.training.package import load_model
from grcsf.verbs.common import model_folders

__all__ = ["predict"]


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
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, str]:
    """Predict an image, a folder of images, or cases of a data set.

    Args:
        images: a file, a folder (``CASE_0000.nii.gz`` ...), or cases.
        model: a model folder, several (averaged), or a run folder whose folds are averaged.
        output: folder of the masks.
        folds: of a run folder: which; none: all.
        settings: inference settings; none: those of the (first) model.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
        spacing_mm: pixel spacing of PNG images.
        save_probabilities: write ``CASE_prob`` maps.
        save_residuals: write ``CASE_residual-r50`` ... maps.
        resume: keep the masks that are there.
        overwrite: replace the masks that are there.

    Returns:
        Message of each case that failed; the others were written.

    Raises:
        OutputError: masks of other models or settings in ``output``.
    """
    given = [model] if isinstance(model, str | Path) else list(model)
    folders = model_folders([Path(path) for path in given], folds)
    out = Path(output)
    ensure_new(out, overwrite, resume)
    models = [load_model(folder) for folder in folders]
    chosen = settings or models[0].settings.inference
    predictor = Predictor(models, chosen, torch_device(device))
    cases = find_inputs(Path(images), predictor.channels) if isinstance(images, str | Path) else tuple(images)
    make_folder(out)
    _claim(out, folders, chosen, resume)
    dumped = {"inference": chosen.model_dump(mode="json")}
    inputs = [*(folder / "model.safetensors" for folder in folders), *(path for case in cases for path in case.images)]
    with RunRecord(out, verb="predict", settings=dumped, inputs=inputs, device=predictor.device) as record:
        failed = predict_cases(
            predictor,
            cases,
            out,
            spacing_mm=spacing_mm,
            save_probabilities=save_probabilities,
            save_residuals=save_residuals,
            resume=resume,
        )
        record.add("cases", len(cases))
        record.add("failed", failed)
    return failed


def _claim(out: Path, folders: Sequence[Path], settings: InferenceSettings, resume: bool) -> None:
    """Note which models a folder's masks come from, so that a resumed run cannot mix two."""
    path = out / "prediction.json"
    claim = {
        "models": [hash_file(folder / "model.safetensors") for folder in folders],
        "inference": settings.model_dump(mode="json"),
    }
    if resume and path.is_file() and read_json(path) != claim:
        raise OutputError(
            f"{out}: holds masks of another model or other settings; choose another output or --overwrite"
        )
    write_json(path, claim)
