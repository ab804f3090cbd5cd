"""What an uploaded file is, and whether its header may be believed: nothing is allocated before that is known.

The content decides; an ending that came with the file must agree. Whatever a header claims is compared with the bytes
that are there and with the limits, and compressed data are counted through, block by block, before anything reads them.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

from grcsf.errors import GridMismatch, ImageError
from grcsf.io import nifti
from grcsf.io.dicom.files import ZipLimits, check_zip
from grcsf.serve.problems import Problem
from grcsf.serve.schemas import Format
from grcsf.serve.settings import ServeSettings
from grcsf.serve.text_headers import TextHeader, read_mha, read_nrrd

__all__ = ["ENDINGS", "check_file", "format_of_name", "identify"]

ENDINGS: dict[Format, str] = {
    "nii.gz": ".nii.gz",
    "nii": ".nii",
    "nrrd": ".nrrd",
    "mha": ".mha",
    "png": ".png",
    "zip": ".zip",
}
"""What is accepted -> ending of the file on disk."""

_HEAD = 4096
_BLOCK = 1 << 20
_PNG = b"\x89PNG\r\n\x1a\n"
_MARKS: dict[Format, re.Pattern[bytes]] = {
    "nrrd": re.compile(rb"NRRD000"),
    "mha": re.compile(rb"(?:ObjectType|NDims|Comment) *[=:]"),
    "png": re.compile(re.escape(_PNG)),
    "zip": re.compile(rb"PK\x03\x04"),
}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_NIFTI_MAGIC = {348: (344, b"n+1\0"), 540: (4, b"n+2\0\r\n\x1a\n")}
_MOST_DIRECTORY = 32 << 20
_EXPECTED = "expected .nii, .nii.gz, .nrrd, .mha, .png or a .zip of one DICOM series"


def format_of_name(name: str) -> Format | None:
    """The format that the ending of a client's file name tells; none without an ending. The name is used no further.

    Raises:
        Problem: 415, an ending that is not taken.
    """
    lower = name.lower()
    for kind, ending in ENDINGS.items():
        if lower.endswith(ending):
            return kind
    if "." not in lower:
        return None
    raise Problem(415, f"the file has an ending that is not taken; {_EXPECTED}")


def identify(path: Path, told: Format | None) -> Format:
    """The format of a file, from its first bytes.

    Args:
        path: of the file.
        told: what its ending or the field ``format`` says; none: nothing.

    Raises:
        Problem: 415, no format that is taken; 422, another one than was told.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    found = _sniff(head)
    if found is None:
        raise Problem(415, f"the content of the file is no image that is taken; {_EXPECTED}")
    if told not in (None, found):
        raise Problem(422, f"the file is said to be {told}, but its content is {found}; correct the ending or format")
    return found


def check_file(path: Path, kind: Format, settings: ServeSettings) -> None:
    """Refuse a file that is truncated, damaged, too large, or claims more than it holds.

    Args:
        path: of the file, with the ending of its format.
        kind: its format.
        settings: the limits.

    Raises:
        Problem: 422.
    """
    try:
        if kind in ("nii", "nii.gz"):
            _check_nifti(path, settings)
        elif kind == "png":
            _check_png(path, settings)
        elif kind == "zip":
            _check_zip(path, settings)
        else:
            _check_text_header(path, read_nrrd(path) if kind == "nrrd" else read_mha(path), settings)
    except (ImageError, GridMismatch) as error:
        raise Problem(422, str(error).replace(f"{path}: ", "").replace(str(path), "the file")) from None


def _sniff(head: bytes) -> Format | None:
    if head.startswith(b"\x1f\x8b"):
        try:
            start = zlib.decompressobj(31).decompress(head, 540)
        except zlib.error:
            return None
        return "nii.gz" if _is_nifti(start) else None
    if _is_nifti(head):
        return "nii"
    return next((kind for kind, mark in _MARKS.items() if mark.match(head)), None)


def _is_nifti(head: bytes) -> bool:
    for order in ("little", "big"):
        where = _NIFTI_MAGIC.get(int.from_bytes(head[:4], order))
        if where is not None:
            at, magic = where
            return head[at : at + len(magic)] == magic
    return False


def _check_claim(voxels: int, needed: int, settings: ServeSettings) -> None:
    if voxels > settings.max_voxels or needed > settings.max_unpacked_bytes:
        raise ImageError(
            f"its header claims {voxels} voxels of {needed / 1e6:.0f} MB; at most {settings.max_voxels} voxels and "
            f"{settings.max_unpacked_mb:.0f} MB are taken"
        )


