"""``grcsf evaluate``: scores of masks against references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grcsf.config import Settings
from grcsf.errors import SettingsError
from grcsf.evaluation.calibration_files import calibrate_folder, write_calibration
from grcsf.evaluation.extras import ExtraRules
from grcsf.evaluation.presets import resolve_preset
from grcsf.evaluation.score import evaluate_folder
from grcsf.evaluation.summary import Summary
from grcsf.evaluation.surface import WhenMissed
from grcsf.io.record import RunRecord

__all__ = ["evaluate"]


def evaluate(
    reference: str | Path,
    prediction: str | Path,
    output: str | Path | None = None,
    *,
    labels: Mapping[str, int] | None = None,
    cases: Sequence[str] | None = None,
    images: str | Path | None = None,
    settings: Settings | None = None,
    spacing_mm: tuple[float, ...] | None = None,
    probabilities: str | Path | None = None,
    workers: int = 0,
    resume: bool = False,
    overwrite: bool = False,
) -> Summary:
    """Score every predicted mask against the reference of the same name; anybody's masks will do.

    Args:
        reference: folder of reference masks.
        prediction: folder of predicted masks.
        output: folder for ``cases.csv``, ``lesions.csv`` and ``summary.json``; none writes nothing.
        labels: name -> value; none: ``dataset.json`` beside the reference folder, else one label of value 1.
        cases: names to score; none: all references.
        images: folder of the images of the masks, for the contrast of lesions; none: no contrast.
        settings: the ``evaluation`` settings are used.
        spacing_mm: pixel spacing of PNG masks; none: that of ``dataset.json``.
        probabilities: folder of ``CASE_prob`` maps; their calibration goes into ``calibration.json`` and ``.csv``.
        workers: processes that score cases side by side; 0: this one only. A script that asks for some needs the
            usual ``if __name__ == "__main__"``.
        resume: replace scores that are there.
        overwrite: the same.
    """
    settings = settings or Settings()
    truth = Path(reference)
    known, spacing = _from_dataset(truth)
    arguments = (truth, Path(prediction), Path(output) if output else None, labels or known)
    rules = resolve_preset(settings.evaluation.preset)
    keywords: dict[str, Any] = {
        "cases": cases,
        "resume": resume,
        "overwrite": overwrite,
        "spacing_mm": spacing_mm or spacing,
        "images": Path(images) if images else None,
        "preset": rules,
        "extra": _extra_rules(settings),
        "workers": workers,
    }
    policy = settings.evaluation.when_empty
    if output is None:
        if probabilities is not None:
            raise SettingsError("probabilities: the calibration is written to files; give an output folder (-o)")
        return evaluate_folder(*arguments, policy, **keywords)
    from grcsf.io.files import ensure_new

    ensure_new(Path(output), overwrite, resume)
    dumped = {"evaluation": settings.evaluation.model_dump(mode="json")}
    with RunRecord(Path(output), verb="evaluate", settings=dumped, inputs=[], device="cpu") as record:
        record.add("lesion_preset", rules.to_dict())
        summary = evaluate_folder(*arguments, policy, **{**keywords, "overwrite": True})
        if probabilities is not None:
            names = sorted({score.case for score in summary.cases})
            found = calibrate_folder(truth, Path(probabilities), names, spacing_mm or spacing)
            write_calibration(Path(output), found)
    return summary


def _extra_rules(settings: Settings) -> ExtraRules:
    chosen = settings.evaluation
    return ExtraRules(tuple(chosen.metrics), chosen.nsd_tolerances_mm, WhenMissed(chosen.when_missed))


def _from_dataset(reference: Path) -> tuple[dict[str, int], tuple[float, ...] | None]:
    if (reference.parent / "dataset.json").is_file():
        from grcsf.datasets.nnunet_raw import read_dataset

        data = read_dataset(reference.parent)
        return data.labels, data.spacing_mm
    return {"background": 0, "lesion": 1}, None
