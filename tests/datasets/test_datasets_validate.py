"""Validation finds every planted fault, in one pass, and none in sound data."""

from __future__ import annotations

import json
import shutil
import time
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from grcsf.datasets.validate import ValidationReport, validate_dataset
from grcsf.io.volume import read_volume, write_like


@pytest.fixture
def volumes(tiny_volumes, tmp_path) -> Path:
    """A copy of the tiny volumes to spoil."""
    return Path(shutil.copytree(tiny_volumes, tmp_path / tiny_volumes.name))


@pytest.fixture
def slices(tiny_slices, tmp_path) -> Path:
    """A copy of the tiny slices to spoil."""
    return Path(shutil.copytree(tiny_slices, tmp_path / tiny_slices.name))


def image(root: Path, case: int, channel: int = 0) -> Path:
    return root / "imagesTr" / f"case-{case:02d}_{channel:04d}.nii.gz"


def label(root: Path, case: int) -> Path:
    return root / "labelsTr" / f"case-{case:02d}.nii.gz"


def change(path: Path, array: np.ndarray) -> None:
    write_like(array, path, path)


def change_header(root: Path, **entries) -> None:
    path = root / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def only_problem(root: Path, kind: str, case: str | None, *parts: str, severity: str = "error") -> None:
    report = validate_dataset(root)
    assert [(problem.kind, problem.case, problem.severity) for problem in report.problems] == [(kind, case, severity)]
    for part in parts:
        assert part in report.problems[0].message
    assert str(root.parent) not in report.problems[0].message
    assert report.ok == (severity == "warning")


def kinds(report: ValidationReport) -> list[str]:
    return sorted(problem.kind for problem in report.problems)


def test_sound_volumes(tiny_volumes):
    report = validate_dataset(tiny_volumes)
    assert (report.problems, report.ok) == ([], True)
    assert (report.n_cases, report.n_with_lesion) == (6, 6)
    voxels = 24 * 28 * 20
    # two channels of 4 bytes, twice, with one byte each for mask and foreground; on disk once
    assert report.estimate.memory_bytes == voxels * (2 * 2 * 4 + 2)
    assert report.estimate.disk_bytes == 6 * voxels * (2 * 4 + 2)
    assert json.loads(json.dumps(report.to_json()))["ok"] is True


@pytest.mark.parametrize("workers", [0, 3])
def test_sound_slices_with_any_number_of_workers(tiny_slices, workers):
    report = validate_dataset(tiny_slices, workers=workers)
    assert (report.problems, report.n_cases) == ([], 8)


# Files


def test_missing_channel(volumes):
    image(volumes, 1, channel=1).unlink()
    only_problem(volumes, "missing-channel", "case-01", "missing channel 0001 of 2", "case-01_0001")


def test_channel_too_many(volumes):
    shutil.copy(image(volumes, 1), image(volumes, 1, channel=2))
    report = validate_dataset(volumes)
    assert kinds(report) == ["equal-channels", "unexpected-channel"]
    assert "channel 0002 found, expected 2 channel(s)" in report.problems[0].message


def test_missing_label(volumes):
    label(volumes, 2).unlink()
    only_problem(volumes, "missing-label", "case-02", "no mask labelsTr/case-02 for this image")


def test_missing_images_of_a_label(volumes):
    for channel in range(2):
        image(volumes, 2, channel).unlink()
    change_header(volumes, numTraining=5)
    only_problem(volumes, "missing-image", "case-02", "mask labelsTr/case-02.nii.gz without an image")


def test_same_case_with_two_endings(volumes):
    write_like(read_volume(image(volumes, 0)).array, image(volumes, 0), volumes / "imagesTr" / "case-00_0000.nrrd")
    only_problem(volumes, "duplicate-case", "case-00", "case-00_0000.nii.gz, case-00_0000.nrrd", "keep one of them")


def test_two_masks_of_one_case(volumes):
    write_like(read_volume(label(volumes, 0)).array, label(volumes, 0), volumes / "labelsTr" / "case-00.nii")
    only_problem(volumes, "duplicate-case", "case-00", "case-00.nii, case-00.nii.gz are masks of one case")


def test_file_of_another_ending(volumes):
    write_like(read_volume(image(volumes, 0)).array, image(volumes, 0), volumes / "imagesTr" / "case-00_0000.nrrd")
    image(volumes, 0).unlink()
    only_problem(volumes, "wrong-ending", "case-00", "case-00_0000.nrrd: dataset.json declares the ending .nii.gz")


def test_truncated_image(volumes):
    path = image(volumes, 3)
    path.write_bytes(path.read_bytes()[:5000])
    only_problem(volumes, "unreadable", "case-03", "imagesTr/case-03_0000.nii.gz: truncated")


