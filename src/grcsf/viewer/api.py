"""What the page asks for, whoever serves it: cases, lesions and files, as plain dictionaries and bytes.

The page (``static/``) uses relative addresses only, so that it works under any path and with any server:

``GET api/cases``
    ``{"title": str, "notes": [str], "labels": {"1": "lesion"}, "windows": [{"name", "label", "low", "high"}],
    "extension": null, "cases": [{"id": str, "name": str, "has": ["image", "reference", "prediction", "map"]}]}``.
    ``extension`` is the relative address of a script that the page loads as a module once it is ready (``null``: none);
    it finds the page's functions as ``window.grcsf`` (``static/viewer.js``).
``GET api/cases/ID``
    ``{"id", "name", "modality": "CT"|"MR"|...|null, "picture": bool, "layers": [LAYER], "lesions": URL|null}`` with
    ``LAYER = {"id", "role": "image"|"reference"|"prediction"|"map", "kind": "prob"|"residual-r50"|..., "label": str,
    "url": "api/files/ID"}``, images first. ``picture``: a PNG slice; positions are no places in a patient.
``GET api/cases/ID/lesions``
    ``{"unit": "ml"|"mm2", "preset": str, "left_out": int, "notes": [str], "lesions": [{"label", "source":
    "reference"|"prediction", "number", "size", "voxels", "state": "matched"|"missed"|"false"|"single",
    "score": float|null, "overlap": float|null, "voxel": [i, j, k], "mm": [x, y, z]}]}``, the largest first; ``voxel``
    counts along the axes of the file sent, ``mm`` is RAS.
``GET api/files/ID``
    The layer as uncompressed NIfTI-1, made from values and grid alone (:mod:`grcsf.viewer.encode`).

An error is ``{"error": "in plain words, without folders"}`` with status 404 (no such id) or 422 (a file that cannot be
shown). Ids are drawn at random for each server; no path is ever taken from a request. Who serves the page adds uploads
by posting elsewhere and returning a case in this form.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np

from grcsf.config_parts import WINDOWS_HU
from grcsf.errors import GrcsfError
from grcsf.evaluation.presets import LesionPreset, resolve_preset
from grcsf.io.geometry import Volume, check_same_grid
from grcsf.io.lazy import path_of
from grcsf.viewer.cache import BoundedCache
from grcsf.viewer.encode import as_nifti, is_picture, read_layer
from grcsf.viewer.layers import CaseList, Layer, ViewCase
from grcsf.viewer.lesions import list_lesions

__all__ = ["CT_WINDOWS", "UnknownId", "ViewerApi", "plain_error"]

_TOLERANCE_MM = 0.01

CT_WINDOWS: tuple[tuple[str, str, float, float], ...] = (
    ("brain", "Brain", *WINDOWS_HU["brain"]),
    ("lung", "Lung", *WINDOWS_HU["lung"]),
    ("soft-tissue", "Mediastinum, soft tissue", *WINDOWS_HU["soft-tissue"]),
    ("bone", "Bone", -500.0, 1300.0),
    ("calcium", "Calcium", *WINDOWS_HU["calcium"]),
)
"""Name, label, lowest and highest HU. Source: preprocessing's windows; bone as usual in reading rooms (400/1800)."""


class UnknownId(KeyError):
    """An id that was not given out."""


