"""``grcsf evaluate`` with several methods, ``grcsf.compare``, scores on request and calibration."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

import grcsf
from grcsf.datasets.nnunet_raw import write_dataset_json
from grcsf.errors import DatasetError, OutputError, SettingsError
from grcsf.verbs.compare import name_methods

CASES = ("sub-1_a", "sub-1_b", "sub-2_a", "sub-3_a")
FILES = ("cases.csv", "lesions.csv", "summary.json")


def save(path, array):
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), path)


@pytest.fixture
def folders(tmp_path):
    """A method that is right, one a voxel off, one that finds nothing; probabilities of the first."""
    mask = np.zeros((16, 16, 4), np.uint8)
    mask[4:9, 4:9, 1:3] = 1
    methods = {"right": mask, "off": np.roll(mask, 1, axis=1), "blind": mask * 0}
    for case in CASES:
        save(tmp_path / "truth" / f"{case}.nii.gz", mask)
        save(tmp_path / "prob" / f"{case}_prob.nii.gz", mask.astype(np.float32))
        for name, found in methods.items():
            save(tmp_path / name / f"{case}.nii.gz", found)
    return tmp_path


def test_several_methods_in_one_call(folders, command_line):
    words = ["-r", folders / "truth", "-p", folders / "right", "-p", folders / "off", "-p", f"none={folders / 'blind'}"]
    done = command_line("evaluate", *words, "-o", folders / "out", "--metrics", "surface,volume", "--against", "first")
    assert done.code == 0, done.err
    tree = json.loads((folders / "out" / "comparison.json").read_text())
    assert (tree["methods"], tree["n_cases"], tree["n_subjects"]) == (["right", "off", "none"], 4, 3)
    scores = {name: one["scores"] for name, one in tree["labels"]["lesion"]["methods"].items()}
    assert scores["off"]["dice"]["mean"] == pytest.approx(2 * 40 / (50 + 50))  # 4 of 5 columns of 10 voxels are shared
    assert scores["off"]["hd_mm"]["mean"] == 1.0
    assert scores["none"]["hd_mm"]["mean"] == pytest.approx((16**2 + 16**2 + 12**2) ** 0.5)
    assert [(pair["a"], pair["b"]) for pair in tree["labels"]["lesion"]["pairs"]] == [
        ("off", "right"),
        ("none", "right"),
    ]
    assert "none: nothing predicted in 4 of 4 cases with a lesion" in done.out
    record = json.loads((folders / "out" / "run.json").read_text())
    assert (record["status"], record["methods"]) == ("done", ["right", "off", "none"])


def test_files_of_a_method_are_those_of_a_call_with_it_alone(folders, command_line):
    truth = ["-r", folders / "truth"]
    assert command_line("evaluate", *truth, "-p", folders / "off", "-o", folders / "one").code == 0
    words = ["-p", folders / "off", "-p", folders / "right", "-o", folders / "two", "--workers", 2]
    assert command_line("evaluate", *truth, *words).code == 0
    assert sorted(path.name for path in (folders / "one").iterdir()) == sorted([*FILES, "grcsf.log", "run.json"])
    for name in FILES:
        assert (folders / "one" / name).read_bytes() == (folders / "two" / "off" / name).read_bytes()


def test_the_same_from_python_without_an_output(folders):
    found = grcsf.compare(
        folders / "truth", {"x": folders / "right", "y": folders / "off"}, subjects=dict.fromkeys(CASES, "p")
    )
    assert (list(found.summaries), found.n_subjects) == (["x", "y"], 1)
    assert sorted(path.name for path in folders.iterdir()) == ["blind", "off", "prob", "right", "truth"]


def test_subjects_come_from_a_file_or_the_data_set(folders, command_line):
    given = folders / "subjects.json"
    given.write_text(json.dumps(dict.fromkeys(CASES, "same")))
    words = ["-r", folders / "truth", "-p", folders / "right", "-p", folders / "off"]
    assert "of 1 subjects" in command_line("evaluate", *words, "--subjects", given).out
    (folders / "patients.csv").write_text("case,patient\n" + "".join(f"{case},p{case[-1]}\n" for case in CASES))
    assert "of 2 subjects" in command_line("evaluate", *words).out
    given.write_text("[1]")
    with pytest.raises(DatasetError, match="an object of case: subject"):
        grcsf.compare(folders / "truth", [folders / "right", folders / "off"], subjects=given)


def test_a_case_that_a_method_lacks_is_told_and_ends_with_1(folders, command_line):
    (folders / "off" / "sub-2_a.nii.gz").unlink()
    words = ["-r", folders / "truth", "-p", folders / "right", "-p", folders / "off"]
    done = command_line("evaluate", *words)
    assert done.code == 1
    assert "failed: off/sub-2_a: sub-2_a: no prediction mask" in done.err
    assert "Left out for all methods: 1 cases: sub-2_a (no score of off)." in done.out


def test_calibration_of_one_and_of_several(folders, command_line):
    truth = ["-r", folders / "truth", "-p", folders / "right"]
    assert command_line("evaluate", *truth, "-o", folders / "one", "--probabilities", folders / "prob").code == 0
    assert json.loads((folders / "one" / "calibration.json").read_text())["ece"] == 0
    words = [*truth, "-p", folders / "off", "-o", folders / "two"]
    done = command_line("evaluate", *words, "--probabilities", folders / "prob")
    assert done.code == 2
    assert "1 folders of probabilities for 2 methods" in done.err
    maps = ["--probabilities", folders / "prob", "--probabilities", folders / "prob"]
    assert command_line("evaluate", *words, *maps).code == 0
    assert (folders / "two" / "off" / "calibration.csv").is_file()
    assert command_line("evaluate", *truth, *maps, "-o", folders / "three").code == 2


def test_what_other_masks_left_goes_when_a_folder_is_scored_again(folders):
    truth, methods, out = folders / "truth", [folders / "right", folders / "off"], folders / "out"
    grcsf.compare(truth, methods, out)
    grcsf.evaluate(truth, folders / "right", out, probabilities=folders / "prob", overwrite=True)
    assert {path.name for path in out.glob("c*")} == {"calibration.csv", "calibration.json", "cases.csv"}
    grcsf.evaluate(truth, folders / "off", out, overwrite=True)
    assert {path.name for path in out.glob("c*")} == {"cases.csv"}


def test_sessions_of_test_cases_are_of_one_subject(folders):
    data = folders / "Dataset001_Test"
    for case in CASES:
        (data / "imagesTs").mkdir(parents=True, exist_ok=True)
        save(data / "imagesTs" / f"{case}_0000.nii.gz", np.ones((16, 16, 4), np.uint8))
        save(data / "labelsTs" / f"{case}.nii.gz", nib.load(folders / "truth" / f"{case}.nii.gz").get_fdata())
    save(data / "imagesTr" / "t_0000.nii.gz", np.ones((16, 16, 4), np.uint8))
    save(data / "labelsTr" / "t.nii.gz", np.ones((16, 16, 4), np.uint8))
    groups = {case: case.split("_")[0] for case in CASES}
    write_dataset_json(
        data,
        channel_names=("T1",),
        labels={"background": 0, "lesion": 1},
        num_training=1,
        file_ending=".nii.gz",
        groups={**groups, "t": "t"},
    )
    found = grcsf.compare(data, [folders / "right", folders / "off"])
    assert found.n_subjects == 3


def test_labels_beside_references_without_images(folders):
    write_dataset_json(
        folders, channel_names=("T1",), labels={"background": 0, "core": 1}, num_training=4, file_ending=".nii.gz"
    )
    assert list(grcsf.evaluate(folders / "truth", folders / "right").labels) == ["core"]


def test_calibration_needs_an_output(folders):
    with pytest.raises(SettingsError, match="give an output folder"):
        grcsf.evaluate(folders / "truth", folders / "right", probabilities=folders / "prob")
    with pytest.raises(SettingsError, match="give an output folder"):
        both = [folders / "right", folders / "off"]
        grcsf.compare(folders / "truth", both, probabilities=[folders / "prob"] * 2)


def test_results_are_not_replaced_unless_asked(folders):
    methods = [folders / "right", folders / "off"]
    grcsf.compare(folders / "truth", methods, folders / "out")
    with pytest.raises(OutputError, match="exists already"):
        grcsf.compare(folders / "truth", methods, folders / "out")
    grcsf.compare(folders / "truth", methods, folders / "out", overwrite=True)


@pytest.mark.parametrize("words", [["--metrics", "shape"], ["--against", "last"]])
def test_wrong_words_are_wrong_arguments(folders, command_line, words):
    methods = ["-p", folders / "right", "-p", folders / "off"]
    assert command_line("evaluate", "-r", folders / "truth", *methods, *words).code == 2


def test_names_of_methods(tmp_path):
    (tmp_path / "a=b").mkdir()
    found = name_methods([tmp_path / "one", f"mine={tmp_path / 'two'}", tmp_path / "a=b"])
    assert found == {"one": tmp_path / "one", "mine": tmp_path / "two", "a=b": tmp_path / "a=b"}
    for wrong in (["x/one", "y/one"], ["=x"], ["run.json=x"], {"a/b": "x"}):
        with pytest.raises(SettingsError, match="a name of its own"):
            name_methods(wrong)
    for single in ("one", tmp_path / "one"):
        with pytest.raises(SettingsError, match="two or more folders"):
            name_methods(single)
