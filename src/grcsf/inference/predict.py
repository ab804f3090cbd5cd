"""Predict cases with one model or the average of several, and write masks on their own grids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from grcsf.arrays import BoolArray, FloatArray, LabelArray
from grcsf.config import InferenceSettings
from grcsf.datasets.dataset import Case
from grcsf.errors import GrcsfError, ModelError, SettingsError
from grcsf.inference.candidates import candidate_probabilities
from grcsf.inference.explain import Explanation, explained_pass, map_names, model_facts, residual_names
from grcsf.inference.windows import case_probabilities
from grcsf.io.files import write_json
from grcsf.io.map_names import EXPLAIN_FILE, files_beside
from grcsf.io.memory import enough_memory
from grcsf.io.progress import track
from grcsf.io.volume import IMAGE_ENDINGS, Volume, ending_of, path_of, read_volume, write_like
from grcsf.preprocess.forward import preprocess_case
from grcsf.preprocess.geometry import CaseGeometry
from grcsf.preprocess.inverse import restore
from grcsf.residual.compute import case_residual
from grcsf.residual.familiar import residual_size
from grcsf.residual.shuffle import fit_grid, other_cases
from grcsf.training.package import LesionModel

__all__ = [
    "MEMORY_ADVICE",
    "Prediction",
    "Predictor",
    "case_files",
    "case_outputs",
    "explain_numbers",
    "mask_from_probabilities",
    "mask_path",
    "predict_cases",
    "tell_notes",
]

MEMORY_ADVICE = "use a smaller inference.batch_size or another device"
"""For a case that memory does not suffice for."""

logger = logging.getLogger("grcsf")


@dataclass(frozen=True)
class Prediction:
    """What a model says of one case, on the grid of its first image.

    Attributes:
        mask: label values, uint8.
        probabilities: ``(labels, *native)`` float32.
        residuals: mean residual over channels and models per mask ratio (``r50``...), float32; empty without an RCU.
        explanation: maps of the units; none where it was not asked for.
        notes: what a reader of the mask should know, such as anatomy that a model does not know; no name is in them.
    """

    mask: LabelArray
    probabilities: FloatArray
    residuals: dict[str, FloatArray]
    explanation: Explanation | None = None
    notes: tuple[str, ...] = ()


def mask_from_probabilities(
    probabilities: FloatArray,
    values: Sequence[int],
    threshold: float,
    smallest_mm: float = 0.0,
    voxel_mm: float = 1.0,
    *,
    peak: float = 0.0,
    peaks_of: FloatArray | None = None,
) -> LabelArray:
    """Label map: the likeliest label where its probability exceeds ``threshold``, else background.

    With a ``peak`` above it this is thresholding with hysteresis: extent from the lower, existence from the higher.

    Args:
        probabilities: ``(labels, *space)``.
        values: label value of each channel.
        threshold: between 0 and 1.
        smallest_mm: connected components below this area (mm2) or volume (mm3) are removed.
        voxel_mm: area or volume of a voxel.
        peak: connected components whose highest probability is not above it are removed.
        peaks_of: probabilities that the highest is taken from; none: ``probabilities``.

    Source: standard (hysteresis: Canny 1986, doi 10.1109/TPAMI.1986.4767851), own (for lesions; docs/decisions/0019).
    """
    best = probabilities.argmax(axis=0)
    mask: LabelArray = np.asarray(values, np.uint8)[best]
    likeliest = np.take_along_axis(probabilities, best[None], axis=0)[0]
    mask[likeliest <= threshold] = 0
    if smallest_mm > 0 or peak > threshold:
        components, count = ndimage.label(mask > 0, structure=np.ones((3,) * mask.ndim))
        sizes = np.bincount(components.ravel(), minlength=count + 1) * voxel_mm
        surest = likeliest if peaks_of is None else np.take_along_axis(peaks_of, best[None], axis=0)[0]
        peaks = np.asarray(ndimage.maximum(surest, components, np.arange(count + 1)))
        mask[((sizes < smallest_mm) | (peaks <= peak))[components]] = 0
    return mask


class Predictor:
    """Predict one case at a time with the average of one or more models.

    Args:
        models: trained for the same labels and channels.
        settings: inference settings.
        device: torch device.
        explain: give maps of what the units did too; the masks are the same.

    Raises:
        ModelError: no model, or models for different labels or channels.
        SettingsError: ``inference.candidate_hu`` without a CT channel.
    """

    def __init__(
        self, models: Sequence[LesionModel], settings: InferenceSettings, device: str = "cpu", *, explain: bool = False
    ) -> None:
        if not models:
            raise ModelError("no model given; expected at least one model folder (-m)")
        first = models[0].plan
        for model in models[1:]:
            names = [[channel.name for channel in plan.file_channels] for plan in (model.plan, first)]
            if model.plan.labels != first.labels or names[0] != names[1]:
                raise ModelError("the models were trained for different labels or channels; predict with one at a time")
        if settings.candidate_hu is not None and first.ct_channel is None:
            trained = [channel.name for channel in first.file_channels]
            raise SettingsError(
                f"inference.candidate_hu={settings.candidate_hu:g}: trained on {trained}, none of them CT in HU; "
                "leave candidate_hu out"
            )
        self.models, self.settings, self.device, self.explain = list(models), settings, device, explain
        self.values = sorted(value for value in first.labels.values() if value)
        for model in self.models:
            model.network.to(device)
        for facts in self.unit_facts() if explain else []:
            if "note" in facts:
                logger.warning("--explain: %s", facts["note"])

    @property
    def channels(self) -> int:
        """Images per case."""
        return len(self.models[0].plan.file_channels)

    @property
    def shuffled_seed(self) -> int | None:
        """Seed of the models that take the maps of another case (``residual.source``); none if there are none."""
        seeds = [
            model.settings.seed
            for model in self.models
            if model.network.uses_residual and model.settings.residual.source == "shuffled"
        ]
        return seeds[0] if seeds else None

    def predict(self, volumes: list[Volume], other: list[Volume] | None = None) -> Prediction:
        """Mask, probabilities and residual maps of one case, given one volume per channel.

        Args:
            volumes: the case.
            other: the case whose maps are put in the place of its own, for models with ``residual.source=shuffled``.

        Raises:
            ModelError: such a model without another case.
        """
        total: FloatArray | None = None
        maps: dict[str, list[FloatArray]] = {}
        units: dict[str, list[FloatArray]] = {}
        notes: list[str] = []
        prepared: dict[str, tuple[FloatArray, BoolArray, CaseGeometry]] = {}
        for model in self.models:
            key = model.plan.content_hash()
            if key not in prepared:
                prepared[key] = preprocess_case(volumes, model.plan)
            image, foreground, geometry = prepared[key]
            residual = self._residual(model, image, other)
            used, note = self._trusted(model, residual, foreground)
            notes += [note] if note else []
            native, others = self._native(model, image, used, geometry)
            total = native if total is None else total + native
            for name, value in self._named_maps(model, residual).items():
                maps.setdefault(name, []).append(restore(value[None], geometry)[0])
            for name, value in others.items():
                units.setdefault(name, []).append(value)
        assert total is not None
        probabilities = (total / len(self.models)).astype(np.float32)
        mask = mask_from_probabilities(
            self._deciding(probabilities, volumes),
            self.values,
            self.settings.threshold,
            self.settings.min_lesion_mm,
            volumes[0].geometry.voxel_size,
            peak=self.settings.min_lesion_peak,
            peaks_of=probabilities,
        )
        explanation = Explanation(_means(units), self.unit_facts()) if self.explain else None
        return Prediction(mask, probabilities, _means(maps), explanation, tuple(dict.fromkeys(notes)))

    def unit_facts(self) -> list[dict[str, Any]]:
        """What the units of each model are, JSON-able."""
        return [model_facts(model) for model in self.models]

    def _native(
        self, model: LesionModel, image: FloatArray, residual: FloatArray | None, geometry: CaseGeometry
    ) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Probabilities, and maps of the units where they are asked for, on the native grid."""
        run, names = None, tuple[str, ...]()
        if self.explain:
            ratios = residual_names(model)
            run, names = explained_pass(model.network, ratios), map_names(model.network, ratios)
        found = case_probabilities(
            model.network, image, residual, model.plan, self.settings, device=self.device, run=run
        )
        native = restore(found, geometry)
        count = len(native) - len(names)
        return native[:count], dict(zip(names, native[count:], strict=True))

    def _deciding(self, probabilities: FloatArray, volumes: list[Volume]) -> FloatArray:
        """Probabilities that the mask is made from: those of bright voxels alone where the settings say so."""
        limit, channel = self.settings.candidate_hu, self.models[0].plan.ct_channel
        if limit is None or channel is None:
            return probabilities
        return candidate_probabilities(
            probabilities, volumes[channel].array, limit, self.settings.candidate_rule or "voxels"
        )

    def _residual(self, model: LesionModel, image: FloatArray, other: list[Volume] | None) -> FloatArray | None:
        if model.mae is None or not model.network.uses_residual:
            return None
        source, settings = image, model.settings.residual
        if settings.source == "shuffled":
            if other is None:
                raise ModelError("a model with residual.source=shuffled (a control) needs another case for its maps")
            source, _, _ = preprocess_case(other, model.plan)
        maps = case_residual(model.mae, source, settings, model.settings.seed, self.device)
        maps = maps.astype(np.float16).astype(np.float32)  # as they were cached for training
        return fit_grid(maps, image.shape[1:]) if settings.source == "shuffled" else maps

    def _trusted(
        self, model: LesionModel, residual: FloatArray | None, foreground: BoolArray
    ) -> tuple[FloatArray | None, str]:
        """The maps, or maps of zero for anatomy that the autoencoder does not know, and a note that says so.

        Source: own (docs/decisions/0021).
        """
        if residual is None or model.usual_residual is None or self.settings.unknown_anatomy == "as-is":
            return residual, ""
        size = residual_size(residual, foreground)
        if size <= model.usual_residual:
            return residual, ""
        known = (
            f"residual of {size:.2f}, in training rarely above {model.usual_residual:.2f}: "
            "the autoencoder does not know this anatomy or image"
        )
        if model.settings.training.map_dropout > 0:
            return np.zeros_like(residual), f"{known}; predicted without its maps"
        return residual, f"{known}; look at the mask before it is used"

    def _named_maps(self, model: LesionModel, residual: FloatArray | None) -> dict[str, FloatArray]:
        names = residual_names(model)
        if residual is None or not names:
            return {}
        parts = np.split(residual, len(names))
        return {name: part.mean(axis=0) for name, part in zip(names, parts, strict=True)}


