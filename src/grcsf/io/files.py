"""Files written whole or not at all, JSON, hashes, and the checks that an output may be written."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.errors import GrcsfError, OutputError

__all__ = [
    "PARTIAL_PREFIX",
    "atomic_path",
    "ensure_new",
    "flat_pairs",
    "hash_array",
    "hash_file",
    "make_folder",
    "mark_files",
    "read_json",
    "same_files",
    "to_plain",
    "write_json",
]

PARTIAL_PREFIX = ".partial-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; it takes the name ``path`` only when the body ends without an error.

    The temporary name keeps the ending, so that writers that go by it work. A body that raises, or is
    interrupted, leaves neither a temporary file nor a half-written ``path``; an older ``path`` stays as it was.

    Args:
        path: the file (or folder that does not exist yet) to write; its parent must exist.

    Raises:
        OutputError: the operating system refused to write.
    """
    partial = path.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        _remove(partial)


def write_json(path: Path, obj: object) -> None:
    """Write ``obj`` as indented UTF-8 JSON, atomically; see :func:`to_plain` for what it may hold.

    Raises:
        OutputError: the file cannot be written.
        TypeError: a value that JSON cannot hold.
    """
    text = json.dumps(to_plain(obj), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: Path, error: type[GrcsfError] = GrcsfError) -> Any:
    """The content of a JSON file.

    Args:
        path: file to read.
        error: the exception to raise, which tells the user what kind of input is wrong.

    Raises:
        GrcsfError: (or ``error``) the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except RecursionError:
        raise error(f"{path}: not usable JSON (nested too deeply)") from None
    except ValueError as problem:  # also UnicodeDecodeError and JSONDecodeError
        raise error(f"{path}: not valid JSON ({problem})") from None


def to_plain(value: object) -> Any:
    """``value`` in types that JSON knows.

    NumPy scalars and arrays, paths (as text), enums, dataclasses, mappings, sets (sorted) and sequences are
    converted; NaN and infinities become null, which JSON readers other than Python's accept.

    Raises:
        TypeError: any other type.
    """
    if isinstance(value, enum.Enum):
        plain: Any = to_plain(value.value)
    elif value is None or isinstance(value, str | bool | int):
        plain = value
    elif isinstance(value, np.ndarray | np.generic):
        plain = to_plain(value.tolist())
    elif isinstance(value, float):
        plain = value if math.isfinite(value) else None
    elif isinstance(value, os.PathLike):
        plain = os.fspath(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    elif isinstance(value, Mapping):
        plain = {str(key): to_plain(item) for key, item in value.items()}
    elif isinstance(value, set | frozenset):
        plain = sorted(to_plain(item) for item in value)
    elif isinstance(value, list | tuple):
        plain = [to_plain(item) for item in value]
    else:
        raise TypeError(f"cannot write a {type(value).__name__} as JSON: {value!r}")
    return plain


def flat_pairs(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings under its dotted name.

    >>> dict(flat_pairs({"a": {"b": 1, "c": 2}, "d": 3}))
    {'a.b': 1, 'a.c': 2, 'd': 3}
    """
    for key, value in tree.items():
        name = f"{prefix}{key}"
        yield from flat_pairs(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)]


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mark_files(paths: Iterable[Path]) -> list[list[Any] | None]:
    """Size, time of change (ns) and SHA-256 of each file, JSON-able, to tell later whether one has changed.

    A file that cannot be read has none: whoever reads it says so.
    """
    marks: list[list[Any] | None] = []
    for path in paths:
        try:
            found = path.stat()
            marks.append([found.st_size, found.st_mtime_ns, hash_file(path)])
        except OSError:
            marks.append(None)
    return marks


def same_files(paths: Sequence[Path], marks: object) -> bool:
    """Whether files are as they were marked: by size and time of change and, where the time differs, by content."""
    if not isinstance(marks, list) or len(marks) != len(paths):
        return False
    return all(isinstance(mark, list) and _is_marked(path, mark) for path, mark in zip(paths, marks, strict=True))


def _is_marked(path: Path, mark: list[Any]) -> bool:
    try:
        found = path.stat()
        return bool(found.st_size == mark[0] and (found.st_mtime_ns == mark[1] or hash_file(path) == mark[2]))
    except OSError:
        return False


def hash_array(array: AnyArray) -> str:
    """SHA-256 of an array's type, shape and values, the same for every memory layout and byte order."""
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    digest = hashlib.sha256(f"{native.dtype.kind}{native.dtype.itemsize}{array.shape}".encode())
    digest.update(native.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def ensure_new(path: Path, overwrite: bool, resume: bool = False) -> None:
    """Refuse to write over what exists already, unless asked to. Nothing is deleted here.

    Args:
        path: file or folder about to be written; an empty folder counts as new.
        overwrite: the user allows what is there to be replaced.
        resume: the user wants to go on with what is there.

    Raises:
        OutputError: ``path`` exists and neither flag was given.
    """
    if overwrite or resume or not path.exists():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    raise OutputError(f"{path}: exists already; choose another output, --overwrite to replace it or --resume to go on")


def make_folder(path: Path) -> Path:
    """Create a folder with its parents if need be, check that files can be written in it, and return it.

    Raises:
        OutputError: a file stands in its place, or the folder cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path, prefix=PARTIAL_PREFIX):
            pass
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{path}: cannot be an output folder, a file is in its place; choose another") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: folder is not writable ({reason}); choose another or change its rights") from None
    return path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
