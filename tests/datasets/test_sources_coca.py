"""Regions of OsiriX: hostile XML is refused with one message, and polygons land on the voxels they were drawn on."""

from __future__ import annotations

import plistlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dicoms import oblique, write_series
from grcsf.datasets.sources.coca import LABELS, VESSELS, CalciumMask, CtSeries
from grcsf.datasets.sources.osirix import read_regions
from grcsf.errors import GrcsfError, ImageError
from grcsf.io.volume import files_of, read_volume
from mimics import VESSELS as DRAWN
from mimics import coca, region, square

RCA = "Right Coronary Artery"
BOMB = """<?xml version="1.0"?>
<!DOCTYPE plist [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>
<plist version="1.0"><dict><key>Images</key><string>&c;</string></dict></plist>"""
OUTSIDE = """<?xml version="1.0"?>
<!DOCTYPE plist [<!ENTITY a SYSTEM "file:///etc/hostname">]>
<plist version="1.0"><dict><key>Images</key><string>&a;</string></dict></plist>"""
PARAMETER = """<?xml version="1.0"?>
<!DOCTYPE plist [<!ENTITY % a SYSTEM "file:///etc/hostname"> %a;]>
<plist version="1.0"><dict/></plist>"""
HOSTILE = {
    "entity bomb": (BOMB, "declares entities"),
    "external entity": (OUTSIDE, "declares entities"),
    "parameter entity": (PARAMETER, "declares entities"),
    "cut off": (plistlib.dumps({"Images": []}).decode()[:-20], "broken XML"),
    "empty": ("", "broken XML"),
    "no XML": ("bplist00 and more", "broken XML"),
    "another XML": ("<html><body/></html>", "not a dictionary"),
    "a wrong date": ("<plist><date>today</date></plist>", "not a property list"),
    "no images": (plistlib.dumps({"Slices": []}).decode(), "no list 'Images'"),
    "a list": (plistlib.dumps([1, 2]).decode(), "not a dictionary"),
    "images without regions": (plistlib.dumps({"Images": [{"ROIs": "none"}]}).decode(), "without a list 'ROIs'"),
    "a number as image": (plistlib.dumps({"Images": [3]}).decode(), "without a list 'ROIs'"),
    "a number as region": (plistlib.dumps({"Images": [{"ROIs": [3]}]}).decode(), "no dictionary"),
}


def write_regions(path: Path, *regions: dict[str, object]) -> Path:
    path.write_bytes(plistlib.dumps({"Images": [{"ImageIndex": 0, "NumberOfROIs": len(regions), "ROIs": [*regions]}]}))
    return path


@pytest.mark.parametrize(("text", "words"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "0.xml"
    path.write_text(text)
    with pytest.raises(ImageError, match=words):
        read_regions(path)


def test_apple_s_document_type_is_no_entity(tmp_path: Path) -> None:
    path = write_regions(tmp_path / "0.xml", region(RCA, square(5, 6, 1), 12.5, 0))
    assert b"<!DOCTYPE plist PUBLIC" in path.read_bytes()
    (found,) = read_regions(path)
    assert found.name == RCA
    assert np.allclose(found.points_px, square(5, 6, 1))
    assert found.position_lps[2] == 12.5


@pytest.mark.parametrize(
    "point", ["__import__('os')", "(1, 2, 3)", "(1; 2)", "(nan, 1)", "(1e9999, 1)", "", "(" + "1" * 300 + ", 1)"]
)
def test_points_are_numbers_and_nothing_else(point: str, tmp_path: Path) -> None:
    wrong = {**region(RCA, square(5, 6, 1), 0, 0), "Point_px": ["(1, 2)", "(2, 3)", point]}
    with pytest.raises(ImageError, match=r"has the point .* expected numbers"):
        read_regions(write_regions(tmp_path / "0.xml", wrong))


def test_a_region_that_does_not_tell_its_slice_is_refused(tmp_path: Path) -> None:
    wrong = {key: value for key, value in region(RCA, square(5, 6, 1), 0, 0).items() if key != "Point_mm"}
    with pytest.raises(ImageError, match="no Point_mm"):
        read_regions(write_regions(tmp_path / "0.xml", wrong))


def test_regions_without_area_are_left_out(tmp_path: Path) -> None:
    line = region("Length", square(5, 6, 1)[:2], 0, 0)
    assert read_regions(write_regions(tmp_path / "0.xml", line)) == []


def test_every_vessel_lies_on_the_voxels_it_was_drawn_on(tmp_path: Path) -> None:
    base = coca(tmp_path) / "Gated_release_final"
    for case in range(4):
        (series,) = (base / "patient" / str(case)).iterdir()
        mask = read_volume(CalciumMask(series, base / "calcium_xml" / f"{case}.xml"))
        image = read_volume(CtSeries(series))
        assert np.array_equal(mask.array > 0, image.array == 600), (
            "the mimic is 600 HU where it was drawn, nowhere else"
        )
        for place, name in DRAWN.items():
            voxels = np.argwhere(mask.array == LABELS[VESSELS[name.lower()]])
            assert len(voxels) == 3 * 3
            assert set(voxels[:, 2]) == {2 + place}
        assert np.array_equal(mask.geometry.affine_ras, image.geometry.affine_ras)


def test_the_slice_is_found_on_an_oblique_stack(tmp_path: Path) -> None:
    image = np.zeros((20, 24, 9), np.int16)
    image[6:9, 10:13, 5] = 700
    axes, origin = oblique(), np.array([-20.0, 30.0, 40.0])
    write_series(tmp_path / "ct", image, axes=axes, spacing_mm=(0.8, 1.1), origin_lps=origin)
    plane = origin + 5 * 2.5 * np.cross(*axes) + 7 * 0.8 * np.array(axes[0]) + 11 * 1.1 * np.array(axes[1])
    drawn = region(RCA, square(7, 11, 1.2), 0, 0)
    drawn["Point_mm"] = ["({:.6f}, {:.6f}, {:.6f})".format(*plane)] * 4
    source = CalciumMask(tmp_path / "ct", write_regions(tmp_path / "0.xml", drawn))
    assert np.array_equal(read_volume(source).array == LABELS["RCA"], image == 700)
    assert files_of(source) == (tmp_path / "0.xml", tmp_path / "ct")


WRONG: dict[str, tuple[Callable[[], dict[str, object]], str]] = {
    "no vessel": (lambda: region("Aorta", square(5, 6, 1), 0, 0), "names no vessel"),
    "above the stack": (lambda: region(RCA, square(5, 6, 1), 100, 0), "not of this series"),
    "below the stack": (lambda: region(RCA, square(5, 6, 1), -9, 0), "not of this series"),
    "beside the image": (lambda: region(RCA, square(500, 6, 1), 0, 0), "outside the image"),
}


@pytest.mark.parametrize(("make", "words"), WRONG.values(), ids=WRONG)
def test_regions_of_another_series_are_refused(
    make: Callable[[], dict[str, object]], words: str, tmp_path: Path
) -> None:
    write_series(tmp_path / "ct", np.zeros((20, 24, 9), np.int16), origin_lps=(0, 0, 0))
    with pytest.raises(ImageError, match=words):
        read_volume(CalciumMask(tmp_path / "ct", write_regions(tmp_path / "0.xml", make())))


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = coca(tmp_path, cases=1) / "Gated_release_final"

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("grcsf.io.dicom.files.import_module", missing)
    (series,) = (base / "patient" / "0").iterdir()
    with pytest.raises(GrcsfError, match=r"grcsf\[dicom"):
        read_volume(CtSeries(series))