class ViewerApi:
    """Answers of one list of cases; safe to call from several threads.

    Args:
        cases: what can be shown.
        preset: rules of the list of lesions.
        cache_bytes: how much of encoded volumes is kept in memory.
    """

    def __init__(
        self, cases: CaseList, preset: str | LesionPreset = "any-overlap", *, cache_bytes: int = 512 << 20
    ) -> None:
        self._list = cases
        self._preset = resolve_preset(preset)
        self._cases: dict[str, ViewCase] = {secrets.token_hex(8): case for case in cases.cases}
        self._files: dict[str, tuple[Layer, ViewCase]] = {
            secrets.token_hex(12): (layer, case) for case in cases.cases for layer in case.layers
        }
        self._ids = {id(layer): key for key, (layer, _) in self._files.items()}
        self._encoded: BoundedCache[bytes] = BoundedCache(cache_bytes, len)
        self._lesions: BoundedCache[dict[str, Any]] = BoundedCache(64, lambda _: 1)

    def cases(self) -> dict[str, Any]:
        """``api/cases``."""
        return {
            "title": self._list.title,
            "notes": list(self._list.notes),
            "labels": {str(value): name for value, name in self._list.labels.items()},
            "windows": [{"name": n, "label": label, "low": low, "high": high} for n, label, low, high in CT_WINDOWS],
            "extension": None,
            "cases": [
                {"id": key, "name": case.name, "has": list(dict.fromkeys(layer.role for layer in case.layers))}
                for key, case in self._cases.items()
            ],
        }

    def case(self, key: str) -> dict[str, Any]:
        """``api/cases/ID``.

        Raises:
            UnknownId: no such case.
        """
        case = self._case(key)
        return {
            "id": key,
            "name": case.name,
            "modality": self._list.modality,
            "picture": is_picture(case.layers[0]),
            "layers": [self._layer(layer) for layer in case.layers],
            "lesions": f"api/cases/{key}/lesions" if case.first("reference") or case.first("prediction") else None,
        }

    def lesions(self, key: str) -> dict[str, Any]:
        """``api/cases/ID/lesions``; masks that cannot be compared are listed each for itself, with a note.

        Raises:
            UnknownId: no such case.
            GrcsfError: no mask of it can be read.
        """
        case = self._case(key)
        return self._lesions.get(key, lambda: self._find_lesions(case))

    def file(self, key: str) -> bytes:
        """``api/files/ID``.

        Raises:
            UnknownId: no such file.
            GrcsfError: it cannot be read.
        """
        if key not in self._files:
            raise UnknownId(key)
        layer, case = self._files[key]
        try:
            return self._encoded.get(key, lambda: as_nifti(self._read(layer, case)))
        except GrcsfError as error:
            raise type(error)(plain_error(error, layer)) from None

    def _case(self, key: str) -> ViewCase:
        if key not in self._cases:
            raise UnknownId(key)
        return self._cases[key]

    def _layer(self, layer: Layer) -> dict[str, Any]:
        key = self._ids[id(layer)]
        return {
            "id": key,
            "role": layer.role,
            "kind": layer.kind,
            "label": layer.label,
            "url": f"api/files/{key}",
        }

    def _read(self, layer: Layer, case: ViewCase) -> Volume:
        volume = read_layer(layer, case.layers[0], self._list.spacing_mm)
        return volume if layer.role in ("image", "map") else _whole(volume)

    def _find_lesions(self, case: ViewCase) -> dict[str, Any]:
        notes: list[str] = []
        masks = {role: self._mask(case, role, notes) for role in ("reference", "prediction")}
        there = [mask for mask in masks.values() if mask is not None]
        if not there:
            raise GrcsfError(" ".join(notes) or "no mask of this case")
        if len(there) == 2 and (problem := _grids(case.name, there)):
            notes.append(f"Lesions of the prediction only: {problem}")
            masks["reference"], there = None, there[1:]
        chance = self._probability(case, there[0], notes)
        truth, made = (None if mask is None else mask.array for mask in masks.values())
        found = list_lesions(
            truth,
            made,
            there[0].geometry,
            self._list.labels,
            self._preset,
            probability=chance,
            picture=is_picture(case.layers[0]),
        )
        return {
            "unit": found.unit,
            "preset": self._preset.name,
            "left_out": found.left_out,
            "notes": notes,
            "lesions": list(found.lesions),
        }

    def _mask(self, case: ViewCase, role: Any, notes: list[str]) -> Volume | None:
        layer = case.first(role)
        if layer is None:
            return None
        try:
            volume = self._read(layer, case)
        except GrcsfError as error:
            notes.append(f"{layer.label}: {plain_error(error, layer)}")
            return None
        if volume.array.dtype.kind == "f":
            notes.append(f"{layer.label}: holds fractions, so it is no mask and its lesions are not listed.")
            return None
        return volume

    def _probability(self, case: ViewCase, ground: Volume, notes: list[str]) -> Any:
        layer = next((layer for layer in case.layers if layer.kind == "prob"), None)
        if layer is None:
            return None
        try:
            volume = self._read(layer, case)
        except GrcsfError as error:
            notes.append(f"{layer.label}: {plain_error(error, layer)}")
            return None
        return None if _grids(case.name, [ground, volume]) else volume.array


def _whole(volume: Volume) -> Volume:
    """A mask that was stored as floating point, as whole numbers; one that holds fractions stays as it is."""
    if volume.array.dtype.kind != "f" or not np.array_equal(np.rint(volume.array), volume.array):
        return volume
    return Volume(volume.array.astype(np.int32), volume.geometry, volume.path)


def plain_error(error: BaseException, layer: Layer | None = None) -> str:
    """A message for the page: without the folders of the file it speaks of."""
    text = str(error)
    if layer is not None:
        path = path_of(layer.image)
        name = "the DICOM input" if layer.series is not None else path.name
        for spelt in dict.fromkeys((str(path), str(path.resolve()))):
            text = text.replace(spelt, name)
    return text


def _grids(case: str, volumes: list[Volume]) -> str | None:
    try:
        check_same_grid(volumes[0], volumes[1], f"{case}: the masks", _TOLERANCE_MM)
    except GrcsfError as error:
        return str(error)
    return None
