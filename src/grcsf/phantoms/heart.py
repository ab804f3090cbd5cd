"""Cardiac CT phantoms: seeded synthetic scans with known coronary calcium; they are no patients.

A chest, a heart and its arteries are made from formulas; calcifications lie on the walls of the arteries, and bones and
a calcified aorta are as bright without being coronary calcium. A subject depends on the seed and its number only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from grcsf.arrays import AnyArray, FloatArray, LabelArray
from grcsf.config import Frozen
from grcsf.datasets.dataset import Dataset
from grcsf.phantoms.ct_chest import draw_chest, paint_bones, paint_lungs, paint_walls
from grcsf.phantoms.ct_grid import CtGrid, ellipsoid_level, share_inside
from grcsf.phantoms.ct_scan import (
    LARGEST_HU,
    CtDataSet,
    CtPhantom,
    add_noise,
    add_streaks,
    blur,
    to_hu,
    write_ct_phantoms,
)
from grcsf.phantoms.draws import check_range, is_lesion_free, log_uniform
from grcsf.phantoms.heart_anatomy import VESSELS, Heart, around_heart, draw_heart, paint_heart
from grcsf.phantoms.heart_calcium import (
    CANDIDATE_HU,
    Calcification,
    calcium_share,
    draw_calcifications,
    label_calcium,
    place_on_wall,
)

__all__ = [
    "HEART_GENERATOR_VERSION",
    "HeartPhantom",
    "HeartPhantomSettings",
    "make_heart_phantom",
    "write_heart_phantoms",
]

HEART_GENERATOR_VERSION = 1
"""Raised by one whenever the same seed gives other phantoms."""

TABLE = "calcifications.csv"
_LABELS = MappingProxyType({"background": 0, "lesion": 1})
_COLUMNS = ("number", "vessel", "volume_mm3", "hu", "x_mm", "y_mm", "z_mm", "motion_mm", "voxels")


class HeartPhantomSettings(Frozen):
    """What to generate."""

    subjects: int = Field(24, ge=1, le=9000, description="Phantoms to train and validate on.")
    spacing_mm: float = Field(1.0, ge=0.4, le=2.0, description="Edge of a pixel in mm.")
    slice_mm: float = Field(3.0, ge=0.5, le=5.0, description="Slice thickness in mm.")
    field_mm: tuple[float, float, float] = Field(
        (176.0, 160.0, 114.0), description="Field of view: width, depth and height, mm, around the heart."
    )
    seed: int = Field(0, ge=0, description="Seed of all phantoms.")
    labels: Literal["lesion", "vessels"] = Field("lesion", description="One label, or one for each coronary artery.")
    lesion_free_fraction: float = Field(0.25, ge=0, le=1, description="Share of phantoms without coronary calcium.")
    calcifications: int = Field(12, ge=1, le=40, description="Most in a phantom; each has 1 to this many.")
    volume_mm3: tuple[float, float] = Field((0.5, 300.0), description="Smallest and largest one, log-uniform.")
    calcium_hu: tuple[float, float] = Field((130.0, 1500.0), description="Least and most dense one, log-uniform.")
    smallest_voxels: int = Field(2, ge=1, le=100, description="Fewer connected voxels are not marked: maybe noise.")
    aorta_fraction: float = Field(
        0.6, ge=0, le=1, description="Share of phantoms with calcium in the aorta, no lesion."
    )
    dose: tuple[float, float] = Field((0.6, 1.6), description="Lowest and highest dose; 1 has noise of `noise_hu`.")
    noise_hu: float = Field(17.0, ge=0, le=200, description="Standard deviation of the noise at dose 1, HU.")
    motion_mm: float = Field(2.0, ge=0, le=10, description="Longest way of a calcification during the scan.")

    @field_validator("volume_mm3", "calcium_hu", "dose")
    @classmethod
    def _in_order(cls, pair: tuple[float, float]) -> tuple[float, float]:
        return check_range(pair)

    @field_validator("calcium_hu")
    @classmethod
    def _stored(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if pair[0] < CANDIDATE_HU or pair[1] > LARGEST_HU:
            raise ValueError(f"{pair}: expected HU between {CANDIDATE_HU}, from which calcium counts, and {LARGEST_HU}")
        return pair

    @field_validator("field_mm")
    @classmethod
    def _holds_a_heart(cls, field_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(field_mm) < 60 or max(field_mm) > 500:
            raise ValueError(f"{field_mm}: expected 60 to 500 mm along each axis")
        return field_mm


@dataclass(frozen=True, eq=False)
class HeartPhantom:
    """A synthetic cardiac scan.

    Attributes:
        image: (x, y, z) int16, HU.
        label: (x, y, z), 1 in coronary calcium of at least 130 HU.
        vessels: (x, y, z), the same by artery: 1 LM, 2 LAD, 3 LCX, 4 RCA.
        arteries: (x, y, z), the arteries themselves by the same values.
        tissue: share of lung, bone, great vessels and heart with its fat by name, (x, y, z).
        affine_ras: (4, 4) voxel -> mm, RAS+.
        calcifications: coronary ones; what was drawn, seen or not.
        voxels: how many voxels of the label each of them has; 0 where partial volume keeps it below 130 HU or
            leaves too little of it.
        heart: its arteries.
    """

    image: AnyArray
    label: LabelArray
    vessels: LabelArray
    arteries: LabelArray
    tissue: Mapping[str, FloatArray]
    affine_ras: AnyArray
    calcifications: Sequence[Calcification]
    voxels: Sequence[int]
    heart: Heart


def make_heart_phantom(settings: HeartPhantomSettings, index: int) -> HeartPhantom:
    """Phantom number ``index`` (from 0); it is the same whatever ``subjects`` is.

    Args:
        settings: what to generate.
        index: number of the phantom, 0 or more.
    """
    rng = np.random.default_rng([settings.seed, index, 1])
    chest = draw_chest(rng)
    heart = draw_heart(rng, chest)
    step = (settings.spacing_mm, settings.spacing_mm, settings.slice_mm)
    middle = np.array([-2.0, heart.centre_mm[1] - 20.0, 0.0]) + rng.normal(0.0, 3.0, 3)
    grid = CtGrid.centred(settings.field_mm, step, middle)
    image, cavity = paint_walls(grid, chest)
    around = around_heart(grid, heart)
    column = share_inside(ellipsoid_level(grid, np.array([0.0, 6.0, 0.0]), np.array([34.0, 72.0, 1e9])))
    upper = np.clip((grid.axes_mm()[2] - np.float32(heart.centre_mm[2])) / np.float32(20.0), 0, 1)
    dome_mm = float(heart.centre_mm[2]) - float(rng.uniform(38, 50))
    lungs = paint_lungs(grid, chest, image, cavity, np.maximum(around, column * upper), dome_mm=dome_mm)
    shares, great = paint_heart(grid, heart, image)
    bone = paint_bones(grid, chest, image)
    coronary, other = _draw_calcium(rng, settings, index, heart)
    seen = [_paint_calcium(grid, spot, image) for spot in (*coronary, *other)]
    sigma_mm = float(rng.uniform(0.45, 0.65))
    image = blur(image, grid, sigma_mm)
    for spot in (*coronary, *other):
        _streak(rng, grid, spot, image, settings.motion_mm)
    add_noise(rng, image, settings.noise_hu / float(np.sqrt(log_uniform(rng, settings.dose))))
    scan = to_hu(image)
    blurred = [blur(share, grid, sigma_mm) for share in seen[: len(coronary)]]
    mask, vessels, voxels = label_calcium(scan, blurred, [spot.vessel for spot in coronary], settings.smallest_voxels)
    arteries = np.zeros(grid.shape, np.uint8)
    for name, share in shares.items():
        arteries[share >= 0.5] = VESSELS[name]
    tissue = {"lung": lungs, "bone": bone, "great": great, "heart": around}
    label = mask.astype(np.uint8)
    return HeartPhantom(scan, label, vessels, arteries, tissue, grid.affine_ras, coronary, voxels, heart)


def write_heart_phantoms(
    folder: Path, settings: HeartPhantomSettings, held_out: int = 0, *, overwrite: bool = False
) -> Dataset:
    """Write phantoms as a data set in nnU-Net raw layout; ``calcifications.csv`` comes with it.

    The table has each calcification with its true volume and density and its voxels in the mask. ``vesselsTr`` has the
    calcium by artery.

    Args:
        folder: such as ``Dataset901_HeartPhantoms``.
        settings: what to generate.
        held_out: further phantoms, with their masks, in ``imagesTs`` and ``labelsTs``.
        overwrite: replace the phantoms that are in ``folder``.

    Raises:
        OutputError: something is in ``folder`` already, or it cannot be written.
    """
    facts = {
        "anatomy": "heart",
        "generator_version": HEART_GENERATOR_VERSION,
        "seed": settings.seed,
        "vessels": dict(VESSELS),
        "settings": settings.model_dump(mode="json"),
    }
    about = CtDataSet(
        labels={"background": 0, **VESSELS} if settings.labels == "vessels" else _LABELS,
        table=TABLE,
        columns=_COLUMNS,
        description="Synthetic cardiac CT phantoms with synthetic calcium; not patients, not for clinical conclusions.",
        facts=facts,
    )

    def make(index: int) -> CtPhantom:
        phantom = make_heart_phantom(settings, index)
        label = phantom.vessels if settings.labels == "vessels" else phantom.label
        return CtPhantom(phantom.image, label, phantom.affine_ras, {"vessels": phantom.vessels}, _rows(phantom))

    return write_ct_phantoms(folder, about, make, settings.subjects, held_out, overwrite=overwrite)


def _draw_calcium(
    rng: np.random.Generator, settings: HeartPhantomSettings, index: int, heart: Heart
) -> tuple[list[Calcification], list[Calcification]]:
    """Calcifications of the coronary arteries, and those of the descending aorta."""
    free = is_lesion_free(settings.lesion_free_fraction, index)
    number = int(rng.integers(1, settings.calcifications + 1))
    low, high = settings.volume_mm3
    largest = log_uniform(rng, (low + (high - low) * 0.1, high))  # burdens differ between subjects
    coronary = draw_calcifications(
        rng,
        heart,
        0 if free else number,
        volume_mm3=(low, largest),
        hu=settings.calcium_hu,
        motion_mm=settings.motion_mm,
    )
    other = []
    if rng.random() < settings.aorta_fraction:
        for _ in range(int(rng.integers(1, 4))):
            volume, hu = log_uniform(rng, (min(20.0, high), high)), log_uniform(rng, settings.calcium_hu)
            along = float(rng.uniform(0.35, 0.65))  # the curve is longer than the field of view
            other.append(
                place_on_wall(rng, "aorta", heart.descending_aorta, along, volume_mm3=volume, hu=hu, motion_mm=0.0)
            )
    return coronary, other


def _paint_calcium(grid: CtGrid, spot: Calcification, image: FloatArray) -> FloatArray:
    """Put a calcification into the image; returns its share of every voxel."""
    box, share = calcium_share(grid, spot)
    whole = np.zeros(grid.shape, np.float32)
    whole[box] = share
    image[box] += share * (np.float32(spot.hu) - image[box])
    return whole


def _streak(rng: np.random.Generator, grid: CtGrid, spot: Calcification, image: FloatArray, motion_mm: float) -> None:
    """Streaks, the stronger the further the calcification moves and the more calcium there is in a slice."""
    moved = float(np.linalg.norm(spot.shift_mm)) / motion_mm if motion_mm > 0 else 0.0
    height = 0.06 * spot.hu * moved * min(1.0, spot.volume_mm3 / 100.0)
    if height > 0:
        half_z = float(np.abs(spot.turn[:, 2] * spot.axes_mm).max())
        add_streaks(rng, image, grid, spot.centre_mm, half_z_mm=half_z, height_hu=height)


def _rows(phantom: HeartPhantom) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "vessel": spot.vessel,
            "volume_mm3": round(spot.volume_mm3, 3),
            "hu": round(spot.hu, 1),
            **{f"{axis}_mm": round(float(at), 2) for axis, at in zip("xyz", spot.centre_mm, strict=True)},
            "motion_mm": round(float(np.linalg.norm(spot.shift_mm)), 2),
            "voxels": voxels,
        }
        for number, (spot, voxels) in enumerate(zip(phantom.calcifications, phantom.voxels, strict=True), start=1)
    ]
