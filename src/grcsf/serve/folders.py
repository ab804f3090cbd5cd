"""A private folder for the files of one server, and the removal of what servers that died have left."""

from __future__ import annotations

import getpass
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grcsf.errors import OutputError
from grcsf.io.locks import folder_lock

__all__ = ["private_folder"]

_PREFIX = "server-"


@contextmanager
def private_folder(root: Path | None = None) -> Iterator[Path]:
    """A folder that no other user can enter; it is removed afterwards.

    Folders that earlier servers left are removed first: each server holds a lock that the operating system takes back
    when it dies, however it dies.

    Args:
        root: where it is made; none: a folder of this user in the temporary folder of the system.

    Raises:
        OutputError: a root that is no folder of this user's, or cannot be written.
    """
    place = _checked_root(root or Path(tempfile.gettempdir()) / f"grcsf-serve-{_user()}")
    for left in place.glob(f"{_PREFIX}*"):
        if left.is_dir() and not left.is_symlink():
            with folder_lock(left) as lock:
                dead = lock is not None
            if dead:
                shutil.rmtree(left, ignore_errors=True)
    own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    try:
        with folder_lock(own):
            yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _checked_root(root: Path) -> Path:
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = root.lstat()
        if not stat.S_ISDIR(state.st_mode):
            raise OutputError(f"{root}: no folder; choose another with --folder")
        if hasattr(os, "getuid"):
            if state.st_uid != os.getuid():
                raise OutputError(f"{root}: belongs to another user; choose another with --folder")
            if stat.S_IMODE(state.st_mode) & 0o077:
                root.chmod(0o700)
    except OSError as error:
        raise OutputError(f"{root}: cannot be used ({error.strerror or error}); choose another --folder") from None
    return root


def _user() -> str:
    """A name for the folder that differs by user."""
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
