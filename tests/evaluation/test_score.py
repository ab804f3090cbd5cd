from __future__ import annotations

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from grcsf.errors import DatasetError, OutputError
from grcsf.evaluation.metrics import METRICS
from grcsf.evaluation.nnunet import nnunet_summary
from grcsf.evaluation.overlap import WhenEmpty
from grcsf.evaluation.score import evaluate_folder

LABELS = {"background": 0, "lesion": 1}
SIZE = (10, 10, 10)


def mask_of(first, last, size=SIZE, value=1):
    """A mask whose slices ``first`` to ``last - 1`` along x are ``value``; each has 100 voxels."""
    mask = np.zeros(size, np.uint8)
    mask[first:last] = value
    return mask


def save(folder, name, mask, spacing=2.0, shift=0.0):
    folder.mkdir(exist_ok=True)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(mask, affine), folder / name)


@pytest.fixture
def folders(tmp_path):
    """Three cases with voxels of 8 mm3: half found; nothing to find and nothing found; a false alarm."""
    truth, found = tmp_path / "truth", tmp_path / "found"
    save(truth, "a.nii.gz", mask_of(0, 4))  # 400 voxels
    save(found, "a.nii.gz", mask_of(2, 4))  # 200 voxels, all of them right
    save(truth, "b.nii.gz", mask_of(0, 0))
    save(found, "b.nii.gz", mask_of(0, 0))
    save(truth, "c.nii.gz", mask_of(0, 0))
    save(found, "c.nii.gz", mask_of(0, 1))  # 100 voxels, all of them wrong
    return truth, found


DICE_A = 2 * 200 / (400 + 200)


@pytest.mark.parametrize(
    ("policy", "n_used", "mean"),
    [
        (WhenEmpty.SKIP, 2, (DICE_A + 0) / 2),
        (WhenEmpty.ONE, 3, (DICE_A + 1 + 0) / 3),
        (WhenEmpty.ZERO, 3, (DICE_A + 0 + 0) / 3),
    ],
)
def test_mean_follows_the_policy(folders, policy, n_used, mean):
    label = evaluate_folder(*folders, None, LABELS, policy).labels["lesion"]
    assert label.all_cases.n == 3
    assert label.all_cases.n_used == n_used
    assert label.all_cases.mean["dice"] == pytest.approx(mean)


def test_lesion_cases_and_lesion_free_cases_are_told_apart(folders):
    summary = evaluate_folder(*folders, None, LABELS, WhenEmpty.SKIP)
    label = summary.labels["lesion"]
    assert (summary.n_cases, summary.n_with_lesion, summary.n_lesion_free) == (3, 1, 2)
    assert (label.lesion_cases.n, label.n_lesion_free, label.n_false_alarms) == (1, 2, 1)
    assert label.lesion_cases.mean["dice"] == pytest.approx(DICE_A)
    assert label.lesion_cases.mean["recall"] == 200 / 400
    assert label.global_dice == 2 * 200 / (400 + 200 + 100)  # the voxels of the false alarm count as well


def test_size_decides_the_stratum(folders):
    by_size = evaluate_folder(*folders, None, LABELS, WhenEmpty.SKIP).labels["lesion"].by_size
    sizes = {name: scores.n for name, scores in by_size.items()}
    assert sizes == {"below 1 ml": 0, "1 to 10 ml": 1, "above 10 ml": 0}  # 400 * 8 mm3 = 3.2 ml


def test_files_hold_the_same_numbers(folders, tmp_path):
    out = tmp_path / "scores"
    summary = evaluate_folder(*folders, out, LABELS, WhenEmpty.SKIP)
    with (out / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case"] for row in rows] == ["a", "b", "c"]
    assert float(rows[0]["reference_volume_ml"]) == 3.2
    assert float(rows[0]["prediction_volume_ml"]) == 1.6
    assert float(rows[0]["dice"]) == pytest.approx(DICE_A, abs=1e-6)
    assert math.isnan(float(rows[1]["dice"]))
    assert (rows[2]["n_reference"], rows[2]["n_prediction"], rows[2]["fp"]) == ("0", "100", "100")
    tree = json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail)  # no NaN: not JSON
    assert (tree["version"], tree["when_empty"], tree["n_cases"], tree["n_with_lesion"]) == (1, "skip", 3, 1)
    lesion = tree["labels"]["lesion"]
    assert lesion["mean"] == dict(summary.labels["lesion"].all_cases.mean)
    assert set(lesion["lesion_cases"]) == set(METRICS)
    assert lesion["n_lesion_free_with_false_positive"] == 1
    assert lesion["by_size"]["below 1 ml"]["dice"] is None
    assert sorted(path.name for path in out.iterdir()) == ["cases.csv", "lesions.csv", "summary.json"]


