"""A lock on a folder that the operating system takes back when its holder dies, however it dies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from grcsf.io.files import make_folder

__all__ = ["LOCK_FILE", "folder_lock"]

LOCK_FILE = "lock"

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


@contextmanager
def folder_lock(folder: Path) -> Iterator[int | None]:
    """Try to be the only one that works on a folder.

    A child process that inherits the descriptor (``pass_fds``) holds the lock too, so that work which outlives its
    queue is never done twice at a time.

    Args:
        folder: made if need be.

    Yields:
        The descriptor of the lock, or none where another process has it.
    """
    path = make_folder(folder) / LOCK_FILE
    with path.open("ab") as file:
        yield file.fileno() if _try_lock(file) else None
