"""Lung CT phantoms: tissue in its range of HU, branching vessels, nodules inside lungs and of the size asked for."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage as ndi
from pydantic import ValidationError

from grcsf.errors import OutputError
from grcsf.io.files import read_json
from grcsf.io.volume import read_volume
from grcsf.phantoms.ct_grid import CtGrid
from grcsf.phantoms.lung import LungPhantomSettings, make_lung_phantom, write_lung_phantoms
from grcsf.phantoms.lung_anatomy import draw_airways, draw_vessels, paint_airways, paint_vessels
from grcsf.phantoms.lung_nodules import TEXTURES, draw_nodule, nodule_share, paint_nodule, wall_distance_mm

COARSE = LungPhantomSettings(spacing_mm=3.0, lesion_free_fraction=0)
GRID = CtGrid((50, 50, 24), (2.0, 2.0, 3.0), (-49.0, -49.0, -34.5))


@pytest.fixture(scope="module")
def phantoms():
    mixed = {"part_solid_fraction": 0.33, "ground_glass_fraction": 0.33, "nodules": 6}
    return [make_lung_phantom(COARSE.model_copy(update=mixed), index) for index in range(8)]


@pytest.fixture(scope="module")
def lungs():
    """A lung that fills the grid but for its left quarter."""
    share = np.ones(GRID.shape, np.float32)
    share[:12] = 0
    return share


def nodule(lungs, seed=0, **change):
    wanted = {"diameter_mm": 16.0, "texture": "solid", "place": "free", **change}
    depth = wall_distance_mm(GRID, lungs)
    nothing = np.zeros(GRID.shape, np.float32)
    drawn = draw_nodule(np.random.default_rng(seed), GRID, depth, nothing, nothing > 0, **wanted)
    assert drawn is not None
    return drawn


# the same phantom every time


def test_a_phantom_depends_on_seed_and_number_alone():
    first = make_lung_phantom(COARSE, 2)
    make_lung_phantom(COARSE, 0)
    again = make_lung_phantom(COARSE.model_copy(update={"subjects": 5}), 2)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.textures, again.textures)
    assert not np.array_equal(first.image, make_lung_phantom(COARSE.model_copy(update={"seed": 1}), 2).image)


def test_a_phantom_is_a_scan_in_hounsfield_units(phantoms):
    for phantom in phantoms:
        assert phantom.image.shape == phantom.label.shape == (112, 76, 56)  # 336 / 3, 228 / 3, 168 / 3
        assert phantom.image.dtype == np.int16
        assert np.array_equal(np.diag(phantom.affine_ras), [3, 3, 3, 1])
        assert np.percentile(phantom.image, 1) < -950  # air around the chest


def test_each_tissue_has_its_hounsfield_units(phantoms):
    for phantom in phantoms:
        tissue, free = phantom.tissue, phantom.label == 0
        quiet = (tissue["vessel"] < 0.01) & (tissue["airway"] < 0.01) & ~ndi.binary_dilation(~free, iterations=3)
        lung = ndi.binary_erosion(tissue["lung"] > 0.99) & quiet
        assert -900 < phantom.image[lung].mean() < -780
        assert phantom.image[(tissue["vessel"] > 0.95) & free].mean() > -250  # thin and blurred, yet far above lung
        assert phantom.image[tissue["bone"] > 0.99].mean() > 130
        both = phantom.tissue["lung"] > 0.5
        assert 1.5e6 < both.sum() * 27 < 6e6  # mm3: 1.5 to 6 litres


# vessels and airways


@pytest.mark.parametrize("seed", range(4))
def test_vessels_branch_into_both_lungs_and_become_thinner(seed):
    tree = draw_vessels(np.random.default_rng(seed))
    assert 0.7 <= tree.radii_mm.min() < 1.5
    assert tree.radii_mm.max() < 6
    assert (tree.points_mm[:, 0] > 0).any()
    assert (tree.points_mm[:, 0] < 0).any()
    thick = tree.radii_mm > 3
    hila = np.array([[38.0, -26.0, 26.0], [-38.0, -26.0, 26.0]])
    away = np.linalg.norm(tree.points_mm[:, None] - hila, axis=2).min(axis=1)
    assert away[thick].mean() < away[~thick].mean()


def test_vessels_are_painted_in_lungs_only(lungs):
    grid = CtGrid((60, 60, 40), (3.0, 3.0, 3.0), (-90.0, -90.0, -30.0))
    half = np.zeros(grid.shape, np.float32)
    half[30:] = 1
    image = np.full(grid.shape, -850, np.float32)
    share = paint_vessels(grid, draw_vessels(np.random.default_rng(0)), image, half)
    assert share[30:].max() > 0.9
    assert not share[:30].any()
    assert (image[:30] == -850).all()


def test_airways_are_walls_around_air():
    grid = CtGrid((80, 60, 30), (1.0, 1.0, 3.0), (-40.0, -50.0, 40.0))
    image = np.full(grid.shape, 40, np.float32)
    paint_airways(grid, draw_airways(np.random.default_rng(0)), image)
    top = image[:, :, -1]
    assert top.min() < -950
    air = np.clip((20 - top) / 1020, 0, 1) * (top < 0)  # share of air in each pixel; the wall has 20 HU
    assert air.sum() == pytest.approx(math.pi * (0.7 * 9) ** 2, rel=0.25)  # windpipe of 9 mm, pixels of 1 mm2


# nodules


@pytest.mark.parametrize("diameter", [5.0, 10.0, 20.0, 40.0])
def test_a_nodule_has_about_the_volume_of_its_ball(lungs, diameter):
    volumes = []
    for seed in range(6):
        drawn = replace(nodule(lungs, seed, diameter_mm=diameter), centre_mm=np.zeros(3))
        volumes.append(nodule_share(GRID, drawn)[1].sum(dtype=np.float64) * GRID.voxel_mm3)
    assert np.mean(volumes) == pytest.approx(math.pi / 6 * diameter**3, rel=0.25)


def test_a_free_nodule_stays_off_the_wall_and_one_at_the_wall_is_cut_by_it(lungs):
    for seed in range(8):
        image = np.full(GRID.shape, -850, np.float32)
        free = paint_nodule(GRID, nodule(lungs, seed), image.copy(), lungs)
        full = nodule_share(GRID, nodule(lungs, seed))[1].sum()
        assert free.sum() > 0.97 * full
        at_wall = nodule(lungs, seed, place="wall")
        cut = paint_nodule(GRID, at_wall, image, lungs)
        assert cut.sum() < 0.99 * nodule_share(GRID, at_wall)[1].sum()
        assert not cut[lungs == 0].any()
        assert cut[12].any() or cut.sum() > 0


def test_a_nodule_at_a_vessel_has_its_middle_on_it(lungs):
    vessels = np.zeros(GRID.shape, np.float32)
    vessels[30, :, 12] = 1
    depth = wall_distance_mm(GRID, lungs)
    for seed in range(5):
        drawn = draw_nodule(
            np.random.default_rng(seed),
            GRID,
            depth,
            vessels,
            np.zeros(GRID.shape, bool),
            diameter_mm=10.0,
            texture="solid",
            place="vessel",
        )
        assert drawn.centre_mm[[0, 2]].tolist() == [11.0, 1.5]  # -49 + 30 * 2, -34.5 + 12 * 3


def test_nodules_keep_apart_and_none_comes_where_no_lung_is_left(lungs):
    depth = wall_distance_mm(GRID, lungs)
    nothing = np.zeros(GRID.shape, np.float32)
    rng = np.random.default_rng(0)
    wanted = {"diameter_mm": 12.0, "texture": "solid", "place": "free"}
    assert draw_nodule(rng, GRID, depth, nothing, np.ones(GRID.shape, bool), **wanted) is None
    taken = np.zeros(GRID.shape, bool)
    taken[30, 25, 12] = True
    for _ in range(5):
        drawn = draw_nodule(rng, GRID, depth, nothing, taken, **wanted)
        assert np.linalg.norm(drawn.centre_mm - np.array([11.0, 1.0, 1.5])) > 10  # radius and gap


def test_textures_differ_in_density_and_vessels_show_through_ground_glass(lungs):
    means = {}
    for texture in TEXTURES:
        image = np.full(GRID.shape, -850, np.float32)
        image[:, 25, :] = 50  # a sheet of vessel
        share = paint_nodule(GRID, nodule(lungs, 3, texture=texture, diameter_mm=24.0), image, lungs)
        inside = share > 0.99
        inside[:, 25, :] = False
        means[texture] = image[inside].mean()
        assert image[:, 25, :].min() == 50
    assert means["ground-glass"] < means["part-solid"] < means["solid"]
    assert -700 < means["ground-glass"] < -450
    assert 0 < means["solid"] < 90


def test_nodules_lie_inside_lungs_and_agree_with_their_table(phantoms):
    kinds = set()
    for phantom in phantoms:
        mask = phantom.label > 0
        assert phantom.nodules
        assert phantom.tissue["lung"][mask].min() > 0
        assert np.array_equal(mask, phantom.textures > 0)
        assert mask.sum() <= sum(phantom.voxels)
        assert min(phantom.voxels) >= 1
        for drawn, volume, voxels in zip(phantom.nodules, phantom.volume_mm3, phantom.voxels, strict=True):
            kinds.add((drawn.texture, drawn.place))
            assert 3 <= 2 * drawn.radius_mm <= 60.001
            if volume > 2000:
                assert voxels * 27 == pytest.approx(volume, rel=0.25)
    assert {texture for texture, _ in kinds} == set(TEXTURES)
    assert {place for _, place in kinds} == {"free", "wall", "vessel"}


def test_nodules_are_denser_than_lung(phantoms):
    for phantom in phantoms:
        for value in set(np.unique(phantom.textures)) - {0}:
            inside = ndi.binary_erosion(phantom.textures == value)
            if inside.any():
                assert phantom.image[inside].mean() > -780


def test_the_share_without_a_nodule_is_kept():
    chosen = COARSE.model_copy(update={"lesion_free_fraction": 0.5})
    assert [make_lung_phantom(chosen, index).label.any() for index in range(4)] == [True, False, True, False]


@pytest.mark.parametrize(
    "wrong",
    [
        {"diameter_mm": (1.0, 10.0)},
        {"diameter_mm": (10.0, 5.0)},
        {"diameter_mm": (10.0, 200.0)},
        {"wall_fraction": 0.7, "vessel_fraction": 0.7},
        {"part_solid_fraction": 1.0, "ground_glass_fraction": 0.1},
        {"dose": (-1.0, 1.0)},
        {"field_mm": (336.0, 228.0, 1.0)},
        {"nodules": 0},
        {"nodule": 1},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        LungPhantomSettings(**wrong)


# on disk


def test_a_folder_of_phantoms_is_an_nnunet_data_set_with_a_table(tmp_path):
    folder = tmp_path / "Dataset902_LungPhantoms"
    chosen = COARSE.model_copy(update={"subjects": 2, "seed": 3})
    dataset = write_lung_phantoms(folder, chosen, held_out=1)
    assert dataset.channel_names == ("CT",)
    assert len(dataset.cases) == 2
    phantom = make_lung_phantom(chosen, 2)
    assert np.array_equal(read_volume(folder / "imagesTs" / "phantom-0003_0000.nii.gz").array, phantom.image)
    assert np.array_equal(read_volume(folder / "texturesTs" / "phantom-0003.nii.gz").array, phantom.textures)
    with (folder / "nodules.csv").open(encoding="utf-8", newline="") as file:
        own = [row for row in csv.DictReader(file) if row["case"] == "phantom-0003"]
    assert [int(row["voxels"]) for row in own] == list(phantom.voxels)
    assert [row["texture"] for row in own] == [drawn.texture for drawn in phantom.nodules]
    said = read_json(folder / "dataset.json")["phantoms"]
    assert LungPhantomSettings.model_validate(said["settings"]) == chosen
    with pytest.raises(OutputError, match="exists already"):
        write_lung_phantoms(folder, chosen)
