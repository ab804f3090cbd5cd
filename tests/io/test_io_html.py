"""HTML for notebooks: text stays text, blocks stay small, pictures show the slice that the grid says."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from grcsf.io.geometry import Volume, make_geometry
from grcsf.io.html import block, escaped, number, paragraph, preformatted, table
from grcsf.io.thumbnail import grey_png, shown_name, slice_picture, volume_html
from notebook_html import read, texts


@given(texts)
def test_text_comes_out_as_it_went_in_or_cut_with_an_ellipsis(text):
    shown = read(block(text))
    plain = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")
    shown = shown.replace("\ufffd", "").replace("\x00", "")
    assert shown == plain or (shown.endswith("…") and plain.startswith(shown[:-1]))


@given(texts, st.integers(10, 300))
def test_escaped_text_keeps_its_limit_and_holds_no_markup(text, most):
    made = escaped(text, most)
    assert len(made.encode("utf-8")) <= most
    assert not set("<>\"'") & set(made)


@given(st.lists(st.lists(texts, min_size=3, max_size=3), max_size=12), texts)
def test_tables_hold_their_cells_as_text(rows, title):
    text = read(block(title, table(["a", "b", "c"], rows), paragraph(title), preformatted(title)))
    assert text.count("abc") >= 1


@pytest.mark.parametrize("cell", ["x", "&" * 5_000, "é" * 5_000])
@pytest.mark.parametrize("count", [10, 10_000])
def test_long_results_stay_small_and_say_what_is_left_out(cell, count):
    columns = [cell] * 40
    text = read(block("t", *[table(columns, [columns] * count)] * 6, preformatted(cell * 1_000)))
    assert "more rows" in text or "left out" in text or (cell == "x" and count == 10)


def test_rows_that_do_not_fit_are_counted():
    made = table(["n"], [[index] for index in range(10_000)])
    shown = made.count("<tr>") - 1
    assert f"and {10_000 - shown} more rows" in made
    assert 100 < shown < 10_000


def test_numbers_have_three_decimals():
    assert (number(0.12345), number(float("nan")), number(float("inf"))) == ("0.123", "-", "inf")


# Thumbnails.

RAS = np.diag([1.0, 2.0, 3.0, 1.0])


def volume(array: np.ndarray, affine: np.ndarray = RAS, name: str = "scan.nii.gz") -> Volume:
    return Volume(array, make_geometry(array.shape, affine, Path(name)), Path("secret folder") / name)


def test_a_grey_png_is_read_back_by_another_library(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (7, 11)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(grey_png(picture))
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "a.png"))
    assert np.array_equal(found, picture)


def test_the_middle_slice_is_shown_with_anterior_up_and_right_on_the_left():
    """In RAS the voxel farthest to the right and anterior is the last of both axes."""
    array = np.zeros((5, 4, 7), np.float32)
    array[4, 3, 3] = 1000.0
    picture, size_mm, caption = slice_picture(volume(array))
    assert picture.shape == (4, 5)
    assert np.argwhere(picture == 255).tolist() == [[0, 0]]
    assert size_mm == (4 * 2.0, 5 * 1.0)
    assert caption == "slice 4 of 7 along axis z (the middle)"


@given(order=st.permutations([0, 1, 2]), flips=st.lists(st.booleans(), min_size=3, max_size=3))
def test_the_picture_does_not_depend_on_how_the_file_orders_its_axes(order, flips):
    scan = np.random.default_rng(1).standard_normal((6, 5, 3)).astype(np.float32)
    affine = RAS[:, [*order, 3]]
    array = scan.transpose(order)
    for axis, flip in enumerate(flips):
        if flip:
            affine = affine.copy()
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    picture, size_mm, _ = slice_picture(volume(array, affine))
    expected, expected_mm, _ = slice_picture(volume(scan))
    assert np.array_equal(picture, expected)
    assert size_mm == expected_mm


def test_a_mask_shows_its_slice_of_most_voxels_and_loses_none_when_thinned():
    array = np.zeros((800, 700, 9), np.uint8)
    array[301, 411, 6] = 1
    picture, _, caption = slice_picture(volume(array))
    assert caption == "slice 7 of 9 along axis z (most labelled voxels)"
    assert max(picture.shape) <= 160
    assert (picture == 255).sum() == 1


def test_a_volume_says_size_spacing_axes_and_type():
    affine = np.diag([-1.0, -1.2, 1.5, 1.0])
    text = read(volume_html(volume(np.zeros((24, 28, 20), np.int16), affine)))
    assert text.startswith("scan.nii.gz24 x 28 x 20 voxels of 1 x 1.2 x 1.5 mm, axes LPS; int16")


@pytest.mark.parametrize(
    "array",
    [
        np.full((3, 3, 3), np.nan, np.float32),
        np.zeros((1, 1, 1), np.float32),
        np.ones((4, 5, 6), bool),
        np.random.default_rng(0).standard_normal((1, 3000, 2)).astype(np.float32),
        np.random.default_rng(0).integers(0, 255, (512, 512, 3)).astype(np.uint8),
        np.array([[np.inf, 1.0], [-np.inf, 0.0]], np.float32),
        np.zeros((6, 4), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
@pytest.mark.parametrize("name", ["a.nii", "a.png", "<b>.nii"])
def test_any_volume_has_a_small_picture(array, name):
    made = volume_html(volume(array, name=name))
    assert name in read(made)
    data = base64.b64decode(re.search(r"base64,([^\"]+)", made)[1])
    assert data.startswith(b"\x89PNG")


def test_a_png_is_shown_as_it_lies():
    array = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    picture, size_mm, _ = slice_picture(volume(array, name="a.png"))
    assert picture[0, 0] == picture.min() < picture.max() == picture[2, 3]
    assert size_mm == (3 * 1.0, 4 * 2.0)


def test_no_folder_and_no_name_of_a_dicom_folder_is_shown():
    """DICOM volumes carry the folder or the file they came from, which often bears the patient's name."""
    for name in ("SMITH_JOHN", "IM0001", "smith.dcm", "smith.zip"):
        one = volume(np.zeros((3, 3, 3), np.float32), name=name)
        assert shown_name(one) == "DICOM"
        assert name not in one._repr_html_()
    assert "secret" not in volume(np.zeros((3, 3, 3), np.float32))._repr_html_()


def test_drawing_needs_no_library_for_drawing():
    script = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom grcsf.io.geometry import Volume, make_geometry\n"
        "Volume(np.zeros((3, 4, 5)), make_geometry((3, 4, 5), np.eye(4), Path('a.nii')), Path('a.nii'))._repr_html_()\n"
        "sys.stdout.write(str(sorted({'matplotlib', 'PIL', 'torch', 'nibabel', 'SimpleITK'} & sys.modules.keys())))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "[]"
