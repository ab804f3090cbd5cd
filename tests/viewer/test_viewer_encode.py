"""What is sent to the browser: values and grid as they were, upright pictures, and not a word of the header."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from dicoms import CANARY, MR, PERSON_TAGS, asymmetric, oblique, with_canaries, write_series
from grcsf.errors import GridMismatch, ImageError
from grcsf.io.geometry import Geometry, Volume
from grcsf.io.volume import read_volume
from grcsf.viewer.cache import BoundedCache
from grcsf.viewer.encode import as_nifti, read_layer, upright
from grcsf.viewer.layers import Layer

OBLIQUE = np.array([[-0.9, 0.21, 0.1, 31.5], [0.2, 1.15, -0.3, -12.25], [0.05, 0.33, 2.4, 7.0], [0, 0, 0, 1]])


def layer(path: Path, role: str = "image", series: str | None = None) -> Layer:
    return Layer(role, "", "Image", path, series)  # type: ignore[arg-type]


def decoded(content: bytes) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(content)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "sent"),
    [
        (np.uint8, 0, 255, np.uint8),
        (np.int64, 0, 3, np.uint8),
        (np.int16, -1024, 3071, np.int16),
        (np.uint16, 0, 65535, np.uint16),
        (np.uint32, 0, 70000, np.int32),
        (np.int64, -(2**40), 2**40, np.float32),
        (np.float32, -1.5, 2.5, np.float32),
        (np.bool_, 0, 1, np.uint8),
    ],
)
def test_values_and_grid_come_back_as_they_were(dtype, low, high, sent):
    array = np.zeros((3, 4, 5), dtype)
    array[0, 1, 2], array[2, 3, 4] = low, high
    image = decoded(as_nifti(Volume(array, Geometry(array.shape, OBLIQUE), Path("a.nii"))))
    assert image.get_data_dtype() == sent
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), array.astype(sent))
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)


@given(st.lists(st.floats(-50, 50), min_size=9, max_size=9), st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_the_place_of_a_voxel_survives_any_affine(numbers, voxel):
    affine = np.eye(4)
    affine[:3, :3] = np.array(numbers).reshape(3, 3)
    if abs(np.linalg.det(affine[:3, :3])) < 1e-2:
        return
    array = np.zeros((6, 6, 6), np.uint8)
    image = decoded(as_nifti(Volume(array, Geometry(array.shape, affine), Path("a.nii"))))
    np.testing.assert_allclose(image.affine @ [*voxel, 1], affine @ [*voxel, 1], atol=1e-3)


def test_nothing_is_written_into_a_text_of_the_header(tmp_path):
    image = nibabel.Nifti1Image(np.ones((3, 3, 3), np.int16), np.eye(4))
    image.header["descrip"], image.header["db_name"], image.header["aux_file"] = b"DOE^JANE", b"ID4711", b"DOE"
    image.header["intent_name"] = b"DOE"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"DOE^JANE 1933"))
    nibabel.save(image, tmp_path / "a.nii.gz")
    sent = as_nifti(read_layer(layer(tmp_path / "a.nii.gz"), layer(tmp_path / "a.nii.gz")))
    assert b"DOE" not in sent
    assert b"4711" not in sent
    assert len(sent) == 352 + 27 * 1, "a header of 348 + 4 bytes, and 27 ones as uint8"


def test_key_values_of_nrrd_and_meta_image_stay_behind(tmp_path):
    image = SimpleITK.GetImageFromArray(np.ones((3, 4, 5), np.int16))
    image.SetMetaData("PatientName", CANARY)
    for name in ("a.nrrd", "a.mha"):
        SimpleITK.WriteImage(image, tmp_path / name)
        assert CANARY.encode() in (tmp_path / name).read_bytes()
        assert CANARY.encode() not in as_nifti(read_layer(layer(tmp_path / name), layer(tmp_path / name)))


def test_a_dicom_series_keeps_its_values_and_loses_its_names(tmp_path):
    write_series(tmp_path, asymmetric(), axes=oblique(), sop_class=MR, change=with_canaries)
    sent = as_nifti(read_layer(layer(tmp_path, series="1"), layer(tmp_path, series="1")))
    assert all(str(value).encode() not in sent for value in PERSON_TAGS.values())
    np.testing.assert_array_equal(np.asanyarray(decoded(sent).dataobj), asymmetric())
    np.testing.assert_allclose(decoded(sent).affine, read_volume(tmp_path).geometry.affine_ras, atol=1e-4)


def write_png(path: Path, rows: int = 3, columns: int = 5) -> np.ndarray:
    array = np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), path)
    return array


def test_a_picture_is_one_slice_with_its_first_row_on_top(tmp_path):
    array = write_png(tmp_path / "a.png")
    volume = upright(read_volume(tmp_path / "a.png", (2.0, 0.5)))
    assert volume.array.shape == (5, 3, 1)
    for row, column in ((0, 0), (0, 4), (2, 0), (1, 3)):
        assert volume.array[column, row, 0] == array[row, column]
    across, down = volume.geometry.affine_ras[:3, 0], volume.geometry.affine_ras[:3, 1]
    np.testing.assert_array_equal(across, [0.5, 0, 0], "columns run to the right of the screen, 0.5 mm each")
    np.testing.assert_array_equal(down, [0, -2.0, 0], "rows run down the screen, 2 mm each")


def test_a_map_of_a_picture_in_another_format_lies_on_the_picture(tmp_path):
    array = write_png(tmp_path / "a.png")
    values = SimpleITK.GetImageFromArray(array.astype(np.float32) / 2)  # ITK: columns along x, as predict writes them
    SimpleITK.WriteImage(values, tmp_path / "a_prob.mha")
    base = layer(tmp_path / "a.png")
    picture = read_layer(base, base, (1.0, 1.0))
    chance = read_layer(layer(tmp_path / "a_prob.mha", "map"), base, (1.0, 1.0))
    np.testing.assert_array_equal(chance.array, picture.array / 2)
    np.testing.assert_array_equal(chance.geometry.affine_ras, picture.geometry.affine_ras)


def test_a_map_of_a_picture_of_another_size_is_refused(tmp_path):
    write_png(tmp_path / "a.png")
    write_png(tmp_path / "b.png", 4, 5)
    with pytest.raises(GridMismatch, match=r"4 x 5 .*3 x 5"):
        read_layer(layer(tmp_path / "b.png", "map"), layer(tmp_path / "a.png"), (1.0, 1.0))


def test_a_flat_nifti_becomes_one_slice(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 3), np.uint8), np.eye(4)), tmp_path / "a.nii")
    assert read_layer(layer(tmp_path / "a.nii"), layer(tmp_path / "a.nii")).array.shape == (4, 3, 1)


def test_an_axis_too_long_for_the_format_is_refused():
    array = np.zeros((40000, 1, 1), np.uint8)
    with pytest.raises(ImageError, match="at most 32767"):
        as_nifti(Volume(array, Geometry(array.shape, np.eye(4)), Path("long.nii")))


def test_the_cache_holds_what_fits_and_makes_the_rest_again():
    made: list[str] = []

    def value(name: str, size: int) -> bytes:
        made.append(name)
        return bytes(size)

    cache: BoundedCache[bytes] = BoundedCache(10, len)
    for name, size in (("a", 4), ("b", 4), ("a", 4), ("c", 4)):
        assert len(cache.get(name, lambda n=name, s=size: value(n, s))) == size
        assert cache.total <= 10
    assert made == ["a", "b", "c"]
    cache.get("a", lambda: value("a", 4))
    assert made == ["a", "b", "c"], "a was used after b, so b went"
    cache.get("b", lambda: value("b", 4))
    assert made == ["a", "b", "c", "b"]
    assert len(cache.get("large", lambda: value("large", 11))) == 11
    assert cache.total <= 10


def test_an_error_is_not_kept():
    cache: BoundedCache[bytes] = BoundedCache(10, len)
    with pytest.raises(ImageError):
        cache.get("a", _fail)
    assert cache.get("a", lambda: b"x") == b"x"


def _fail() -> bytes:
    raise ImageError("truncated")
