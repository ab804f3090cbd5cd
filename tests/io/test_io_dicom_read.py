"""DICOM series come back to the voxel and in their place, whatever their order; what is no even grid is refused."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.data import get_testdata_file

from dicoms import AXIAL, MR, asymmetric, oblique, write_enhanced, write_series
from grcsf.errors import GrcsfError, ImageError
from grcsf.io.dicom.files import is_dicom_input
from grcsf.io.dicom.resample import even_grid, onto_grid, onto_slices
from grcsf.io.dicom.series import choose_parts
from grcsf.io.dicom.stack import make_stack
from grcsf.io.dicom.study import open_study, read_dicom, read_part
from grcsf.io.volume import read_geometry, read_volume, write_like

SHUFFLED = [5, 3, 1, 0, 2, 4, 8, 7, 6]
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))


@pytest.mark.parametrize("axes", [AXIAL, CORONAL, SAGITTAL, oblique(), oblique(-41.0)], ids=str)
@pytest.mark.parametrize("order", [None, list(range(8, -1, -1)), SHUFFLED], ids=["sorted", "reversed", "shuffled"])
def test_a_series_comes_back_to_the_voxel_and_in_its_place(axes: Any, order: list[int] | None, tmp_path: Path) -> None:
    image = asymmetric()
    write_series(tmp_path, image, axes=axes, order=order)
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, image)
    x, y = np.array(axes[0]), np.array(axes[1])
    for index in ((0, 0, 0), (19, 0, 0), (0, 23, 0), (19, 23, 8)):
        lps = np.array([-13.5, 40.25, -7.125]) + index[0] * 0.8 * x + index[1] * 1.1 * y
        lps = lps + index[2] * 2.5 * np.cross(x, y)
        ras = volume.geometry.affine_ras @ [*index, 1]
        np.testing.assert_allclose(ras[:3], lps * [-1, -1, 1], atol=1e-4)
    assert read_geometry(tmp_path).shape == image.shape


def test_files_written_from_top_to_bottom_give_the_same_volume(tmp_path: Path) -> None:
    image = asymmetric()
    write_series(tmp_path / "up", image)
    down = [2.5 * index for index in range(8, -1, -1)]
    write_series(tmp_path / "down", image[:, :, ::-1], offsets_mm=down)
    up, other = read_dicom(tmp_path / "up"), read_dicom(tmp_path / "down")
    np.testing.assert_array_equal(up.array, other.array)
    np.testing.assert_allclose(up.geometry.affine_ras, other.geometry.affine_ras, atol=1e-9)


def test_itk_agrees_on_values_and_positions(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", asymmetric(), axes=oblique())
    theirs = SimpleITK.ReadImage([str(path) for path in paths])
    ours = read_volume(tmp_path / "in")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(theirs).T, ours.array)
    point = theirs.TransformIndexToPhysicalPoint((3, 7, 5))
    np.testing.assert_allclose((ours.geometry.affine_ras @ [3, 7, 5, 1])[:3] * [-1, -1, 1], point, atol=1e-4)
    mask = (ours.array == 1500).astype(np.uint8)
    write_like(mask, tmp_path / "in", tmp_path / "mask.nii.gz")
    back = SimpleITK.ReadImage(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(back.TransformIndexToPhysicalPoint((3, 7, 5)), point, atol=1e-3)


@pytest.mark.parametrize("axes", [AXIAL, CORONAL, SAGITTAL, oblique(), oblique(-41.0)], ids=str)
def test_dcm2niix_agrees_on_values_and_positions(axes: Any, tmp_path: Path) -> None:
    """The converter that most of the field uses stores rows from below, so voxels are compared by their places."""
    converter = Path(sys.executable).with_name("dcm2niix")
    if not converter.is_file():
        pytest.skip("no dcm2niix (pip install dcm2niix)")
    write_series(tmp_path / "in", asymmetric(), axes=axes, order=SHUFFLED)
    (tmp_path / "out").mkdir()
    command = [str(converter), "-f", "theirs", "-o", str(tmp_path / "out"), str(tmp_path / "in")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    theirs, ours = read_volume(tmp_path / "out" / "theirs.nii"), read_volume(tmp_path / "in")
    assert theirs.array.size == ours.array.size
    index = np.stack(np.indices(ours.array.shape), axis=-1).reshape(-1, 3)
    ras = index @ ours.geometry.affine_ras[:3, :3].T + ours.geometry.affine_ras[:3, 3]
    inverse = np.linalg.inv(theirs.geometry.affine_ras)
    at = ras @ inverse[:3, :3].T + inverse[:3, 3]
    np.testing.assert_allclose(at, np.rint(at), atol=1e-3)  # in voxels of 0.8 mm and more; theirs are 32-bit numbers
    np.testing.assert_array_equal(theirs.array[tuple(np.rint(at).astype(int).T)], ours.array[tuple(index.T)])


def test_a_left_sided_ball_stays_on_the_left(tmp_path: Path) -> None:
    """LPS: x rises to the patient's left. In RAS the same voxel has a negative x."""
    image = np.zeros((20, 24, 9), np.int16)
    image[17, 3, 6] = 700  # high x: left; low y: anterior; high z: superior
    write_series(tmp_path, image, origin_lps=(-8.0, -12.0, 0.0))
    volume = read_volume(tmp_path)
    where = np.argwhere(volume.array == 700)[0]
    right, anterior, superior = (volume.geometry.affine_ras @ [*where, 1])[:3]
    # x = -8 + 17 * 0.8 = 5.6 mm left, y = -12 + 3 * 1.1 = -8.7 mm posterior, z = 6 * 2.5 = 15 mm superior
    np.testing.assert_allclose([right, anterior, superior], [-5.6, 8.7, 15.0], atol=1e-6)


