"""Preprocessed cases on disk: blosc2 arrays that can be read in part, and a JSON file that says they are complete."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from grcsf.arrays import AnyArray, BoolArray, FloatArray, LabelArray, Sliceable
from grcsf.errors import DatasetError, OutputError
from grcsf.io.files import PARTIAL_PREFIX, atomic_path, hash_array, make_folder, read_json, write_json
from grcsf.preprocess.geometry import CaseGeometry
from grcsf.preprocess.plan import Plan, read_plan

__all__ = ["CaseStore", "chunk_shape"]

log = logging.getLogger(__name__)

_LARGEST_CHUNK = 64  # edge in voxels of a chunk along each axis of a volume
_CPARAMS = {"codec": blosc2.Codec.ZSTD, "clevel": 3, "nthreads": 1}


class CaseStore:
    """The folder ``plan.json`` + ``cases/``; a case without its JSON file, which is written last, does not exist.

    Attributes:
        folder: where it lies.
        plan: with which every case in it was made.
    """

    def __init__(self, folder: Path) -> None:
        """Open a store.

        Raises:
            DatasetError: no store in the folder.
            OutputError: a case made with another plan.
        """
        self.folder = folder
        plan_path = folder / "plan.json"
        if not plan_path.is_file():
            raise DatasetError(f"{folder}: no plan.json, so not a preprocessed data set; run grcsf preprocess first")
        self.plan: Plan = read_plan(plan_path)
        self._plan_hash = self.plan.content_hash()
        self._facts: dict[str, Mapping[str, Any]] = {}
        for path in sorted((folder / "cases").glob("*.json")):
            if not path.name.startswith(PARTIAL_PREFIX):
                self._add(path)

    @classmethod
    def writer(cls, folder: Path, plan: Plan) -> CaseStore:
        """A store to write to, blind to what is in it: for worker processes, which need not read a thousand files."""
        store = cls.__new__(cls)
        store.folder = folder
        store.plan = plan
        store._plan_hash = plan.content_hash()
        store._facts = {}
        return store

    @classmethod
    def create(cls, folder: Path, plan: Plan) -> CaseStore:
        """A store to add to, in a folder that may hold one made with the same plan; ``plan.json`` is written.

        What writers that were killed left behind is removed.

        Raises:
            OutputError: a store of another plan is there, or the folder cannot be written.
        """
        if (folder / "plan.json").is_file():
            there = cls(folder)
            if there.names and there.plan != plan:
                raise OutputError(
                    f"{folder}: holds {len(there.names)} cases made with another plan; "
                    "choose another output or preprocess again with --overwrite"
                )
        make_folder(folder / "cases")
        for left in (folder / "cases").glob(f"{PARTIAL_PREFIX}*"):
            left.unlink(missing_ok=True)
        write_json(folder / "plan.json", plan.model_dump(mode="json"))
        return cls(folder)

    @property
    def names(self) -> tuple[str, ...]:
        """Complete cases, sorted."""
        return tuple(sorted(self._facts))

    def __contains__(self, name: str) -> bool:
        return name in self._facts

    def image(self, name: str) -> FloatArray:
        """``(C, D, H, W)`` float32, normalised."""
        image: FloatArray = self.open_image(name)[...]
        return image

    def open_image(self, name: str) -> Sliceable:
        """The image on disk: slicing it, with step 1, reads only the chunks that are touched."""
        return self._open(name, "image")

    def open_label(self, name: str) -> Sliceable | None:
        """The label on disk, as :meth:`open_image`; none for a case without one."""
        return self._open(name, "label") if self._fact(name, "has_label") else None

    def label(self, name: str) -> LabelArray | None:
        """``(D, H, W)`` uint8, or none for a case without a label."""
        label = self.open_label(name)
        return None if label is None else label[...]

    def foreground(self, name: str) -> BoolArray:
        """``(D, H, W)``: the patient, not air or padding."""
        foreground: BoolArray = self._open(name, "foreground")[...].astype(bool)
        return foreground

    def geometry(self, name: str) -> CaseGeometry:
        """The way back to the native grid."""
        return CaseGeometry.model_validate(self._fact(name, "geometry"))

    def shape(self, name: str) -> tuple[int, int, int, int]:
        """``(C, D, H, W)`` without reading the array."""
        channels, depth, height, width = self._fact(name, "shape")
        return channels, depth, height, width

    def content_hash(self, name: str) -> str:
        """SHA-256 of the image array (shape and voxels): changes when the preprocessed image does."""
        return str(self._fact(name, "content_hash"))

    def write_case(
        self,
        name: str,
        image: FloatArray,
        foreground: BoolArray,
        geometry: CaseGeometry,
        label: LabelArray | None,
        *,
        made_from: Sequence[object] | None = None,
    ) -> None:
        """Write or replace one case; readers never see half of it.

        Args:
            name: of the case.
            image: ``(C, D, H, W)``.
            foreground: ``(D, H, W)``.
            geometry: the way back.
            label: ``(D, H, W)`` or none.
            made_from: marks of the files it was read from (:func:`grcsf.io.files.mark_files`).

        Raises:
            OutputError: a folder that cannot be written.
        """
        sidecar = self._path(name, "json")
        sidecar.unlink(missing_ok=True)
        self._facts.pop(name, None)
        image = np.ascontiguousarray(image, np.float32)
        _write_array(self._path(name, "image"), image, self.plan.spatial_dims)
        _write_array(self._path(name, "foreground"), foreground.astype(np.uint8), self.plan.spatial_dims)
        if label is not None:
            _write_array(self._path(name, "label"), label.astype(np.uint8), self.plan.spatial_dims)
        facts = {
            "name": name,
            "plan_hash": self._plan_hash,
            "content_hash": hash_array(image),
            "shape": list(image.shape),
            "has_label": label is not None,
            "label_voxels": None if label is None else int(np.count_nonzero(label)),
            "geometry": geometry.model_dump(mode="json"),
            "made_from": made_from,
        }
        write_json(sidecar, facts)
        self._facts[name] = facts

    def made_from(self, name: str) -> object:
        """Marks of the files that a case was read from; none where they were not kept."""
        self._fact(name, "name")
        return self._facts[name].get("made_from")

    def refresh(self, name: str) -> None:
        """Take note of a case that another process has written."""
        self._add(self._path(name, "json"))

    def _add(self, path: Path) -> None:
        try:
            facts = read_json(path, DatasetError)
            name, plan_hash = facts["name"], facts["plan_hash"]
        except (DatasetError, KeyError, TypeError) as error:
            log.warning("%s: unreadable, so the case counts as missing (%s)", path.name, error)
            return
        if plan_hash != self._plan_hash:
            raise OutputError(
                f"{self.folder}: case {name} was not made with this plan.json; preprocess again with --overwrite"
            )
        self._facts[name] = facts

    def _fact(self, name: str, key: str) -> Any:
        if name not in self._facts:
            raise DatasetError(f"{self.folder}: no preprocessed case {name} ({len(self._facts)} others); preprocess it")
        return self._facts[name][key]

    def _path(self, name: str, kind: str) -> Path:
        ending = ".json" if kind == "json" else f"_{kind}.b2nd"
        return self.folder / "cases" / f"{name}{ending}"

    def _open(self, name: str, kind: str) -> Sliceable:
        self._fact(name, "name")
        path = self._path(name, kind)
        try:
            found: Sliceable = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
        except (OSError, RuntimeError, ValueError) as error:
            raise DatasetError(f"{path}: damaged or missing ({error}); preprocess again with --overwrite") from error
        return found


def _write_array(path: Path, array: AnyArray, spatial_dims: int) -> None:
    chunks = chunk_shape(array.shape, spatial_dims)
    with atomic_path(path) as partial:
        blosc2.asarray(array, urlpath=str(partial), mode="w", chunks=chunks, blocks=chunks, cparams=_CPARAMS)


def chunk_shape(shape: tuple[int, ...], spatial_dims: int) -> tuple[int, ...]:
    """Whole slices with all channels for a 2-D network, cubes of each channel for a 3-D one."""
    *lead, depth, height, width = shape
    if spatial_dims == 2:
        return (*lead, 1, height, width)
    return (*(1 for _ in lead), *(min(_LARGEST_CHUNK, size) for size in (depth, height, width)))
