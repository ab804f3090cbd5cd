"""DICOM segmentations land on the slices they were made from and pass an independent validator."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from dicoms import asymmetric, oblique, write_enhanced, write_series
from grcsf.errors import GridMismatch, ImageError, SettingsError
from grcsf.io.dicom.segmentation import SegmentationText, write_probability_seg, write_seg
from grcsf.io.dicom.study import open_study, read_part
from grcsf.io.dicom.terms import load_terms, term_of

LABELS = {"background": 0, "acute infarct": 1, "calcification": 3}
SHUFFLED = [5, 3, 1, 0, 2, 4, 8, 7, 6]
TIMES = {"ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime"}


def text(**changes: Any) -> SegmentationText:
    return SegmentationText(**{"labels": LABELS, "terms": load_terms(), "model": "abc", **changes})


def mask_of(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[2:5, 3:9, 1:3] = 1
    mask[11, 20, 7] = 3
    return mask


def make(source: Path, path: Path, part: int = 0, *, allow_resample: bool = False, empty: bool = False) -> np.ndarray:
    with open_study(source) as study:
        image = read_part(study, study.parts[part], allow_resample=allow_resample)
        mask = mask_of(image.volume.geometry.shape)
        if empty:
            mask[:] = 0
        write_seg(mask, image, study, text(), path)
    return mask


def test_segments_are_named_after_their_own_voxels_whatever_the_order_of_the_labels(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", asymmetric())
    said = text(labels={"background": 0, "calcification": 3, "acute infarct": 1})
    with open_study(tmp_path / "scan") as study:
        image = read_part(study, study.parts[0])
        mask = mask_of(image.volume.geometry.shape)
        write_seg(mask, image, study, said, tmp_path / "seg.dcm")
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    voxels = {
        seg.get_segment_description(number).SegmentLabel: int(
            seg.get_pixels_by_source_instance(
                [one.ReferencedSOPInstanceUID for one in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence],
                segment_numbers=[number],
                ignore_spatial_locations=True,
            ).sum()
        )
        for number in seg.segment_numbers
    }
    assert voxels == {"acute infarct": int((mask == 1).sum()), "calcification": int((mask == 3).sum())}


def check_valid(path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy (Debian: apt-get install dicom3tools)")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert "Error" not in done.stderr + done.stdout
    assert done.returncode == 0


def referenced(seg: Any) -> list[tuple[int, str, int | None, list[float]]]:
    """Segment, source instance, source frame and position of every frame."""
    found = []
    for group in seg.PerFrameFunctionalGroupsSequence:
        segment = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        frame = source.get("ReferencedFrameNumber")
        place = [float(value) for value in group.PlanePositionSequence[0].ImagePositionPatient]
        found.append((segment, str(source.ReferencedSOPInstanceUID), None if frame is None else int(frame), place))
    return found


@pytest.mark.parametrize("order", [None, SHUFFLED])
def test_a_segmentation_lands_on_its_source_frames(order: list[int] | None, tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", asymmetric(), axes=oblique(), order=order)
    mask = make(tmp_path / "in", tmp_path / "seg.dcm")
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    sources = [pydicom.dcmread(path) for path in paths]
    pixels = seg.get_pixels_by_source_instance(
        [source.SOPInstanceUID for source in sources],
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    # (slices, rows, columns, segments), in the order of the slices asked for
    np.testing.assert_array_equal(pixels[..., 0].transpose(2, 1, 0), mask == 1)
    np.testing.assert_array_equal(pixels[..., 1].transpose(2, 1, 0), mask == 3)
    places = {str(source.SOPInstanceUID): [float(v) for v in source.ImagePositionPatient] for source in sources}
    found = referenced(seg)
    assert sorted((segment, uid) for segment, uid, _, _ in found) == sorted(
        [(1, sources[1].SOPInstanceUID), (1, sources[2].SOPInstanceUID), (2, sources[7].SOPInstanceUID)]
    )
    for _, uid, _, place in found:
        np.testing.assert_allclose(place, places[uid], atol=1e-4)


def test_a_segmentation_says_what_it_is(tmp_path: Path) -> None:
    write_series(tmp_path / "in", asymmetric())
    make(tmp_path / "in", tmp_path / "seg.dcm")
    seg, source = pydicom.dcmread(tmp_path / "seg.dcm"), pydicom.dcmread(tmp_path / "in" / "IM0000")
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert seg.SeriesDescription == "grcsf lesions (research)"
    said = [(item.SegmentLabel, item.SegmentedPropertyTypeCodeSequence[0].CodeValue) for item in seg.SegmentSequence]
    assert said == [("acute infarct", "55641003"), ("calcification", "18115005")]
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"


def test_the_same_mask_gives_the_same_object(tmp_path: Path) -> None:
    write_series(tmp_path / "in", asymmetric())
    for name in ("a.dcm", "b.dcm"):
        make(tmp_path / "in", tmp_path / name)
    one, two = pydicom.dcmread(tmp_path / "a.dcm"), pydicom.dcmread(tmp_path / "b.dcm")
    for dataset in (one, two):
        for keyword in TIMES & set(dataset.dir()):
            delattr(dataset, keyword)
        for item in dataset.ContributingEquipmentSequence:
            item.pop("ContributionDateTime", None)
    assert one == two
    make(tmp_path / "in", tmp_path / "c.dcm", empty=True)
    assert pydicom.dcmread(tmp_path / "c.dcm").SOPInstanceUID != one.SOPInstanceUID


@pytest.mark.parametrize("empty", [False, True])
def test_a_segmentation_of_a_series_is_valid(empty: bool, tmp_path: Path) -> None:
    write_series(tmp_path / "in", asymmetric(), axes=oblique())
    make(tmp_path / "in", tmp_path / "seg.dcm", empty=empty)
    assert np.any(pydicom.dcmread(tmp_path / "seg.dcm").pixel_array) != empty
    check_valid(tmp_path / "seg.dcm")


@pytest.mark.parametrize("part", [0, 1])
def test_a_segmentation_of_a_multi_frame_file_refers_to_its_frames(part: int, tmp_path: Path) -> None:
    write_enhanced(tmp_path / "e.dcm", asymmetric(), SHUFFLED, (30.0, 80.0))
    make(tmp_path / "e.dcm", tmp_path / "seg.dcm", part)
    found = referenced(pydicom.dcmread(tmp_path / "seg.dcm"))
    # slices 1, 2 and 7 stand at these places of the file, counted from 1; the second echo comes after nine frames
    expected = {SHUFFLED.index(index) + 1 + 9 * part: -7.125 + 2.5 * index for index in (1, 2, 7)}
    assert {frame: place[2] for _, _, frame, place in found} == pytest.approx(expected)
    check_valid(tmp_path / "seg.dcm")


def test_a_mask_of_tilted_slices_refers_to_those_slices(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", asymmetric(), drift_mm_per_mm=(0.0, 1.1 / 2.5))
    mask = make(tmp_path / "in", tmp_path / "seg.dcm", allow_resample=True)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    pixels = seg.get_pixels_by_source_instance(
        [pydicom.dcmread(path).SOPInstanceUID for path in paths],
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    for index in range(9):  # slice k starts k rows further, so that row j of it is row j + k of the even grid
        np.testing.assert_array_equal(pixels[index, :, :, 0].T, mask[:, index : index + 24, index] == 1)
    check_valid(tmp_path / "seg.dcm")


def test_probabilities_come_back_within_half_a_step(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", asymmetric())
    probabilities = np.random.default_rng(0).random((2, 20, 24, 9)).astype(np.float32)
    with open_study(tmp_path / "in") as study:
        image = read_part(study, study.parts[0])
        write_probability_seg(probabilities, image, study, text(), tmp_path / "seg.dcm")
        with pytest.raises(GridMismatch, match=r"mask of shape \(9, 24, 20\)"):
            write_probability_seg(probabilities.transpose(0, 3, 2, 1), image, study, text(), tmp_path / "bad.dcm")
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    pixels = seg.get_pixels_by_source_instance(
        [pydicom.dcmread(path).SOPInstanceUID for path in paths], ignore_spatial_locations=True
    )
    np.testing.assert_allclose(pixels.transpose(3, 2, 1, 0), probabilities, atol=0.5 / 255 + 1e-6)
    assert not (tmp_path / "bad.dcm").exists()
    check_valid(tmp_path / "seg.dcm")


def test_terms_of_the_package_are_those_of_the_standard() -> None:
    from pydicom.sr.codedict import codes

    terms = load_terms()
    for name, keyword in {
        "lesion": "Lesion",
        "nodule": "Nodule",
        "tumour": "Neoplasm",
        "bleeding": "Hemorrhage",
    }.items():
        assert term_of(name, terms).type.value == getattr(codes.SCT, keyword).value
        assert term_of(name, terms).category.value == codes.SCT.MorphologicallyAbnormalStructure.value
    assert term_of("calcium", terms).type.value == codes.SCT.PathologicCalcification.value
    assert term_of("something else", terms) == terms["lesion"]


def test_terms_of_a_file_come_first_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "terms.yaml"
    path.write_text(
        "wmh:\n  category: [49755003, SCT, Morphologically Abnormal Structure]\n"
        "  type: ['1', 99LOCAL, White matter hyperintensity]\n",
        encoding="utf-8",
    )
    with pytest.raises(SettingsError, match=r"wmh: \[49755003.*expected three texts"):
        load_terms(path)
    path.write_text(path.read_text("utf-8").replace("[49755003", "['49755003'"), encoding="utf-8")
    assert term_of("WMH", load_terms(path)).type.meaning == "White matter hyperintensity"
    path.write_text("wmh: 3", encoding="utf-8")
    with pytest.raises(SettingsError, match="wmh: expected category and type"):
        load_terms(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_terms(tmp_path / "absent.yaml")


def test_a_series_without_frame_of_reference_has_no_segmentation(tmp_path: Path) -> None:
    def anonymised(dataset: Any, _index: int) -> None:
        del dataset.FrameOfReferenceUID

    write_series(tmp_path / "in", asymmetric(), change=anonymised)
    with pytest.raises(ImageError, match=r"no frame of reference.*--output-format nifti"):
        make(tmp_path / "in", tmp_path / "seg.dcm")
    assert not list(tmp_path.glob("*seg*"))