def test_nnunet_part_has_its_keys_and_its_rule_for_empty_masks(folders, tmp_path):
    evaluate_folder(*folders, tmp_path / "scores", LABELS, WhenEmpty.ONE)
    tree = json.loads((tmp_path / "scores" / "summary.json").read_text())
    first, both_empty, false_alarm = (case["metrics"]["1"] for case in tree["metric_per_case"])
    assert first == {
        "Dice": DICE_A,
        "IoU": 200 / 400,
        "TP": 200,
        "FP": 0,
        "FN": 200,
        "TN": 1000 - 400,
        "n_pred": 200,
        "n_ref": 400,
    }
    assert both_empty["Dice"] is None
    assert false_alarm["Dice"] == 0
    assert tree["mean"]["1"]["Dice"] == pytest.approx(DICE_A / 2)
    assert tree["foreground_mean"] == tree["mean"]["1"]
    assert tree["metric_per_case"][0]["prediction_file"] == "a.nii.gz"


def test_a_leaning_grid_has_the_volume_of_its_voxels(tmp_path):
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[1, 2] = 1.4  # gantry tilt of 25 degrees
    for folder in ("truth", "found"):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(mask_of(0, 4), affine), tmp_path / folder / "a.nii.gz")
    (score,) = evaluate_folder(tmp_path / "truth", tmp_path / "found", None, LABELS, "skip").cases
    assert score.reference_size == pytest.approx(400 * 3.0 / 1000)
    assert sum(lesion.size for lesion in score.lesions.of("reference")) == pytest.approx(400 * 3.0 / 1000)


def test_a_label_that_is_nowhere_makes_the_mean_over_labels_nan_as_in_nnunet(folders):
    summary = evaluate_folder(*folders, None, {**LABELS, "rare": 2}, "skip")
    tree = nnunet_summary(summary)
    assert tree["mean"]["1"]["Dice"] == pytest.approx(np.mean([DICE_A, 0]))
    assert math.isnan(tree["foreground_mean"]["Dice"])


def test_a_further_session_is_not_taken_for_a_map(folders):
    truth, found = folders
    for name in ("a_ses-2.nii.gz", "a_prob.nii.gz", "d.nii.gz"):
        save(found, name, mask_of(0, 0))
    assert evaluate_folder(truth, found, None, LABELS, "skip").unmatched == ("a_ses-2", "d")


def test_labels_are_scored_apart(tmp_path):
    truth, found = tmp_path / "truth", tmp_path / "found"
    save(truth, "a.nii.gz", mask_of(0, 4) + mask_of(6, 8, value=2))
    save(found, "a.nii.gz", mask_of(0, 4) + mask_of(7, 9, value=2))
    summary = evaluate_folder(truth, found, None, {"core": 1, "rim": 2}, WhenEmpty.SKIP)
    assert summary.labels["core"].global_dice == 1
    assert summary.labels["rim"].global_dice == 2 * 100 / (200 + 200)
    assert summary.n_cases == 1


def test_a_case_that_cannot_be_scored_is_reported_and_the_others_go_on(folders, caplog):
    truth, found = folders
    save(found, "b.nii.gz", mask_of(0, 0, size=(9, 10, 10)))
    save(found, "c.nii.gz", mask_of(0, 0), shift=2.0)
    save(truth, "d.nii.gz", mask_of(0, 1))
    save(truth, "e.nii.gz", mask_of(0, 1))
    save(found, "e.nii.gz", mask_of(0, 1, value=255))
    save(truth, "f.nii.gz", mask_of(0, 1))
    save(found, "f.nii.gz", np.full(SIZE, 0.3, np.float32))
    summary = evaluate_folder(truth, found, None, LABELS, WhenEmpty.SKIP)
    assert summary.n_cases == 1
    assert "9 x 10 x 10" in summary.failed["b"]
    assert "2 mm apart" in summary.failed["c"]
    assert "no prediction mask" in summary.failed["d"]
    assert "holds the values [255], expected only [0, 1]" in summary.failed["e"]
    assert "not the probability map" in summary.failed["f"]
    assert len(caplog.records) == 5