def _means(parts: dict[str, list[FloatArray]]) -> dict[str, FloatArray]:
    return {name: found[0] if len(found) == 1 else np.stack(found).mean(axis=0) for name, found in parts.items()}


def predict_cases(
    predictor: Predictor,
    cases: Sequence[Case],
    out: Path,
    *,
    spacing_mm: tuple[float, ...] | None = None,
    save_probabilities: bool = False,
    save_residuals: bool = False,
    resume: bool = False,
    ending: str | None = None,
    notes: dict[str, list[str]] | None = None,
) -> dict[str, str]:
    """Write ``CASE<ending>`` for each case; maps beside it as ``CASE_prob`` and ``CASE_residual-r50``...

    A predictor that explains adds its maps (residual maps too) and ``CASE_explain.json``. A case that fails is
    reported and the others go on. A model with ``residual.source=shuffled`` takes the maps of another of ``cases``,
    so that its masks depend on which cases are predicted together.

    Args:
        predictor: the models.
        cases: what to predict.
        out: an existing folder.
        spacing_mm: pixel spacing of PNG images.
        save_probabilities: write the lesion probability (the largest over labels).
        save_residuals: write the residual maps.
        resume: skip cases whose mask (and explanation, if asked for) is there; masks are written last and at once,
            and one that is there is kept.
        ending: format of masks and maps, such as ``.mha``; none: that of the first image.
        notes: gets the notes of each case that has some, by name.

    Returns:
        Message of each failed case, by name.

    Raises:
        DatasetError: a single case for a model with ``residual.source=shuffled``.
    """
    failed: dict[str, str] = {}
    seed, by_name = predictor.shuffled_seed, {case.name: case for case in cases}
    others = {} if seed is None else other_cases({case.name: case.group for case in cases}, seed)
    for case in track(cases, "predict", total=len(cases)):
        if resume and all(path.is_file() for path in case_outputs(case, out, ending, explain=predictor.explain)):
            continue
        try:
            with enough_memory(MEMORY_ADVICE):
                pair = (case, by_name[others[case.name]]) if others else (case,)
                found = predictor.predict(*(_volumes(one, spacing_mm) for one in pair))
                maps = _maps(found, probabilities=save_probabilities, residuals=save_residuals or predictor.explain)
                tell_notes(found, case.name, {} if notes is None else notes)
                _write(found, maps, case, mask_path(case, out, ending), spacing_mm, keep_mask=resume)
        except GrcsfError as error:
            failed[case.name] = str(error)
            logger.error("%s: %s", case.name, error)
    return failed


