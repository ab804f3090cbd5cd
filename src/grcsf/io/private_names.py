"""Names of cases that lead back to nobody: a keyed hash of what identifies a scan."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from pathlib import Path

from grcsf.errors import SettingsError

__all__ = ["case_salt", "check_case_name", "private_name"]

_VARIABLE = "GRCSF_SALT"
_LOGGER = logging.getLogger("grcsf")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def case_salt() -> bytes:
    """The key of this user's case names: ``GRCSF_SALT`` if set, else a random one kept in the user's own settings.

    It lies in ``grcsf/salt`` below ``XDG_CONFIG_HOME`` (``~/.config``), readable by the user only, so that names stay
    the same from run to run on one machine and mean nothing elsewhere. Where it cannot be kept, it lasts for this run.
    """
    given = os.environ.get(_VARIABLE, "")
    if given:
        return given.encode()
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path("~").expanduser() / ".config")
    path = Path(base) / "grcsf" / "salt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_bytes() or _for_this_run("is empty")
        salt = secrets.token_hex(32).encode()
        with os.fdopen(handle, "wb") as file:
            file.write(salt)
        return salt
    except OSError:
        return _for_this_run("cannot be kept")


def private_name(*identity: str, salt: bytes, prefix: str = "dicom") -> str:
    """``prefix`` and 16 hexadecimal digits of HMAC-SHA256 over ``identity``.

    >>> private_name("1.2.3", salt=b"a") != private_name("1.2.3", salt=b"b")
    True
    """
    message = "\0".join(identity).encode()
    return f"{prefix}-{hmac.new(salt, message, hashlib.sha256).hexdigest()[:16]}"


def check_case_name(name: str) -> str:
    """``name`` if it can be a file name everywhere.

    Raises:
        SettingsError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"--case {name!r}: expected letters, digits, dots, dashes and underscores, at most 64")
    return name


def _for_this_run(why: str) -> bytes:
    _LOGGER.warning("the salt of case names %s; names change from run to run, set %s to keep them", why, _VARIABLE)
    return secrets.token_bytes(32)
