"""Lesion-wise scores of folders: what stands in the files, with and without images."""

from __future__ import annotations

import csv
import json
import math
import re
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from grcsf.errors import DatasetError, SettingsError
from grcsf.evaluation.lesion_files import case_columns, case_values
from grcsf.evaluation.lesion_summary import summarise_lesions
from grcsf.evaluation.lesions import LESION_SCORES, score_lesions
from grcsf.evaluation.presets import PRESETS, LesionPreset
from grcsf.evaluation.score import evaluate_folder
from grcsf.evaluation.strata import contrast_stratum, size_strata, size_stratum
from grcsf.evaluation.table import summary_table

LABELS = {"background": 0, "lesion": 1}


def save(folder, name, *parts, shape=(30, 30, 10), values=None):
    """A mask of blocks of 2 mm voxels (8 mm3), or an image."""
    array = np.zeros(shape, np.uint8) if values is None else values
    for part in parts:
        array[part] = 1
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz")


LARGE = np.s_[2:12, 2:12, 2:6]  # 400 voxels = 3.2 ml
SMALL = np.s_[20:24, 20:24, 4:6]  # 32 voxels = 0.256 ml
STRAY = np.s_[26:28, 2:4, 8:9]  # 4 voxels = 0.032 ml


@pytest.fixture
def folders(tmp_path):
    """``a``: the large lesion is found, the small one is not; ``b``: lesion-free with a false lesion; ``c``: clean."""
    truth, found, images = tmp_path / "truth", tmp_path / "found", tmp_path / "images"
    save(truth, "a", LARGE, SMALL)
    save(found, "a", LARGE, STRAY)
    save(truth, "b")
    save(found, "b", STRAY)
    save(truth, "c")
    save(found, "c")
    image = np.zeros((30, 30, 10), np.float32)
    image[1:29, 1:29] = 100
    image[LARGE], image[SMALL] = 120, 150
    for name in "abc":
        save(images, f"{name}_0000", values=image)
    return truth, found, images


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_summary_counts_lesions(folders):
    truth, found, images = folders
    summary = evaluate_folder(truth, found, None, LABELS, "skip", images=images)
    lesions = summary.labels["lesion"].lesions
    assert (lesions.n_reference, lesions.n_detected, lesions.n_prediction, lesions.n_false) == (2, 1, 3, 2)
    assert (lesions.recall, lesions.precision) == (1 / 2, 1 / 3)
    assert lesions.f1 == 2 * 1 / (2 * 1 + 2 + 1)
    assert lesions.missed_size == pytest.approx(0.256)
    assert lesions.false_size == pytest.approx(2 * 0.032)
    sizes = {name: (part.n, part.n_detected) for name, part in lesions.by_size.items()}
    assert sizes == {"below 1 ml": (1, 0), "1 to 10 ml": (1, 1), "above 10 ml": (0, 0)}
    contrasts = {name: (part.n, part.n_detected) for name, part in lesions.by_contrast.items()}
    assert contrasts == {"low": (0, 0), "middle": (1, 1), "high": (1, 0), "unknown": (0, 0)}
    free = lesions.lesion_free
    assert (free.n_cases, free.n_with_false, free.n_false) == (2, 1, 1)
    assert free.false_size == pytest.approx(0.032)
    assert lesions.lesion_cases["lesion_recall"] == 1 / 2
    assert lesions.mean["lesion_recall"] == (1 / 2 + 0) / 2  # c is left out
    assert lesions.lesion_cases["matched_dice"] == 1


def test_files_hold_the_rules_and_every_lesion(folders, tmp_path):
    truth, found, images = folders
    out = tmp_path / "out"
    evaluate_folder(truth, found, out, LABELS, "skip", images=images, preset="isles2022")
    tree = json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail)
    assert LesionPreset.from_dict(tree["lesion_preset"]) == PRESETS["isles2022"]
    lesions = tree["labels"]["lesion"]["lesions"]
    assert lesions["by_size"]["below 1 ml"] == {"n": 1, "n_detected": 0, "recall": 0}
    assert lesions["by_size"]["above 10 ml"]["recall"] is None
    assert lesions["lesion_free"]["false_per_case"] == 1 / 2
    assert lesions["mean"]["lesion_f1"] == pytest.approx((0.5 + 0 + 1) / 3)  # ISLES: an empty case scores 1
    table = rows_of(out / "lesions.csv")
    assert [(row["case"], row["source"], row["lesion"], row["detected"]) for row in table] == [
        ("a", "reference", "1", "1"),
        ("a", "reference", "2", "0"),
        ("a", "prediction", "1", "1"),
        ("a", "prediction", "2", "0"),
        ("b", "prediction", "1", "0"),
    ]
    assert (table[0]["size"], table[0]["unit"], table[0]["voxels"]) == ("3.2", "ml", "400")
    assert table[0]["centroid"] == "6.50 6.50 3.50"
    assert [float(row["contrast"]) for row in table[:2]] == [1.2, 1.5]
    assert (table[0]["matched"], table[1]["matched"], float(table[0]["overlap"])) == ("1", "", 1)
    first = rows_of(out / "cases.csv")[0]
    assert (first["lesions_reference"], first["lesions_missed"], first["lesions_false"]) == ("2", "1", "1")
    assert (first["missed_volume_ml"], float(first["lesion_f1"])) == ("0.256", 0.5)
    assert set(LESION_SCORES) <= set(first)