def tell_notes(found: Prediction, name: str, notes: dict[str, list[str]]) -> None:
    """Log what a reader of the mask of the case ``name`` should know, and keep it in ``notes``."""
    for note in found.notes:
        logger.warning("%s: %s", name, note)
        notes.setdefault(name, []).append(note)


def explain_numbers(found: Prediction, name: str) -> dict[str, Any]:
    """What ``CASE_explain.json`` holds of an explained prediction."""
    assert found.explanation is not None
    return {"case": name, "notes": list(found.notes), **found.explanation.to_json()}


def _volumes(case: Case, spacing_mm: tuple[float, ...] | None) -> list[Volume]:
    return [read_volume(path, spacing_mm) for path in case.images]


def _ending(case: Case) -> str:
    return ending_of(path_of(case.images[0])) or ".nii.gz"


def mask_path(case: Case, out: Path, ending: str | None = None) -> Path:
    """File of the mask of a case in the folder ``out``, in the format of its first image or another."""
    return out / f"{case.name}{ending or _ending(case)}"


def case_outputs(case: Case, out: Path, ending: str | None = None, *, explain: bool = False) -> list[Path]:
    """Files without which a case is not done: its mask, and the numbers of its explanation if there is to be one."""
    mask = mask_path(case, out, ending)
    return [mask, out / f"{case.name}_{EXPLAIN_FILE}"] if explain else [mask]


