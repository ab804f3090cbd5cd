"""A data set from raw to preprocessed: resumed, replaced, in several processes, with bad cases."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from grcsf.config import Settings, load_settings
from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.errors import DatasetError, OutputError
from grcsf.io.files import read_json
from grcsf.io.volume import read_volume
from grcsf.preprocess.inverse import restore
from grcsf.preprocess.parallel import map_cases
from grcsf.preprocess.run import preprocess_dataset
from grcsf.preprocess.store import CaseStore


def test_slices(tiny_slices, tmp_path):
    dataset = read_dataset(tiny_slices)
    store = preprocess_dataset(dataset, load_settings(overrides=["preprocess.spacing_mm=[2,2]"]), tmp_path / "out")
    assert store.names == dataset.case_names
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "plan.json",
        "fingerprint.json",
        "run.json",
        "cases",
    }
    record = read_json(tmp_path / "out" / "run.json")
    assert (record["status"], record["cases"], record["failed"]) == ("done", 8, [])
    channels, depth, height, width = store.image("case-00").shape
    assert (channels, depth) == (1, 1)
    assert height <= 24
    assert width <= 28
    assert all(store.label(name).any() for name in store.names)


@pytest.mark.parametrize("dimensions", ["2d", "3d"])
def test_volumes_and_their_way_back(tiny_volumes, tmp_path, dimensions):
    dataset = read_dataset(tiny_volumes)
    settings = load_settings(overrides=[f"preprocess.dimensions={dimensions}"])
    store = preprocess_dataset(dataset, settings, tmp_path / "out")
    assert store.plan.spatial_dims == int(dimensions[0])
    for name in store.names:
        label = store.label(name)
        assert label.shape == store.image(name).shape[1:] == store.foreground(name).shape
        native = restore(label[None].astype(np.float32), store.geometry(name))[0]
        assert np.array_equal(native > 0.5, read_volume(dataset.case(name).label).array > 0)


def test_existing_output_is_kept(tiny_slices, tmp_path):
    dataset = read_dataset(tiny_slices)
    preprocess_dataset(dataset, Settings(), tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        preprocess_dataset(dataset, Settings(), tmp_path)
    other = load_settings(overrides=["preprocess.crop=false"])
    with pytest.raises(OutputError, match="cannot be resumed"):
        preprocess_dataset(dataset, other, tmp_path, resume=True)
    assert CaseStore(tmp_path).plan.crop
    assert not preprocess_dataset(dataset, other, tmp_path, overwrite=True).plan.crop


def test_resume_does_only_what_is_missing(tiny_slices, tmp_path):
    dataset = read_dataset(tiny_slices)
    first = preprocess_dataset(dataset, Settings(), tmp_path)
    hashes = {name: first.content_hash(name) for name in first.names}
    kept = tmp_path / "cases" / "case-01.json"
    before = kept.stat().st_mtime_ns
    (tmp_path / "cases" / "case-03.json").unlink()
    second = preprocess_dataset(dataset, Settings(), tmp_path, resume=True)
    assert {name: second.content_hash(name) for name in second.names} == hashes
    assert kept.stat().st_mtime_ns == before
    assert read_json(tmp_path / "run.json")["skipped"] == 7


@pytest.mark.parametrize("kind", ["imagesTr/case-01_0000.png", "labelsTr/case-01.png"])
def test_a_case_whose_files_changed_is_not_resumed(tiny_slices, tmp_path, kind):
    raw, out = copy_of(tiny_slices, tmp_path), tmp_path / "out"
    preprocess_dataset(read_dataset(raw), Settings(), out)
    changed = raw / kind
    content = changed.read_bytes()
    changed.write_bytes(content)  # another time, the same bytes
    preprocess_dataset(read_dataset(raw), Settings(), out, resume=True)
    shutil.copyfile(changed.with_name(changed.name.replace("01", "02")), changed)
    with pytest.raises(OutputError, match=r"image or mask of 1 cases changed since \(case-01\)"):
        preprocess_dataset(read_dataset(raw), Settings(), out, resume=True)


def test_all_bad_cases_are_named_and_the_rest_is_kept(tiny_slices, tmp_path):
    raw = copy_of(tiny_slices, tmp_path)
    good = (raw / "imagesTr" / "case-02_0000.png").read_bytes()
    (raw / "imagesTr" / "case-02_0000.png").write_bytes(b"no image")
    shutil.copy(raw / "imagesTr" / "case-01_0000.png", raw / "labelsTr" / "case-05.png")  # grey values as labels
    with pytest.raises(DatasetError) as caught:
        preprocess_dataset(read_dataset(raw), Settings(), tmp_path / "out")
    assert "2 of 8 cases" in str(caught.value)
    assert "case-02" in str(caught.value)
    assert "case-05" in str(caught.value)
    assert len(CaseStore(tmp_path / "out").names) == 6
    assert not list((tmp_path / "out" / "cases").glob("case-0[25]*"))
    assert read_json(tmp_path / "out" / "run.json")["failed"] == ["case-02", "case-05"]

    (raw / "imagesTr" / "case-02_0000.png").write_bytes(good)
    shutil.copy(tiny_slices / "labelsTr" / "case-05.png", raw / "labelsTr" / "case-05.png")
    assert len(preprocess_dataset(read_dataset(raw), Settings(), tmp_path / "out", resume=True).names) == 8


def test_processes_give_the_same_arrays(tiny_slices, tmp_path):
    dataset = read_dataset(tiny_slices)
    alone = preprocess_dataset(dataset, Settings(), tmp_path / "alone")
    together = preprocess_dataset(dataset, load_settings(overrides=["workers=2"]), tmp_path / "together")
    assert together.plan == alone.plan
    assert [together.content_hash(name) for name in together.names] == [
        alone.content_hash(name) for name in alone.names
    ]


def test_plan_learns_only_from_the_named_cases(tiny_slices, tmp_path):
    dataset = read_dataset(tiny_slices)
    preprocess_dataset(dataset, Settings(), tmp_path, fingerprint_cases=("case-00", "case-01"))
    fingerprint = read_json(tmp_path / "fingerprint.json")
    assert [case["name"] for case in fingerprint["cases"]] == ["case-00", "case-01"]
    with pytest.raises(OutputError, match="other cases"):
        preprocess_dataset(dataset, Settings(), tmp_path, resume=True)


def test_mixed_dimensions_are_refused(tiny_slices, tiny_volumes, tmp_path):
    raw = copy_of(tiny_volumes, tmp_path)
    image = read_volume(raw / "imagesTr" / "case-00_0000.nii.gz")
    import nibabel

    flat = nibabel.Nifti1Image(image.array[:, :, 10], np.eye(4))
    for channel in ("0000", "0001"):
        nibabel.save(flat, raw / "imagesTr" / f"case-00_{channel}.nii.gz")
    (raw / "labelsTr" / "case-00.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"case-00 is a 2-D image and .* a volume"):
        preprocess_dataset(read_dataset(raw), Settings(), tmp_path / "out")


def test_unforeseen_errors_name_the_case():
    with pytest.raises(ZeroDivisionError) as caught:
        list(map_cases(lambda job: 1 // job, [("fine", 1), ("broken", 0)], workers=0))
    assert caught.value.__notes__ == ["case broken"]


@pytest.mark.real_data
def test_real_slices(real_data, tmp_path):
    raw = real_data("Dataset501_SoopFlairAxial")
    part = tmp_path / "Dataset501_Part"
    for folder in ("imagesTr", "labelsTr"):
        (part / folder).mkdir(parents=True)
        for path in sorted((raw / folder).iterdir())[:12]:
            shutil.copy(path, part / folder)
    shutil.copy(raw / "dataset.json", part)
    settings = load_settings(overrides=["preprocess.spacing_mm=[2,2]"])
    store = preprocess_dataset(read_dataset(part), settings, tmp_path / "out")
    assert len(store.names) == 12
    for name in store.names:
        image, inside = store.image(name)[0], store.foreground(name)
        assert image[inside].mean() == pytest.approx(0, abs=0.1)
        assert 0.5 < inside.mean() < 0.95  # a brain in its box


def copy_of(raw: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(raw, tmp_path / raw.name))
