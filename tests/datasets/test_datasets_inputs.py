"""What a path given for prediction holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from grcsf.datasets.inputs import find_inputs
from grcsf.errors import DatasetError


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def found(path: Path, channels: int) -> dict[str, list[str]]:
    return {case.name: [image.name for image in case.images] for case in find_inputs(path, channels)}


def test_a_folder_of_channel_files(tmp_path):
    touch(tmp_path, "b_0001.nrrd", "b_0000.nrrd", "a_0000.nii.gz", "a_0001.nii.gz", "notes.txt")
    assert found(tmp_path, 2) == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b": ["b_0000.nrrd", "b_0001.nrrd"],
    }


def test_one_channel_with_and_without_suffix(tmp_path):
    touch(tmp_path, "a_0000.png", "b.png")
    assert found(tmp_path, 1) == {"a": ["a_0000.png"], "b": ["b.png"]}


def test_numbered_slices_are_cases_not_channels(tmp_path):
    touch(tmp_path, "slice_0417.png", "slice_0418.png")
    assert found(tmp_path, 1) == {"slice_0417": ["slice_0417.png"], "slice_0418": ["slice_0418.png"]}


def test_cases_are_unlabelled_and_know_their_patient(tmp_path):
    case = find_inputs(touch(tmp_path, "sub-07_ses-2_0000.nii"), 1)[0]
    assert (case.label, case.group) == (None, "sub-07")


@pytest.mark.parametrize(("name", "case"), [("scan.mha", "scan"), ("scan_0000.mha", "scan"), ("s_0002.mha", "s_0002")])
def test_one_file_for_one_channel(tmp_path, name, case):
    touch(tmp_path, name, "other.mha")
    assert found(tmp_path / name, 1) == {case: [name]}


@pytest.mark.parametrize("given", ["a_0000.nii.gz", "a_0001.nii.gz"])
def test_one_file_of_several_channels_brings_its_siblings(tmp_path, given):
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz")
    assert found(tmp_path / given, 2) == {"a": ["a_0000.nii.gz", "a_0001.nii.gz"]}


def fails_with(path: Path, channels: int, *parts: str) -> None:
    with pytest.raises(DatasetError) as error:
        find_inputs(path, channels)
    for part in parts:
        assert part in str(error.value)


def test_nothing_there(tmp_path):
    fails_with(tmp_path / "gone", 1, "gone: no such file or folder")


def test_an_empty_folder(tmp_path):
    fails_with(tmp_path, 1, "no image in this folder; expected files ending in .nii.gz")


def test_a_data_set_folder_points_to_its_images(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    fails_with(tmp_path, 1, f"did you mean {tmp_path / 'imagesTr'}?")


def test_a_file_that_is_no_image(tmp_path):
    fails_with(touch(tmp_path, "a.txt") / "a.txt", 1, "not an image grcsf reads")


def test_a_missing_channel(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz")
    fails_with(tmp_path, 2, "takes 2 channel(s)", "b: missing channel 0001 of 2")


def test_a_channel_too_many(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz")
    fails_with(tmp_path, 1, "a_0001.nii.gz: channel 0001 found, expected 1 channel(s)")


def test_a_file_without_channel_where_several_are_needed(tmp_path):
    fails_with(touch(tmp_path, "a.nii.gz"), 2, "a.nii.gz: no channel number; expected a_0000 to a_0001")


@pytest.mark.parametrize("names", [("a.nii.gz", "a.nrrd"), ("a_0000.nii.gz", "a_0000.nii"), ("a_0000.png", "a.png")])
def test_a_case_that_exists_twice(tmp_path, names):
    touch(tmp_path, *names)
    fails_with(tmp_path, 1, "a: duplicate case", *names, "keep one of them")


def test_many_wrong_cases_are_counted(tmp_path):
    touch(tmp_path, *(f"c{index}_0000.nii" for index in range(8)))
    fails_with(tmp_path, 2, "and 3 more cases")
