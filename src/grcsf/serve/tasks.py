"""What a worker does: load the model once, then predict one job after the other into its folder."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grcsf.errors import GrcsfError, ModelError, OutputError
from grcsf.fitting.fit import check_device, torch_device
from grcsf.fitting.weights import WEIGHTS
from grcsf.inference.explain import map_names, residual_names
from grcsf.inference.predict import Prediction, Predictor
from grcsf.io.files import hash_file
from grcsf.io.geometry import Volume
from grcsf.io.memory import out_of_memory
from grcsf.serve.findings import MOST_LESIONS, find_lesions, size_of
from grcsf.serve.scans import output_ending, read_scan, write_for_view, write_on_grid
from grcsf.serve.settings import package_version
from grcsf.training.package import load_model
from grcsf.verbs.common import model_folders

__all__ = ["Task", "Worker"]

_RESEARCH = "research use only, not a medical device"


@dataclass(frozen=True)
class Task:
    """One job as a worker gets it.

    Attributes:
        images: files, one per channel.
        folder: of the job; files are written into ``out`` in it, and into nothing else.
        threshold: none: the model's.
        spacing_mm: of PNG.
        explain: write the residual maps and the maps of the units too.
        max_voxels: of an image.
        max_bytes: of an unpacked zip.
    """

    images: Sequence[Path]
    folder: Path
    threshold: float | None
    spacing_mm: tuple[float, ...] | None
    explain: bool
    max_voxels: int
    max_bytes: int

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Task:
        """From the JSON of the server."""
        spacing = raw["spacing_mm"]
        return cls(
            [Path(path) for path in raw["images"]],
            Path(raw["folder"]),
            raw["threshold"],
            None if spacing is None else tuple(spacing),
            raw["explain"],
            raw["max_voxels"],
            raw["max_bytes"],
        )

    def private(self, error: BaseException) -> str:
        """A message without paths; of errors that are not ours only the class."""
        if out_of_memory(error):
            return "not enough memory for this image"
        if not isinstance(error, GrcsfError) or isinstance(error, OutputError):
            return f"the prediction failed ({type(error).__name__})"
        text = str(error)
        for number, path in enumerate(self.images, 1):
            for spelt in (str(path), path.name, path.name.partition(".")[0]):
                text = text.replace(spelt, f"image {number}")
        return text.replace(str(self.folder), "the upload")


class Worker:
    """A model in memory.

    Args:
        models: model folders, or a run folder whose folds are averaged.
        folds: of a run folder: which; none: all.
        device: as ``--device``.

    Raises:
        ModelError: no model there, or one that needs other cases to predict.
        SettingsError: a device that this machine does not have.
    """

    def __init__(self, models: Sequence[str], folds: Sequence[int], device: str) -> None:
        folders = model_folders([Path(path) for path in models], folds)
        check_device(device)
        loaded = [load_model(folder) for folder in folders]
        self.settings = loaded[0].settings.inference
        self.predictor = Predictor(loaded, self.settings, torch_device(device))
        if self.predictor.shuffled_seed is not None:
            raise ModelError("a model with residual.source=shuffled (a control) needs other cases; it cannot be served")
        hashes = [hash_file(folder / WEIGHTS) for folder in folders]
        self.fingerprint = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """The fields of :class:`grcsf.serve.schemas.ModelView`."""
        model = self.predictor.models[0]
        plan, ratios = model.plan, residual_names(model)
        maps = [*(f"residual-{name}" for name in ratios), *map_names(model.network, ratios)]
        return {
            "channels": [channel.name for channel in plan.file_channels],
            "labels": plan.labels,
            "dimensions": 2 if plan.native_2d else 3,
            "spacing_mm": list(plan.spacing_mm),
            "threshold": self.settings.threshold,
            "maps": maps,
            "models": len(self.predictor.models),
            "fingerprint": self.fingerprint,
            "version": package_version(),
        }

    def run(self, task: Task) -> dict[str, Any]:
        """Predict one job and write its files.

        Returns:
            ``result``: the fields of :class:`grcsf.serve.schemas.Result` without ``files``; ``files``: name to the
            name of a file in ``out``.

        Raises:
            GrcsfError: images that cannot be used.
        """
        started = time.perf_counter()
        tempfile.tempdir = str(task.folder)  # zips are unpacked here, so that all goes when the job goes
        read = [read_scan(path, task.spacing_mm, task.max_voxels, task.max_bytes) for path in task.images]
        volumes, notes = [volume for volume, _ in read], [note for _, some in read for note in some]
        threshold = task.threshold or self.settings.threshold
        asked = {"threshold": task.threshold, "min_lesion_peak": 0.0} if task.threshold else {}
        settings = self.settings.model_copy(update=asked)
        predictor = Predictor(self.predictor.models, settings, self.predictor.device, explain=task.explain)
        found = predictor.predict(volumes)
        notes += found.notes
        files = self._write(found, volumes[0], task)
        geometry = volumes[0].geometry
        labels, lesions = find_lesions(
            found.mask, found.probabilities.max(axis=0), geometry, self.predictor.models[0].plan.labels
        )
        if sum(label.lesions for label in labels) > MOST_LESIONS:
            notes.append(f"only the {MOST_LESIONS} largest lesions are listed")
        volume_ml, area_mm2 = size_of(int(np.count_nonzero(found.mask)), geometry)
        result = {
            "labels": [label.model_dump() for label in labels],
            "lesions": [lesion.model_dump() for lesion in lesions],
            "volume_ml": volume_ml,
            "area_mm2": area_mm2,
            "shape": list(geometry.shape),
            "spacing_mm": [round(step, 6) for step in geometry.spacing_mm],
            "threshold": threshold,
            "model": self.fingerprint,
            "warnings": [_RESEARCH, *dict.fromkeys(notes)],
            "seconds": round(time.perf_counter() - started, 3),
        }
        return {"result": result, "files": files}

    def _write(self, found: Prediction, like: Volume, task: Task) -> dict[str, str]:
        """Write mask and maps; those that browsers cannot show, and the image itself then, as NIfTI too."""
        maps = {"probability": found.probabilities.max(axis=0)}
        if task.explain:
            maps |= {f"residual-{name}": value for name, value in found.residuals.items()}
        if found.explanation is not None:
            maps |= found.explanation.maps
        arrays: dict[str, Any] = {
            "mask": found.mask,
            **{name: value.astype(np.float32) for name, value in maps.items()},
        }
        files, out = {}, task.folder / "out"
        for name, array in arrays.items():
            files[name] = name + output_ending(like.path, fractions=name != "mask")
            write_on_grid(array, like, out / files[name], task.spacing_mm)
        shown = {"image": like.array} if like.path.suffix in (".zip", ".png") else {}
        if like.path.suffix == ".png":
            shown |= {f"view-{name}": array for name, array in arrays.items()}
        for name, array in shown.items():
            files[name] = f"{name}.nii"
            write_for_view(array, like, out / files[name])
        return files