def test_four_dimensional_image(volumes):
    path = image(volumes, 3)
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4, 3), np.float32), np.eye(4)), path)
    only_problem(volumes, "unreadable", "case-03", "4-D image of size (4, 4, 4, 3)")


def test_nan_image(volumes):
    array = read_volume(image(volumes, 3)).array
    array[0, 0, :2] = np.nan
    change(image(volumes, 3), array)
    only_problem(volumes, "unreadable", "case-03", "2 of 13440 voxels are NaN or infinite")


def test_constant_image(volumes):
    change(image(volumes, 3), np.full((24, 28, 20), 7, np.float32))
    only_problem(volumes, "constant-image", "case-03", "empty image, all voxels are 7")


# Grids


def test_label_of_another_size(volumes):
    nibabel.save(nibabel.Nifti1Image(np.ones((24, 28, 21), np.uint8), np.eye(4)), label(volumes, 4))
    only_problem(volumes, "grid-mismatch", "case-04", "24 x 28 x 20 voxels of 1 x 1.2 x 1.5 mm", "24 x 28 x 21 voxels")


def shift(path: Path, by_mm: float) -> None:
    volume = read_volume(path)
    affine = volume.geometry.affine_ras.copy()
    affine[2, 3] += by_mm
    nibabel.save(nibabel.Nifti1Image(volume.array, affine), path)


def test_label_in_another_place(volumes):
    shift(label(volumes, 4), by_mm=2)
    only_problem(volumes, "grid-mismatch", "case-04", "labelsTr/case-04.nii.gz lie up to 2 mm apart", "(12.5, 20, -7)")


def test_channel_in_another_place(volumes):
    shift(image(volumes, 4, channel=1), by_mm=0.5)
    only_problem(volumes, "grid-mismatch", "case-04", "case-04_0001.nii.gz lie up to 0.5 mm apart")
    assert validate_dataset(volumes, tolerance_mm=0.6).ok


def test_slices_among_volumes(volumes):
    for path in (image(volumes, 0), image(volumes, 0, 1), label(volumes, 0)):
        nibabel.save(nibabel.Nifti1Image(read_volume(path).array[:, :, 10], np.eye(4)), path)
    only_problem(volumes, "mixed-dimensions", None, "1 2-D and 5 3-D cases")


# Values of masks


def test_label_of_255(slices):
    path = slices / "labelsTr" / "case-00.png"
    change(path, 255 * read_volume(path).array)
    only_problem(
        slices,
        "label-values",
        "case-00",
        "value 255 found; dataset.json declares {0: background, 1: lesion}; "
        "binary masks stored as 0/255 must be divided by 255, or declare the value",
    )


def test_label_with_undeclared_values(volumes):
    array = read_volume(label(volumes, 0)).array.astype(np.float32)
    array[0, 0, :2] = (2, 0.5)
    change(label(volumes, 0), array)
    only_problem(volumes, "label-values", "case-00", "values 0.5, 2 found", "{0: background, 1: lesion}")


def test_empty_masks_are_counted_but_allowed(volumes):
    for case in (1, 3):
        change(label(volumes, case), np.zeros((24, 28, 20), np.uint8))
    only_problem(volumes, "empty-masks", None, "2 of 6 masks are empty", severity="warning")
    assert validate_dataset(volumes).n_with_lesion == 4


# The set as a whole


def test_the_same_image_under_two_names(volumes):
    for channel in range(2):
        shutil.copy(image(volumes, 0, channel), image(volumes, 5, channel))
    report = validate_dataset(volumes)
    assert kinds(report) == ["duplicate-image", "duplicate-image"]
    assert report.problems[0].case == "case-05"
    assert "case-05_0000.nii.gz has the same voxels as imagesTr/case-00_0000.nii.gz of case case-00" in (
        report.problems[0].message
    )


def test_equal_channels_of_one_case_are_a_warning(volumes):
    shutil.copy(image(volumes, 0, 0), image(volumes, 0, 1))
    only_problem(volumes, "equal-channels", "case-00", "two channels should differ", severity="warning")


def test_wrong_number_of_cases(volumes):
    change_header(volumes, numTraining=7)
    only_problem(volumes, "case-count", None, "declares numTraining 7, imagesTr holds 6 cases")


def write_folds(root: Path, train: list[int], val: list[int], extra: tuple[str, ...] = ()) -> None:
    names = [[f"case-{case:02d}" for case in side] for side in (train, val)]
    (root / "splits_final.json").write_text(json.dumps([{"train": names[0], "val": [*names[1], *extra]}]))


