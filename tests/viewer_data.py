"""Phantoms with made-up predictions, probabilities and residual maps, for tests and pictures of the viewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from grcsf.io.volume import read_volume, write_like
from grcsf.phantoms.brain import PhantomSettings, write_phantoms

__all__ = ["write_predicted_phantoms"]


def write_predicted_phantoms(folder: Path, *, subjects: int, spacing_mm: float, seed: int = 3) -> Path:
    """``Dataset900_BrainPhantoms`` and ``masks``: shifted, blurred references with one lesion too many."""
    settings = PhantomSettings(subjects=subjects, lesion_free_fraction=0, seed=seed, spacing_mm=spacing_mm)
    data = write_phantoms(folder / "Dataset900_BrainPhantoms", settings)
    out = folder / "masks"
    out.mkdir()
    rng = np.random.default_rng(seed)
    for case in data.cases:
        assert isinstance(case.label, Path)
        image, label = read_volume(case.images[0]).array, read_volume(case.label).array
        shifted = ndimage.shift(label.astype(np.float32), (1, 1, 0), order=1)
        chance = ndimage.gaussian_filter(shifted, 2.4 / spacing_mm)
        middle = [int(size * share) for size, share in zip(label.shape, (0.25, 0.35, 0.5), strict=True)]
        chance[tuple(slice(place, place + max(2, int(8 / spacing_mm))) for place in middle)] = 0.8
        noise = ndimage.gaussian_filter(rng.standard_normal(label.shape), 1) * (image > 0)
        maps = {"": (chance > 0.5).astype(np.uint8), "_prob": chance, "_residual-r50": 2 * chance + noise}
        for kind, values in maps.items():
            kept = values if kind == "" else values.astype(np.float32)
            write_like(kept, case.label, out / f"{case.name}{kind}.nii.gz")
    return folder
