"""Folders in nnU-Net raw layout, new and old, are read as they are meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grcsf.datasets.header import parse_header
from grcsf.datasets.nnunet_raw import read_dataset, write_dataset_json
from grcsf.errors import DatasetError

HEADER = {
    "channel_names": {"0": "FLAIR"},
    "labels": {"background": 0, "lesion": 1},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}


def make(root: Path, files: list[str], **header) -> Path:
    """A data set of empty files: reading its layout opens none of them."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "dataset.json").write_text(json.dumps({**HEADER, **header}))
    return root


def test_the_tiny_volumes(tiny_volumes):
    dataset = read_dataset(tiny_volumes)
    assert dataset.name == "Dataset901_TinyVolumes"
    assert dataset.case_names == tuple(f"case-{index:02d}" for index in range(6))
    assert dataset.channel_names == ("FLAIR", "T1")
    assert dataset.labels == {"background": 0, "lesion": 1}
    assert dataset.file_ending == ".nii.gz"
    assert dataset.spacing_mm is None
    case = dataset.case("case-03")
    assert [path.name for path in case.images] == ["case-03_0000.nii.gz", "case-03_0001.nii.gz"]
    assert case.label == tiny_volumes / "labelsTr" / "case-03.nii.gz"
    assert case.group == "case-03"


def test_the_tiny_slices_carry_their_spacing(tiny_slices):
    dataset = read_dataset(tiny_slices)
    assert len(dataset.cases) == 8
    assert dataset.spacing_mm == (1.0, 1.0)


def test_an_unknown_case_is_named_with_known_ones(tiny_volumes):
    with pytest.raises(DatasetError, match=r"no case 'nobody'; it has 6 cases \(case-00, case-01"):
        read_dataset(tiny_volumes).case("nobody")


def test_the_older_header_is_understood(tmp_path):
    old = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "lesion"}, "numTraining": 1}
    make(tmp_path, ["imagesTr/a_0000.nrrd", "labelsTr/a.nrrd"])
    (tmp_path / "dataset.json").write_text(json.dumps(old))
    dataset = read_dataset(tmp_path)
    assert dataset.channel_names == ("CT",)
    assert dataset.labels == {"background": 0, "lesion": 1}
    assert dataset.file_ending == ".nrrd"


def test_a_case_without_mask_has_none(tmp_path):
    dataset = read_dataset(make(tmp_path, ["imagesTr/a_0000.nii.gz", "labelsTr/b.nii.gz"]))
    assert dataset.cases[0].label is None


def test_test_cases_are_kept_apart(tmp_path):
    files = ["imagesTr/a_0000.nii.gz", "imagesTs/b_0000.nii.gz", "imagesTs/c_0000.nii.gz", "labelsTs/c.nii.gz"]
    dataset = read_dataset(make(tmp_path, files))
    assert dataset.case_names == ("a",)
    assert [(case.name, case.label is None) for case in dataset.test_cases] == [("b", True), ("c", False)]
    assert dataset.case("c").name == "c"


def test_hidden_and_half_written_files_are_not_cases(tmp_path):
    files = [f"imagesTr/{name}" for name in ("a_0000.nii.gz", "._a_0000.nii.gz", ".partial-1-b_0000.nii.gz", "n.txt")]
    assert read_dataset(make(tmp_path, files)).case_names == ("a",)


# Patients


def test_the_patient_is_the_bids_subject_or_the_case(tmp_path):
    files = ["imagesTr/sub-01_ses-1_0000.nii.gz", "imagesTr/sub-01_ses-2_0000.nii.gz", "imagesTr/x_0000.nii.gz"]
    assert [case.group for case in read_dataset(make(tmp_path, files)).cases] == ["sub-01", "sub-01", "x"]


def test_patients_of_dataset_json_come_first(tmp_path):
    make(tmp_path, ["imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz"], groups={"a": "P1", "b": "P1"})
    (tmp_path / "cases.csv").write_text("case,subject\na,1\nb,2\n")
    assert {case.group for case in read_dataset(tmp_path).cases} == {"P1"}


@pytest.mark.parametrize("name", ["cases.csv", "patients.csv"])
@pytest.mark.parametrize("column", ["subject", "patient", "group", "Patient", "PatientID", "participant_id"])
def test_patients_are_read_from_a_csv_column(tmp_path, name, column):
    make(tmp_path, ["imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz"])
    (tmp_path / name).write_text(f"case,{column},ml\na,P1,3\nb,P1,4\n", encoding="utf-8-sig")
    assert {case.group for case in read_dataset(tmp_path).cases} == {"P1"}


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_csv_of_patients_may_be_separated_otherwise(tmp_path, mark):
    make(tmp_path, ["imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz"])
    (tmp_path / "cases.csv").write_text("case,subject\na,P1\nb,P1\n".replace(",", mark))
    assert {case.group for case in read_dataset(tmp_path).cases} == {"P1"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("patients.csv", "case,ml\na,3\n", r"patients.csv: columns case, ml found; expected case, and subject"),
        ("patients.csv", "", r"patients.csv: columns none found"),
        ("cases.csv", "scan,patient\na,3\n", r"cases.csv: columns scan, patient found; expected case"),
        ("cases.csv", "patient,case\nP1,a\nP1\n", r"cases.csv \(column patient\) give no patient for 1 of 2 cases"),
    ],
)
def test_a_list_of_patients_that_is_not_understood_is_refused(tmp_path, name, text, words):
    make(tmp_path, ["imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz"])
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_dataset(tmp_path)


