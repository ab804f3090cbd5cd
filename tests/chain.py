"""Settings of a chain so small that it runs in seconds, the files it writes, and ways to compare them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from grcsf.config import Settings, load_settings

LABELS = {"background": 0, "lesion": 1}
TINY = (
    "preprocess.patch_size=[32, 32]",
    "mae.dim=16",
    "mae.depth=1",
    "mae.heads=2",
    "mae.decoder_dim=16",
    "mae.decoder_depth=1",
    "mae.steps=4",
    "mae.batch_size=2",
    "mae.steps_per_epoch=2",
    "network.features=[4, 8, 8]",
    "network.rcu_levels=[0, 1]",
    "network.rcu_dim=8",
    "network.rcu_heads=2",
    "training.steps=4",
    "training.batch_size=2",
    "training.steps_per_epoch=2",
    "training.precision=32-true",
    "inference.mirroring=false",
    "inference.min_lesion_peak=0",  # networks so small are sure of nothing
)
CUBES = (*TINY, "preprocess.patch_size=[16, 16, 16]", "mae.batch_size=1", "training.batch_size=1")
FOLD_FILES = (
    *("mae/history.csv", "mae/model.safetensors", "mae/model.json", "mae/run.json"),
    *("train/history.csv", "train/model.safetensors", "train/model.json", "train/run.json"),
    *("residual/run.json", "validation/run.json", "scores/cases.csv", "scores/summary.json", "scores/run.json"),
)
RUN_FILES = (
    *(
        "run.json",
        "settings.yaml",
        "grcsf.log",
        "report.html",
        "preprocessed/plan.json",
        "preprocessed/fingerprint.json",
    ),
)


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code and what it wrote."""

    code: int
    out: str
    err: str


def tiny(*pairs: str, base: tuple[str, ...] = TINY) -> Settings:
    """Settings of a tiny chain on slices (``base=CUBES``: on volumes), with further ``a.b=value`` pairs."""
    return load_settings(None, (*base, *pairs))


def contents(folder: Path, *, but: tuple[str, ...] = ("run.json", "grcsf.log", "report.html")) -> dict[str, bytes]:
    """Bytes of every file below a folder, by relative path, without records of when something ran."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in but)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def same_grid(image: Path, mask: Path) -> bool:
    """Whether two NIfTI files have the same shape and, bit for bit, the same placement in space."""
    one, two = nibabel.load(image), nibabel.load(mask)
    codes = [(int(file.header["sform_code"]), int(file.header["qform_code"])) for file in (one, two)]
    return one.shape == two.shape and np.array_equal(one.affine, two.affine) and codes[0] == codes[1]
