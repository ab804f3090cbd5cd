"""What uploads are, and which are refused before anything believes their headers."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from grcsf.serve.formats import ENDINGS, check_file, format_of_name, identify
from grcsf.serve.problems import Problem
from grcsf.serve.settings import ServeSettings
from serving import dicom_zip, nifti_bytes, scan

SETTINGS = ServeSettings(max_voxels=100_000, max_unpacked_mb=1.0)


def itk_bytes(folder: Path, ending: str, *, packed: bool = True, array: np.ndarray | None = None) -> bytes:
    path = folder / f"made{ending}"
    image = SimpleITK.GetImageFromArray(scan() if array is None else array)
    SimpleITK.WriteImage(image, str(path), packed)
    return path.read_bytes()


def png_bytes(folder: Path) -> bytes:
    return itk_bytes(folder, ".png", array=scan((40, 30)).clip(0, 255).astype(np.uint8))


def judge(folder: Path, content: bytes, told: str | None = None, settings: ServeSettings = SETTINGS) -> str:
    """The format of a file that is taken."""
    path = folder / "part-0"
    path.write_bytes(content)
    kind = identify(path, told)  # type: ignore[arg-type]
    check_file(path.rename(folder / f"image_0000{ENDINGS[kind]}"), kind, settings)
    return kind


def refused(folder: Path, content: bytes, status: int, match: str, told: str | None = None) -> None:
    with pytest.raises(Problem, match=match) as error:
        judge(folder, content, told)
    assert error.value.status == status
    assert str(folder) not in error.value.detail
    assert "image_0000" not in error.value.detail


MAKERS: dict[str, Callable[[Path], bytes]] = {
    "nii": lambda folder: nifti_bytes(scan(), packed=False),
    "nii.gz": lambda folder: nifti_bytes(scan()),
    "nrrd": lambda folder: itk_bytes(folder, ".nrrd"),
    "mha": lambda folder: itk_bytes(folder, ".mha"),
    "png": png_bytes,
    "zip": lambda folder: dicom_zip(folder / "series"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_whole_file_is_taken_whatever_it_is_called(kind: str, tmp_path: Path) -> None:
    content = MAKERS[kind](tmp_path)
    assert judge(tmp_path, content) == kind
    assert judge(tmp_path, content, kind) == kind


@pytest.mark.parametrize("kind", MAKERS)
def test_a_truncated_file_is_refused_at_every_length(kind: str, tmp_path: Path) -> None:
    content = MAKERS[kind](tmp_path)
    for share in (0.0, 0.01, 0.3, 0.6, 0.9, 0.99):
        with pytest.raises(Problem) as error:
            judge(tmp_path, content[: int(len(content) * share)])
        assert error.value.status in (415, 422)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_every_type_that_itk_writes_is_known(ending: str, dtype: type, tmp_path: Path) -> None:
    for packed in (False, True):
        content = itk_bytes(tmp_path, ending, packed=packed, array=scan(dtype=dtype).clip(0, 200).astype(dtype))
        assert judge(tmp_path, content) == ending[1:]


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x1f\x8b\x08", b"\x00" * 1000, gzip.compress(b"text" * 999, mtime=0)],
    ids=["empty", "text", "cut-gzip", "zeros", "gzipped-text"],
)
def test_what_is_no_image_is_refused(content: bytes, tmp_path: Path) -> None:
    refused(tmp_path, content, 415, "no image that is taken")


def test_a_blosc_file_is_not_taken(tmp_path: Path) -> None:
    import blosc2

    refused(tmp_path, bytes(blosc2.compress2(scan().tobytes())), 415, "no image that is taken")


def test_an_ending_that_contradicts_the_content_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, nifti_bytes(scan()), 422, "said to be png, but its content is nii.gz", "png")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("A.NII.GZ", "nii.gz"), ("../../x.nii", "nii"), ("scan", None), ("", None), ("a.b.zip", "zip")],
)
def test_of_a_name_only_the_ending_counts(name: str, kind: str | None) -> None:
    assert format_of_name(name) == kind


@pytest.mark.parametrize("name", ["qq.exe", "qq.dcm", "qq.mhd", "qq.hdr", "qq.nii.bz2", "secret-name.jpg"])
def test_an_ending_that_is_not_taken_is_refused_without_the_name(name: str) -> None:
    with pytest.raises(Problem) as error:
        format_of_name(name)
    assert error.value.status == 415
    assert name.partition(".")[0] not in error.value.detail.split()


def claim(shape: tuple[int, ...], *, packed: bool, offset: float = 352) -> bytes:
    """A NIfTI header for a large image over a kilobyte of data."""
    head = bytearray(nifti_bytes(scan(), packed=False)[:1376])
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<f", head, 108, offset)
    return gzip.compress(bytes(head)) if packed else bytes(head)


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_claims_ten_gigabytes_is_refused_before_anything_is_allocated(
    packed: bool, tmp_path: Path
) -> None:
    content = claim((1710, 1710, 1710), packed=packed)  # 1710**3 voxels of 2 bytes: 10.0e9
    generous = ServeSettings(max_voxels=10**11, max_unpacked_mb=1e6)
    tracemalloc.start()
    try:
        refused(tmp_path, content, 422, "claims 5000211000 voxels")
        with pytest.raises(Problem, match="truncated, 1376 bytes of the 1000") as error:
            judge(tmp_path, content, settings=generous)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.value.status == 422
    assert peak < 5e6


@pytest.mark.parametrize("shape", [(-5, 10, 10), (0, 10, 10), (10, 10, 10, 4), (10,)])
def test_a_header_without_a_usable_size_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(Problem) as error:
        judge(tmp_path, claim(shape, packed=False))
    assert error.value.status == 422


@pytest.mark.parametrize("offset", [float("nan"), float("inf"), 1e30, -1e9])
def test_an_offset_that_is_none_does_no_harm(offset: float, tmp_path: Path) -> None:
    with pytest.raises(Problem) as error:
        judge(tmp_path, claim((10, 10, 10), packed=False, offset=offset))  # 2000 bytes claimed, 1024 there
    assert error.value.status == 422


def test_a_gzip_bomb_behind_a_small_header_is_refused(tmp_path: Path) -> None:
    whole = nifti_bytes(scan(), packed=False) + b"\0" * 50_000_000
    content = gzip.compress(whole, 9)
    assert len(content) < 100_000
    refused(tmp_path, content, 422, "decompression bomb")


def test_data_behind_gzip_data_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, nifti_bytes(scan()) + b"more", 422, "damaged gzip")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ((b"encoding: raw", b"encoding: raw\ndata file: /etc/passwd"), "names other files"),
        ((b"encoding: raw", b"encoding: raw\nDATAFILE: LIST"), "names other files"),
        ((b"encoding: raw", b"encoding: raw\nbyte skip: -1"), "bytes to skip"),
        ((b"encoding: raw", b"encoding: raw\nline skip: 3"), "bytes to skip"),
        ((b"encoding: raw", b"encoding: bzip2"), "another encoding"),
        ((b"encoding: raw", b"encoding: raw\nencoding: raw"), "given twice"),
        ((b"sizes: 16 18 20", b"sizes: 99999 99999 99"), "claims"),
        ((b"sizes: 16 18 20", b"sizes: 16 18 -20"), "usable sizes"),
        ((b"sizes: 16 18 20", b"sizes: 16 18 21"), "truncated"),
        ((b"type: short", b"type: block"), "type of numbers"),
        ((b"encoding: raw\n", b"encoding: raw\r"), "line ends"),
    ],
)
def test_an_nrrd_header_that_lies_is_refused(change: tuple[bytes, bytes], match: str, tmp_path: Path) -> None:
    array = np.ascontiguousarray(scan().T).T.copy()
    content = itk_bytes(tmp_path, ".nrrd", packed=False, array=array)
    assert change[0] in content
    refused(tmp_path, content.replace(*change), 422, match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ((b"ElementDataFile = LOCAL", b"ElementDataFile = /etc/passwd"), "names other files"),
        ((b"ElementDataFile = LOCAL", b"ElementDataFile = LIST"), "names other files"),
        ((b"ElementDataFile = LOCAL", b"ElementDataFile : /etc/passwd\nElementDataFile = LOCAL"), "names other files"),
        ((b"NDims", b"Comment = ElementDataFile = LOCAL\nNDims"), "names other files|not NAME"),
        ((b"BinaryData = True", b"BinaryData = False"), "data as text"),
        ((b"BinaryData = True", b"BinaryData = True\nHeaderSize = -1"), "bytes to skip"),
        ((b"BinaryData = True", b"BinaryData = True\nBinaryData = True"), "given twice"),
        ((b"DimSize = 16 18 20", b"DimSize = 99999 99999 99"), "claims"),
        ((b"DimSize = 16 18 20", b"DimSize = 16 18 x"), "usable sizes"),
        ((b"DimSize = 16 18 20", b"DimSize = 16 18 21"), "truncated"),
        ((b"MET_SHORT", b"MET_OTHER"), "type of numbers"),
        ((b"CompressedData = False", b"CompressedData = True\nCompressedDataSize = 99999999999"), "compressed bytes"),
        ((b"CompressedData = False", b"CompressedData = True"), "damaged compressed"),
    ],
)
def test_a_metaimage_header_that_lies_is_refused(change: tuple[bytes, bytes], match: str, tmp_path: Path) -> None:
    content = itk_bytes(tmp_path, ".mha", packed=False)
    assert change[0] in content
    refused(tmp_path, content.replace(*change), 422, match)


@pytest.mark.parametrize(("ending", "wbits"), [(".nrrd", 31), (".mha", 15)])
def test_a_bomb_in_an_itk_file_is_refused(ending: str, wbits: int, tmp_path: Path) -> None:
    content = itk_bytes(tmp_path, ending)
    engine = zlib.compressobj(9, wbits=wbits)
    bomb = engine.compress(b"\0" * 30_000_000) + engine.flush()
    at = content.index(b"\n\n") + 2 if ending == ".nrrd" else content.index(b"LOCAL\n") + 6
    head = b"\n".join(line for line in content[:at].split(b"\n") if not line.startswith(b"CompressedDataSize"))
    refused(tmp_path, head + bomb, 422, "decompression bomb")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(columns: int, rows: int, data: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def test_png_files_are_counted_through(tmp_path: Path) -> None:
    assert judge(tmp_path, png_of(10, 20, b"\0" * 11 * 20)) == "png"
    refused(tmp_path, png_of(60_000, 60_000, b""), 422, "claims 3600000000 voxels")
    refused(tmp_path, png_of(10, 20, b"\0" * 11 * 19), 422, "truncated, 209 bytes of the 220")
    refused(tmp_path, png_of(10, 20, b"\0" * 20_000_000), 422, "decompression bomb")
    refused(tmp_path, png_of(0, 20, b""), 422, "without pixels")


def test_a_png_without_its_header_is_refused(tmp_path: Path) -> None:
    refused(
        tmp_path,
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""),
        422,
        "unpack to more|damaged",
    )


def zip_of(*members: tuple[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return held.getvalue()


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    bomb = zip_of(("IM0", b"\0" * 128 + b"DICM" + b"\0" * 200_000_000))
    assert len(bomb) < 300_000
    refused(tmp_path, bomb, 422, "refused, the zip would unpack")
    path = tmp_path / "bomb.zip"
    path.write_bytes(bomb)
    with pytest.raises(Problem, match="zip bomb"):
        check_file(path, "zip", ServeSettings())


@pytest.mark.parametrize("name", ["../../evil", "/evil", "C:\\evil", "a/../../evil"])
def test_a_zip_whose_members_lead_out_is_refused(name: str, tmp_path: Path) -> None:
    refused(tmp_path, zip_of((name, b"\0" * 128 + b"DICM")), 422, "leads out of it")
    assert not list(tmp_path.rglob("evil"))


def test_a_zip_of_other_files_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, zip_of(("letter.txt", b"hello")), 422, "no DICOM file")


def test_a_zip_with_a_directory_of_unusual_size_is_never_opened(tmp_path: Path) -> None:
    content = bytearray(zip_of(("IM0", b"\0" * 128 + b"DICM")))
    at = content.rindex(b"PK\x05\x06")
    struct.pack_into("<I", content, at + 12, 2**31)
    refused(tmp_path, bytes(content), 422, "directory of unusual size")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    refused(tmp_path, bytes(content[:at]) + locator + bytes(content[at:]), 422, "zip64")
