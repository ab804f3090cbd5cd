"""Every format is read onto the same world and written back on the same grid."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grcsf.errors import GridMismatch, OutputError
from grcsf.io.volume import IMAGE_ENDINGS, read_geometry, read_volume, stem_of, write_like

SHAPE = (5, 6, 7)
VOLUME_ENDINGS = [ending for ending in IMAGE_ENDINGS if ending != ".png"]


def ramp(shape=SHAPE, dtype=np.int16) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def oblique_affine() -> np.ndarray:
    """Spacing (1, 2, 3) mm, turned by 30 degrees about z, first axis to the left."""
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.0, 2.0, 3.0])
    affine[:3, 3] = [11.0, -7.5, 3.25]
    return affine


def save_nifti(path: Path, array: np.ndarray, affine=None, kind=nibabel.Nifti1Image, **header) -> Path:
    image = kind(array, oblique_affine() if affine is None else affine, dtype=array.dtype)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def save_itk(path: Path, array: np.ndarray) -> Path:
    """``array`` is (x, y, z), on the grid of :func:`oblique_affine`."""
    image = SimpleITK.GetImageFromArray(array.T)
    lps = np.diag([-1.0, -1.0, 1.0]) @ oblique_affine()[:3]
    image.SetSpacing([1.0, 2.0, 3.0])
    image.SetDirection((lps[:, :3] / [1.0, 2.0, 3.0]).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    SimpleITK.WriteImage(image, path)
    return path


def save_png(path: Path, array: np.ndarray) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=array.ndim == 3), path)
    return path


def save_as(path: Path, array: np.ndarray) -> Path:
    return save_nifti(path, array) if ".nii" in path.name else save_itk(path, array)


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_all_volume_formats_give_the_same_voxels_in_the_same_place(tmp_path, ending):
    path = save_as(tmp_path / f"scan{ending}", ramp())
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ramp())
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous
    assert volume.array.flags.writeable
    np.testing.assert_allclose(volume.geometry.affine_ras, oblique_affine(), atol=1e-5)
    assert volume.geometry.spacing_mm == pytest.approx((1.0, 2.0, 3.0), abs=1e-5)
    header = read_geometry(path)
    assert header.shape == volume.geometry.shape == SHAPE
    np.testing.assert_array_equal(header.affine_ras, volume.geometry.affine_ras)


@pytest.mark.parametrize("colours", [2, 4, 16, 256])
def test_a_palette_gives_its_values(tmp_path, colours):
    from PIL import Image

    indices = np.arange(40, dtype=np.uint8).reshape(5, 8) % min(colours, 20)
    image = Image.fromarray(indices)
    image.putpalette([value for value in range(colours) for _ in range(3)])
    image.save(tmp_path / "mask.png", bits={2: 1, 4: 2, 16: 4, 256: 8}[colours])
    np.testing.assert_array_equal(read_volume(tmp_path / "mask.png").array, indices)


def test_png_has_rows_then_columns_and_the_given_spacing(tmp_path):
    path = save_png(tmp_path / "slice.png", ramp((4, 7), np.uint8))
    volume = read_volume(path, spacing_mm=(0.5, 2.0))
    np.testing.assert_array_equal(volume.array, ramp((4, 7), np.uint8))
    assert volume.geometry.spacing_mm == (0.5, 2.0)
    assert read_geometry(path).spacing_mm == (1.0, 1.0)
    assert read_geometry(path).shape == (4, 7)


def test_png_of_16_bits_keeps_its_values(tmp_path):
    array = ramp((40, 50), np.uint16) * 30
    np.testing.assert_array_equal(read_volume(save_png(tmp_path / "deep.png", array)).array, array)


def test_grey_stored_as_rgb_is_accepted(tmp_path):
    grey = ramp((4, 7), np.uint8)
    path = save_png(tmp_path / "rgb.png", np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(read_volume(path).array, grey)


def test_a_one_bit_png_gives_zero_and_one(tmp_path):
    from matplotlib.pyplot import imsave
    from PIL import Image

    mask = np.eye(9, dtype=bool)
    Image.fromarray(mask).save(tmp_path / "mask.png", bits=1)
    np.testing.assert_array_equal(read_volume(tmp_path / "mask.png").array, mask.astype(np.uint8))
    imsave(tmp_path / "rgba.png", mask, cmap="gray")  # opaque RGBA with equal channels
    np.testing.assert_array_equal(read_volume(tmp_path / "rgba.png").array, 255 * mask)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [(np.uint8, np.uint8), (np.int32, np.int32), (np.float32, np.float32), (np.float64, np.float32)],
)
def test_whole_numbers_stay_and_fractions_become_float32(tmp_path, stored, expected):
    assert read_volume(save_nifti(tmp_path / "a.nii", ramp(dtype=stored))).array.dtype == expected


def test_slope_and_intercept_are_applied(tmp_path):
    path = save_nifti(tmp_path / "a.nii", ramp())
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.5, -3.0], "<f4").tobytes()  # scl_slope and scl_inter of NIfTI-1
    path.write_bytes(content)
    array = read_volume(path).array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, ramp() * 0.5 - 3)


def test_big_endian_and_nifti2_are_read(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    big = nibabel.Nifti1Image(ramp().astype(">i2"), oblique_affine(), header)
    nibabel.save(big, tmp_path / "big.nii")
    two = save_nifti(tmp_path / "two.nii.gz", ramp(), kind=nibabel.Nifti2Image)
    for path in (tmp_path / "big.nii", two):
        np.testing.assert_array_equal(read_volume(path).array, ramp())
        assert read_volume(path).array.dtype.isnative


def test_metres_and_micrometres_become_millimetres(tmp_path):
    affine = np.diag([0.001, 0.002, 0.003, 1.0])
    path = save_nifti(tmp_path / "m.nii", ramp(), affine, xyzt_units=1)
    assert read_geometry(path).spacing_mm == pytest.approx((1.0, 2.0, 3.0))


def test_a_sheared_sform_is_read(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.3  # ITK refuses such a grid
    path = save_nifti(tmp_path / "a.nii", ramp(), affine)
    np.testing.assert_allclose(read_geometry(path).affine_ras, affine, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 6, 7, 1), (5, 6, 7, 1, 1), (5, 6)])
def test_trailing_single_axes_are_dropped(tmp_path, shape):
    path = save_nifti(tmp_path / "a.nii.gz", ramp(shape))
    assert read_volume(path).array.shape == shape[:3]
    assert len(read_geometry(path).spacing_mm) == len(shape[:3])


# Writing


def raw_header(path: Path) -> nibabel.Nifti1Header:
    with (gzip.open if path.name.endswith(".gz") else open)(path, "rb") as file:
        return nibabel.Nifti1Header(file.read(348), check=False)


def header_fields(path: Path) -> dict[str, bytes]:
    header = raw_header(path)
    changing = {"datatype", "bitpix", "scl_slope", "scl_inter", "cal_max", "cal_min", "vox_offset"}
    return {name: header[name].tobytes() for name in header if name not in changing}


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (4, 1)])
def test_nifti_headers_are_kept_bit_for_bit(tmp_path, ending, codes):
    image = nibabel.Nifti1Image(ramp(), oblique_affine())
    image.set_sform(oblique_affine() + 0.1 * np.eye(4, k=1), code=codes[0])
    image.set_qform(oblique_affine(), code=codes[1])
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.5
    image.header["descrip"] = b"scanner text"
    image.header["cal_max"] = 99
    nibabel.save(image, tmp_path / f"in{ending}")
    write_like(ramp() > 3, tmp_path / f"in{ending}", tmp_path / f"out{ending}")
    assert header_fields(tmp_path / f"in{ending}") == header_fields(tmp_path / f"out{ending}")
    out = nibabel.load(tmp_path / f"out{ending}")
    assert out.get_data_dtype() == np.uint8
    assert [float(raw_header(tmp_path / f"out{ending}")[key]) for key in ("scl_slope", "scl_inter", "cal_max")] == [
        1,
        0,
        0,
    ]
    np.testing.assert_array_equal(np.asarray(out.dataobj), ramp() > 3)
    np.testing.assert_array_equal(out.affine, nibabel.load(tmp_path / f"in{ending}").affine)


def test_an_odd_header_is_kept_as_odd_as_it_was(tmp_path):
    path = save_nifti(tmp_path / "in.nii", ramp())
    content = bytearray(path.read_bytes())
    content[76:80] = np.float32(0).tobytes()  # pixdim[0] must be 1 or -1, but 0 is common
    path.write_bytes(content)
    write_like(ramp(), path, tmp_path / "out.nii")
    assert header_fields(path) == header_fields(tmp_path / "out.nii")


def test_gzipped_output_is_the_same_every_time(tmp_path):
    like = save_nifti(tmp_path / "in.nii.gz", ramp())
    for name in ("one.nii.gz", "two.nii.gz"):
        write_like(ramp(dtype=np.float32), like, tmp_path / name)
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()
    assert (tmp_path / "one.nii.gz").read_bytes()[4:8] == b"\0\0\0\0"  # no time stamp


@pytest.mark.parametrize("target", VOLUME_ENDINGS)
@pytest.mark.parametrize("source", VOLUME_ENDINGS)
def test_writing_like_any_format_in_any_format_keeps_the_grid(tmp_path, source, target):
    like = save_as(tmp_path / f"in{source}", ramp())
    out = tmp_path / "folder" / f"out{target}"
    out.parent.mkdir()
    values = ramp(dtype=np.float32) / 7
    write_like(values, like, out)
    written = read_volume(out)
    np.testing.assert_array_equal(written.array, values)
    np.testing.assert_allclose(written.geometry.affine_ras, read_geometry(like).affine_ras, atol=1e-5)
    expected = {f"out{target}", "out.raw"} if target == ".mhd" else {f"out{target}"}
    assert {path.name for path in out.parent.iterdir()} == expected


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
def test_spacing_origin_and_direction_are_copied_number_for_number(tmp_path, ending):
    like = save_itk(tmp_path / f"in{ending}", ramp())
    write_like(ramp() > 3, like, tmp_path / f"out{ending}")
    before, after = SimpleITK.ReadImage(like), SimpleITK.ReadImage(tmp_path / f"out{ending}")
    assert before.GetSpacing() == after.GetSpacing()
    assert before.GetOrigin() == after.GetOrigin()
    assert before.GetDirection() == after.GetDirection()
    assert after.GetPixelID() == SimpleITK.sitkUInt8


STEPS = [3.0, 2.0, 1.0, 1.0]  # ITK holds nothing but 1 across a 2-D image
arrays = hnp.arrays(
    st.sampled_from([np.bool_, np.uint8, np.int16, np.int64, np.float32]),
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=5),
    elements={"min_value": 0, "max_value": 1},
)


@given(arrays)
def test_what_is_written_is_what_is_read(tmp_path_factory, array):
    folder = tmp_path_factory.mktemp("round")
    like = save_nifti(folder / "like.nii", np.zeros(array.shape, np.uint8), np.diag(STEPS))
    for ending in VOLUME_ENDINGS:
        write_like(array, like, folder / f"out{ending}")
        volume = read_volume(folder / f"out{ending}")
        np.testing.assert_array_equal(volume.array, array)
        np.testing.assert_allclose(volume.geometry.affine_ras, np.diag(STEPS), atol=1e-6)


def test_a_png_mask_goes_back_to_png_and_a_map_to_mha(tmp_path):
    like = save_png(tmp_path / "in.png", ramp((4, 7), np.uint8))
    mask = np.eye(4, 7, dtype=bool)
    write_like(mask, like, tmp_path / "mask.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "mask.png").array, mask.astype(np.uint8))
    write_like(mask / 3, like, tmp_path / "map.mha", spacing_mm=(0.5, 2.0))
    volume = read_volume(tmp_path / "map.mha")
    np.testing.assert_array_equal(volume.array, (mask.T / 3).astype(np.float32))  # columns along x
    assert volume.geometry.spacing_mm == (2.0, 0.5)
    image = SimpleITK.ReadImage(tmp_path / "map.mha")
    assert image.GetDirection() == (1.0, 0.0, 0.0, 1.0)  # rows run downwards, as on screen


def test_whole_numbers_of_64_bits_become_small_enough_for_other_programs(tmp_path):
    like = save_nifti(tmp_path / "in.nii", ramp())
    for values, dtype in ((ramp(dtype=np.int64), np.uint8), (ramp(dtype=np.int64) - 5, np.int32)):
        write_like(values, like, tmp_path / "out.nii")
        assert nibabel.load(tmp_path / "out.nii").get_data_dtype() == dtype


@pytest.mark.parametrize(
    ("array", "name", "message"),
    [
        (np.zeros((4, 7)), "map.png", "a PNG cannot hold fractions"),
        (np.full((4, 7), 300, np.int32), "mask.png", "values 300 to 300 do not fit a PNG mask"),
        (np.zeros((4, 7)), "map.tiff", "its ending is none of .nii.gz"),
    ],
)
def test_what_a_png_cannot_hold_is_refused(tmp_path, array, name, message):
    like = save_png(tmp_path / "in.png", ramp((4, 7), np.uint8))
    with pytest.raises(OutputError, match=message):
        write_like(array, like, tmp_path / name)


def test_an_array_of_another_shape_is_refused(tmp_path):
    like = save_nifti(tmp_path / "in.nii", ramp())
    with pytest.raises(GridMismatch, match=r"out\.nii: array of shape \(7, 6, 5\), but in\.nii has 5 x 6 x 7 voxels"):
        write_like(ramp().T, like, tmp_path / "out.nii")


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_a_folder_that_does_not_exist_is_an_output_error(tmp_path, ending):
    like = save_nifti(tmp_path / "in.nii", ramp())
    with pytest.raises(OutputError, match=r"cannot be written"):
        write_like(ramp(), like, tmp_path / "nowhere" / f"out{ending}")


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a_0000.nii.gz", "a_0000"), ("a.b.nii", "a.b"), ("A.NII.GZ", "A"), ("a.mhd", "a"), ("sub.01", "sub.01")],
)
def test_stem_of_drops_image_endings_only(name, stem):
    assert stem_of(Path(name)) == stem


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["brain1", "breast1"])
def test_real_nrrd_scans_keep_their_grid(real_data, tmp_path, name):
    like = real_data("pyradiomics") / f"{name}_image.nrrd"
    volume = read_volume(like)
    write_like(volume.array > 0, like, tmp_path / "mask.nrrd")
    before, after = SimpleITK.ReadImage(like), SimpleITK.ReadImage(tmp_path / "mask.nrrd")
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(before, get)() == getattr(after, get)()


@pytest.mark.real_data
def test_real_nifti_scan_keeps_its_header(real_data, tmp_path):
    like = real_data("Dataset510_OpenMs3D") / "labelsTr" / "openms-07.nii.gz"
    volume = read_volume(like)
    write_like(volume.array, like, tmp_path / "mask.nii.gz")
    assert header_fields(like) == header_fields(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "mask.nii.gz").array, volume.array)
