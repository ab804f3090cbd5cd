"""Headers of NRRD and MetaImage files, as far as it takes to know what reading them would do.

Both formats can name further files to read the voxels from. Such headers are refused, as are those of which two readers
could see different things.

Source: standard, NRRD (https://teem.sourceforge.net/nrrd/format.html) and MetaIO.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

from grcsf.errors import ImageError

__all__ = ["TextHeader", "read_mha", "read_nrrd"]

_MOST = 1 << 16
_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int"), 8),
    **dict.fromkeys(("int64", "int64_t", "ulonglong", "unsigned long long", "unsigned long long int"), 8),
    **dict.fromkeys(("uint64", "uint64_t"), 8),
    **{"float": 4, "double": 8},
}
_MHA_BYTES = {
    **{"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4},
    **{"MET_LONG": 8, "MET_ULONG": 8, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8},
}


@dataclass(frozen=True)
class TextHeader:
    """What a header claims.

    Attributes:
        sizes: along each axis, values per voxel included.
        needed: bytes of the voxels.
        data_at: where they begin in the file.
        wbits: how they are compressed, as zlib counts it; none: not at all.
    """

    sizes: tuple[int, ...]
    needed: int
    data_at: int
    wbits: int | None


def read_nrrd(path: Path) -> TextHeader:
    """The header of an NRRD file with its data inside.

    Raises:
        ImageError: no such header, data in other files, or an encoding other than raw and gzip.
    """
    text, end = _block(path, re.compile(rb"\r?\n\r?\n"))
    lines = [line for line in text.split("\n")[1:] if not line.startswith("#")]
    if any(re.search(r"data *file", line, re.IGNORECASE) for line in lines):
        raise ImageError("an NRRD header that names other files; send one file with its data inside")
    pairs = [line.split(":", 1) for line in lines if ": " in line]
    fields = {name.strip().lower(): value.strip().lower() for name, value in pairs}
    if len(fields) < len(pairs) or any(fields.get(key, "0") != "0" for key in ("line skip", "lineskip", "byte skip")):
        raise ImageError("an NRRD header with fields given twice, or bytes to skip; write the file again")
    if fields.get("byteskip", "0") != "0":
        raise ImageError("an NRRD header with bytes to skip; write the file again")
    encoding = fields.get("encoding", "")
    if encoding not in ("raw", "gzip", "gz"):
        raise ImageError("an NRRD file of another encoding than raw and gzip; write it again with one of them")
    sizes = _sizes(fields.get("sizes", ""))
    size = _NRRD_BYTES.get(fields.get("type", ""))
    if size is None:
        raise ImageError("an NRRD header without a type of numbers; write the file again")
    return TextHeader(sizes, prod(sizes) * size, end, None if encoding == "raw" else 31)


def read_mha(path: Path) -> TextHeader:
    """The header of a MetaImage file with its data inside.

    Raises:
        ImageError: no such header, data in other files, or data written as text.
    """
    text, end = _block(path, re.compile(rb"ElementDataFile[^\n]*\n"), keep=True)
    lines = text.rstrip("\n").split("\n")
    pairs = [re.match(r"([^\s=:]+) *[=:] *(.*?) *$", line) for line in lines]
    fields = {pair[1]: pair[2] for pair in pairs if pair}
    if not all(pairs) or len(fields) < len(pairs):
        raise ImageError("a MetaImage header with lines that are not NAME = VALUE, or names given twice")
    if fields.get("ElementDataFile") != "LOCAL" or not lines[-1].startswith("ElementDataFile"):
        raise ImageError("a MetaImage header that names other files; send one file with its data inside (LOCAL)")
    if fields.get("BinaryData", "True") != "True" or fields.get("HeaderSize", "0") != "0":
        raise ImageError("a MetaImage file with data as text or bytes to skip; write it again")
    sizes = _sizes(fields.get("DimSize", "")) + _sizes(fields.get("ElementNumberOfChannels", "1"))
    size = _MHA_BYTES.get(fields.get("ElementType", ""))
    if size is None:
        raise ImageError("a MetaImage header without a type of numbers; write the file again")
    packed = fields.get("CompressedData", "False") == "True"
    claimed = fields.get("CompressedDataSize", "0")
    if packed and not (claimed.isdecimal() and int(claimed[:20]) <= path.stat().st_size - end):
        raise ImageError("truncated, the MetaImage header promises more compressed bytes than there are")
    return TextHeader(sizes, prod(sizes) * size, end, 15 if packed else None)


def _block(path: Path, end: re.Pattern[bytes], *, keep: bool = False) -> tuple[str, int]:
    """The header as text, with plain line ends, and where the data begin."""
    with path.open("rb") as file:
        head = file.read(_MOST)
    found = end.search(head)
    if found is None:
        raise ImageError("truncated, or a header longer than 64 KiB; write the file again")
    text = head[: found.end() if keep else found.start()].replace(b"\r\n", b"\n")
    if b"\r" in text or b"\0" in text:
        raise ImageError("a header with unusual line ends; write the file again")
    return text.decode("latin-1"), found.end()


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.split()
    if not 1 <= len(parts) <= 5 or not all(part.isdecimal() and len(part) < 10 and int(part) for part in parts):
        raise ImageError("a header without usable sizes; expected 2 or 3 whole numbers above 0")
    return tuple(int(part) for part in parts)
