"""Which files a DICOM folder or zip holds: found without following anything hostile, unpacked without trusting a name.

Names of DICOM files and folders often carry the patient's; messages therefore count files (``file 17 of 30``, in the
order of their sorted paths) and name only what the user typed.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import IO, Any

from grcsf.errors import GrcsfError, ImageError

__all__ = ["DicomFiles", "ZipLimits", "check_zip", "is_dicom_file", "is_dicom_input", "open_files", "pydicom_quiet"]

_MARK_AT, _MARK = 128, b"DICM"
_BLOCK = 1 << 20
_OTHER_IMAGES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".png")
_LOOK_AT = 200
"""How many files of a folder are looked at to see whether it is one of DICOM files."""
_INSTALL = "pip install 'grcsf[dicom]'"


@dataclass(frozen=True)
class ZipLimits:
    """What a zip may hold before it is refused as hostile.

    Attributes:
        members: files.
        total_bytes: of all files unpacked.
        ratio: unpacked over packed bytes, judged from 64 MiB unpacked on; deflate itself ends at about 1030, and
            scans seldom pass 20.
    """

    members: int = 100_000
    total_bytes: int = 16 << 30
    ratio: float = 200.0


@dataclass(frozen=True)
class DicomFiles:
    """Files that are marked as DICOM, and what else was there.

    Attributes:
        root: what the user gave.
        paths: DICOM files in the order of their names inside ``root``.
        others: files without the mark.
        unreadable: files that the operating system refused to open.
    """

    root: Path
    paths: tuple[Path, ...]
    others: int = 0
    unreadable: int = 0

    def name(self, index: int) -> str:
        """A file in messages, by its number, for its name may be the patient's."""
        return f"{self.root}: DICOM file {index + 1} of {len(self.paths)} (sorted by path)"


def is_dicom_file(path: Path) -> bool:
    """Whether a file begins as DICOM files do (part 10: ``DICM`` after 128 bytes); false if it cannot be read."""
    try:
        with path.open("rb") as file:
            return _marked(file.read(_MARK_AT + len(_MARK)))
    except OSError:
        return False


def is_dicom_input(path: Path) -> bool:
    """Whether a path given as input is meant as DICOM: a marked file, a zip, or a folder that holds marked files.

    Of a folder (subfolders too) the first 200 files decide; one with a ``dataset.json`` or with images of other formats
    directly in it is not taken for DICOM.
    """
    if path.is_file():
        return path.suffix.lower() == ".zip" or is_dicom_file(path)
    if not path.is_dir() or (path / "dataset.json").exists():
        return False
    for count, file in enumerate(_walk(path)):
        if is_dicom_file(file):
            return True
        if count >= _LOOK_AT or (file.parent == path and file.name.lower().endswith(_OTHER_IMAGES)):
            return False
    return False


@contextmanager
def open_files(path: Path, limits: ZipLimits | None = None) -> Iterator[DicomFiles]:
    """The DICOM files of a file, folder or zip; a zip is unpacked into a private temporary folder for the while.

    Args:
        path: what the user gave. Links inside a folder are not followed out of it.
        limits: of zips; none: the defaults.

    Raises:
        ImageError: nothing there, no DICOM in it, or a zip that is damaged, encrypted or hostile.
    """
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder")
    if path.is_file() and path.suffix.lower() == ".zip":
        with tempfile.TemporaryDirectory(prefix="grcsf-") as aside:
            yield _checked(_unzip(path, Path(aside), limits or ZipLimits()))
        return
    yield _checked(_listed(path))


def check_zip(path: Path, limits: ZipLimits | None = None) -> None:
    """Refuse a zip that :func:`open_files` would refuse; nothing is unpacked but the beginnings of its members.

    Args:
        path: of the zip.
        limits: none: the defaults.

    Raises:
        ImageError: damaged, encrypted, hostile, or without a DICOM file.
    """
    with _zip_errors(path), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        _check_members(path, members, limits or ZipLimits())
        for member in members:
            with archive.open(member) as packed:
                if _marked(packed.read(_MARK_AT + len(_MARK))):
                    return
    _checked(DicomFiles(path, (), others=len(members)))