def test_a_csv_without_patients_is_left_alone(tmp_path):
    make(tmp_path, ["imagesTr/sub-1_a_0000.nii.gz"])
    (tmp_path / "cases.csv").write_text("case,lesion_ml\nsub-1_a,3\n")
    assert read_dataset(tmp_path).cases[0].group == "sub-1"


def test_patients_for_some_cases_only_are_refused(tmp_path):
    make(tmp_path, ["imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz"], groups={"a": "P1"})
    with pytest.raises(DatasetError, match=r"groups in dataset\.json give no patient for 1 of 2 cases \(b\)"):
        read_dataset(tmp_path)


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_names": None}, "channel_names None found"),
        ({"channel_names": {"0": "a", "2": "b"}}, "without gaps"),
        ({"labels": {}}, "labels {} found"),
        ({"labels": {"background": 0}}, "at least one lesion class"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "no regions"),
        ({"labels": {"background": 0, "lesion": 1, "ignore": 2}}, r"an ignore label \(2\)"),
        ({"labels": {"background": 0, "lesion": 300}}, "from 0 to 255"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "a different value for each class"),
        ({"file_ending": ".dcm"}, "file_ending '.dcm' found; expected one of .nii.gz"),
        ({"spacing_mm": [1, 0]}, "two numbers above 0"),
        ({"numTraining": "many"}, "numTraining 'many' found"),
        ({"groups": ["a"]}, "groups .* found"),
    ],
)
def test_faults_of_the_header_are_said(tmp_path, change, message):
    with pytest.raises(DatasetError, match=message):
        read_dataset(make(tmp_path, ["imagesTr/a_0000.nii.gz"], **change))


def test_all_faults_of_a_header_are_found_at_once():
    assert len(parse_header({"channel_names": {}, "labels": 3, "file_ending": "x", "numTraining": 1.5})[1]) == 4


def test_a_missing_folder_header_or_image(tmp_path):
    with pytest.raises(DatasetError, match=r"no such folder; expected a data set with dataset\.json"):
        read_dataset(tmp_path / "gone")
    with pytest.raises(DatasetError, match=r"no dataset\.json in it"):
        read_dataset(tmp_path)
    make(tmp_path, [])
    with pytest.raises(DatasetError, match="no folder imagesTr in it"):
        read_dataset(tmp_path)
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(DatasetError, match=r"no case in imagesTr; expected files named CASE_0000\.nii\.gz"):
        read_dataset(tmp_path)


def test_a_header_that_is_a_list(tmp_path):
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(DatasetError, match="expected a JSON object, found a list"):
        read_dataset(tmp_path)


def test_a_missing_channel_is_named(tmp_path):
    make(tmp_path, ["imagesTr/a_0000.nii.gz"], channel_names={"0": "FLAIR", "1": "T1"})
    with pytest.raises(DatasetError, match="a: missing channel 0001 of 2; expected a file named a_0001"):
        read_dataset(tmp_path)


def test_a_channel_too_many_is_named(tmp_path):
    make(tmp_path, ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"])
    with pytest.raises(DatasetError, match=r"a_0001\.nii\.gz: channel 0001 found, expected 1 channel"):
        read_dataset(tmp_path)


def test_what_is_written_is_read(tmp_path):
    make(tmp_path, ["imagesTr/a_0000.png", "imagesTr/a_0001.png"])
    write_dataset_json(
        tmp_path,
        channel_names=("T1", "T2"),
        labels={"background": 0, "scar": 2},
        num_training=1,
        file_ending=".png",
        spacing_mm=(0.5, 0.7),
        groups={"a": "P9"},
        licence="CC0",
    )
    dataset = read_dataset(tmp_path)
    assert (dataset.channel_names, dataset.labels) == (("T1", "T2"), {"background": 0, "scar": 2})
    assert (dataset.spacing_mm, dataset.cases[0].group) == ((0.5, 0.7), "P9")
    assert json.loads((tmp_path / "dataset.json").read_text())["licence"] == "CC0"


@pytest.mark.real_data
def test_real_slices_name_their_subjects(real_data):
    dataset = read_dataset(real_data("Dataset501_SoopFlairAxial"))
    assert len(dataset.cases) == 1037
    assert dataset.case("soop-0002").group == "2"
