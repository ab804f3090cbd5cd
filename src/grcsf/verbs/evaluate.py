"""``grcsf evaluate``: scores of masks against references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grcsf.config import Settings
from grcsf.datasets.dataset import Dataset
from grcsf.datasets.header import read_header
from grcsf.datasets.sources.registry import find_source, read_dataset
from grcsf.errors import DatasetError, SettingsError
from grcsf.evaluation.calibration_files import CALIBRATION_FILES, calibrate_folder, write_calibration
from grcsf.evaluation.extras import ExtraRules
from grcsf.evaluation.methods.comparison_files import COMPARISON_FILES
from grcsf.evaluation.presets import resolve_preset
from grcsf.evaluation.score import evaluate_folder
from grcsf.evaluation.summary import Summary
from grcsf.evaluation.surface import WhenMissed
from grcsf.io.record import RunRecord
from grcsf.io.volume import ImageRef

__all__ = ["evaluate"]


def evaluate(
    reference: str | Path | Dataset,
    prediction: str | Path,
    output: str | Path | None = None,
    *,
    labels: Mapping[str, int] | None = None,
    cases: Sequence[str] | None = None,
    images: str | Path | Dataset | None = None,
    settings: Settings | None = None,
    spacing_mm: tuple[float, ...] | None = None,
    probabilities: str | Path | None = None,
    workers: int = 0,
    resume: bool = False,
    overwrite: bool = False,
) -> Summary:
    """Score every predicted mask against the reference of the same name; anybody's masks will do.

    Args:
        reference: folder of reference masks, or a data set of any known source (its path, or read already).
        prediction: folder of predicted masks.
        output: folder for ``cases.csv``, ``lesions.csv`` and ``summary.json``; none writes nothing.
        labels: name -> value; none: ``dataset.json`` beside the reference folder, else one label of value 1.
        cases: names to score; none: all references.
        images: folder of the images of the masks, or their data set, for the contrast of lesions; none: no contrast.
        settings: the ``evaluation`` settings are used.
        spacing_mm: pixel spacing of PNG masks; none: that of ``dataset.json``.
        probabilities: folder of ``CASE_prob`` maps; their calibration goes into ``calibration.json`` and ``.csv``.
        workers: processes that score cases side by side; 0: this one only. A script that asks for some needs the
            usual ``if __name__ == "__main__"``.
        resume: replace scores that are there.
        overwrite: the same.
    """
    settings = settings or Settings()
    truth, described = _references(reference)
    known, spacing = described or ({"background": 0, "lesion": 1}, None)
    arguments = (truth, Path(prediction), Path(output) if output else None, labels or known)
    rules = resolve_preset(settings.evaluation.preset)
    keywords: dict[str, Any] = {
        "cases": cases,
        "resume": resume,
        "overwrite": overwrite,
        "spacing_mm": spacing_mm or spacing,
        "images": _images(images),
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
        outdated = COMPARISON_FILES + (CALIBRATION_FILES if probabilities is None else ())
        for name in outdated:  # of the masks that were scored here before
            (Path(output) / name).unlink(missing_ok=True)
    return summary


def _extra_rules(settings: Settings) -> ExtraRules:
    chosen = settings.evaluation
    return ExtraRules(tuple(chosen.metrics), chosen.nsd_tolerances_mm, WhenMissed(chosen.when_missed))


def _references(
    reference: str | Path | Dataset,
) -> tuple[Path | dict[str, ImageRef], tuple[Mapping[str, int], tuple[float, ...] | None] | None]:
    """Masks by case, or their folder, with the labels and the pixel spacing that their data set gives, if known."""
    if not isinstance(reference, Dataset):
        path = Path(reference)
        if find_source(path) is None:
            return path, _beside(path.parent)
        reference = read_dataset(path)
    masks = {case.name: case.label for case in (*reference.cases, *reference.test_cases) if case.label is not None}
    if not masks:
        raise DatasetError(f"{reference.name}: no case has a mask; there is nothing to score against")
    return masks, (reference.labels, reference.spacing_mm)


def _beside(folder: Path) -> tuple[Mapping[str, int], tuple[float, ...] | None] | None:
    """What ``dataset.json`` says of masks in a folder beside it; images need not be there (``gt_segmentations``)."""
    if not (folder / "dataset.json").is_file():
        return None
    header, faults = read_header(folder)
    if not header.labels:
        raise DatasetError(f"{folder / 'dataset.json'}: {'; '.join(faults)}")
    return header.labels, header.spacing_mm


def _images(images: str | Path | Dataset | None) -> Path | dict[str, ImageRef] | None:
    """First channel of each case, or the folder of the images."""
    if isinstance(images, Dataset):
        return {case.name: case.images[0] for case in (*images.cases, *images.test_cases)}
    if images is not None and find_source(Path(images)) is not None:
        return _images(read_dataset(Path(images)))
    return Path(images) if images else None
