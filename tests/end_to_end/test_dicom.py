"""From a DICOM study to masks and segmentations on the command line, and nothing of the patient on the way."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

import grcsf
from chain import Done
from dicoms import CANARY, MR, PERSON_TAGS, oblique, with_canaries, write_series
from grcsf.errors import SettingsError
from grcsf.io.dicom.study import read_dicom
from grcsf.io.private_names import case_salt, check_case_name, private_name
from grcsf.io.volume import read_volume, write_volume
from grcsf.verbs.run import RunResult

Cli = Callable[..., Done]


@pytest.fixture(autouse=True)
def own_salt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GRCSF_SALT", raising=False)


@pytest.fixture(scope="module")
def brain(one_channel: Path) -> np.ndarray:
    """A scan of the data set that the model was trained on, (columns, rows, slices)."""
    return np.asarray(read_volume(one_channel / "imagesTr" / "case-00_0000.nii.gz").array)


@pytest.fixture
def scan(brain: np.ndarray, tmp_path: Path) -> Path:
    """The scan as an oblique MR series, in a folder that names the patient, with a canary in every person tag."""
    folder = tmp_path / f"{CANARY}_JOHN"
    order = list(np.random.default_rng(3).permutation(brain.shape[2]))
    steps = [1.5 * index for index in range(brain.shape[2])]
    write_series(
        folder,
        brain,
        sop_class=MR,
        axes=oblique(),
        spacing_mm=(1.0, 1.2),
        offsets_mm=steps,
        slope=0.05,
        intercept=-10,
        order=order,
        change=with_canaries,
        prefix=f"{CANARY}_",
    )
    return folder


def test_a_series_is_predicted_as_volume_and_segmentation(
    scan: Path, brain: np.ndarray, one_channel_model: Path, command_line: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    flags = ("--case", "visit-1", "--device", "cpu", "--save-probabilities", "--set", "inference.threshold=0.5")
    done = command_line("predict", "-i", scan, "-m", one_channel_model, "-o", out, *flags)
    assert (done.code, done.err) == (0, "")
    names = {path.name for path in out.iterdir()}
    assert names >= {"visit-1.nii.gz", "visit-1_seg.dcm", "visit-1_prob.nii.gz", "visit-1_prob_seg.dcm", "run.json"}
    mask = nibabel.load(out / "visit-1.nii.gz")
    np.testing.assert_allclose(mask.affine, read_volume(scan).geometry.affine_ras, atol=1e-4)
    values = np.asarray(mask.dataobj)
    assert values.shape == brain.shape
    assert 0 < values.mean() < 1
    seg = highdicom.seg.segread(out / "visit-1_seg.dcm")
    uids = {int(ds.InstanceNumber): ds.SOPInstanceUID for ds in map(pydicom.dcmread, sorted(scan.iterdir()))}
    pixels = seg.get_pixels_by_source_instance(
        [uids[index + 1] for index in range(brain.shape[2])],
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(pixels[..., 0].transpose(2, 1, 0), values)
    record = json.loads((out / "run.json").read_text("utf-8"))
    assert record["dicom"]["series"]["visit-1"][0]["resampled"] is None


@pytest.mark.parametrize(
    ("output_format", "files"),
    [
        ("nifti", {"a.nii.gz"}),
        ("nrrd", {"a.nrrd"}),
        ("mha", {"a.mha"}),
        ("dicom-seg", {"a_seg.dcm"}),
    ],
)
def test_the_format_asked_for_is_written(
    output_format: str, files: set[str], scan: Path, one_channel_model: Path, command_line: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("predict", "-i", scan, "-m", one_channel_model, "-o", out, "--case", "a", "--device", "cpu")
    assert command_line(*command, "--output-format", output_format).code == 0
    assert {path.name for path in out.iterdir()} == {*files, "run.json", "grcsf.log", "prediction.json"}
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert command_line(*command, "--output-format", output_format).code == 1
    assert command_line(*command, "--output-format", output_format, "--resume").code == 0
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert command_line(*command, "--output-format", output_format, "--overwrite").code == 0


def test_a_zip_gives_the_mask_of_its_folder(scan: Path, one_channel_model: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for path in scan.iterdir():
            archive.write(path, path.name)
    for name, source in (("folder", scan), ("zip", tmp_path / "scan.zip")):
        assert grcsf.predict(source, one_channel_model, tmp_path / name, device="cpu", output_format="nifti") == {}
    (one,), (two,) = (list((tmp_path / name).glob("*.nii.gz")) for name in ("folder", "zip"))
    assert re.fullmatch(r"dicom-[0-9a-f]{16}\.nii\.gz", one.name)
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()


def test_uneven_slices_are_refused_or_resampled_and_recorded(
    brain: np.ndarray, one_channel_model: Path, command_line: Cli, tmp_path: Path
) -> None:
    steps = [1.5 * index + 1.5 * (index > 8) for index in range(brain.shape[2])]
    write_series(tmp_path / "in", brain, sop_class=MR, offsets_mm=steps, slope=0.05, intercept=-10)
    command = ("predict", "-i", tmp_path / "in", "-m", one_channel_model, "-o", tmp_path / "out", "--case", "a")
    done = command_line(*command, "--device", "cpu")
    assert done.code == 1
    assert "about 1 slice(s) missing" in done.err
    assert "--allow-resample" in done.err
    assert not list((tmp_path / "out").glob("a*"))
    assert command_line(*command, "--device", "cpu", "--allow-resample", "--overwrite").code == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    resampled = record["dicom"]["series"]["a"][0]["resampled"]
    assert resampled["faults"] == ["missing"]
    assert resampled["slices_before"] == brain.shape[2]
    assert read_volume(tmp_path / "out" / "a.nii.gz").array.shape[2] == brain.shape[2] + 1
    assert pydicom.dcmread(tmp_path / "out" / "a_seg.dcm").SOPClassUID.name == "Segmentation Storage"
    assert "resampled to an even grid" in (tmp_path / "out" / "grcsf.log").read_text("utf-8")


def test_all_series_of_a_study_are_predicted_and_a_bad_one_is_reported(
    brain: np.ndarray, one_channel_model: Path, command_line: Cli, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    for number in (1, 2):
        write_series(study, brain, sop_class=MR, slope=0.05, intercept=-10, number=number, prefix=f"{number}_")
    spoilt = sorted(study.iterdir())[-1]
    spoilt.write_bytes(spoilt.read_bytes()[:-200])
    command = ("predict", "-i", study, "-m", one_channel_model, "-o", tmp_path / "out", "--device", "cpu")
    done = command_line(*command)
    assert done.code == 1
    assert "2 image series; give --series once" in done.err
    assert not (tmp_path / "out").exists()
    done = command_line(*command, "--series", "all")
    assert done.code == 1
    assert "truncated or damaged" in done.err
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1
    assert command_line(*command, "--series", "1", "--overwrite").code == 0


def test_two_series_are_two_channels(
    tiny_volumes: Path, volume_run: tuple[Path, RunResult], command_line: Cli, tmp_path: Path
) -> None:
    images = [read_volume(tiny_volumes / "imagesTr" / f"case-00_000{index}.nii.gz").array for index in (0, 1)]
    for number, image in enumerate(images, 1):
        write_series(
            tmp_path / "in", image, sop_class=MR, slope=0.05, intercept=-500, number=number, prefix=str(number)
        )
    write_series(tmp_path / "in", images[1][2:], sop_class=MR, slope=0.05, intercept=-500, number=3, prefix="3")
    model = volume_run[0] / "fold_0" / "train"
    command = ("predict", "-i", tmp_path / "in", "-m", model, "-o", tmp_path / "out", "--device", "cpu", "--case", "a")
    assert "--series 2 times" in command_line(*command).err
    done = command_line(*command, "--series", "1", "--series", "3")
    assert done.code == 1
    assert "series 1 and 3 have grids of different size" in done.err
    flags = ("--overwrite", "--save-probabilities", "--output-format", "nifti")
    for name, order in (("out", "12"), ("turned", "21")):
        series = [word for number in order for word in ("--series", number)]
        assert command_line(*command[:6], tmp_path / name, *command[7:], *series, *flags).code == 0
    maps = [read_volume(tmp_path / name / "a_prob.nii.gz").array for name in ("out", "turned")]
    assert not np.array_equal(*maps)
    folder = tmp_path / "nifti"
    folder.mkdir()
    for index, number in enumerate((1, 2)):
        image = read_dicom(tmp_path / "in", [str(number)])
        write_volume(image.array, image.geometry, folder / f"a_000{index}.nii.gz")
    assert grcsf.predict(folder, model, tmp_path / "plain", device="cpu", save_probabilities=True) == {}
    np.testing.assert_allclose(read_volume(tmp_path / "plain" / "a_prob.nii.gz").array, maps[0], atol=1e-5)


def test_flags_that_do_not_fit_are_wrong_arguments(
    scan: Path, one_channel: Path, one_channel_model: Path, command_line: Cli, tmp_path: Path
) -> None:
    image, out = one_channel / "imagesTr" / "case-00_0000.nii.gz", tmp_path / "out"
    for extra in (("--output-format", "dicom-seg"), ("--series", "2"), ("--case", "a"), ("--output-format", "tiff")):
        done = command_line("predict", "-i", image, "-m", one_channel_model, "-o", out, *extra)
        assert done.code == 2
        assert extra[0] in done.err
    done = command_line("predict", "-i", scan, "-m", one_channel_model, "-o", out, "--case", "../evil")
    assert done.code == 2
    assert not out.exists()


def test_a_file_can_be_written_in_another_format(one_channel: Path, one_channel_model: Path, tmp_path: Path) -> None:
    image = one_channel / "imagesTr" / "case-00_0000.nii.gz"
    for name in (None, "nrrd", "mha"):
        out = tmp_path / str(name)
        assert grcsf.predict(image, one_channel_model, out, device="cpu", output_format=name) == {}
    plain = SimpleITK.ReadImage(tmp_path / "None" / "case-00.nii.gz")
    for path in (tmp_path / "nrrd" / "case-00.nrrd", tmp_path / "mha" / "case-00.mha"):
        other = SimpleITK.ReadImage(path)
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(other), SimpleITK.GetArrayFromImage(plain))
        np.testing.assert_allclose(other.GetOrigin(), plain.GetOrigin(), atol=1e-4)


def test_validate_lists_the_series_of_a_study(brain: np.ndarray, command_line: Cli, tmp_path: Path) -> None:
    def tilted(dataset: Any, _index: int) -> None:
        dataset.SeriesDescription = "head tilted"

    study = tmp_path / "study"
    write_series(study, brain, sop_class=MR, slope=0.05, intercept=-10, number=1, prefix="a")
    write_series(study, brain, slope=0.05, intercept=-10, number=2, prefix="b", drift_mm_per_mm=(0, 0.3), change=tilted)
    (study / "notes.txt").write_text("x", encoding="utf-8")
    done = command_line("validate", "-i", study, "-o", tmp_path / "found.json")
    assert done.code == 0
    assert "--series 1: MR 24 x 28 x 20, 0.8 x 1.1 x 2.5 mm" in done.out
    assert re.search(r"--series 2: CT .*tilted by 16.70 degrees.*\[head tilted\]", done.out)  # atan 0.3 = 16.70 degrees
    assert "1 file(s) that are not DICOM" in done.out
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert found["n_cases"] == 2
    assert {problem["kind"] for problem in found["problems"]} == {"uneven-slices", "other-file"}
    spoilt = sorted(study.iterdir())[0]
    spoilt.write_bytes(spoilt.read_bytes()[:-200])
    done = command_line("validate", "-i", study)
    assert done.code == 1
    assert "error: series 1: DICOM file 1 of 40" in done.out


def test_nothing_of_the_patient_is_written_but_into_the_segmentation(
    scan: Path, one_channel_model: Path, command_line: Cli, tmp_path: Path
) -> None:
    """Every byte of every output and log, and what the terminal shows, with a canary in every person tag and name."""
    sources = [pydicom.dcmread(path) for path in sorted(scan.iterdir())]
    uids = {str(source[word].value) for source in sources for word in ("SOPInstanceUID", "SeriesInstanceUID")}
    strange = tmp_path / "strange"
    shutil.copytree(scan, strange / scan.name)
    broken = sorted((strange / scan.name).iterdir())[4]
    broken.write_bytes(broken.read_bytes()[:-300])
    out, bad = tmp_path / "out", tmp_path / "bad"
    model = ("-m", one_channel_model, "--device", "cpu")
    shown = [
        command_line("validate", "-i", scan, "-o", tmp_path / "found.json"),
        command_line("validate", "-i", strange / scan.name, "-o", tmp_path / "broken.json"),
        command_line("predict", "-i", scan, *model, "-o", out, "--explain", "--save-probabilities"),
        command_line("predict", "-i", strange / scan.name, *model, "-o", bad),
    ]
    (tmp_path / "truth").mkdir()
    for mask in out.glob("dicom-????????????????.nii.gz"):
        shutil.copy(mask, tmp_path / "truth")
    shown.append(command_line("evaluate", "-i", out, "-r", tmp_path / "truth", "-o", out / "scores"))
    shown.append(command_line("report", "-i", out, "-o", tmp_path / "page.html"))
    assert [done.code for done in shown] == [0, 1, 0, 1, 0, 0]
    written = [path for place in (out, bad, tmp_path / "found.json", tmp_path / "broken.json", tmp_path / "page.html")
               for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()]  # fmt: skip
    assert len(written) > 12
    secrets = [CANARY, PERSON_TAGS["PatientBirthDate"], PERSON_TAGS["PatientBirthTime"], *uids]
    checked = 0
    for path in written:
        assert CANARY not in str(path.relative_to(tmp_path))
        if path.name.endswith("_seg.dcm"):
            assert CANARY.encode() in path.read_bytes()  # it must carry the patient of its source
            continue
        content = path.read_bytes()
        if path.name.endswith(".gz"):
            content = nibabel.load(path).to_bytes()
        checked += 1
        assert not [secret for secret in secrets if secret.encode() in content], path.name
    assert checked > 9
    for done in shown[2:]:  # the path that was typed may be shown, and validate shows descriptions to choose by
        assert CANARY not in (done.out + done.err).replace(str(scan), "").replace(scan.name, "")
    for done in shown[:2]:
        assert CANARY not in re.sub(rf"{re.escape(scan.name)}|\[{CANARY} SERIES TEXT\]", "", done.out + done.err)


def test_a_model_that_does_not_fit_names_the_case_and_not_the_folder(
    scan: Path, slice_run: tuple[Path, RunResult], command_line: Cli, tmp_path: Path
) -> None:
    model = slice_run[0] / "fold_0" / "train"
    done = command_line("predict", "-i", scan, "-m", model, "-o", tmp_path / "out", "--case", "a", "--device", "cpu")
    assert done.code == 1
    assert "failed: a: a: " in done.err
    assert CANARY not in done.err + (tmp_path / "out" / "run.json").read_text("utf-8")


def test_case_names_depend_on_a_salt_that_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = case_salt()
    kept = tmp_path / "config" / "grcsf" / "salt"
    assert kept.read_bytes() == first == case_salt()
    assert len(first) == 64
    if os.name == "posix":
        assert kept.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("GRCSF_SALT", "hospital")
    assert case_salt() == b"hospital"
    assert private_name("1.2", "3", salt=b"a") != private_name("1.2", "3", salt=b"b")
    assert private_name("1.2", "3", salt=b"a") != private_name("1.23", salt=b"a")


def test_a_salt_that_cannot_be_kept_lasts_for_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "grcsf"):
        assert case_salt() != case_salt()
    assert "GRCSF_SALT" in caplog.text


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "x" * 65, "..", "a\n"])
def test_a_case_name_is_a_plain_file_name(name: str) -> None:
    with pytest.raises(SettingsError, match="--case"):
        check_case_name(name)
