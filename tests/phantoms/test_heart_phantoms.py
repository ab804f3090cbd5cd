"""Cardiac CT phantoms: tissue in its range of HU, calcium on the walls of arteries, masks that agree with the scan."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import scipy.ndimage as ndi
from pydantic import ValidationError

from grcsf.errors import OutputError
from grcsf.io.files import hash_file, read_json
from grcsf.io.volume import read_volume
from grcsf.phantoms.ct_chest import draw_chest
from grcsf.phantoms.ct_grid import CtGrid
from grcsf.phantoms.heart import HeartPhantomSettings, make_heart_phantom, write_heart_phantoms
from grcsf.phantoms.heart_anatomy import VESSELS, draw_heart
from grcsf.phantoms.heart_calcium import (
    CANDIDATE_HU,
    calcium_share,
    draw_calcifications,
    label_calcium,
    place_on_wall,
)

SMALL = HeartPhantomSettings(spacing_mm=1.5, lesion_free_fraction=0)
FULL = HeartPhantomSettings(lesion_free_fraction=0, volume_mm3=(20.0, 300.0), calcium_hu=(400.0, 1500.0))


@pytest.fixture(scope="module")
def phantoms():
    return [make_heart_phantom(FULL, index) for index in range(4)]


@pytest.fixture(scope="module")
def heart():
    rng = np.random.default_rng(4)
    return draw_heart(rng, draw_chest(rng))


@pytest.fixture(scope="module")
def grid(heart):
    return CtGrid.centred((150.0, 140.0, 120.0), (1.0, 1.0, 3.0), heart.centre_mm)


# the same phantom every time


def test_a_phantom_depends_on_seed_and_number_alone():
    first = make_heart_phantom(SMALL, 3)
    make_heart_phantom(SMALL, 0)
    again = make_heart_phantom(SMALL.model_copy(update={"subjects": 5}), 3)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.vessels, again.vessels)
    assert not np.array_equal(first.image, make_heart_phantom(SMALL, 4).image)
    assert not np.array_equal(first.image, make_heart_phantom(SMALL.model_copy(update={"seed": 1}), 3).image)


def test_a_phantom_is_a_scan_in_hounsfield_units_with_slices_of_three_millimetres(phantoms):
    for phantom in phantoms:
        assert phantom.image.shape == phantom.label.shape == (176, 160, 38)  # 176 / 1, 160 / 1, 114 / 3
        assert phantom.image.dtype == np.int16
        assert np.array_equal(np.diag(phantom.affine_ras), [1, 1, 3, 1])
        assert phantom.image.min() >= -1024
        assert phantom.image.max() <= 3071


# tissue


def mean_hu(phantom, share):
    inside = ndi.binary_erosion(share > 0.99) & (phantom.label == 0)
    assert inside.sum() > 200
    return float(phantom.image[inside].mean())


def test_each_tissue_has_its_hounsfield_units(phantoms):
    for phantom in phantoms:
        tissue = phantom.tissue
        assert -900 < mean_hu(phantom, tissue["lung"]) < -780
        assert 25 < mean_hu(phantom, tissue["great"]) < 60  # blood without contrast agent
        heart = ndi.binary_erosion(tissue["heart"] > 0.99, iterations=3) & (phantom.label == 0)
        assert 10 < np.median(phantom.image[heart]) < 70
        assert mean_hu(phantom, tissue["bone"]) > 130
        assert np.percentile(phantom.image[tissue["bone"] > 0.99], 99) > 300  # cortex


def test_arteries_are_blood_in_a_groove_of_fat(phantoms):
    for phantom in phantoms:
        artery = phantom.arteries > 0
        calcium = ndi.binary_dilation(phantom.image >= CANDIDATE_HU, iterations=3)
        around = ndi.binary_dilation(artery, iterations=2) & ~ndi.binary_dilation(artery) & ~calcium
        assert phantom.image[artery & ~calcium].mean() > phantom.image[around].mean() + 40
        assert set(np.unique(phantom.arteries)) == {0, *VESSELS.values()}


def test_most_that_is_bright_is_no_coronary_calcium(phantoms):
    for phantom in phantoms:
        bright = phantom.image >= CANDIDATE_HU
        assert phantom.label[bright].mean() < 0.1
        assert not (phantom.label.astype(bool) & (phantom.tissue["bone"] > 0)).any()


# arteries


def test_every_artery_is_one_smooth_curve_that_narrows(heart):
    assert list(heart.coronaries) == list(VESSELS)
    for vessel in heart.coronaries.values():
        steps = np.diff(vessel.points_mm, axis=0)
        lengths = np.linalg.norm(steps, axis=1)
        assert lengths.max() < 1.0
        turns = (steps[1:] * steps[:-1]).sum(axis=1) / (lengths[1:] * lengths[:-1])
        assert np.degrees(np.arccos(np.clip(turns.min(), -1, 1))) < 25
        assert (np.diff(vessel.radii_mm) <= 0).all()
        assert 0.9 < vessel.radii_mm.min() <= vessel.radii_mm.max() < 2.6


def test_lad_and_lcx_begin_where_the_left_main_artery_ends(heart):
    fork = heart.coronaries["LM"].points_mm[-1]
    for name in ("LAD", "LCX"):
        np.testing.assert_allclose(heart.coronaries[name].points_mm[0], fork, atol=1e-9)
    assert np.linalg.norm(heart.coronaries["RCA"].points_mm[0] - fork) > 15


def test_the_right_artery_lies_to_the_right_of_the_left_ones(heart):
    right = {name: vessel.points_mm[:, 0].mean() for name, vessel in heart.coronaries.items()}
    assert right["RCA"] > max(right["LAD"], right["LCX"]) + 20  # x grows to the patient's right


def test_arteries_run_on_the_heart_and_not_through_it(heart):
    for name in ("LAD", "LCX", "RCA"):
        points = heart.coronaries[name].points_mm[60:]
        level = np.linalg.norm((points - heart.centre_mm) @ heart.turn.T / heart.axes_mm, axis=1)
        assert level.min() > 0.97
        assert level.max() < 1.2


# calcifications


@pytest.mark.parametrize("seed", range(5))
def test_calcifications_lie_on_the_walls_of_arteries_and_apart(heart, seed):
    found = draw_calcifications(
        np.random.default_rng(seed), heart, 12, volume_mm3=(0.5, 300.0), hu=(130.0, 1500.0), motion_mm=2.0
    )
    assert found
    for spot in found:
        vessel = heart.coronaries[spot.vessel]
        away = np.linalg.norm(vessel.points_mm - spot.centre_mm, axis=1)
        nearest = int(away.argmin())
        assert 0.6 < away[nearest] / vessel.radii_mm[nearest] < 1.05
        assert 0.5 <= spot.volume_mm3 <= 300
        assert 130 <= spot.hu <= 1500.01
        assert 4 / 3 * math.pi * np.prod(spot.axes_mm) == pytest.approx(spot.volume_mm3)
        assert np.linalg.norm(spot.shift_mm) <= 2.0
        np.testing.assert_allclose(spot.turn @ spot.turn.T, np.eye(3), atol=1e-9)
    for one in found:
        for other in found:
            apart = np.linalg.norm(one.centre_mm - other.centre_mm)
            assert one is other or apart > one.axes_mm[0] + other.axes_mm[0]


@pytest.mark.parametrize("motion_mm", [0.0, 8.0])
@pytest.mark.parametrize("volume", [0.5, 5.0, 50.0, 300.0])
def test_partial_volume_and_motion_conserve_calcium(heart, grid, volume, motion_mm):
    rng = np.random.default_rng(7)
    total = 0.0
    for along in np.linspace(0.2, 0.8, 8):
        spot = place_on_wall(
            rng, "LAD", heart.coronaries["LAD"], along, volume_mm3=volume, hu=500.0, motion_mm=motion_mm
        )
        box, share = calcium_share(grid, spot)
        assert share.shape == tuple(part.stop - part.start for part in box)
        assert 0 <= share.min() <= share.max() <= 1 + 1e-6
        total += share.sum(dtype=np.float64) * grid.voxel_mm3
    assert total / 8 == pytest.approx(volume, rel=0.1)


def test_motion_smears_calcium_out(heart, grid):
    peaks = []
    for motion_mm in (0.0, 10.0):
        rng = np.random.default_rng(2)
        spot = place_on_wall(rng, "RCA", heart.coronaries["RCA"], 0.4, volume_mm3=20.0, hu=900.0, motion_mm=motion_mm)
        peaks.append(calcium_share(grid, spot)[1].max())
    assert peaks[1] < 0.8 * peaks[0]


def test_what_is_marked_is_bright_connected_and_at_the_calcium():
    image = np.full((9, 9, 3), -90, np.int16)
    image[2:5, 4, 1] = 400  # calcium
    image[5, 4, 1] = 131  # its rim, in which there is hardly any calcium
    image[8, 4, 1] = 900  # bone, three voxels further
    image[4, 6, 1] = 800  # noise that does not touch
    share = np.zeros(image.shape, np.float32)
    share[2:5, 4, 1] = 0.5
    share[2, 3, 1] = 0.5  # calcium in a voxel that stays dark
    mask, by_vessel, counts = label_calcium(image, [share, np.zeros_like(share)], ["LCX", "RCA"])
    assert np.argwhere(mask).tolist() == [[2, 4, 1], [3, 4, 1], [4, 4, 1], [5, 4, 1]]
    assert set(by_vessel[mask]) == {VESSELS["LCX"]}
    assert counts == [4, 0]
    assert label_calcium(image, [share], ["LCX"], smallest=4)[2] == [4]
    mask, by_vessel, counts = label_calcium(image, [share], ["LCX"], smallest=5)  # a reader takes it for noise
    assert (mask.any(), by_vessel.any(), counts) == (False, False, [0])


def test_masks_agree_with_the_scan(phantoms):
    for phantom in phantoms:
        mask = phantom.label > 0
        assert mask.any()
        assert phantom.image[mask].min() >= CANDIDATE_HU
        assert np.array_equal(mask, phantom.vessels > 0)
        pieces, _ = ndi.label(mask)
        assert np.bincount(pieces[mask])[1:].min() >= 2  # single voxels are not marked
        numbers, _ = ndi.label(phantom.image >= CANDIDATE_HU)
        touched = np.isin(numbers, np.unique(numbers[mask]))
        assert mask.sum() >= 0.97 * touched.sum()  # candidates are calcium as a whole or not at all
        used = {spot.vessel for spot, seen in zip(phantom.calcifications, phantom.voxels, strict=True) if seen}
        assert {VESSELS[name] for name in used} == set(np.unique(phantom.vessels)) - {0}


def test_large_dense_calcifications_are_seen_near_their_true_volume(phantoms):
    pairs = [
        (spot.volume_mm3, seen * 3.0)
        for phantom in phantoms
        for spot, seen in zip(phantom.calcifications, phantom.voxels, strict=True)
        if spot.volume_mm3 > 60
    ]
    assert len(pairs) >= 5
    true, seen = np.array(pairs).T
    assert 0.6 < np.median(seen / true) < 3  # blooming: a dense spot looks larger than it is


def test_faint_specks_stay_below_the_threshold():
    faint = SMALL.model_copy(update={"volume_mm3": (0.5, 1.0), "calcium_hu": (130.0, 150.0), "noise_hu": 0.0})
    for index in range(3):
        phantom = make_heart_phantom(faint, index)
        assert phantom.calcifications
        assert not phantom.label.any()
        assert not any(phantom.voxels)


def test_the_share_without_calcium_is_kept_and_bones_are_bright_all_the_same():
    chosen = SMALL.model_copy(update={"lesion_free_fraction": 0.5, "volume_mm3": (100.0, 300.0)})
    free = [make_heart_phantom(chosen, index) for index in range(4)]
    assert [not phantom.calcifications for phantom in free] == [False, True, False, True]
    for phantom in free[1::2]:
        assert not phantom.label.any()
        assert (phantom.image >= CANDIDATE_HU).sum() > 500


def test_a_lower_dose_is_noisier():
    spreads = []
    for dose in (0.25, 4.0):
        phantom = make_heart_phantom(SMALL.model_copy(update={"dose": (dose, dose)}), 0)
        inside = ndi.binary_erosion(phantom.tissue["great"] > 0.99)
        spreads.append(phantom.image[inside].std())
    assert spreads[0] == pytest.approx(4 * spreads[1], rel=0.3)  # 1 / sqrt(0.25) = 2, 1 / sqrt(4) = 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing_mm": 0.1},
        {"slice_mm": 9.0},
        {"calcium_hu": (50.0, 400.0)},
        {"calcium_hu": (200.0, 5000.0)},
        {"calcium_hu": (float("nan"), 400.0)},
        {"volume_mm3": (5.0, 1.0)},
        {"volume_mm3": (0.0, 1.0)},
        {"dose": (0.0, 1.0)},
        {"field_mm": (176.0, 160.0, 3.0)},
        {"field_mm": (9000.0, 160.0, 114.0)},
        {"labels": "arteries"},
        {"smallest_voxels": 0},
        {"subjects": 0},
        {"calcification": 3},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        HeartPhantomSettings(**wrong)


# on disk


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "Dataset901_HeartPhantoms"
    chosen = SMALL.model_copy(update={"subjects": 2, "seed": 5, "spacing_mm": 2.0})
    return folder, chosen, write_heart_phantoms(folder, chosen, held_out=1)


def test_a_folder_of_phantoms_is_an_nnunet_data_set_of_ct(written):
    folder, chosen, dataset = written
    assert dataset.channel_names == ("CT",)
    assert dataset.labels == {"background": 0, "lesion": 1}
    assert [case.name for case in (*dataset.cases, *dataset.test_cases)] == [f"phantom-000{n}" for n in (1, 2, 3)]
    phantom = make_heart_phantom(chosen, 2)
    image = read_volume(folder / "imagesTs" / "phantom-0003_0000.nii.gz")
    assert image.array.dtype == np.int16
    assert np.array_equal(image.array, phantom.image)
    np.testing.assert_allclose(image.geometry.affine_ras, phantom.affine_ras, atol=1e-4)
    vessels = read_volume(folder / "vesselsTs" / "phantom-0003.nii.gz").array
    assert np.array_equal(vessels, phantom.vessels)
    assert np.array_equal(read_volume(folder / "labelsTs" / "phantom-0003.nii.gz").array, vessels > 0)


def test_the_table_has_every_calcification_seen_or_not(written):
    folder, chosen, _ = written
    with (folder / "calcifications.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    phantom = make_heart_phantom(chosen, 0)
    own = [row for row in rows if row["case"] == "phantom-0001"]
    assert [row["vessel"] for row in own] == [spot.vessel for spot in phantom.calcifications]
    assert [int(row["voxels"]) for row in own] == list(phantom.voxels)
    assert float(own[0]["volume_mm3"]) == pytest.approx(phantom.calcifications[0].volume_mm3, abs=1e-3)
    said = read_json(folder / "dataset.json")["phantoms"]
    assert (said["anatomy"], said["seed"], said["held_out"]) == ("heart", 5, 1)
    assert HeartPhantomSettings.model_validate(said["settings"]) == chosen


def test_arteries_can_be_labels_of_their_own(written, tmp_path):
    folder, chosen, _ = written
    chosen = chosen.model_copy(update={"labels": "vessels", "subjects": 1})
    dataset = write_heart_phantoms(tmp_path / "vessels", chosen)
    assert dataset.labels == {"background": 0, **VESSELS}
    name = "labelsTr/phantom-0001.nii.gz"
    assert hash_file(tmp_path / "vessels" / name) == hash_file(folder / "vesselsTr" / "phantom-0001.nii.gz")


def test_phantoms_are_replaced_only_when_asked_and_none_is_left_over(written, tmp_path):
    folder, chosen, _ = written
    again = tmp_path / "again"
    write_heart_phantoms(again, chosen)
    name = "imagesTr/phantom-0002_0000.nii.gz"
    assert hash_file(again / name) == hash_file(folder / name)
    with pytest.raises(OutputError, match="exists already"):
        write_heart_phantoms(again, chosen)
    write_heart_phantoms(again, chosen.model_copy(update={"subjects": 1}), overwrite=True)
    assert len(list(again.rglob("phantom-*"))) == 3  # image, label, vessels
