"""The command ``grcsf view``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grcsf.cli.options import numbers_of, say

if TYPE_CHECKING:
    from grcsf.viewer.server import ViewerServer

__all__ = ["view"]


def view(
    path: Annotated[Path, typer.Argument(help="Image, folder of images, data set, DICOM, run, or predictions.")],
    images: Annotated[
        Path | None, typer.Option("-i", "--images", help="Images (folder, data set, file) of the predictions.")
    ] = None,
    references: Annotated[
        Path | None, typer.Option("-r", "--references", help="Reference masks (folder, data set, file).")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("-d", "--dataset", help="Data set of a run or predictions: images and references.")
    ] = None,
    spacing_mm: Annotated[str | None, typer.Option(help="Pixel spacing of PNG images, such as 1,1.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="Rules of the lesion list.")] = "any-overlap",
    port: Annotated[int, typer.Option("--port", help="Port on 127.0.0.1; 0 picks a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """Images, masks, probability and residual maps in the browser; on this machine only, until Ctrl-C."""
    spacing = numbers_of(spacing_mm)
    from grcsf.verbs.view import view as call

    call(
        path,
        images=images,
        references=references,
        dataset=dataset,
        spacing_mm=spacing,
        preset=preset,
        port=port,
        browser=browser,
        ready=_tell,
    )
    say("stopped")


def _tell(server: ViewerServer) -> None:
    count = len(server.api.cases()["cases"])
    say(f"{count} {'case' if count == 1 else 'cases'} at {server.address}\nPress Ctrl-C to stop.")
    sys.stdout.flush()