def case_files(case: Case, out: Path, ending: str | None = None) -> list[Path]:
    """Mask, in this or another format, and maps of a case that are in the folder ``out``; its images are left out."""
    images = {path.resolve() for path in case.image_files}
    masks = dict.fromkeys([mask_path(case, out, ending), *(out / f"{case.name}{kind}" for kind in IMAGE_ENDINGS)])
    there = [path for path in masks if path.is_file() and path.resolve() not in images]
    return [*there, *files_beside(out, case.name)]


def _maps(found: Prediction, *, probabilities: bool, residuals: bool) -> dict[str, FloatArray]:
    """Maps that go beside the mask, by name."""
    maps = {f"residual-{name}": value for name, value in found.residuals.items()} if residuals else {}
    if found.explanation is not None:
        maps |= found.explanation.maps
    if probabilities:
        maps["prob"] = found.probabilities.max(axis=0)
    return maps


def _write(
    found: Prediction,
    maps: dict[str, FloatArray],
    case: Case,
    mask: Path,
    spacing_mm: tuple[float, ...] | None,
    *,
    keep_mask: bool,
) -> None:
    like, target = case.images[0], mask.name.removeprefix(case.name)
    map_ending = ".mha" if target == ".png" else target
    for name, value in maps.items():
        write_like(value.astype(np.float32), like, mask.with_name(f"{case.name}_{name}{map_ending}"), spacing_mm)
    if found.explanation is not None:
        write_json(mask.with_name(f"{case.name}_{EXPLAIN_FILE}"), explain_numbers(found, case.name))
    if not (keep_mask and mask.is_file()):
        write_like(found.mask, like, mask, spacing_mm)
