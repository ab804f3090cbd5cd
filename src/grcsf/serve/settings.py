"""Settings of the service, the secret token, and the addresses that may be bound without one."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from pydantic import Field

from grcsf.errors import SettingsError
from grcsf.evaluation.clinical.rules import Rules

__all__ = ["TOKEN_VARIABLE", "ServeSettings", "check_address", "is_loopback", "package_version", "read_token"]

TOKEN_VARIABLE = "GRCSF_SERVE_TOKEN"
"""Environment variable that may hold the token; a flag for it would stand in the list of processes."""

_SHORTEST_TOKEN = 16


class ServeSettings(Rules):
    """Limits of the service."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen at; others than loopback need a token.")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0 takes a free one.")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Further names in the Host header and of pages that may post, such as that of a reverse proxy."
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that predict, each with the model in memory.")
    queue: int = Field(20, ge=1, description="Jobs that may wait or arrive at a time; more are answered with 429.")
    max_jobs: int = Field(
        100, ge=1, description="Jobs that are held at a time, results that were not fetched included."
    )
    max_upload_mb: float = Field(500.0, gt=0, description="Largest upload, all its files together, MB (10**6 bytes).")
    max_unpacked_mb: float = Field(2000.0, gt=0, description="Largest image after decompression, MB (10**6 bytes).")
    max_voxels: int = Field(250_000_000, ge=1, description="Most voxels of an image.")
    upload_timeout_s: float = Field(600.0, gt=0, description="Longest time that an upload may take, s.")
    idle_timeout_s: float = Field(30.0, gt=0, description="Longest pause of an upload, s.")
    job_timeout_s: float = Field(900.0, gt=0, description="Longest time that a job may run before it is killed, s.")
    start_timeout_s: float = Field(300.0, gt=0, description="Longest time that a worker may take to load the model, s.")
    expire_s: float = Field(3600.0, gt=0, description="How long a finished job is held, s.")
    fetched_expire_s: float = Field(300.0, gt=0, description="How long it is held once its mask was fetched, s.")
    connections: int = Field(200, ge=1, description="Connections at a time; more are answered with 503.")
    folder: Path | None = Field(None, description="Where uploads and results lie; none: a private temporary folder.")

    @property
    def max_upload_bytes(self) -> int:
        """Bytes of the largest upload."""
        return int(self.max_upload_mb * 1e6)

    @property
    def max_unpacked_bytes(self) -> int:
        """Bytes of the largest image, decompressed."""
        return int(self.max_unpacked_mb * 1e6)


def package_version() -> str:
    """Version of grcsf; 0.0.0 in a source tree that is not installed."""
    try:
        return metadata.version("grcsf")
    except metadata.PackageNotFoundError:
        return "0.0.0"


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "scans.example.org")]
    [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(settings: ServeSettings, token: str | None) -> None:
    """Refuse to be reachable by other machines without a token.

    Raises:
        SettingsError: an address that is not loopback, and no token.
    """
    if token is None and not is_loopback(settings.host):
        raise SettingsError(
            f"--host {settings.host}: other machines could reach this address, so that a token is needed; give one in "
            f"a file (--token-file) or in {TOKEN_VARIABLE}, or keep to 127.0.0.1"
        )


def read_token(file: Path | None, environment: Mapping[str, str] | None = None) -> str | None:
    """The token that clients must send, without blanks around it; none where none is asked for.

    Args:
        file: that holds it; it comes before the environment.
        environment: none: that of this process.

    Raises:
        SettingsError: a file that cannot be read, or a token that is too short or no plain text.
    """
    given = (os.environ if environment is None else environment).get(TOKEN_VARIABLE)
    where = TOKEN_VARIABLE
    if file is not None:
        where = f"--token-file {file.name}"
        try:
            given = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{where}: cannot be read ({type(error).__name__}); expected a text file") from None
    if given is None:
        return None
    token = given.strip()
    if len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable() and " " not in token):
        raise SettingsError(
            f"{where}: a token of {len(token)} characters; expected at least {_SHORTEST_TOKEN} letters, digits or "
            "signs without blanks, such as the output of: openssl rand -hex 32"
        )
    return token
