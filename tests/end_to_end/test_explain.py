"""``grcsf predict --explain``: maps beside masks, which it does not change, and nothing overwritten unasked."""

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
from dicoms import MR, write_series
from grcsf.errors import DatasetError, OutputError
from grcsf.io.map_names import MAP_KINDS, case_of_map, files_beside
from grcsf.io.volume import read_volume
from grcsf.verbs.masks import masks_in
from grcsf.verbs.predict import DicomOptions
from grcsf.verbs.run import RunResult

MAPS = {
    *("residual-r50", "residual-r75", "gcu-gain-0", "gcu-gain-1"),
    *(f"{kind}-{level}" for kind in ("importance", "rcu-gain") for level in (0, 1)),
    *(f"fusion-{level}-{ratio}" for level in (0, 1) for ratio in ("r50", "r75")),
}


@pytest.fixture(scope="module")
def scan(one_channel: Path) -> Path:
    return one_channel / "imagesTr" / "case-00_0000.nii.gz"


@pytest.fixture
def scans(one_channel: Path, tmp_path: Path) -> Path:
    """A folder of two scans that a test may change."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for index in range(2):
        shutil.copyfile(one_channel / "imagesTr" / f"case-{index:02d}_0000.nii.gz", folder / f"s{index}_0000.nii.gz")
    return folder


def predict(images: Path, model: Path, out: Path, **options: object) -> dict[str, str]:
    return grcsf.predict(images, model, out, device="cpu", **options)  # type: ignore[arg-type]


def test_maps_stand_beside_the_mask_on_its_grid(
    scan: Path, one_channel_model: Path, tmp_path: Path, command_line: Callable[..., Done]
) -> None:
    out, plain = tmp_path / "out", tmp_path / "plain"
    done = command_line("predict", "-i", scan, "-m", one_channel_model, "-o", out, "--device", "cpu", "--explain")
    assert (done.code, done.err) == (0, "")
    predict(scan, one_channel_model, plain)
    assert (out / "case-00.nii.gz").read_bytes() == (plain / "case-00.nii.gz").read_bytes()
    expected = {"case-00.nii.gz", "case-00_explain.json", *(f"case-00_{name}.nii.gz" for name in MAPS)}
    assert {path.name for path in out.glob("case-*")} == expected
    for name in MAPS:
        path = out / f"case-00_{name}.nii.gz"
        assert same_grid(scan, path)
        assert np.isfinite(nibabel.load(path).get_fdata()).all()
    assert list(masks_in(out)) == ["case-00"]
    record = json.loads((out / "run.json").read_text("utf-8"))
    (facts,) = record["explain"]
    assert facts == json.loads((out / "case-00_explain.json").read_text("utf-8"))["models"][0]
    assert set(facts["rcu"]) == set(facts["gcu"]) == {"0", "1"}
    assert "explain" not in json.loads((plain / "run.json").read_text("utf-8"))


def test_resuming_adds_maps_to_masks_that_are_kept(scans: Path, one_channel_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(scans, one_channel_model, out)
    masks = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("s?.nii.gz")}
    assert len(masks) == 2
    assert predict(scans, one_channel_model, out, explain=True, resume=True) == {}
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in masks} == masks
    assert len(files_beside(out, "s0")) == len(files_beside(out, "s1")) == len(MAPS) + 1
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert predict(scans, one_channel_model, out, explain=True, resume=True) == {}
    assert predict(scans, one_channel_model, out, resume=True) == {}
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    (out / "s1_explain.json").unlink()  # as if killed before the numbers of the second case
    predict(scans, one_channel_model, out, explain=True, resume=True)
    again = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert {path for path in before if again[path] == before[path]} >= {*masks, *files_beside(out, "s0")}
    assert (out / "s1_explain.json").is_file()


def test_maps_of_an_earlier_prediction_do_not_stay_beside_new_masks(
    scan: Path, one_channel_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict(scan, one_channel_model, out, explain=True)
    before = contents(out, but=())
    with pytest.raises(OutputError, match="exists already"):
        predict(scan, one_channel_model, out, explain=True)
    assert contents(out, but=()) == before
    predict(scan, one_channel_model, out, overwrite=True)
    assert {path.name for path in out.iterdir()} == {"case-00.nii.gz", "prediction.json", "run.json", "grcsf.log"}


def test_masks_of_somebody_else_are_not_explained(
    one_channel: Path, scan: Path, one_channel_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(one_channel / "labelsTr", out)
    before = contents(out, but=())
    with pytest.raises(OutputError, match="masks of another model"):
        predict(scan, one_channel_model, out, explain=True, resume=True)
    assert contents(out, but=()) == before


def test_a_bad_case_has_no_maps_and_the_others_have(scans: Path, one_channel_model: Path, tmp_path: Path) -> None:
    bad = scans / "s0_0000.nii.gz"
    bad.write_bytes(bad.read_bytes()[:400])
    assert list(predict(scans, one_channel_model, tmp_path / "out", explain=True)) == ["s0"]
    assert not files_beside(tmp_path / "out", "s0")
    assert len(files_beside(tmp_path / "out", "s1")) == len(MAPS) + 1
    assert not list((tmp_path / "out").glob(".partial-*"))


def test_a_case_called_like_a_map_of_another_is_refused(scans: Path, one_channel_model: Path, tmp_path: Path) -> None:
    shutil.copyfile(scans / "s0_0000.nii.gz", scans / "s0_gcu-gain-1_0000.nii.gz")
    with pytest.raises(DatasetError, match="case s0_gcu-gain-1 is called like a map of case s0"):
        predict(scans, one_channel_model, tmp_path / "out", explain=True)
    assert not (tmp_path / "out").exists()


def test_an_image_called_like_a_map_is_neither_removed_nor_replaced(
    scans: Path, one_channel_model: Path, tmp_path: Path
) -> None:
    (scans / "s1_0000.nii.gz").unlink()
    strange = shutil.copyfile(scans / "s0_0000.nii.gz", scans / "s0_0000_prob.nii.gz")
    before = contents(scans, but=())
    with pytest.raises(OutputError, match=r"would replace its image|is an image that is called like a map"):
        predict(strange, one_channel_model, scans, overwrite=True, explain=True)
    assert contents(scans, but=()) == before


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_every_kind_of_map_is_known_by_its_name(kind: str) -> None:
    name = kind.replace("*", "1-r50")
    assert case_of_map(f"a_b_{name}") == "a_b"
    assert case_of_map(name) is None
    assert case_of_map(f"a_b_{name}x_7") is None


def test_slices_of_png_have_maps_of_their_size(
    tiny_slices: Path, slice_run: tuple[Path, RunResult], tmp_path: Path
) -> None:
    image = tiny_slices / "imagesTr" / "case-00_0000.png"
    assert predict(image, slice_run[0], tmp_path / "out", folds=[0], explain=True) == {}
    assert {path.name for path in files_beside(tmp_path / "out", "case-00")} == {
        "case-00_explain.json",
        *(f"case-00_{name}.mha" for name in MAPS),
    }
    size = SimpleITK.ReadImage(image).GetSize()
    for name in MAPS:
        assert SimpleITK.ReadImage(tmp_path / "out" / f"case-00_{name}.mha").GetSize() == size


def test_slices_with_context_have_maps_of_the_volume(
    tiny_volumes: Path, flat_run: tuple[Path, RunResult], tmp_path: Path
) -> None:
    image = tiny_volumes / "imagesTr" / "case-00_0000.nii.gz"
    assert predict(image, flat_run[0], tmp_path / "out", explain=True) == {}
    for path in files_beside(tmp_path / "out", "case-00"):
        assert path.suffix == ".json" or same_grid(image, path)


@pytest.mark.parametrize("output_format", [None, "dicom-seg"])
def test_maps_of_a_dicom_series_stand_on_its_grid(
    output_format: str | None, scan: Path, one_channel_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    image = np.asarray(read_volume(scan).array)
    steps = [1.5 * index for index in range(image.shape[2])]
    write_series(tmp_path / "study", image, sop_class=MR, spacing_mm=(1.0, 1.2), offsets_mm=steps)
    out, options = tmp_path / "out", DicomOptions(case="a")
    common = {"dicom": options, "output_format": output_format}
    assert predict(tmp_path / "study", one_channel_model, out, **common) == {}
    before = {path: path.stat().st_mtime_ns for path in out.glob("a*")}
    assert predict(tmp_path / "study", one_channel_model, out, explain=True, resume=True, **common) == {}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    geometry = read_volume(tmp_path / "study").geometry
    assert {path.name for path in files_beside(out, "a")} == {"a_explain.json", *(f"a_{n}.nii.gz" for n in MAPS)}
    for name in MAPS:
        found = nibabel.load(out / f"a_{name}.nii.gz")
        assert found.shape == geometry.shape
        np.testing.assert_allclose(found.affine, geometry.affine_ras, atol=1e-4)
    assert "explain" in json.loads((out / "run.json").read_text("utf-8"))
    predict(tmp_path / "study", one_channel_model, out, overwrite=True, **common)
    assert {path.name for path in out.glob("a*")} == {path.name for path in before}
