"""Brain phantoms: seeded synthetic scans with known lesions, for demonstrations and tests. They are no patients.

Each is the MNI152 average brain bent into a subject of its own, given tissue brightness, lesions, unlabelled
hyperintensities, shading and noise. A subject depends on the seed and its number only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from grcsf.arrays import FloatArray, LabelArray
from grcsf.config import Frozen
from grcsf.datasets.dataset import Dataset
from grcsf.datasets.nnunet_raw import read_dataset, write_dataset_json
from grcsf.io.files import ensure_new, make_folder
from grcsf.io.geometry import FloatArray64
from grcsf.io.nifti import new_header, write_nifti
from grcsf.io.progress import track
from grcsf.phantoms.brain_intensity import CONTRASTS, ContrastName, make_image
from grcsf.phantoms.brain_lesions import draw_hyperintensities, draw_lesions
from grcsf.phantoms.brain_templates import load_templates
from grcsf.phantoms.brain_tissue import make_tissue
from grcsf.phantoms.draws import check_range, is_lesion_free, log_uniform

__all__ = ["GENERATOR_VERSION", "Phantom", "PhantomSettings", "make_phantom", "write_phantoms"]

GENERATOR_VERSION = 1
"""Raised by one whenever the same seed gives other phantoms."""

_LABELS = {"background": 0, "lesion": 1}
_ENDING = ".nii.gz"


class PhantomSettings(Frozen):
    """What to generate."""

    subjects: int = Field(24, ge=1, le=9000, description="Phantoms to train and validate on.")
    spacing_mm: float = Field(2.0, ge=1.0, le=6.0, description="Edge of a voxel in mm.")
    contrast: ContrastName = Field("flair", description="t1: chronic, dark lesions; flair: acute, bright lesions.")
    seed: int = Field(0, ge=0, description="Seed of all phantoms.")
    lesion_free_fraction: float = Field(0.1, ge=0, le=1, description="Share of phantoms without any lesion.")
    lesions: int = Field(3, ge=1, description="Most lesions in a phantom; each has 1 to this many.")
    lesion_ml: tuple[float, float] = Field((0.05, 150.0), description="Smallest and largest lesion, log-uniform.")
    low_contrast_fraction: float = Field(0.2, ge=0, le=1, description="Share of lesions with low contrast.")
    hyperintensity_ml: tuple[float, float] = Field(
        (0.5, 15.0), description="Unlabelled hyperintensities of a phantom, least and most in all, log-uniform."
    )
    noise: tuple[float, float] = Field((0.02, 0.06), description="Noise, lowest and highest, share of white matter.")

    @field_validator("lesion_ml", "hyperintensity_ml", "noise")
    @classmethod
    def _in_order(cls, pair: tuple[float, float]) -> tuple[float, float]:
        return check_range(pair)


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic scan.

    Attributes:
        image: (x, y, z) float32, arbitrary units, 0 outside the brain.
        label: (x, y, z), 1 in lesions.
        affine_ras: (4, 4) voxel -> MNI152 mm, RAS+.
        lesion_ml: volume of each lesion, largest first; empty in a lesion-free phantom.
        lesion_strength: contrast of each lesion, 0 to 1, in the same order.
        hyperintensities: strength 0 to 1 of what is bright (FLAIR) or dark (T1) but no lesion, (x, y, z).
    """

    image: FloatArray
    label: LabelArray
    affine_ras: FloatArray64
    lesion_ml: list[float]
    lesion_strength: list[float]
    hyperintensities: FloatArray


def make_phantom(settings: PhantomSettings, index: int) -> Phantom:
    """Phantom number ``index`` (from 0); it is the same whatever ``subjects`` is.

    Every ``1 / lesion_free_fraction``-th phantom has no lesion, so the share holds in small sets as well.

    Args:
        settings: what to generate.
        index: number of the phantom, 0 or more.
    """
    rng = np.random.default_rng([settings.seed, index])
    templates = load_templates(settings.spacing_mm)
    tissue = make_tissue(rng, templates)
    number = 0 if is_lesion_free(settings.lesion_free_fraction, index) else int(rng.integers(1, settings.lesions + 1))
    masks = draw_lesions(rng, tissue, [log_uniform(rng, settings.lesion_ml) for _ in range(number)])
    strengths = [_strength(rng, settings.low_contrast_fraction) for _ in masks]
    bright = draw_hyperintensities(rng, tissue, log_uniform(rng, settings.hyperintensity_ml))
    label = np.zeros(tissue.brain.shape, np.uint8)
    for mask in masks:
        label[mask] = 1
    bright[label > 0] = 0.0
    image = make_image(
        rng,
        tissue,
        CONTRASTS[settings.contrast],
        list(zip(masks, strengths, strict=True)),
        bright,
        noise=settings.noise,
    )
    volumes = [int(mask.sum()) * settings.spacing_mm**3 / 1000.0 for mask in masks]
    return Phantom(image, label, templates.affine_ras, volumes, strengths, bright)


def write_phantoms(folder: Path, settings: PhantomSettings, held_out: int = 0, *, overwrite: bool = False) -> Dataset:
    """Write phantoms as a data set in nnU-Net raw layout; ``dataset.json`` says what they are and comes last.

    Args:
        folder: such as ``Dataset900_BrainPhantoms``.
        settings: what to generate.
        held_out: further phantoms, with their masks, in ``imagesTs`` and ``labelsTs``.
        overwrite: replace the phantoms that are in ``folder``.

    Raises:
        OutputError: something is in ``folder`` already, or it cannot be written.
    """
    ensure_new(folder, overwrite=overwrite)
    make_folder(folder)
    _remove_phantoms(folder)
    total = settings.subjects + held_out
    for index in track(range(total), "Phantoms", total):
        part = "Tr" if index < settings.subjects else "Ts"
        _write_one(folder, part, f"phantom-{index + 1:04d}", make_phantom(settings, index))
    write_dataset_json(
        folder,
        channel_names=(settings.contrast.upper(),),
        labels=_LABELS,
        num_training=settings.subjects,
        file_ending=_ENDING,
        name=folder.resolve().name,
        description="Synthetic brain phantoms with synthetic lesions; not patients, not for clinical conclusions.",
        reference="MNI ICBM152 2009 average brain and tissue maps, as carried by nilearn",
        phantoms={
            "generator_version": GENERATOR_VERSION,
            "seed": settings.seed,
            "held_out": held_out,
            "settings": settings.model_dump(mode="json"),
        },
    )
    return read_dataset(folder)


def _write_one(folder: Path, part: str, name: str, phantom: Phantom) -> None:
    header = new_header(phantom.image.shape, phantom.affine_ras)
    write_nifti(phantom.image, header, make_folder(folder / f"images{part}") / f"{name}_0000{_ENDING}")
    write_nifti(phantom.label, header, make_folder(folder / f"labels{part}") / f"{name}{_ENDING}")


def _remove_phantoms(folder: Path) -> None:
    (folder / "dataset.json").unlink(missing_ok=True)
    for path in folder.glob(f"*T[rs]/phantom-*{_ENDING}"):
        path.unlink()


def _strength(rng: np.random.Generator, low_contrast_fraction: float) -> float:
    low = rng.random() < low_contrast_fraction
    return float(rng.uniform(0.35, 0.6) if low else rng.uniform(0.7, 1.0))
