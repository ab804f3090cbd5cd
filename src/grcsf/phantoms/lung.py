"""Lung CT phantoms: seeded synthetic scans with known nodules. They are no patients.

Chest, heart, branching vessels and airways are made from formulas; nodules lie in the lungs, some at the wall or at a
vessel. A subject depends on the seed and its number only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from grcsf.arrays import AnyArray, FloatArray, LabelArray
from grcsf.config import Frozen
from grcsf.datasets.dataset import Dataset
from grcsf.phantoms.ct_chest import draw_chest, paint_bones, paint_lungs, paint_walls
from grcsf.phantoms.ct_grid import CtGrid, ellipsoid_level, share_inside
from grcsf.phantoms.ct_scan import CtDataSet, CtPhantom, add_noise, blur, to_hu, write_ct_phantoms
from grcsf.phantoms.draws import check_range, is_lesion_free, log_uniform
from grcsf.phantoms.heart_anatomy import around_heart, draw_heart, paint_heart
from grcsf.phantoms.lung_anatomy import draw_airways, draw_vessels, paint_airways, paint_vessels
from grcsf.phantoms.lung_nodules import TEXTURES, Nodule, draw_nodule, paint_nodule, wall_distance_mm

__all__ = ["LUNG_GENERATOR_VERSION", "LungPhantom", "LungPhantomSettings", "make_lung_phantom", "write_lung_phantoms"]

LUNG_GENERATOR_VERSION = 1
"""Raised by one whenever the same seed gives other phantoms."""

TABLE = "nodules.csv"
_COLUMNS = ("number", "texture", "place", "diameter_mm", "volume_mm3", "hu", "x_mm", "y_mm", "z_mm", "voxels")


class LungPhantomSettings(Frozen):
    """What to generate."""

    subjects: int = Field(24, ge=1, le=9000, description="Phantoms to train and validate on.")
    spacing_mm: float = Field(1.5, ge=0.5, le=3.0, description="Edge of a pixel in mm.")
    slice_mm: float = Field(3.0, ge=0.5, le=5.0, description="Slice thickness in mm.")
    field_mm: tuple[float, float, float] = Field((336.0, 228.0, 168.0), description="Width, depth and height, mm.")
    seed: int = Field(0, ge=0, description="Seed of all phantoms.")
    lesion_free_fraction: float = Field(0.1, ge=0, le=1, description="Share of phantoms without a nodule.")
    nodules: int = Field(4, ge=1, le=20, description="Most in a phantom; each has 1 to this many.")
    diameter_mm: tuple[float, float] = Field((3.0, 60.0), description="Smallest and largest nodule, log-uniform.")
    part_solid_fraction: float = Field(0.2, ge=0, le=1, description="Share of part-solid nodules.")
    ground_glass_fraction: float = Field(0.2, ge=0, le=1, description="Share of nodules of ground glass.")
    wall_fraction: float = Field(0.25, ge=0, le=1, description="Share of nodules at the wall of the lung.")
    vessel_fraction: float = Field(0.25, ge=0, le=1, description="Share of nodules at a vessel.")
    dose: tuple[float, float] = Field((0.5, 1.5), description="Lowest and highest dose; 1 has noise of `noise_hu`.")
    noise_hu: float = Field(25.0, ge=0, le=200, description="Standard deviation of the noise at dose 1, HU.")

    @field_validator("diameter_mm", "dose")
    @classmethod
    def _in_order(cls, pair: tuple[float, float]) -> tuple[float, float]:
        return check_range(pair)

    @field_validator("diameter_mm")
    @classmethod
    def _fits_a_lung(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if pair[0] < 2 or pair[1] > 80:
            raise ValueError(f"{pair}: expected diameters of 2 to 80 mm")
        return pair

    @field_validator("field_mm")
    @classmethod
    def _holds_lungs(cls, field_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(field_mm) < 60 or max(field_mm) > 500:
            raise ValueError(f"{field_mm}: expected 60 to 500 mm along each axis")
        return field_mm

    @model_validator(mode="after")
    def _shares_fit(self) -> LungPhantomSettings:
        for one, other in (("part_solid", "ground_glass"), ("wall", "vessel")):
            total = getattr(self, f"{one}_fraction") + getattr(self, f"{other}_fraction")
            if total > 1:
                raise ValueError(f"{one}_fraction and {other}_fraction: together {total:g}; expected at most 1")
        return self


@dataclass(frozen=True, eq=False)
class LungPhantom:
    """A synthetic chest scan.

    Attributes:
        image: (x, y, z) int16, HU.
        label: (x, y, z), 1 where a nodule fills at least half of a voxel; of each nodule at least one voxel.
        textures: (x, y, z), the same by kind: 1 solid, 2 part-solid, 3 ground glass.
        tissue: share of lung, vessel, airway and bone by name, (x, y, z).
        affine_ras: (4, 4) voxel -> mm, RAS+.
        nodules: what was drawn.
        volume_mm3: of each nodule inside the lungs.
        voxels: of each nodule in the label.
    """

    image: AnyArray
    label: LabelArray
    textures: LabelArray
    tissue: Mapping[str, FloatArray]
    affine_ras: AnyArray
    nodules: Sequence[Nodule]
    volume_mm3: Sequence[float]
    voxels: Sequence[int]


def make_lung_phantom(settings: LungPhantomSettings, index: int) -> LungPhantom:
    """Phantom number ``index`` (from 0); it is the same whatever ``subjects`` is.

    Args:
        settings: what to generate.
        index: number of the phantom, 0 or more.
    """
    rng = np.random.default_rng([settings.seed, index, 2])
    chest = draw_chest(rng)
    heart = draw_heart(rng, chest)
    step = (settings.spacing_mm, settings.spacing_mm, settings.slice_mm)
    grid = CtGrid.centred(settings.field_mm, step, np.array([0.0, 0.0, 30.0]) + rng.normal(0.0, 3.0, 3))
    image, cavity = paint_walls(grid, chest)
    column = share_inside(ellipsoid_level(grid, np.zeros(3), np.array([34.0, 80.0, 1e9])))
    upper = np.clip((grid.axes_mm()[2] - np.float32(heart.centre_mm[2])) / np.float32(20.0), 0, 1)
    between = np.maximum(around_heart(grid, heart), column * upper)
    lungs = paint_lungs(grid, chest, image, cavity, between, dome_mm=-float(rng.uniform(38, 50)))
    paint_heart(grid, heart, image)
    vessels = paint_vessels(grid, draw_vessels(rng), image, lungs)
    airways = paint_airways(grid, draw_airways(rng), image)
    bone = paint_bones(grid, chest, image)
    lungs = lungs * (1 - bone)
    number = int(rng.integers(1, settings.nodules + 1))
    number = 0 if is_lesion_free(settings.lesion_free_fraction, index) else number
    nodules, shares = _draw_nodules(rng, settings, number, grid, {"lung": lungs, "vessel": vessels}, image=image)
    image = blur(image, grid, float(rng.uniform(0.5, 0.9)))
    add_noise(rng, image, settings.noise_hu / float(np.sqrt(log_uniform(rng, settings.dose))))
    textures, voxels = np.zeros(grid.shape, np.uint8), []
    for nodule, share in zip(nodules, shares, strict=True):
        marked = (share >= 0.5) | (share == share.max())
        textures[marked] = TEXTURES[nodule.texture]
        voxels.append(int(marked.sum()))
    volumes = [float(share.sum(dtype=np.float64)) * grid.voxel_mm3 for share in shares]
    tissue = {"lung": lungs, "vessel": vessels, "airway": airways, "bone": bone}
    label = (textures > 0).astype(np.uint8)
    return LungPhantom(to_hu(image), label, textures, tissue, grid.affine_ras, nodules, volumes, voxels)


def write_lung_phantoms(
    folder: Path, settings: LungPhantomSettings, held_out: int = 0, *, overwrite: bool = False
) -> Dataset:
    """Write phantoms as a data set in nnU-Net raw layout, with ``nodules.csv`` and kinds of nodules in ``texturesTr``.

    Args:
        folder: such as ``Dataset902_LungPhantoms``.
        settings: what to generate.
        held_out: further phantoms, with their masks, in ``imagesTs`` and ``labelsTs``.
        overwrite: replace the phantoms that are in ``folder``.

    Raises:
        OutputError: something is in ``folder`` already, or it cannot be written.
    """
    facts = {
        "anatomy": "lung",
        "generator_version": LUNG_GENERATOR_VERSION,
        "seed": settings.seed,
        "textures": dict(TEXTURES),
        "settings": settings.model_dump(mode="json"),
    }
    about = CtDataSet(
        labels={"background": 0, "lesion": 1},
        table=TABLE,
        columns=_COLUMNS,
        description="Synthetic chest CT phantoms with synthetic nodules; not patients, not for clinical conclusions.",
        facts=facts,
    )

    def make(index: int) -> CtPhantom:
        phantom = make_lung_phantom(settings, index)
        return CtPhantom(
            phantom.image, phantom.label, phantom.affine_ras, {"textures": phantom.textures}, _rows(phantom)
        )

    return write_ct_phantoms(folder, about, make, settings.subjects, held_out, overwrite=overwrite)


def _draw_nodules(
    rng: np.random.Generator,
    settings: LungPhantomSettings,
    number: int,
    grid: CtGrid,
    tissue: Mapping[str, FloatArray],
    *,
    image: FloatArray,
) -> tuple[list[Nodule], list[FloatArray]]:
    """Draw and paint the nodules, largest first; returns them with their shares of each voxel."""
    lungs = tissue["lung"]
    depth_mm = wall_distance_mm(grid, lungs)
    taken = np.zeros(grid.shape, bool)
    nodules, shares = list[Nodule](), list[FloatArray]()
    for diameter in sorted((log_uniform(rng, settings.diameter_mm) for _ in range(number)), reverse=True):
        texture = _choose(
            rng, "solid", {"part-solid": settings.part_solid_fraction, "ground-glass": settings.ground_glass_fraction}
        )
        place = _choose(rng, "free", {"wall": settings.wall_fraction, "vessel": settings.vessel_fraction})
        nodule = draw_nodule(
            rng, grid, depth_mm, tissue["vessel"], taken, diameter_mm=diameter, texture=texture, place=place
        )
        if nodule is None:
            break
        share = paint_nodule(grid, nodule, image, lungs)
        if share.any():
            nodules.append(nodule)
            shares.append(share)
            taken |= share > 0
    return nodules, shares


def _choose(rng: np.random.Generator, usual: str, shares: Mapping[str, float]) -> str:
    drawn = float(rng.random())
    for name, share in shares.items():
        if drawn < share:
            return name
        drawn -= share
    return usual


def _rows(phantom: LungPhantom) -> list[dict[str, Any]]:
    facts = zip(phantom.nodules, phantom.volume_mm3, phantom.voxels, strict=True)
    return [
        {
            "number": number,
            "texture": nodule.texture,
            "place": nodule.place,
            "diameter_mm": round(2 * nodule.radius_mm, 2),
            "volume_mm3": round(volume, 2),
            "hu": round(nodule.hu, 1),
            **{f"{axis}_mm": round(float(at), 2) for axis, at in zip("xyz", nodule.centre_mm, strict=True)},
            "voxels": voxels,
        }
        for number, (nodule, volume, voxels) in enumerate(facts, start=1)
    ]
