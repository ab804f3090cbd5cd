"""The command ``grcsf serve``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from grcsf.cli.options import DeviceOption, say

__all__ = ["serve"]


def serve(
    model: Annotated[list[Path], typer.Option("-m", "--model", help="Model folder or run folder; repeat to average.")],
    fold: Annotated[list[int] | None, typer.Option("-f", "--fold", help="Folds of a run folder; default all.")] = None,
    host: Annotated[str | None, typer.Option(help="Address; others than 127.0.0.1 need a token.")] = None,
    port: Annotated[int | None, typer.Option(help="Port, default 8000; 0 takes a free one.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="Further name that the server answers to; repeat.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File of the token; or the variable GRCSF_SERVE_TOKEN.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that predict; default 1.")] = None,
    queue: Annotated[int | None, typer.Option(help="Jobs that may wait; default 20.")] = None,
    max_upload_mb: Annotated[float | None, typer.Option(help="Largest upload, MB; default 500.")] = None,
    job_timeout_s: Annotated[float | None, typer.Option(help="A job that runs longer is killed; default 900.")] = None,
    expire_s: Annotated[float | None, typer.Option(help="How long results are held; default 3600.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where uploads and results lie; default: temporary.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Another limit, such as max_voxels=100000000.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Predict over HTTP: upload a scan, fetch mask and maps; page and API on loopback, nothing is kept."""
    from grcsf.serve.launch import serve as call
    from grcsf.serve.settings import ServeSettings

    flags: dict[str, Any] = {
        "host": host,
        "port": port,
        "allowed_hosts": tuple(allow_host or ()),
        "workers": workers,
        "queue": queue,
        "max_upload_mb": max_upload_mb,
        "job_timeout_s": job_timeout_s,
        "expire_s": expire_s,
        "folder": folder,
    }
    settings = ServeSettings.of({**flags, **_pairs(set_ or [])})
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("grcsf.serve").setLevel(logging.INFO)

    def ready(text: str) -> None:
        say(text)
        sys.stdout.flush()

    call(model, folds=fold or [], device=device, settings=settings, token_file=token_file, say=ready)


def _pairs(texts: list[str]) -> dict[str, str]:
    from grcsf.errors import SettingsError

    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise SettingsError(f"--set {name}: expected KEY=VALUE, such as max_voxels=100000000")
    return {name: value for name, _, value in pairs}
