"""Prediction from a model folder: any format, several folds, bad cases, and output folders that hold something."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

import grcsf
from chain import Done, contents, same_grid
from grcsf.config import InferenceSettings
from grcsf.errors import DatasetError, ModelError, OutputError, SettingsError
from grcsf.verbs.run import RunResult

Run = tuple[Path, RunResult]
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


@pytest.fixture(scope="module")
def scan(one_channel: Path) -> Path:
    return one_channel / "imagesTr" / "case-00_0000.nii.gz"


@pytest.fixture
def scans(one_channel: Path, tmp_path: Path) -> Path:
    """A folder of three scans that a test may change."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for index in range(3):
        name = f"case-{index:02d}_0000.nii.gz"
        shutil.copyfile(one_channel / "imagesTr" / name, folder / name)
    return folder


def predict(images: Path, model: Path, out: Path, **options: object) -> dict[str, str]:
    return grcsf.predict(images, model, out, device="cpu", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_gives_the_same_mask_on_its_own_grid(
    ending: str, scan: Path, one_channel_model: Path, tmp_path: Path
) -> None:
    image = tmp_path / f"scan{ending}"
    SimpleITK.WriteImage(SimpleITK.ReadImage(scan), image)
    out = tmp_path / "out"
    assert predict(image, one_channel_model, out, save_probabilities=True) == {}
    mask, read = SimpleITK.ReadImage(out / f"scan{ending}"), SimpleITK.ReadImage(image)
    assert mask.GetSize() == read.GetSize()
    assert mask.GetPixelID() == SimpleITK.sitkUInt8
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, name)() == getattr(read, name)()
    assert predict(scan, one_channel_model, tmp_path / "plain", save_probabilities=True) == {}
    plain = SimpleITK.ReadImage(tmp_path / "plain" / "case-00_prob.nii.gz")
    prob = SimpleITK.ReadImage(out / f"scan_prob{ending}")
    both = [SimpleITK.GetArrayFromImage(found) for found in (prob, plain)]
    np.testing.assert_allclose(both[0], both[1], atol=1e-4)


def test_two_folds_are_averaged(tiny_slices: Path, slice_run: Run, tmp_path: Path) -> None:
    run, _ = slice_run
    image, probs = tiny_slices / "imagesTr" / "case-00_0000.png", []
    wanted = {"one": [run / "fold_0" / "train"], "two": [run / "fold_1" / "train"], "both": [run]}
    for name, models in wanted.items():
        assert grcsf.predict(image, models, tmp_path / name, device="cpu", save_probabilities=True) == {}
        probs.append(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / name / "case-00_prob.mha")))
    assert not np.allclose(probs[0], probs[1], atol=1e-4)
    np.testing.assert_allclose(probs[2], (probs[0] + probs[1]) / 2, atol=1e-6)
    grcsf.predict(image, run, tmp_path / "fold", folds=[1], device="cpu", save_probabilities=True)
    fold = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "fold" / "case-00_prob.mha"))
    np.testing.assert_array_equal(fold, probs[1])
    with pytest.raises(ModelError, match="no trained model"):
        grcsf.predict(image, run, tmp_path / "none", folds=[4], device="cpu")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("place", ["in", "beside"])
def test_png_has_the_spacing_of_the_description(place: str, tiny_slices: Path, slice_run: Run, tmp_path: Path) -> None:
    scans = tmp_path / "data" / "imagesTs"
    scans.mkdir(parents=True)
    shutil.copyfile(tiny_slices / "imagesTr" / "case-00_0000.png", scans / "case-00_0000.png")
    folder = scans if place == "in" else scans.parent
    (folder / "dataset.json").write_text(json.dumps({"spacing_mm": [0.5, 0.75]}))
    for name, options, found in (("told", {}, (0.75, 0.5)), ("given", {"spacing_mm": (2.0, 3.0)}, (3.0, 2.0))):
        predict(scans, slice_run[0] / "fold_0" / "train", tmp_path / name, save_probabilities=True, **options)
        assert SimpleITK.ReadImage(tmp_path / name / "case-00_prob.mha").GetSpacing() == found


def test_the_mask_of_a_validation_case_is_predicted_again(tiny_volumes: Path, volume_run: Run, tmp_path: Path) -> None:
    """Channels come from the sibling files, and the mask is the one that the run wrote."""
    run, _ = volume_run
    written = next((run / "fold_0" / "validation").glob("case-??.nii.gz"))
    image = tiny_volumes / "imagesTr" / written.name.replace(".nii.gz", "_0001.nii.gz")
    assert predict(image, run, tmp_path / "out") == {}
    assert same_grid(image, tmp_path / "out" / written.name)
    assert (tmp_path / "out" / written.name).read_bytes() == written.read_bytes()


def test_a_bad_case_is_named_and_the_others_are_written(
    scans: Path, one_channel_model: Path, tmp_path: Path, command_line: Callable[..., Done]
) -> None:
    bad = scans / "case-01_0000.nii.gz"
    bad.write_bytes(bad.read_bytes()[:400])
    out = tmp_path / "out"
    done = command_line("predict", "-i", scans, "-m", one_channel_model, "-o", out, "--device", "cpu")
    assert done.code == 1
    assert done.err.startswith("failed: case-01: ")
    assert "case-01_0000.nii.gz" in done.err
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["case-00.nii.gz", "case-02.nii.gz"]
    record = json.loads((out / "run.json").read_text())
    assert record["cases"] == 3
    assert list(record["failed"]) == ["case-01"]
    assert not list(out.glob(".partial-*"))


