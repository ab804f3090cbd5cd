"""Each kind of bad file gives one message that names it and says what is wrong."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK

from grcsf.errors import ImageError
from grcsf.io.volume import read_geometry, read_volume


def save_nifti(path, array):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    return path


def noise(shape=(12, 13, 14)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(np.int16)


def fails_with(path, *parts: str, **options) -> None:
    with pytest.raises(ImageError) as error:
        read_volume(path, **options)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_missing_file(tmp_path):
    fails_with(tmp_path / "none.nii.gz", "no such file")


def test_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "a.nii").mkdir()
    fails_with(tmp_path / "a.nii", "is a folder, not a file")


def test_unknown_ending(tmp_path):
    (tmp_path / "scan.dcm").touch()
    fails_with(tmp_path / "scan.dcm", "expected a file ending in .nii.gz")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_truncated_gzipped_nifti(tmp_path, share):
    path = save_nifti(tmp_path / "a.nii.gz", noise())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    fails_with(path, "truncated", "copy it again")


@pytest.mark.parametrize("size", [0, 100, 348, 400, 4000])
def test_truncated_plain_nifti(tmp_path, size):
    path = save_nifti(tmp_path / "a.nii", noise())
    path.write_bytes(path.read_bytes()[:size])
    fails_with(path, "truncated NIfTI file", f"{size} bytes of", "copy it again")


def test_damaged_gzip_is_found_by_its_checksum(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", noise())
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the stored checksum
    path.write_bytes(content)
    fails_with(path, "damaged", "CRC check failed")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.png"])
def test_a_text_file_with_an_image_ending(tmp_path, name):
    (tmp_path / name).write_text("this is not an image\n" * 40)
    fails_with(tmp_path / name, "not a")
    with pytest.raises(ImageError, match="not a"):
        read_geometry(tmp_path / name)


def test_gzipped_text_with_a_nifti_ending(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"not an image " * 100))
    fails_with(tmp_path / "a.nii.gz", "not a NIfTI file")


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_truncated_nrrd_and_metaimage(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise()), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    fails_with(path, f"truncated or damaged {ending} file", "copy it again")


@pytest.mark.parametrize("ending", [".mha", ".mhd"])
def test_damaged_voxels_of_a_compressed_metaimage(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise((40, 40, 20))), path, True)
    read_volume(path)
    data = path if ending == ".mha" else tmp_path / "a.zraw"
    content = bytearray(data.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 512] = bytes(512)
    data.write_bytes(content)
    fails_with(path, f"truncated or damaged {ending} file", "copy it again")


def test_mhd_without_its_raw_file(tmp_path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise()), tmp_path / "a.mhd")
    (tmp_path / "a.raw").unlink()
    fails_with(tmp_path / "a.mhd", "truncated or damaged .mhd file")


@pytest.mark.parametrize("size", [0, 20, 60, 200])
def test_truncated_png(tmp_path, size):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise((40, 50)).astype(np.uint8)), tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:size])
    fails_with(tmp_path / "a.png", "truncated")


def test_four_dimensions(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", noise((4, 5, 6, 2)))
    fails_with(path, "4-D image of size (4, 5, 6, 2)", "expected 2-D or 3-D", "file of its own")


def test_vector_image(tmp_path):
    image = SimpleITK.GetImageFromArray(noise((4, 5, 6, 3)), isVector=True)
    SimpleITK.WriteImage(image, tmp_path / "a.nrrd")
    fails_with(tmp_path / "a.nrrd", "4-D image of size (6, 5, 4, 3)", "one value per voxel")


def test_rgb_nifti(tmp_path):
    colours = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    fails_with(save_nifti(tmp_path / "a.nii", colours), "expected one number per voxel, not colours")


def test_one_dimension(tmp_path):
    fails_with(save_nifti(tmp_path / "a.nii", noise((40,))), "image of size (40,); expected 2-D or 3-D")


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_nan_and_infinity_are_counted(tmp_path, ending):
    array = noise().astype(np.float32)
    array[0, 0, :3] = np.nan
    array[1, 1, 1] = np.inf
    path = tmp_path / f"a{ending}"
    if ending == ".mha":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), path)
    else:
        save_nifti(path, array)
    fails_with(path, f"4 of {12 * 13 * 14} voxels are NaN or infinite", "replace them")


def test_values_too_large_for_float32_are_not_silently_infinite(tmp_path):
    path = save_nifti(tmp_path / "a.nii", np.array([[[1e300, 1.0]]]))
    fails_with(path, "1 of 2 voxels are NaN or infinite")


def test_an_axis_without_voxels(tmp_path):
    path = save_nifti(tmp_path / "a.nii", noise((3, 4, 5)))
    content = bytearray(path.read_bytes())
    content[42:44] = b"\0\0"  # dim[1]
    path.write_bytes(content)
    fails_with(path, "empty image", "(0, 4, 5)")


def test_spacing_that_is_not_a_number(tmp_path):
    path = save_nifti(tmp_path / "a.nii", noise((3, 4, 5)))
    content = bytearray(path.read_bytes())
    content[280:284] = np.float32(np.nan).tobytes()  # srow_x[0]
    path.write_bytes(content)
    fails_with(path, "no usable position and spacing")


def test_colour_png(tmp_path):
    colours = noise((8, 9, 3)).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colours, isVector=True), tmp_path / "a.png")
    fails_with(tmp_path / "a.png", "colour image with 3 channels", "expected grey values")


def test_grey_png_with_alpha(tmp_path):
    from PIL import Image

    Image.fromarray(noise((8, 9)).astype(np.uint8)).convert("LA").save(tmp_path / "a.png")
    fails_with(tmp_path / "a.png", "grey PNG with an alpha channel; save it as grey without alpha")


def test_png_with_transparency(tmp_path):
    colours = np.full((8, 9, 4), 100, np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colours, isVector=True), tmp_path / "a.png")
    fails_with(tmp_path / "a.png", "transparency")


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.0, 1.0)])
def test_a_spacing_that_does_not_fit_a_png(tmp_path, spacing_mm):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise((8, 9)).astype(np.uint8)), tmp_path / "a.png")
    fails_with(tmp_path / "a.png", "expected two numbers above 0", spacing_mm=spacing_mm)