def test_without_images_contrast_is_unknown_and_scores_stay(folders):
    truth, found, images = folders
    bare, full = (evaluate_folder(truth, found, None, LABELS, "skip", images=given) for given in (None, images))
    assert bare.labels["lesion"].lesions.by_contrast["unknown"].n == 2
    assert bare.labels["lesion"].lesions.by_size == full.labels["lesion"].lesions.by_size
    assert bare.labels["lesion"].lesions.mean == pytest.approx(full.labels["lesion"].lesions.mean)


def test_an_image_that_cannot_be_used_is_a_warning(folders, caplog):
    truth, found, images = folders
    (images / "c_0000.nii.gz").unlink()
    save(images, "a_0000", values=np.ones((9, 9, 9), np.float32))
    summary = evaluate_folder(truth, found, None, LABELS, "skip", images=images)
    assert not summary.failed
    assert math.isnan(summary.cases[0].lesions.lesions[0].contrast)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "no image, so no contrast, of 1 cases (c)",
        "no contrast of the lesions of a",
    ]


def test_wrong_folders_and_rules_are_refused(folders, tmp_path):
    truth, found, _ = folders
    with pytest.raises(DatasetError, match="no such folder; expected the images"):
        evaluate_folder(truth, found, None, LABELS, "skip", images=tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"no image of any case; expected files such as a_0000\.nii\.gz"):
        (tmp_path / "none").mkdir()
        evaluate_folder(truth, found, None, LABELS, "skip", images=tmp_path / "none")
    with pytest.raises(SettingsError, match="isles: unknown"):
        evaluate_folder(truth, found, None, LABELS, "skip", preset="isles")


def test_the_table_says_what_was_detected_and_by_which_rules(folders):
    truth, found, _ = folders
    text = summary_table(evaluate_folder(truth, found, None, LABELS, "skip", preset="atlas2022"))
    assert (
        "lesion: 1 of 2 lesions detected (below 1 ml: 0 of 1, 1 to 10 ml: 1 of 1), 2 of 3 predicted ones false, "
        "lesion F1 0.400 (rules: atlas2022)."
    ) in text


def test_limits_belong_to_the_middle():
    assert [size_stratum(size, 2) for size in (99.9, 100, 500, 500.1)] == [size_strata(2)[i] for i in (0, 1, 1, 2)]
    assert [contrast_stratum(value) for value in (1.0, 1.09, 1.1, 1.3, 1.31, 1 / 1.2, 1 / 1.31)] == [
        *("low", "low", "middle", "middle", "high", "middle", "high"),
    ]
    assert contrast_stratum(math.nan) == contrast_stratum(0.0) == "unknown"


def test_nothing_to_divide_by_is_nan():
    mask = np.zeros((4, 4), bool)
    summary = summarise_lesions([], [score_lesions(mask, mask, (1.0, 1.0))], 2)
    assert math.isnan(summary.recall)
    assert math.isnan(summary.precision)
    assert math.isnan(summary.f1)
    assert case_values(None, 2) == [""] * len(case_columns(2))


def test_a_volume_takes_little_time():
    rng = np.random.default_rng(0)
    reference, prediction = np.zeros((2, 192, 224, 192), bool)
    for corner in rng.integers(20, 160, (40, 3)):
        reference[tuple(slice(place, place + 6) for place in corner)] = True
        prediction[tuple(slice(place + 2, place + 9) for place in corner)] = True
    started = time.process_time()
    score_lesions(reference, prediction, (1.0, 1.0, 1.0))
    assert time.process_time() - started < 6  # about 1 s


def test_the_page_of_the_presets_names_them_and_its_example_runs():
    text = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "lesion-scores.md").read_text("utf-8")
    assert all(f"| `{name}`" in text for name in PRESETS)
    assert all(f"`{name}`" in text for name in LESION_SCORES)
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(example, "lesion-scores.md", "exec"), {})