def _check_nifti(path: Path, settings: ServeSettings) -> None:
    header = nifti.read_header(path)
    geometry = nifti.geometry_of_nifti(path, header)
    try:
        offset, size = int(header.get_data_offset()), int(header.get_data_dtype().itemsize)
    except Exception as error:  # nibabel's own errors have no base class of their own
        raise ImageError(f"its header is not usable ({type(error).__name__})") from None
    voxels = math.prod(geometry.shape)
    needed = max(offset, 0) + voxels * size
    _check_claim(voxels, needed, settings)
    if path.name.endswith(".gz"):
        with gzip.open(path, "rb") as file:
            found = 0
            try:
                while block := file.read(_BLOCK):
                    found += len(block)
                    _check_size(found, settings.max_unpacked_bytes)
            except (EOFError, OSError, zlib.error) as error:
                raise ImageError(f"truncated or damaged gzip data ({type(error).__name__}); copy it again") from None
    else:
        found = path.stat().st_size
    _check_enough(found, needed)


def _check_size(found: int, limit: int) -> None:
    if found > limit:
        raise ImageError(f"it unpacks to more than {limit / 1e6:.0f} MB; refused as a decompression bomb")


def _check_enough(found: int, needed: int) -> None:
    if found < needed:
        raise ImageError(f"truncated, {found} bytes of the {needed} that its header promises; copy it again")


def _check_text_header(path: Path, header: TextHeader, settings: ServeSettings) -> None:
    _check_claim(math.prod(header.sizes), header.needed, settings)
    with path.open("rb") as file:
        file.seek(header.data_at)
        if header.wbits is None:
            _check_enough(path.stat().st_size - header.data_at, header.needed)
            return
        packed = iter(lambda: file.read(_BLOCK), b"")
        found = 0
        engine = zlib.decompressobj(header.wbits)
        for block in packed:
            found += _inflate(engine, block, header.needed + _BLOCK - found)
            if engine.eof:
                break
    _check_enough(found, header.needed)


def _inflate(engine: zlib._Decompress, block: bytes, limit: int) -> int:
    """Bytes that a block unpacks to; they are thrown away.

    Raises:
        ImageError: damaged data, or more than ``limit`` bytes.
    """
    found, more = 0, True
    while more and not engine.eof:
        try:
            made = len(engine.decompress(block, _BLOCK))
        except zlib.error:
            raise ImageError("damaged compressed data; copy it again") from None
        found += made
        if found > limit:
            raise ImageError("its data unpack to more than its header claims; refused as a decompression bomb")
        block = engine.unconsumed_tail
        more = bool(block) or made == _BLOCK
    return found


def _check_png(path: Path, settings: ServeSettings) -> None:
    engine, found, needed, ended = zlib.decompressobj(), 0, 0, False
    with path.open("rb") as file:
        file.seek(len(_PNG))
        while len(start := file.read(8)) == 8:
            size, name = int.from_bytes(start[:4], "big"), start[4:]
            body = file.read(min(size, _BLOCK)) if name == b"IHDR" else b""
            if name == b"IHDR" and not needed:
                needed = _png_bytes(body, settings)
            rest = size - len(body)
            while rest > 0 and (block := file.read(min(rest, _BLOCK))):
                rest -= len(block)
                if name == b"IDAT":
                    found += _inflate(engine, block, 2 * needed + _BLOCK - found)
            file.seek(4, 1)  # its check sum
            if rest or name == b"IEND":
                ended = not rest and needed > 0
                break
    if not ended or not engine.eof:
        raise ImageError("truncated or damaged PNG file; copy it again")
    _check_enough(found, needed)


def _png_bytes(head: bytes, settings: ServeSettings) -> int:
    """Bytes of the rows that the header of a PNG promises, each with one for its filter."""
    if len(head) != 13 or head[9] not in _PNG_CHANNELS or head[8] not in (1, 2, 4, 8, 16):
        raise ImageError("damaged PNG header; copy it again")
    columns, rows = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
    needed = rows * (1 + (columns * head[8] * _PNG_CHANNELS[head[9]] + 7) // 8)
    _check_claim(rows * columns, 4 * rows * columns * max(1, head[8] // 8), settings)
    if not needed or not columns:
        raise ImageError("an image without pixels")
    return needed


def _check_zip(path: Path, settings: ServeSettings) -> None:
    """The end of a zip first: its directory is read into memory as a whole, however large it is."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise ImageError("truncated zip file; pack or copy it again")
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    if directory > _MOST_DIRECTORY or tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):
        raise ImageError("a zip with a directory of unusual size or form (zip64); pack one series alone")
    check_zip(path, ZipLimits(members=50_000, total_bytes=settings.max_unpacked_bytes))
