"""The ``run.json`` beside every output: what ran, on what, with which settings, and how it ended."""

from __future__ import annotations

import logging
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from grcsf.errors import GrcsfError
from grcsf.io.files import hash_file, make_folder, to_plain, write_json

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["LOG_FILE", "RECORD_FILE", "RunRecord"]

RECORD_FILE = "run.json"
LOG_FILE = "grcsf.log"
_PACKAGES = (
    *("torch", "monai", "lightning", "numpy", "scipy", "nibabel", "SimpleITK"),
    *("pydantic", "safetensors", "blosc2", "nilearn", "pydicom", "highdicom"),
)
_ABSOLUTE = re.compile(r"(?:[A-Za-z]:)?(?<![\w.])[\\/](?:[^\\/\s:;,'\"()\[\]]+[\\/])*")
_LOGGER = logging.getLogger("grcsf")


class RunRecord:
    """Context manager that writes ``run.json``, and ``grcsf.log`` while it is open, into the folder of an output.

    The record is written once, at the end, with the status "done", or "failed" where the body raised; a record from
    an earlier run is removed at the start, so that a run that was killed leaves none. It holds no user name, host
    name or folder: inputs appear by file name, and messages, in the log too, without the folders of their paths. The
    message of an error is kept only for a :class:`~grcsf.errors.GrcsfError`, of any other only the class.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with RunRecord(folder, verb="train", settings={"seed": 1}) as record:
    ...     record.add("cases", 12)
    >>> (folder / "run.json").is_file()
    True
    """

    def __init__(
        self,
        folder: Path,
        *,
        verb: str,
        settings: Mapping[str, Any] | None = None,
        inputs: Sequence[Path] = (),
        hashes: Mapping[Path, str] | None = None,
        seed: int | None = None,
        device: str | None = None,
    ) -> None:
        """Prepare a record; nothing is written or hashed before ``with``.

        Args:
            folder: where ``run.json`` goes; made if need be.
            verb: what runs, such as "train".
            settings: JSON form of the settings, ``settings.model_dump(mode="json")``.
            inputs: files whose content is hashed; of a folder its ``dataset.json`` if it has one, else nothing.
            hashes: of inputs whose content was hashed already.
            seed: of the run.
            device: such as "cpu" or "cuda:0".
        """
        self._folder = folder
        self._inputs, self._hashes = tuple(inputs), hashes or {}
        self._start = 0.0
        self._cpu_start = 0.0
        self._handler: logging.Handler | None = None
        self._level = logging.NOTSET
        self._entries: dict[str, Any] = {
            "verb": verb,
            "grcsf": _version("grcsf"),
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
            "git_commit": _git_commit(),
            "platform": f"{platform.system()} {platform.machine()}",
            "device": device,
            "seed": seed,
            "settings": to_plain(settings),
            "inputs": {},
            "started": None,
            "seconds": None,
            "cpu_seconds": None,
            "peak_memory_mb": None,
            "status": None,
            "error": None,
        }
        self._reserved = frozenset(self._entries)

    def add(self, key: str, value: object) -> None:
        """Put a further entry into the record.

        Args:
            key: its name; not one of the record's own.
            value: anything :func:`~grcsf.io.files.to_plain` can turn into JSON.

        Raises:
            ValueError: the key belongs to the record itself.
            TypeError: the value cannot be written as JSON.
        """
        if key in self._reserved:
            raise ValueError(f"run.json writes {key!r} itself; choose another key")
        self._entries[key] = to_plain(value)

    def add_messages(self, key: str, messages: Mapping[str, str]) -> None:
        """Put messages by case into the record, without the folders of their paths."""
        self.add(key, {name: self._without_folders(message) for name, message in messages.items()})

    def __enter__(self) -> Self:
        """Make the folder, hash the inputs, open the log."""
        make_folder(self._folder)
        (self._folder / RECORD_FILE).unlink(missing_ok=True)
        self._open_log()
        self._entries["started"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._start, self._cpu_start = time.perf_counter(), _cpu_seconds()
        names = _short_names(self._inputs)
        self._entries["inputs"] = {
            name: self._hashes.get(path) or _hash_input(path) for name, path in zip(names, self._inputs, strict=True)
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the record and close the log; the error, if any, goes on."""
        self._entries["seconds"] = round(time.perf_counter() - self._start, 3)
        self._entries["cpu_seconds"] = round(_cpu_seconds() - self._cpu_start, 3)
        self._entries["peak_memory_mb"] = _peak_memory_mb()
        self._entries["status"] = "done" if error is None else "failed"
        if error is not None:
            message = f": {self._without_folders(str(error))}" if isinstance(error, GrcsfError) else ""
            self._entries["error"] = f"{type(error).__name__}{message}"
            _LOGGER.error("%s", self._entries["error"])
        try:
            write_json(self._folder / RECORD_FILE, self._entries)
        finally:
            self._close_log()

    def _open_log(self) -> None:
        handler = logging.FileHandler(self._folder / LOG_FILE, encoding="utf-8")
        formatter = _WithoutFolders(self._without_folders)
        handler.setFormatter(formatter)
        self._handler, self._level = handler, _LOGGER.level
        if _LOGGER.getEffectiveLevel() > logging.INFO:
            _LOGGER.setLevel(logging.INFO)
        _LOGGER.addHandler(handler)

    def _close_log(self) -> None:
        if self._handler is not None:
            _LOGGER.removeHandler(self._handler)
            _LOGGER.setLevel(self._level)
            self._handler.close()
            self._handler = None

    def _without_folders(self, message: str) -> str:
        """Keep only the last part of paths; folders known from the inputs go first, as they may contain blanks."""
        for folder in self._folders:
            message = message.replace(folder + os.sep, "")
        return _ABSOLUTE.sub("", message)

    @cached_property
    def _folders(self) -> list[str]:
        """Folders of everything that is known to the record, longest first."""
        parents = {item.parent / "of" for item in self._inputs}  # thousands of files lie in few folders
        found = {str(path) for item in (*parents, self._folder, Path.home()) for path in _ancestors(item)}
        return sorted(found, key=len, reverse=True)


class _WithoutFolders(logging.Formatter):
    """Lines of the log, in UTC, with messages that name files and no folders."""

    converter = staticmethod(time.gmtime)

    def __init__(self, shorten: Callable[[str], str]) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self._shorten = shorten

    def format(self, record: logging.LogRecord) -> str:
        """The line, and a traceback if there is one, without folders."""
        return self._shorten(super().format(record))


def _ancestors(path: Path) -> list[Path]:
    return [parent for form in (path, path.absolute()) for parent in form.parents if len(parent.parts) > 1]


def _short_names(paths: Sequence[Path]) -> list[str]:
    """File names, with as few parent folders as make them differ (2 at most, then a number)."""
    names = [path.name for path in paths]
    for parts in (2, 3):
        names = [
            "/".join(path.parts[-parts:]) if names.count(name) > 1 else name
            for name, path in zip(names, paths, strict=True)
        ]
    return [name if names.count(name) == 1 else f"{name}#{index}" for index, name in enumerate(names)]


def _hash_input(path: Path) -> str | None:
    target = path / "dataset.json" if path.is_dir() else path
    try:
        return hash_file(target)
    except OSError:
        return None  # the verb itself will say that its input is missing


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Commit of the source tree this package runs from; none for an installed package."""
    package = Path(__file__).resolve().parents[1]
    root = package.parents[1]
    if not (root / ".git").exists() or package != root / "src" / "grcsf":
        return None
    command = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _cpu_seconds() -> float:
    """User and system time of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_memory_mb() -> float | None:
    """Largest resident memory of this process or of one of its finished children, MiB."""
    if resource is None:
        return None
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