def test_a_mended_case_is_predicted_by_resuming(scans: Path, one_channel_model: Path, tmp_path: Path) -> None:
    bad, out = scans / "case-01_0000.nii.gz", tmp_path / "out"
    good = bad.read_bytes()
    bad.write_bytes(good[:400])
    assert list(predict(scans, one_channel_model, out)) == ["case-01"]
    before = {path: path.stat().st_mtime_ns for path in out.glob("case-*")}
    bad.write_bytes(good)
    assert predict(scans, one_channel_model, out, resume=True) == {}
    assert (out / "case-01.nii.gz").is_file()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    everything = contents(out, but=())
    assert predict(scans, one_channel_model, out, resume=True) == {}
    assert contents(out, but=()) == everything


def test_masks_of_other_settings_are_not_resumed(scans: Path, one_channel_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(scans, one_channel_model, out)
    before = contents(out, but=())
    other = InferenceSettings(threshold=0.2, mirroring=False)
    with pytest.raises(OutputError, match="masks of another model or other settings"):
        predict(scans, one_channel_model, out, settings=other, resume=True)
    with pytest.raises(OutputError, match="exists already"):
        predict(scans, one_channel_model, out)
    assert contents(out, but=()) == before
    predict(scans, one_channel_model, out, settings=other, overwrite=True)
    assert contents(out)["case-00.nii.gz"] != before["case-00.nii.gz"]


def test_masks_of_somebody_else_are_not_resumed(
    one_channel: Path, scans: Path, one_channel_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(one_channel / "labelsTr", out)
    before = contents(out, but=())
    with pytest.raises(OutputError, match="masks of another model"):
        predict(scans, one_channel_model, out, resume=True)
    assert contents(out, but=()) == before


def test_a_mask_of_another_image_is_not_resumed(scans: Path, one_channel_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(scans, one_channel_model, out)
    shutil.copyfile(scans / "case-02_0000.nii.gz", scans / "case-01_0000.nii.gz")
    before = contents(out, but=())
    with pytest.raises(OutputError, match="the mask of case-01 is of another image or another model"):
        predict(scans, one_channel_model, out, resume=True)
    assert contents(out, but=()) == before


def test_masks_that_an_overwriting_left_alone_are_not_taken_for_new_ones(
    scans: Path, one_channel_model: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", InferenceSettings(threshold=0.2, mirroring=False)
    predict(scans, one_channel_model, out)
    predict(scans / "case-00_0000.nii.gz", one_channel_model, out, settings=other, overwrite=True)
    with pytest.raises(OutputError, match="the mask of case-01 is of another image or another model"):
        predict(scans, one_channel_model, out, settings=other, resume=True)


def test_no_older_mask_stays_in_another_format(scans: Path, one_channel_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(scans, one_channel_model, out)
    predict(scans, one_channel_model, out, output_format="mha", overwrite=True)
    assert sorted(path.name for path in out.glob("case-*")) == [f"case-{index:02d}.mha" for index in range(3)]


def test_a_case_that_fails_leaves_no_older_mask(scans: Path, one_channel_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(scans, one_channel_model, out, save_probabilities=True)
    (scans / "case-01_0000.nii.gz").write_bytes(b"nothing")
    assert list(predict(scans, one_channel_model, out, overwrite=True)) == ["case-01"]
    assert sorted(path.name for path in out.glob("case-*")) == ["case-00.nii.gz", "case-02.nii.gz"]


@pytest.mark.parametrize("flag", ["overwrite", "resume"])
def test_images_are_never_written_over(flag: str, scan: Path, one_channel_model: Path, tmp_path: Path) -> None:
    shutil.copyfile(scan, tmp_path / "scan.nii.gz")
    before = contents(tmp_path, but=())
    with pytest.raises(OutputError, match="the mask of scan would replace its image"):
        predict(tmp_path, one_channel_model, tmp_path, **{flag: True})
    assert contents(tmp_path, but=()) == before


def test_settings_on_the_command_line_change_those_of_the_model(
    scan: Path, one_channel_model: Path, tmp_path: Path, command_line: Callable[..., Done]
) -> None:
    common = ("predict", "-i", scan, "-m", one_channel_model, "--device", "cpu")
    assert command_line(*common, "-o", tmp_path / "out", "--set", "inference.threshold=0.25").code == 0
    used = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]["inference"]
    own = json.loads((one_channel_model / "model.json").read_text())["settings"]["inference"]
    assert own["mirroring"] is False, "differs from the default, so that the test means something"
    assert used == {**own, "threshold": 0.25}


def test_residual_maps_are_written_on_request(scan: Path, one_channel_model: Path, tmp_path: Path) -> None:
    predict(scan, one_channel_model, tmp_path / "out", save_residuals=True)
    for ratio in ("r50", "r75"):
        path = tmp_path / "out" / f"case-00_residual-{ratio}.nii.gz"
        assert same_grid(scan, path)
        values = nibabel.load(path).get_fdata()
        assert np.isfinite(values).all()
        assert values.std() > 0


@pytest.mark.parametrize("device", ["gpu:x", "quantum", "cuda:-1", "cuda:99", "cpu:0"])
def test_a_device_that_is_not_there_is_refused(
    device: str, scan: Path, one_channel_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=f"--device {device}: "):
        grcsf.predict(scan, one_channel_model, tmp_path / "out", device=device)
    assert not (tmp_path / "out").exists()


def test_a_model_takes_its_own_number_of_channels(
    tiny_volumes: Path, scans: Path, one_channel_model: Path, volume_run: Run, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"takes 2 channel\(s\) per case; case-00: missing channel 0001"):
        predict(scans, volume_run[0], tmp_path / "out")
    with pytest.raises(DatasetError, match="channel 0001 found, expected 1 channel"):
        predict(tiny_volumes / "imagesTr", one_channel_model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