def test_two_files_of_one_case_are_not_chosen_from(folders):
    truth, found = folders
    sitk.WriteImage(sitk.GetImageFromArray(mask_of(0, 0)), found / "a.mha")
    assert "2 prediction masks (a.mha, a.nii.gz)" in evaluate_folder(truth, found, None, LABELS, "skip").failed["a"]


def test_endings_may_differ_and_maps_beside_the_masks_are_let_be(folders, tmp_path):
    truth, found = folders
    image = sitk.ReadImage(found / "a.nii.gz")
    (found / "a.nii.gz").unlink()
    sitk.WriteImage(image, found / "a.nrrd")
    save(found, "a_prob.nii.gz", np.zeros(SIZE, np.float32))
    save(found, "stranger.nii.gz", mask_of(0, 0))
    summary = evaluate_folder(truth, found, None, LABELS, WhenEmpty.SKIP)
    assert not summary.failed
    assert summary.unmatched == ("stranger",)
    assert summary.labels["lesion"].lesion_cases.mean["dice"] == pytest.approx(DICE_A)


def test_only_the_cases_asked_for_are_scored(folders):
    summary = evaluate_folder(*folders, None, LABELS, WhenEmpty.SKIP, cases=["c", "a", "missing"])
    assert [score.case for score in summary.cases] == ["a", "c"]
    assert list(summary.failed) == ["missing"]


def test_flat_images_are_measured_in_mm2(tmp_path):
    truth, found = tmp_path / "truth", tmp_path / "found"
    for folder, rows in ((truth, 5), (found, 4)):
        folder.mkdir()
        mask = np.zeros((10, 10), np.uint8)
        mask[:rows] = 1
        sitk.WriteImage(sitk.GetImageFromArray(mask), folder / "a.png")
    summary = evaluate_folder(truth, found, tmp_path / "out", LABELS, WhenEmpty.SKIP, spacing_mm=(2.0, 1.5))
    assert (summary.spatial_dims, summary.size_unit) == (2, "mm2")
    assert summary.cases[0].reference_size == 50 * 2.0 * 1.5
    assert summary.labels["lesion"].by_size["100 to 500 mm2"].n == 1
    assert "reference_area_mm2" in (tmp_path / "out" / "cases.csv").read_text()


def test_scores_are_not_replaced_unless_asked(folders, tmp_path):
    out = tmp_path / "scores"
    evaluate_folder(*folders, out, LABELS, WhenEmpty.SKIP)
    with pytest.raises(OutputError, match=r"summary\.json"):
        evaluate_folder(*folders, out, LABELS, WhenEmpty.SKIP)
    save(folders[1], "a.nii.gz", mask_of(0, 4))
    again = evaluate_folder(*folders, out, LABELS, WhenEmpty.SKIP, resume=True)
    assert again.labels["lesion"].lesion_cases.mean["dice"] == 1  # no stale score
    evaluate_folder(*folders, out, LABELS, WhenEmpty.ZERO, overwrite=True)
    assert json.loads((out / "summary.json").read_text())["when_empty"] == "zero"


def test_nothing_to_score_is_an_error(folders, tmp_path):
    truth, found = folders
    with pytest.raises(DatasetError, match="no such folder"):
        evaluate_folder(truth, tmp_path / "nowhere", None, LABELS, WhenEmpty.SKIP)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no mask in it"):
        evaluate_folder(truth, tmp_path / "empty", None, LABELS, WhenEmpty.SKIP)
    with pytest.raises(DatasetError, match="at least one label besides the background"):
        evaluate_folder(truth, found, None, {"background": 0}, WhenEmpty.SKIP)
    with pytest.raises(DatasetError, match=r"not one of 1 cases could be scored \(x: no reference"):
        evaluate_folder(truth, found, None, LABELS, WhenEmpty.SKIP, cases=["x"])
