"""From tissue in HU to a CT scan: blur, streaks, noise by dose, whole numbers; and the folder it is written to."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi

from grcsf.arrays import AnyArray, FloatArray, LabelArray
from grcsf.datasets.dataset import Dataset
from grcsf.datasets.nnunet_raw import read_dataset, write_dataset_json
from grcsf.io.files import atomic_path, ensure_new, make_folder
from grcsf.io.geometry import FloatArray64
from grcsf.io.nifti import new_header, write_nifti
from grcsf.io.progress import track
from grcsf.phantoms.ct_grid import CtGrid

__all__ = ["LARGEST_HU", "CtDataSet", "CtPhantom", "add_noise", "add_streaks", "blur", "to_hu", "write_ct_phantoms"]

LARGEST_HU, _LOWEST_HU = 3071, -1024  # twelve bits
_ENDING = ".nii.gz"
_STREAK_MM = 1.2  # standard deviation across a streak


@dataclass(frozen=True, eq=False)
class CtPhantom:
    """A synthetic CT scan.

    Attributes:
        image: (x, y, z) int16, HU.
        label: (x, y, z), values of the data set's labels.
        affine_ras: (4, 4) voxel -> mm, RAS+.
        maps: further label maps by the folder that they are written to (``vesselsTr`` for ``vessels``).
        rows: one line of the table for each lesion that was drawn, whether or not the label shows it.
    """

    image: AnyArray
    label: LabelArray
    affine_ras: FloatArray64
    maps: Mapping[str, LabelArray] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class CtDataSet:
    """What a folder of CT phantoms says of itself.

    Attributes:
        labels: name to value.
        table: file name of the table of lesions.
        columns: of the table, after the name of the case.
        description: one sentence.
        facts: generator version, seed and settings, for ``dataset.json``.
    """

    labels: Mapping[str, int]
    table: str
    columns: Sequence[str]
    description: str
    facts: Mapping[str, Any]


def blur(image: FloatArray, grid: CtGrid, sigma_mm: float) -> FloatArray:
    """What the scanner's kernel does within slices; it moves no mass but over the edge of the image."""
    sigmas = (sigma_mm / grid.spacing_mm[0], sigma_mm / grid.spacing_mm[1], 0.0)
    blurred: FloatArray = ndi.gaussian_filter(image, sigmas, mode="nearest")
    return blurred


def add_noise(rng: np.random.Generator, image: FloatArray, sigma_hu: float) -> None:
    """Noise of standard deviation ``sigma_hu``, correlated within slices over about a voxel, in place."""
    noise = ndi.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), (0.6, 0.6, 0.0), mode="wrap")
    spread = float(noise.std())
    if spread > 0:
        image += noise * np.float32(sigma_hu / spread)


def add_streaks(
    rng: np.random.Generator,
    image: FloatArray,
    grid: CtGrid,
    centre_mm: FloatArray64,
    *,
    half_z_mm: float,
    height_hu: float,
) -> None:
    """Bright and dark lines through a moving dense spot, in its slices; they cancel out and leave the spot itself."""
    box = grid.box_around(centre_mm, 25.0)
    depth = grid.box_around(centre_mm, half_z_mm)[2]
    lines = grid.axes_mm()
    x, y = lines[0][box[0]] - np.float32(centre_mm[0]), lines[1][:, box[1]] - np.float32(centre_mm[1])
    start, total = float(rng.uniform(0, np.pi)), np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
    for turn, sign in ((0.0, 1.0), (0.25, -1.0), (0.5, 1.0), (0.75, -1.0)):
        angle = start + turn * np.pi
        along = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
        across = np.float32(np.cos(angle)) * y - np.float32(np.sin(angle)) * x
        line = np.exp(-0.5 * (across / _STREAK_MM) ** 2 - np.abs(along) / 12.0)
        total += np.float32(sign) * line
    image[box[0], box[1], depth] += np.float32(height_hu) * total


def to_hu(image: FloatArray) -> AnyArray:
    """Whole HU between -1024 and 3071, int16."""
    return np.clip(np.rint(image), _LOWEST_HU, LARGEST_HU).astype(np.int16)


def write_ct_phantoms(
    folder: Path,
    about: CtDataSet,
    make: Callable[[int], CtPhantom],
    subjects: int,
    held_out: int,
    *,
    overwrite: bool,
) -> Dataset:
    """Write phantoms in nnU-Net raw layout with a table of their lesions; ``dataset.json`` comes last.

    Args:
        folder: of the data set.
        about: labels, table and description.
        make: makes phantom number 0, 1, ...
        subjects: phantoms in ``imagesTr``.
        held_out: further phantoms, with their masks, in ``imagesTs`` and ``labelsTs``.
        overwrite: replace the phantoms that are in ``folder``.

    Raises:
        OutputError: something is in ``folder`` already, or it cannot be written.
    """
    ensure_new(folder, overwrite=overwrite)
    make_folder(folder)
    (folder / "dataset.json").unlink(missing_ok=True)
    for path in folder.glob(f"*T[rs]/phantom-*{_ENDING}"):
        path.unlink()
    total, lines = subjects + held_out, list[Mapping[str, Any]]()
    for index in track(range(total), "Phantoms", total):
        part, name, phantom = "Tr" if index < subjects else "Ts", f"phantom-{index + 1:04d}", make(index)
        header = new_header(phantom.image.shape, phantom.affine_ras)
        write_nifti(phantom.image, header, make_folder(folder / f"images{part}") / f"{name}_0000{_ENDING}")
        for kind, values in {**phantom.maps, "labels": phantom.label}.items():
            write_nifti(values, header, make_folder(folder / f"{kind}{part}") / f"{name}{_ENDING}")
        lines += [{"case": name, **row} for row in phantom.rows]
    _write_table(folder / about.table, ["case", *about.columns], lines)
    write_dataset_json(
        folder,
        channel_names=("CT",),
        labels=about.labels,
        num_training=subjects,
        file_ending=_ENDING,
        name=folder.resolve().name,
        description=about.description,
        reference="made by grcsf from formulas; no scan of a patient went into it",
        phantoms={**about.facts, "held_out": held_out},
    )
    return read_dataset(folder)


def _write_table(path: Path, columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
