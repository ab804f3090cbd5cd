"""A worker with a real model: the masks of ``grcsf predict``, in every format, with no text of any header."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

import grcsf
from dicoms import CANARY, asymmetric, with_canaries, write_series
from grcsf.errors import ImageError, ModelError
from grcsf.io.volume import read_volume
from grcsf.serve.tasks import Task, Worker
from serving import dicom_zip, nifti_bytes, save_tiny_model, scan


@pytest.fixture(scope="module")
def worker(tiny_model: Path) -> Worker:
    return Worker([str(tiny_model)], [], "cpu")


@pytest.fixture(scope="module")
def picture_worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    return Worker([str(save_tiny_model(tmp_path_factory.mktemp("pictures") / "model", native_2d=True))], [], "cpu")


def task(folder: Path, *contents: tuple[str, bytes], **changes: object) -> Task:
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    images = []
    for number, (ending, content) in enumerate(contents):
        images.append(folder / "in" / f"image_{number:04d}{ending}")
        images[-1].write_bytes(content)
    usual = {"threshold": None, "spacing_mm": None, "explain": False, "max_voxels": 10**6, "max_bytes": 10**8}
    return Task(images, folder, **{**usual, **changes})  # type: ignore[arg-type]


def held(folder: Path) -> bytes:
    """Everything that was written, unpacked."""
    contents = [path.read_bytes() for path in sorted((folder / "out").iterdir())]
    return b"".join(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content for content in contents)


def test_the_mask_and_the_maps_are_those_of_predict(worker: Worker, tiny_model: Path, tmp_path: Path) -> None:
    job = task(tmp_path, (".nii.gz", nifti_bytes(scan(), text=CANARY)), explain=True)
    done = worker.run(job)
    grcsf.predict(job.images[0], tiny_model, tmp_path / "cli", device="cpu", save_probabilities=True, explain=True)
    written = [path.name.removesuffix(".nii.gz") for path in (tmp_path / "cli").glob("image_*.nii.gz")]
    maps = {name.removeprefix("image_"): name for name in written if name != "image_prob"}
    assert {"residual-r50", "residual-r75"} < set(maps)
    assert set(maps) == set(worker.describe()["maps"])
    pairs = {"mask": "image", "probability": "image_prob", **maps}
    assert done["files"] == {name: f"{name}.nii.gz" for name in pairs}
    for ours, theirs in pairs.items():
        one, two = (
            nibabel.load(tmp_path / "out" / f"{ours}.nii.gz"),
            nibabel.load(tmp_path / "cli" / f"{theirs}.nii.gz"),
        )
        assert np.array_equal(one.get_fdata(), two.get_fdata())
        assert np.array_equal(one.affine, two.affine)
        assert int(one.header["qform_code"]) == int(two.header["qform_code"])
    result = done["result"]
    mask = np.asarray(nibabel.load(tmp_path / "out" / "mask.nii.gz").dataobj)
    assert result["volume_ml"] == pytest.approx(np.count_nonzero(mask) * 2 * 2 * 3 / 1000)
    assert result["shape"] == [20, 18, 16]
    assert result["spacing_mm"] == [2.0, 2.0, 3.0]
    assert result["model"] == worker.fingerprint
    assert len(worker.fingerprint) == 64


def test_the_threshold_of_a_job_changes_that_job_alone(worker: Worker, tmp_path: Path) -> None:
    sizes = []
    for number, threshold in enumerate((None, 0.9, None)):
        (tmp_path / str(number)).mkdir()
        job = task(tmp_path / str(number), (".nii", nifti_bytes(scan(), packed=False)), threshold=threshold)
        sizes.append(worker.run(job)["result"]["volume_ml"])
    assert sizes[0] == sizes[2] > sizes[1]


def test_a_threshold_that_is_asked_for_is_all_that_decides(worker: Worker, tmp_path: Path) -> None:
    job = task(tmp_path, (".nii", nifti_bytes(scan(), packed=False)), threshold=0.4)
    strict = Worker.__new__(Worker)
    strict.__dict__ = {**worker.__dict__, "settings": worker.settings.model_copy(update={"min_lesion_peak": 0.99})}
    assert strict.run(job)["result"]["volume_ml"] > 0


def test_nothing_of_the_texts_in_a_nifti_header_is_written_or_told(worker: Worker, tmp_path: Path) -> None:
    job = task(tmp_path, (".nii.gz", nifti_bytes(scan(), text=CANARY)), explain=True)
    done = worker.run(job)
    assert CANARY[:8].encode() in gzip.decompress(job.images[0].read_bytes())
    assert CANARY[:8].encode() not in held(tmp_path)
    assert CANARY[:8] not in str(done)


def test_a_dicom_series_becomes_nifti_without_a_word_of_the_patient(worker: Worker, tmp_path: Path) -> None:
    job = task(tmp_path, (".zip", dicom_zip(tmp_path / "series", names="XCANARYX/{}")))
    done = worker.run(job)
    assert set(done["files"]) == {"mask", "probability", "image"}
    assert CANARY.encode() not in held(tmp_path)
    assert CANARY not in str(done)
    image = read_volume(tmp_path / "out" / "image.nii")
    assert np.array_equal(image.array, asymmetric())
    assert np.allclose(image.geometry.spacing_mm, (0.8, 1.1, 2.5))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "series"]  # no unpacked zip is left


def test_several_series_in_a_zip_are_refused_without_their_descriptions(worker: Worker, tmp_path: Path) -> None:
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in (1, 2):
            for path in write_series(tmp_path / f"s{number}", asymmetric(), number=number, change=with_canaries):
                archive.write(path, f"{number}/{path.name}")
    job = task(tmp_path, (".zip", packed.getvalue()))
    with pytest.raises(ImageError, match="2 CT, MR or PET series") as error:
        worker.run(job)
    assert CANARY not in job.private(error.value)
    assert str(tmp_path) not in job.private(error.value)
    assert job.private(error.value).startswith("image 1: ")


def test_a_series_of_too_many_voxels_is_refused_before_its_pixels_are_read(worker: Worker, tmp_path: Path) -> None:
    job = task(tmp_path, (".zip", dicom_zip(tmp_path / "series")), max_voxels=20 * 24 * 9 - 1)
    with pytest.raises(ImageError, match="4320 voxels; at most 4319"):
        worker.run(job)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_itk_files_keep_their_grid_and_lose_their_texts(ending: str, worker: Worker, tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(scan((16, 18, 20)))
    image.SetSpacing((1.5, 2.0, 2.5))
    image.SetOrigin((-3.0, 4.0, 5.0))
    image.SetMetaData("PatientName", CANARY)
    path = tmp_path / f"made{ending}"
    SimpleITK.WriteImage(image, str(path), True)
    assert CANARY.encode() in path.read_bytes()
    done = worker.run(task(tmp_path, (ending, path.read_bytes()), explain=True))
    assert done["files"]["mask"] == f"mask{ending}"
    mask = SimpleITK.ReadImage(str(tmp_path / "out" / f"mask{ending}"))
    assert mask.GetSpacing() == image.GetSpacing()
    assert mask.GetOrigin() == image.GetOrigin()
    assert CANARY.encode() not in held(tmp_path)


def test_what_a_library_says_of_a_header_is_not_passed_on(worker: Worker, tmp_path: Path) -> None:
    content = b"NRRD0004\ntype: short\ndimension: XCANARYX\nsizes: 3 3 3\nencoding: raw\n\n" + b"\0" * 54
    job = task(tmp_path, (".nrrd", content))
    with pytest.raises(ImageError) as error:
        worker.run(job)
    assert "XCANARYX" not in job.private(error.value)


def test_anatomy_that_the_autoencoder_does_not_know_is_among_the_warnings(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,) = worker.predictor.models
    monkeypatch.setattr(worker.predictor, "models", [dataclasses.replace(model, usual_residual=1e-6)])
    done = worker.run(task(tmp_path, (".nii.gz", nifti_bytes(scan()))))
    assert "the autoencoder does not know this anatomy" in str(done["result"]["warnings"])


def test_a_picture_has_areas_a_warning_and_files_for_viewers(picture_worker: Worker, tmp_path: Path) -> None:
    grey = scan((40, 30)).clip(0, 255).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(grey), str(tmp_path / "made.png"))
    content = (tmp_path / "made.png").read_bytes()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = picture_worker.run(task(tmp_path / "a", (".png", content)))
    assert "none was given" in str(plain["result"]["warnings"])
    assert set(plain["files"]) == {"mask", "probability", "image", "view-mask", "view-probability"}
    assert plain["files"]["mask"] == "mask.png"
    spaced = picture_worker.run(task(tmp_path / "b", (".png", content), spacing_mm=(2.0, 0.5)))
    assert spaced["result"]["spacing_mm"] == [2.0, 0.5]
    assert spaced["result"]["volume_ml"] is None
    mask = read_volume(tmp_path / "b" / "out" / "mask.png").array
    assert spaced["result"]["area_mm2"] == pytest.approx(np.count_nonzero(mask) * 2.0 * 0.5)
    shown = nibabel.load(tmp_path / "b" / "out" / "view-mask.nii")
    assert np.array_equal(np.asarray(shown.dataobj)[:, :, 0], mask.T)
    assert shown.header.get_zooms()[:2] == (0.5, 2.0)


def test_a_volume_for_a_model_of_pictures_is_refused_in_plain_words(picture_worker: Worker, tmp_path: Path) -> None:
    job = task(tmp_path, (".nii.gz", nifti_bytes(scan())))
    with pytest.raises(ImageError, match="made for 2-D images") as error:
        picture_worker.run(job)
    assert "image_0000" not in job.private(error.value)


def test_other_errors_tell_their_class_alone(tmp_path: Path) -> None:
    job = task(tmp_path, (".nii", b""))
    assert job.private(ValueError("XCANARYX")) == "the prediction failed (ValueError)"
    assert job.private(MemoryError()) == "not enough memory for this image"
    assert job.private(RuntimeError("can't allocate memory: XCANARYX")) == "not enough memory for this image"


def test_several_models_are_averaged_and_have_a_fingerprint_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    both = Worker([str(tiny_model), str(tiny_model)], [], "cpu")
    alone = Worker([str(tiny_model)], [], "cpu")
    assert both.describe()["models"] == 2
    assert both.fingerprint != alone.fingerprint
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    content = (".nii", nifti_bytes(scan(), packed=False))
    one, two = both.run(task(tmp_path / "a", content)), alone.run(task(tmp_path / "b", content))
    assert one["result"]["volume_ml"] == two["result"]["volume_ml"]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        Worker([str(tmp_path)], [], "cpu")


def test_the_model_is_described(worker: Worker) -> None:
    found = worker.describe()
    assert found["channels"] == ["FLAIR"]
    assert found["labels"] == {"background": 0, "lesion": 1}
    assert found["maps"][:2] == ["residual-r50", "residual-r75"]
    assert {name.partition("-")[0] for name in found["maps"][2:]} == {"importance", "fusion", "rcu", "gcu"}
