"""Slices are chosen and turned as the page says: largest reference, right of the patient on the left, anterior up."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grcsf.io.volume import write_like
from grcsf.report.views import load_view, map_files

CODES = [
    a + b + c
    for a in "RLAPSI"
    for b in "RLAPSI"
    for c in "RLAPSI"
    if len({*map("RRAASS".__getitem__, map("RLAPSI".index, a + b + c))}) == 3
]


def save(path: Path, array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Path:
    nib.Nifti1Image(array, np.diag([*spacing, 1.0])).to_filename(path)
    return path


def reoriented(path: Path, code: str) -> Path:
    image = nib.load(path)
    target = nib.orientations.axcodes2ornt(tuple(code))
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), target))
    other = path.with_name(f"{code}-{path.name}")
    turned.to_filename(other)
    return other


def test_right_of_the_patient_is_on_the_left_and_anterior_is_up(tmp_path: Path) -> None:
    array = np.zeros((6, 5, 4), np.float32)
    array[5, 4, 2] = 1  # RAS+: the rightmost, most anterior voxel of slice 2
    view = load_view("a", save(tmp_path / "a.nii.gz", array), None, {})
    assert view is not None
    assert view.image is not None
    assert view.image.shape == (5, 6)
    assert view.place == "axial slice 3 of 4"  # the middle: 4 // 2
    assert np.argwhere(view.image == 1).tolist() == [[0, 0]]


@given(code=st.sampled_from(CODES))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_picture_does_not_depend_on_the_order_of_the_file(tmp_path: Path, code: str) -> None:
    array = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    path = save(tmp_path / "a.nii.gz", array, (1.0, 1.2, 1.3))
    one, two = load_view("a", path, None, {}), load_view("a", reoriented(path, code), None, {})
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.image, two.image)
    assert one.aspect == pytest.approx(1.2)
    assert two.aspect == pytest.approx(1.2)
    assert one.place == two.place


def test_the_coarsest_axis_is_the_slice_axis(tmp_path: Path) -> None:
    view = load_view("a", save(tmp_path / "a.nii.gz", np.ones((6, 5, 4), np.float32), (1.0, 5.0, 2.0)), None, {})
    assert view is not None
    assert view.place == "coronal slice 3 of 5"
    assert view.image is not None
    assert view.image.shape == (4, 6)
    assert view.aspect == pytest.approx(2.0)


def test_the_slice_with_the_largest_reference_is_shown(tmp_path: Path) -> None:
    image, mask, found = np.zeros((3, 9, 9, 5), np.float32)
    mask[0, 0, 4] = 1
    mask[0, :2, 1] = 1
    found[:, :, 3] = 1
    files = {"": {"a": save(tmp_path / "a.nii.gz", found)}}
    with_reference = load_view("a", save(tmp_path / "i.nii.gz", image), save(tmp_path / "m.nii.gz", mask), files)
    without = load_view("a", tmp_path / "i.nii.gz", None, files)
    assert with_reference is not None
    assert without is not None
    assert with_reference.place == "axial slice 2 of 5"
    assert without.place == "axial slice 4 of 5"


def test_maps_of_a_png_lie_on_its_pixels(tmp_path: Path) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image), str(tmp_path / "a_0000.png"))
    write_like(image.astype(np.float32), tmp_path / "a_0000.png", tmp_path / "a_residual-r75.mha", (1.0, 2.0))
    files = {"": {"a_residual-r75": tmp_path / "a_residual-r75.mha"}}
    view = load_view("a", tmp_path / "a_0000.png", None, files, (1.0, 2.0))
    assert view is not None
    np.testing.assert_array_equal(view.image, image)
    (shown,) = view.maps
    assert (shown.kind, shown.detail) == ("residual", "r75")
    np.testing.assert_array_equal(shown.values, image)
    assert view.aspect == 0.5  # rows 1 mm, columns 2 mm
    assert view.place == ""


def test_a_2d_nifti_is_shown_upright(tmp_path: Path) -> None:
    array = np.zeros((6, 5), np.float32)
    array[5, 4] = 1  # right, anterior
    path = tmp_path / "a.nii.gz"
    nib.Nifti1Image(array, np.diag([1.0, 3.0, 1.0, 1.0])).to_filename(path)
    view = load_view("a", path, None, {})
    assert view is not None
    assert view.image is not None
    assert view.image.shape == (5, 6)
    assert np.argwhere(view.image == 1).tolist() == [[0, 0]]
    assert view.aspect == pytest.approx(3.0)


def test_a_file_of_another_size_is_named_and_left_out(tmp_path: Path) -> None:
    image = save(tmp_path / "i.nii.gz", np.zeros((4, 4, 4), np.float32))
    view = load_view("a", image, save(tmp_path / "m.nii.gz", np.zeros((4, 4, 3), np.float32)), {})
    assert view is not None
    assert view.reference is None
    assert view.notes == ("m.nii.gz is not shown: its size is (4, 4, 3), that of i.nii.gz (4, 4, 4)",)


def test_no_readable_file_gives_no_view(tmp_path: Path) -> None:
    assert load_view("a", None, None, {}) is None
    assert load_view("a", tmp_path / "absent.nii.gz", None, {}) is None


def test_maps_are_those_of_the_case_alone_in_their_order() -> None:
    stems = (
        "a_importance-10",
        "a_importance-2",
        "a_fusion-1-r50",
        "a_gcu-gain-1",
        "a_rcu-gain-1",
        "a_residual-r75",
        "a_residual-r50",
        "a_b_residual-r50",
        "xa_residual-r50",
        "a",
        "a_prob",
        "a_residual-",
        "A.B_residual-r50",
    )
    files = {stem: Path(f"{stem}.mha") for stem in stems}
    assert [one.path.stem for one in map_files("a", files)] == [
        "a_residual-r50",
        "a_residual-r75",
        "a_importance-2",
        "a_importance-10",
        "a_fusion-1-r50",
        "a_rcu-gain-1",
        "a_gcu-gain-1",
    ]
    assert [one.detail for one in map_files("A.B", files)] == ["r50"]
    assert map_files(".", files) == []


def test_methods_are_shown_on_the_same_slice(tmp_path: Path) -> None:
    mask, one, two = np.zeros((3, 9, 9, 5), np.float32)
    mask[4, 4, 2] = 1
    one[:, :, 1] = 1
    two[0, 0, 2] = 1
    files = {"one": {"a": save(tmp_path / "1.nii.gz", one)}, "two": {"a": save(tmp_path / "2.nii.gz", two)}}
    view = load_view("a", None, save(tmp_path / "m.nii.gz", mask), files)
    assert view is not None
    assert view.place == "axial slice 3 of 5"
    assert {name: int(found.sum()) for name, found in view.predictions.items()} == {"one": 0, "two": 1}
