"""Damaged and hostile DICOM: one clear message each, and nothing left behind."""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicoms import CANARY, asymmetric, with_canaries, write_series
from grcsf.errors import ImageError
from grcsf.io.dicom.files import ZipLimits, open_files
from grcsf.io.dicom.study import open_study, read_dicom


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "scan", asymmetric(), change=with_canaries)
    return tmp_path / "scan"


def spoil(path: Path, change: Callable[[Any], None]) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def cut(share: float) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return do


def no_pixels(path: Path) -> None:
    spoil(path, lambda dataset: dataset.__delattr__("PixelData"))


def other_rows(path: Path) -> None:
    spoil(path, lambda dataset: setattr(dataset, "Rows", dataset.Rows - 1))


def more_rows(path: Path) -> None:
    spoil(path, lambda dataset: setattr(dataset, "Rows", 60_000))


def no_position(path: Path) -> None:
    spoil(path, lambda dataset: dataset.__delattr__("ImagePositionPatient"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut(0.95), r"DICOM file 4 of 9 .*truncated or damaged"),
        (cut(0.2), r"DICOM file 4 of 9 .*truncated or damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:132]), r"DICOM file 4 of 9 .*truncated or damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:150] + b"\xff" * 900), r"file 4 of 9 .*truncated or damaged"),
        (no_pixels, r"DICOM file 4 of 9 .*no pixel data"),
        (other_rows, r"2 image series|about 1 slice"),
        (more_rows, r"2 image series|about 1 slice|image series"),
        (no_position, r"series 1 has 1 slice\(s\) without position"),
        (lambda path: path.write_bytes(b"rubbish"), r"about 1 slice\(s\) missing"),
    ],
    ids=["pixels-cut", "header-cut", "mark-only", "noise", "no-pixels", "rows", "rows-huge", "no-position", "rubbish"],
)
def test_a_damaged_slice_is_an_error_that_names_no_patient(
    damage: Callable[[Path], None], message: str, series: Path, recwarn: pytest.WarningsRecorder
) -> None:
    damage(sorted(series.iterdir())[3])
    with pytest.raises(ImageError, match=message) as caught:
        read_dicom(series)
    assert str(caught.value).startswith(f"{series}: ")
    described = str(caught.value).replace(f"{CANARY} SERIES TEXT", "")  # the listing shows descriptions, and no more
    assert CANARY not in described
    assert not recwarn.list


def test_another_class_of_object_is_left_out(series: Path) -> None:
    spoil(sorted(series.iterdir())[8], lambda dataset: setattr(dataset, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"))
    with open_study(series) as study:
        assert study.skipped == {"Secondary Capture Image object, not a CT, MR or PET image": 1}
        assert study.parts[0].stack.shape == (20, 24, 8)
    spoil(sorted(series.iterdir())[8], lambda dataset: setattr(dataset, "SOPClassUID", "1.2.3.4.5"))
    with open_study(series) as study:
        assert study.skipped == {"unknown object, not a CT, MR or PET image": 1}


def test_one_bad_file_among_many_is_found(tmp_path: Path) -> None:
    """One slice, linked under ten thousand names, stands for a large folder."""
    (path, *_) = write_series(tmp_path / "one", asymmetric((4, 4, 1)))
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(10_000):
        os.link(path, folder / f"{index:05d}")
    bad = folder / "01000"
    bad.unlink()
    bad.write_bytes(path.read_bytes()[:140])
    with pytest.raises(ImageError, match=r"DICOM file 1001 of 10000 .*truncated or damaged"):
        read_dicom(folder)


def test_a_file_that_cannot_be_opened_is_refused(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = sorted(series.iterdir())[0]
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked)
    with pytest.raises(ImageError, match=r"1 file\(s\) in it cannot be opened \(no permission\)"):
        read_dicom(series)


def test_links_to_folders_are_not_followed(series: Path, tmp_path: Path) -> None:
    inner = tmp_path / "given"
    inner.mkdir()
    (inner / "way-out").symlink_to(series, target_is_directory=True)
    with pytest.raises(ImageError, match="no DICOM file in it"), open_files(inner):
        pass


def zipped(path: Path, series: Path, *more: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(series.iterdir()):
            archive.write(file, file.name)
        for name, content in more:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_a_zip_that_leads_out_is_refused(name: str, series: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "scan.zip", series, (name, b"\0" * 128 + b"DICM"))
    with pytest.raises(ImageError, match="leads out of it"):
        read_dicom(archive)
    assert not list(tmp_path.rglob("evil"))


def test_a_link_in_a_zip_is_refused(series: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(ImageError, match="leads out of it"):
        read_dicom(zipped(tmp_path / "scan.zip", series, (link, b"/etc/passwd")))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bomb = zipped(tmp_path / "bomb.zip", series, ("bomb", b"\0" * 128 + b"DICM" + bytes(80 << 20)))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(ImageError, match="refused as a zip bomb"):
        read_dicom(bomb)
    small = zipped(tmp_path / "scan.zip", series)
    for limits in (ZipLimits(members=8), ZipLimits(total_bytes=5000)):
        with pytest.raises(ImageError, match="refused, the zip would unpack to 9 files"), open_files(small, limits):
            pass
    assert not list(tmp_path.glob("grcsf-*"))


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    content = b"\0" * 128 + b"DICM" + np.random.default_rng(0).bytes(4000)
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", content)
    raw = path.read_bytes()
    size = len(content).to_bytes(4, "little")
    assert raw.count(size) == 2  # local header and directory
    path.write_bytes(raw.replace(size, (500).to_bytes(4, "little")))
    with pytest.raises(ImageError, match="zip"):
        read_dicom(path)


def test_damaged_encrypted_and_empty_zips_are_refused(series: Path, tmp_path: Path) -> None:
    whole = zipped(tmp_path / "scan.zip", series).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-200])
    with pytest.raises(ImageError, match="damaged or unusual zip"):
        read_dicom(tmp_path / "cut.zip")
    flipped = bytearray(whole)
    flipped[400:420] = b"\xff" * 20
    (tmp_path / "flip.zip").write_bytes(flipped)
    with pytest.raises(ImageError, match="damaged"):
        read_dicom(tmp_path / "flip.zip")
    locked = bytearray(whole)
    for start in (index for index in range(len(whole) - 4) if whole[index : index + 4] == b"PK\x01\x02"):
        locked[start + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    with pytest.raises(ImageError, match="encrypted"):
        read_dicom(tmp_path / "locked.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(ImageError, match="no DICOM file in it, nothing found"):
        read_dicom(tmp_path / "empty.zip")


def test_every_file_that_pydicom_ships_is_read_or_refused_with_one_message(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    read, refused = set(), {}
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*")):
        if not path.is_file():
            continue
        try:
            assert read_dicom(path).array.ndim == 3
            read.add(path.name)
        except ImageError as error:
            refused[path.name] = str(error)
    assert {"CT_small.dcm", "MR_small.dcm", "693_J2KI.dcm", "examples_overlay.dcm", "MR_small_padded.dcm"} <= read
    assert len(read) > 10
    assert "truncated or damaged" in refused["MR_truncated.dcm"]
    assert "no CT, MR or PET image series in it; grcsf validate" in refused["rtdose.dcm"]
    assert "no CT, MR or PET image series in it" in refused["SC_rgb_jpeg.dcm"]
    assert not recwarn.list
