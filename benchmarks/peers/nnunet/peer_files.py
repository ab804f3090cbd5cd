"""What all parts share: the error that a user sees, JSON written whole or not at all, and a lock on a folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class PeerError(Exception):
    """Something that the user can mend; the message says which file, what was expected and what to do."""


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        PeerError: absent or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PeerError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise PeerError(f"{path}: no valid JSON ({error})") from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON that is there as a whole or not at all."""
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


@contextmanager
def folder_lock(folder: Path) -> Iterator[int]:
    """Wait until nobody else works on a folder, then yield the descriptor of the lock.

    A child process that is given the descriptor (``pass_fds``) holds the lock too, so that work which outlives its
    starter for a moment is never done twice at a time; the operating system takes the lock back from the dead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as file:
        _wait_for_lock(file.fileno())
        yield file.fileno()


def _wait_for_lock(descriptor: int) -> None:
    if os.name == "nt":  # pragma: no cover
        import msvcrt

        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
                return
            except OSError:
                time.sleep(0.5)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
