"""Residual maps on disk, under a hash of everything they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from grcsf.arrays import FloatArray, Sliceable
from grcsf.config import ResidualSettings
from grcsf.io.files import atomic_path, read_json, write_json
from grcsf.mae.bundle import MaeBundle
from grcsf.preprocess.store import chunk_shape

__all__ = ["ResidualCache", "residual_key"]


def residual_key(content_hash: str, mae: MaeBundle, settings: ResidualSettings, seed: int) -> str:
    """Hash of image, plan, MAE weights, map settings and seed: 24 hexadecimal digits.

    ``source`` is no part of it: it says which case's maps are read, and changes none of them.
    """
    parts = [content_hash, mae.plan_hash, mae.weights_hash, _what_makes_maps(settings), seed]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _what_makes_maps(settings: ResidualSettings) -> dict[str, Any]:
    made_by = settings.model_dump(mode="json", exclude={"source"})
    if not settings.smoothing_voxels:
        del made_by["smoothing_voxels"]  # maps from before there was smoothing are the same
    return made_by


class ResidualCache:
    """Maps of many cases in one folder: ``CASE-KEY.b2nd`` (float16, blosc2) and ``CASE-KEY.json``, written last.

    Args:
        folder: where they are kept.
        mae: the networks; its weights must be on disk (their hash is part of the key).
        settings: kind and ratios.
        seed: seed of the visible sets.
    """

    def __init__(self, folder: Path, mae: MaeBundle, settings: ResidualSettings, seed: int = 0) -> None:
        if not mae.weights_hash:
            raise ValueError("the MAE must be saved and loaded before its maps can be cached")
        self.folder, self.mae, self.settings, self.seed = folder, mae, settings, seed

    def path(self, case: str, content_hash: str) -> Path:
        """File of the maps of one case."""
        return self.folder / f"{case}-{residual_key(content_hash, self.mae, self.settings, self.seed)}.b2nd"

    def has(self, case: str, content_hash: str) -> bool:
        """Whether complete maps of this case are here."""
        path = self.path(case, content_hash)
        return path.is_file() and path.with_suffix(".json").is_file()

    def get(self, case: str, content_hash: str, compute: Callable[[], FloatArray]) -> FloatArray:
        """Maps of a case ``(ratios * channels, D, H, W)`` float32, computed and kept if they are not here."""
        return np.asarray(self.open(case, content_hash, compute)[...], dtype=np.float32)

    def open(self, case: str, content_hash: str, compute: Callable[[], FloatArray]) -> Sliceable:
        """The maps on disk, float16: slicing them reads only the chunks that are touched."""
        path = self.path(case, content_hash)
        if not self.has(case, content_hash):
            self._write(path, case, compute())
        expected = read_json(path.with_suffix(".json"))["shape"]
        maps: Sliceable = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
        if list(maps.shape) != expected:
            raise ValueError(f"{path.name}: shape {maps.shape}, its JSON says {expected}; delete both files")
        return maps

    def _write(self, path: Path, case: str, maps: FloatArray) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial:
            chunks = chunk_shape(maps.shape, self.mae.spatial_dims)
            kept = {"chunks": chunks, "blocks": chunks, "cparams": {"nthreads": 1}}
            blosc2.asarray(maps.astype(np.float16), urlpath=str(partial), mode="w", **kept)
        write_json(
            path.with_suffix(".json"),
            {
                "case": case,
                "shape": list(maps.shape),
                "settings": _what_makes_maps(self.settings),
                "seed": self.seed,
                "mae": self.mae.weights_hash,
                "plan": self.mae.plan_hash,
            },
        )