def _checked(files: DicomFiles) -> DicomFiles:
    if files.unreadable:
        raise ImageError(
            f"{files.root}: {files.unreadable} file(s) in it cannot be opened (no permission); change their rights, "
            "or a slice may be missing without notice"
        )
    if not files.paths:
        found = f"{files.others} other file(s)" if files.others else "nothing"
        raise ImageError(f"{files.root}: no DICOM file in it, {found} found; expected files marked DICM (part 10)")
    return files


def _listed(path: Path) -> DicomFiles:
    paths, others, unreadable = [], 0, 0
    for file in sorted(_walk(path)) if path.is_dir() else [path]:
        if not os.access(file, os.R_OK):
            unreadable += 1
        elif is_dicom_file(file) and file.name.upper() != "DICOMDIR":
            paths.append(file)
        else:
            others += 1
    return DicomFiles(path, tuple(paths), others, unreadable)


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder; links to folders are not entered."""
    for place, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            file = Path(place, name)
            if not name.startswith(".") and stat.S_ISREG(_mode(file)):
                yield file


def _mode(file: Path) -> int:
    try:
        return file.stat().st_mode
    except OSError:
        return 0


@contextmanager
def _zip_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ImageError(f"{path}: damaged or unusual zip file ({type(error).__name__}); pack it again") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be unpacked ({error.strerror or error}); check space and rights") from None


def _unzip(path: Path, aside: Path, limits: ZipLimits) -> DicomFiles:
    found = DicomFiles(path, ())
    with _zip_errors(path), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        _check_members(path, members, limits)
        for member in sorted(members, key=lambda item: item.filename):
            with archive.open(member) as packed:
                head = packed.read(_MARK_AT + len(_MARK))
                if not _marked(head) or PurePosixPath(member.filename).name.upper() == "DICOMDIR":
                    found = replace(found, others=found.others + 1)
                    continue
                target = aside / f"{len(found.paths):06d}.dcm"
                _unpack(head, packed, target)
            found = replace(found, paths=(*found.paths, target))
    return found


def _check_members(path: Path, members: list[zipfile.ZipInfo], limits: ZipLimits) -> None:
    """Refuse what no export of a scanner contains. Nothing is ever written under a member's own name."""
    total = sum(member.file_size for member in members)
    packed = max(1, path.stat().st_size)  # not the sum of declared sizes: members of a bomb may overlap
    if any(member.flag_bits & 1 for member in members):
        raise ImageError(f"{path}: encrypted zip file; unpack it yourself and give the folder")
    if any(_leads_out(member.filename) or stat.S_ISLNK(member.external_attr >> 16) for member in members):
        raise ImageError(f"{path}: refused, a member of the zip leads out of it (.., absolute path or link)")
    if len(members) > limits.members or total > limits.total_bytes:
        raise ImageError(
            f"{path}: refused, the zip would unpack to {len(members)} files of {total / 2**30:.1f} GiB; at most "
            f"{limits.members} files of {limits.total_bytes / 2**30:.1f} GiB are; unpack it yourself, give the folder"
        )
    worst = max(
        (item.file_size / max(1, item.compress_size) for item in members if item.file_size > 64 << 20), default=0
    )
    if (total > 64 << 20 and total / packed > limits.ratio) or worst > limits.ratio:
        raise ImageError(
            f"{path}: refused as a zip bomb, {total / 2**20:.0f} MiB in {packed / 2**20:.1f} MiB; "
            "unpack it yourself if you trust it, and give the folder"
        )


def _leads_out(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return ".." in parts or name.startswith(("/", "\\")) or (len(name) > 1 and name[1] == ":")


def _unpack(head: bytes, packed: IO[bytes], target: Path) -> None:
    """Write one member block by block; zipfile gives no more than the size that was declared and checked."""
    with target.open("wb") as file:
        file.write(head)
        while block := packed.read(_BLOCK):
            file.write(block)


def _marked(head: bytes) -> bool:
    return head[_MARK_AT:] == _MARK


@contextmanager
def pydicom_quiet() -> Iterator[Any]:
    """The module pydicom, kept from writing values of the data (names, dates) into warnings and logs.

    Raises:
        GrcsfError: pydicom is not installed.
    """
    try:
        pydicom = import_module("pydicom")
    except ImportError:
        raise GrcsfError(f"DICOM needs packages that are not installed: {_INSTALL}") from None
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield pydicom
    finally:
        logger.setLevel(level)
