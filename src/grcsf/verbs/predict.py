"""``grcsf predict``: lesion masks on the scanner's grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grcsf.config import InferenceSettings, load_settings
from grcsf.datasets.dataset import Case
from grcsf.datasets.inputs import find_inputs
from grcsf.errors import OutputError
from grcsf.fitting.fit import check_device, torch_device
from grcsf.fitting.weights import WEIGHTS
from grcsf.inference.predict import Predictor, case_files, mask_path, predict_cases
from grcsf.io.files import ensure_new, hash_file, make_folder, read_json, to_plain, write_json
from grcsf.io.record import RECORD_FILE, RunRecord
from grcsf.training.package import load_model
from grcsf.verbs.common import clear_partial, model_folders

__all__ = ["inference_settings", "predict"]


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
    folders = _folders(model, folds)
    check_device(device)
    out = Path(output)
    ensure_new(out, overwrite, resume)
    models = [load_model(folder) for folder in folders]
    chosen = settings or models[0].settings.inference
    predictor = Predictor(models, chosen, torch_device(device))
    cases = find_inputs(Path(images), predictor.channels) if isinstance(images, str | Path) else tuple(images)
    claim = {"models": [hash_file(folder / WEIGHTS) for folder in folders], "inference": to_plain(chosen.model_dump())}
    files = _Outputs(out, cases)
    if resume and not files.missing() and (out / RECORD_FILE).is_file() and files.claimed() == claim:
        return {}
    clear_partial(make_folder(out))
    files.claim(claim, resume)
    dumped = {"inference": chosen.model_dump(mode="json")}
    inputs = [*(folder / WEIGHTS for folder in folders), *(path for case in cases for path in case.images)]
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


class _Outputs:
    """The masks in a folder, and the note of the models and settings that they come from."""

    def __init__(self, folder: Path, cases: Sequence[Case]) -> None:
        self.folder, self.cases, self.path = folder, cases, folder / "prediction.json"

    def missing(self) -> list[str]:
        """Cases without a mask."""
        return [case.name for case in self.cases if not mask_path(case, self.folder).is_file()]

    def claimed(self) -> object:
        """The note, if there is one."""
        return read_json(self.path, OutputError) if self.path.is_file() else None

    def claim(self, claim: dict[str, Any], resume: bool) -> None:
        """Write the note, after refusing a folder of other masks, or removing them where they are to be replaced.

        Raises:
            OutputError: an image would be written over, or other masks are to be resumed.
        """
        inputs = {path.resolve() for case in self.cases for path in case.images}
        taken = [case.name for case in self.cases if mask_path(case, self.folder).resolve() in inputs]
        if taken:
            raise OutputError(f"{self.folder}: the mask of {taken[0]} would replace its image; choose another output")
        strange = self.path.is_file() or len(self.missing()) < len(self.cases)
        if resume and strange and self.claimed() != claim:
            raise OutputError(
                f"{self.folder}: holds masks of another model or other settings; choose another output or --overwrite"
            )
        if not resume:
            for case in self.cases:
                for path in case_files(case, self.folder):
                    path.unlink()
        write_json(self.path, claim)