def test_a_patient_on_both_sides_of_a_fold(volumes):
    (volumes / "cases.csv").write_text("case,patient\n" + "".join(f"case-{i:02d},P{i // 2}\n" for i in range(6)))
    write_folds(volumes, [0, 1, 2], [3, 4, 5])
    only_problem(volumes, "folds", None, "1 patient(s) in both train and val (P1)")


def test_unknown_cases_in_a_fold(volumes):
    write_folds(volumes, [0, 1, 2], [3, 4, 5], extra=("case-99",))
    only_problem(volumes, "folds", None, "the data set does not have (case-99)")


def test_cases_in_no_fold_are_a_warning(volumes):
    write_folds(volumes, [0, 1, 2], [3, 4])
    only_problem(volumes, "cases-in-no-fold", None, "1 case(s) are in no fold (case-05)", severity="warning")


def test_splits_of_another_form(volumes):
    (volumes / "splits_final.json").write_text("{}")
    assert kinds(validate_dataset(volumes)) == ["folds"]


def test_a_patient_in_training_and_test(volumes):
    (volumes / "imagesTs").mkdir()
    for channel in range(2):
        array = read_volume(image(volumes, 0, channel)).array + 1
        write_like(array, image(volumes, 0, channel), volumes / "imagesTs" / image(volumes, 0, channel).name)
    only_problem(volumes, "patients-in-test", None, "1 patient(s) are in both imagesTr and imagesTs (case-00)")
    assert validate_dataset(volumes).n_cases == 7


def test_patients_for_some_cases_only(volumes):
    change_header(volumes, groups={"case-00": "P1"})
    assert kinds(validate_dataset(volumes)) == ["patients"]


# Never stopping


def test_everything_wrong_is_said_at_once(volumes):
    image(volumes, 0, channel=1).unlink()
    label(volumes, 1).unlink()
    shift(label(volumes, 2), by_mm=3)
    change(label(volumes, 3), 255 * read_volume(label(volumes, 3)).array)
    image(volumes, 4).write_bytes(b"nothing")
    change_header(volumes, numTraining=60, spacing_mm="far")
    write_folds(volumes, [0, 1, 2, 3], [3, 4])
    report = validate_dataset(volumes, workers=2)
    expected = {
        *("missing-channel", "missing-label", "grid-mismatch", "label-values", "unreadable"),
        *("case-count", "dataset-json", "folds", "cases-in-no-fold"),
    }
    assert set(kinds(report)) == expected
    assert not report.ok
    assert len(report.to_json()["problems"]) == len(report.problems)


def test_a_header_full_of_faults_does_not_stop_the_look_at_the_images(volumes):
    change_header(volumes, channel_names={}, labels=[])
    report = validate_dataset(volumes)
    assert kinds(report).count("dataset-json") == 2
    assert report.n_cases == 6


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_no_data_set_at_all(tmp_path, make):
    make(tmp_path / "set")
    report = validate_dataset(tmp_path / "set")
    assert kinds(report) == ["dataset-json"]
    assert report.n_cases == 0


def test_an_empty_images_folder(volumes):
    shutil.rmtree(volumes / "imagesTr")
    assert "missing-folder" in kinds(validate_dataset(volumes))
    (volumes / "imagesTr").mkdir()
    assert "no-cases" in kinds(validate_dataset(volumes))


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path):
    """Forty images of 0.5 MB each: far less than their sum is held at any time."""
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
    rng = np.random.default_rng(0)
    for case in range(40):
        grey = rng.integers(1, 255, (720, 720), dtype=np.uint8)
        for path, array in (("imagesTr", grey), ("labelsTr", (grey > 250).astype(np.uint8))):
            name = f"c{case}{'_0000' if path == 'imagesTr' else ''}.mha"
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), tmp_path / path / name)
    header = {"channel_names": {"0": "X"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".mha"}
    (tmp_path / "dataset.json").write_text(json.dumps(header))
    tracemalloc.start()
    try:
        assert validate_dataset(tmp_path).problems == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 720 * 720


@pytest.mark.real_data
def test_a_thousand_real_slices_are_sound_and_fast(real_data):
    start = time.perf_counter()
    report = validate_dataset(real_data("Dataset501_SoopFlairAxial"))
    seconds = time.perf_counter() - start
    assert (report.ok, report.n_cases, report.n_with_lesion) == (True, 1037, 660)
    assert seconds < 20


@pytest.mark.real_data
def test_real_volumes_are_sound(real_data):
    report = validate_dataset(real_data("Dataset510_OpenMs3D"), workers=2)
    assert (report.problems, report.n_cases) == ([], 3)