def test_slope_and_intercept_apply_slice_by_slice(tmp_path: Path) -> None:
    def change(dataset: Any, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = str(1 + index), "-10"

    image = np.full((4, 4, 3), 6.0)
    write_series(tmp_path, image, intercept=0.0, change=change)
    np.testing.assert_array_equal(read_dicom(tmp_path).array[0, 0], [6 * 1 - 10, 6 * 2 - 10, 6 * 3 - 10])
    write_series(tmp_path / "half", image, intercept=0.0, slope=0.5)
    half = read_dicom(tmp_path / "half").array
    assert half.dtype == np.float32
    np.testing.assert_array_equal(half, image)


@pytest.mark.parametrize("echoes", [(30.0,), (30.0, 80.0)])
def test_an_enhanced_file_is_sorted_scaled_and_split_by_echo(echoes: tuple[float, ...], tmp_path: Path) -> None:
    image = asymmetric()
    write_enhanced(tmp_path / "e.dcm", image, SHUFFLED, echoes)
    with open_study(tmp_path / "e.dcm") as study:
        tokens = ["4"] if len(echoes) == 1 else ["4.1", "4.2"]
        assert [part.token for part in study.parts] == tokens
        for echo, part in enumerate(study.parts):
            found = read_part(study, part).volume
            np.testing.assert_array_equal(found.array, image + 100 * echo)
            np.testing.assert_allclose(found.geometry.affine_ras[:3, 3], [13.5, -40.25, -7.125], atol=1e-6)


def test_a_zip_is_read_like_its_folder(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", asymmetric(), order=SHUFFLED)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, f"patient/study/{path.name}")
        archive.writestr("readme.txt", "not an image")
    with open_study(tmp_path / "scan.zip") as study:
        assert study.files.others == 1
        assert study.files.paths[0].name == "000000.dcm"
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.zip").array, asymmetric())


@pytest.mark.parametrize(
    ("name", "shape"),
    [("CT_small.dcm", (128, 128, 1)), ("MR_small.dcm", (64, 64, 1)), ("MR_small_bigendian.dcm", (64, 64, 1))],
)
def test_files_of_pydicom_are_read(name: str, shape: tuple[int, int, int]) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    volume, dataset = read_volume(path), pydicom.dcmread(path)
    assert volume.array.shape == shape
    scaled = dataset.pixel_array * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    np.testing.assert_array_equal(volume.array[:, :, 0].T, scaled)
    np.testing.assert_allclose(
        volume.geometry.affine_ras[:3, 3], np.array(dataset.ImagePositionPatient, float) * [-1, -1, 1], atol=1e-4
    )


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"])
def test_compressed_files_hold_the_same_pixels(name: str) -> None:
    plain = read_dicom(Path(str(get_testdata_file("MR_small.dcm", download=False))))
    packed = read_dicom(Path(str(get_testdata_file(name, download=False))))
    np.testing.assert_array_equal(packed.array, plain.array)


def test_lossless_jpeg_of_scanners_is_read_with_the_extra(tmp_path: Path) -> None:
    """Process 14, selection value 1, which many scanners send; written with ITK's GDCM."""
    gdcm = pytest.importorskip("gdcm", reason="the extra dicom-codecs is not installed")
    assert gdcm
    (path,) = write_series(tmp_path / "in", asymmetric()[:, :, :1])
    reader, writer = gdcm.ImageReader(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(tmp_path / "packed.dcm").file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
    np.testing.assert_array_equal(read_dicom(tmp_path / "packed.dcm").array, asymmetric()[:, :, :1])


def test_a_missing_decoder_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        is_available = False

    monkeypatch.setattr(pydicom.pixels, "get_decoder", lambda _syntax: Absent())
    path = Path(str(get_testdata_file("MR_small_jp2klossless.dcm", download=False)))
    with pytest.raises(ImageError, match=r"JPEG 2000.*pip install 'grcsf\[dicom-codecs\]'"):
        read_dicom(path)


def test_a_missing_pydicom_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, asymmetric())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(GrcsfError, match=r"pip install 'grcsf\[dicom\]'"):
        read_dicom(tmp_path)


FAULTS = {
    "missing": ([0, 2.5, 5, 10, 12.5, 15, 17.5, 20, 22.5], (0.0, 0.0), r"about 1 slice\(s\) missing"),
    "uneven": ([0, 2.5, 5, 7.5, 11, 13.5, 16, 18.5, 21], (0.0, 0.0), "uneven distances"),
    "tilt": (None, (0.0, 0.2679), "tilted by 15.00 degrees"),  # tan 15 degrees = 0.2679
}


@pytest.mark.parametrize("fault", FAULTS)
def test_slices_that_are_no_even_grid_are_refused(fault: str, tmp_path: Path) -> None:
    offsets, drift, message = FAULTS[fault]
    write_series(tmp_path, asymmetric(), offsets_mm=offsets, drift_mm_per_mm=drift)
    with pytest.raises(ImageError, match=rf"{message}.*--allow-resample"):
        read_dicom(tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
def test_resampled_slices_show_each_place_as_it_was(fault: str, tmp_path: Path) -> None:
    """The image is a linear function of the world, which linear interpolation keeps: value = 3 x + 2 y + 5 z."""
    offsets, drift, _ = FAULTS[fault]
    places = np.arange(9) * 2.5 if offsets is None else np.array(offsets)
    x, y = np.indices((20, 24))
    plane = 3 * (x * 0.8 - 13.5) + 2 * (y * 1.1 + 40.25)
    image = np.stack([plane + 2 * drift[1] * z + 5 * (z - 7.125) for z in places], axis=2)
    write_series(tmp_path, image, offsets_mm=offsets, drift_mm_per_mm=drift, slope=0.005, intercept=-10.0)
    with open_study(tmp_path) as study:
        found = read_part(study, study.parts[0], allow_resample=True)
    record = found.record()["resampled"]
    assert record["faults"] == (fault,)
    assert record["slices_before"] == 9
    array, affine = found.volume.array, found.volume.geometry.affine_ras
    np.testing.assert_allclose(affine[:3, :3], np.diag([-0.8, -1.1, 2.5]), atol=1e-9)
    ends = (places[-1], drift[1] * places[-1])
    assert array.shape == (20, 24 + int(np.ceil(ends[1] / 1.1)), int(ends[0] / 2.5 + 1e-6) + 1)
    index = np.indices(array.shape).reshape(3, -1)
    ras = affine[:3, :3] @ index + affine[:3, 3:]
    expected = (3 * -ras[0] + 2 * -ras[1] + 5 * ras[2]).reshape(array.shape)
    shift = drift[1] * 2.5 * np.arange(array.shape[2]) / 1.1  # rows that the slice is moved by
    row = np.arange(array.shape[1])[:, None]
    inside = (row >= shift + 3) & (row <= shift + 20)  # 3 rows: neighbours of a tilted slice reach less far
    np.testing.assert_allclose(array[:, inside], expected[:, inside], atol=0.01)


def test_a_mask_goes_back_to_tilted_slices(tmp_path: Path) -> None:
    image = np.zeros((20, 24, 9), np.int16)
    image[6:12, 8:15, 2:7] = 800
    write_series(tmp_path, image, drift_mm_per_mm=(0.0, 1.1 / 2.5))  # one row a slice, so nothing is blurred
    with open_study(tmp_path) as study:
        stack = study.parts[0].stack
    grid = even_grid(stack)
    even = onto_grid(image, stack, grid)
    assert even.shape == (20, 32, 9)  # 8 rows more: 9 slices, one row each from the second on
    assert even[8, 8 + 2, 2] == 800
    assert even[8, 8 + 6 - 1, 6] == 0  # the ball starts one row further with every slice
    np.testing.assert_array_equal(onto_slices(even, stack, grid), image)


def test_equal_duplicates_are_left_out_and_different_ones_refused(tmp_path: Path) -> None:
    write_series(tmp_path, asymmetric())
    first = tmp_path / "IM0000"
    (tmp_path / "copy").write_bytes(first.read_bytes())
    with open_study(tmp_path) as study:
        found = read_part(study, study.parts[0])
    assert found.duplicates == 1
    np.testing.assert_array_equal(found.volume.array, asymmetric())
    changed = pydicom.dcmread(first)
    changed.PixelData = bytes(len(changed.PixelData))
    changed.save_as(tmp_path / "copy")
    with pytest.raises(ImageError, match="different slices at one position"):
        read_dicom(tmp_path)


def _study(folder: Path) -> Path:
    """A scout in three planes, two series of other number, a diffusion series of two b-values, and two objects."""

    def scout(dataset: Any, _index: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    for axes in (AXIAL, CORONAL, SAGITTAL):
        write_series(folder, asymmetric((8, 8, 1)), axes=axes, change=scout, prefix=f"s{axes[0][0]}{axes[1][1]}")
    flair = asymmetric((8, 9, 7)) + 100

    def named(dataset: Any, _index: int) -> None:
        dataset.SeriesDescription = "t2 FLAIR tra"

    write_series(folder, flair, number=2, sop_class=MR, change=named, prefix="f", intercept=-2000)
    for count, b_value in enumerate((0.0, 1000.0)):

        def weighted(dataset: Any, _index: int, b: float = b_value, count: int = count) -> None:
            dataset.DiffusionBValue, dataset.SeriesDescription = b, "ep2d diff"
            dataset.SOPInstanceUID = dataset.SOPInstanceUID[:-1] + str(count)

        write_series(folder, flair[:, :, :4] + count, number=3, sop_class=MR, change=weighted, prefix=f"d{count}")
    for name in ("rtplan.dcm", "liver_1frame.dcm"):
        (folder / name).write_bytes(Path(str(get_testdata_file(name, download=False))).read_bytes())
    return folder


def test_a_study_is_taken_apart_and_listed(tmp_path: Path) -> None:
    with open_study(_study(tmp_path)) as study:
        found = {part.token: (part.localizer, part.stack.shape, part.detail) for part in study.parts}
        assert study.skipped == {
            "RT Plan object, not a CT, MR or PET image": 1,
            "Segmentation object, not a CT, MR or PET image": 1,
        }
    assert [found[f"1.{index}"][:2] for index in (1, 2, 3)] == [(True, (8, 8, 1))] * 3
    assert found["2"] == (False, (8, 9, 7), "")
    assert found["3.1"] == (False, (8, 9, 4), "b-value 0")
    assert found["3.2"] == (False, (8, 9, 4), "b-value 1000")


@pytest.mark.parametrize(
    ("wanted", "tokens"),
    [
        (["2"], ["2"]),
        (["3.2"], ["3.2"]),
        (["flair"], ["2"]),
        (["*flair*"], ["2"]),
        (["largest"], ["2"]),
        (["1.2"], ["1.2"]),
        (["all"], ["2", "3.1", "3.2"]),
    ],
)
def test_a_series_is_chosen_by_what_is_said_of_it(wanted: list[str], tokens: list[str], tmp_path: Path) -> None:
    with open_study(_study(tmp_path)) as study:
        assert [part.token for (part,) in choose_parts(study.parts, wanted, 1, tmp_path)] == tokens
        with pytest.raises(ImageError, match=r"2 series fit.*\n.*b-value 0.*\n.*b-value 1000"):
            choose_parts(study.parts, ["diff"], 1, tmp_path)
        ((by_uid,),) = choose_parts(study.parts, [study.parts[3].series_uid], 1, tmp_path)
        assert by_uid.token == "2"
        with pytest.raises(ImageError, match=r"no series fits --series '9'(.|\n)*--series 3.2: MR"):
            choose_parts(study.parts, ["9"], 1, tmp_path)
        with pytest.raises(ImageError, match=r"3 image series; give --series once(.|\n)*FLAIR"):
            choose_parts(study.parts, [], 1, tmp_path)
        with pytest.raises(ImageError, match="--series 2 times, one for each channel"):
            choose_parts(study.parts, ["2"], 2, tmp_path)
        ((one, two),) = choose_parts(study.parts, ["3.2", "3.1"], 2, tmp_path)
        assert (one.token, two.token) == ("3.2", "3.1")


def test_series_of_one_number_in_two_studies_are_told_apart(tmp_path: Path) -> None:
    for word in ("monday", "tuesday"):
        write_series(tmp_path / word, asymmetric(), study=word)
    with open_study(tmp_path) as study:
        assert [part.token for part in study.parts] == ["1a", "1b"]
        assert len({part.study_uid for part in study.parts}) == 2
        ((part,),) = choose_parts(study.parts, ["1b"], 1, tmp_path)
        np.testing.assert_array_equal(read_part(study, part).volume.array, asymmetric())


def test_localizers_and_single_slices_do_not_count_as_a_choice(tmp_path: Path) -> None:
    def scout(dataset: Any, _index: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(tmp_path, asymmetric(), number=1, change=scout, prefix="a")
    write_series(tmp_path, asymmetric()[:, :, :1], number=2, prefix="b")
    write_series(tmp_path, asymmetric() + 1, number=3, prefix="c")
    np.testing.assert_array_equal(read_dicom(tmp_path).array, asymmetric() + 1)


def test_folders_of_other_images_are_not_taken_for_dicom(tmp_path: Path) -> None:
    assert not is_dicom_input(tmp_path)
    write_series(tmp_path / "scan", asymmetric())
    assert is_dicom_input(tmp_path)
    (tmp_path / "case_0000.nii.gz").write_bytes(b"x")
    assert not is_dicom_input(tmp_path)
    assert not is_dicom_input(tmp_path / "case_0000.nii.gz")
    assert not is_dicom_input(tmp_path / "absent")


def test_a_single_slice_has_its_thickness(tmp_path: Path) -> None:
    write_series(tmp_path, asymmetric()[:, :, :1])
    assert read_dicom(tmp_path).geometry.spacing_mm == pytest.approx((0.8, 1.1, 2.5))


def test_positions_rounded_by_a_scanner_are_an_even_grid(tmp_path: Path) -> None:
    offsets = [round(0.625 * index, 2) for index in range(9)]
    write_series(tmp_path, asymmetric(), offsets_mm=offsets)
    with open_study(tmp_path) as study:
        assert make_stack(study.parts[0].stack.frames).faults == ()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["lung1_image.nrrd", "lung2_image.nrrd"])
def test_a_real_ct_comes_back_to_the_voxel(name: str, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = read_volume(real_data("pyradiomics") / name)
    image, affine_lps = source.array[::4, ::4], np.diag([-1, -1, 1, 1]) @ source.geometry.affine_ras
    steps = np.array(source.geometry.spacing_mm) * [4, 4, 1]
    x, y = oblique(11.0)
    rng = np.random.default_rng(1)
    count = image.shape[2]
    write_series(
        tmp_path / "even",
        image,
        axes=(x, y),
        spacing_mm=(steps[0], steps[1]),
        origin_lps=affine_lps[:3, 3],
        offsets_mm=[steps[2] * index for index in range(count)],
        intercept=float(min(0, image.min())),
        order=list(rng.permutation(count)),
    )
    found = read_volume(tmp_path / "even")
    np.testing.assert_array_equal(found.array, image)
    last = affine_lps[:3, 3] + steps[2] * (count - 1) * np.cross(x, y)
    place = (found.geometry.affine_ras @ [0, 0, count - 1, 1])[:3]
    np.testing.assert_allclose(place * [-1, -1, 1], last, atol=1e-4)
    for path in sorted((tmp_path / "even").iterdir())[3:4]:
        path.unlink()
    with pytest.raises(ImageError, match=r"about 1 slice\(s\) missing"):
        read_volume(tmp_path / "even")
