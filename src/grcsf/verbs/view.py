"""``grcsf view``: images, masks and maps in the browser, on this machine only."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path

from grcsf.viewer.api import ViewerApi
from grcsf.viewer.case_list import find_cases
from grcsf.viewer.server import ViewerServer

__all__ = ["view"]


def view(
    path: str | Path,
    *,
    images: str | Path | None = None,
    references: str | Path | None = None,
    dataset: str | Path | None = None,
    spacing_mm: tuple[float, ...] | None = None,
    preset: str = "any-overlap",
    port: int = 0,
    browser: bool = True,
    ready: Callable[[ViewerServer], None] | None = None,
) -> None:
    """Serve a page that shows images with their masks and maps, until Ctrl-C or ``shutdown`` of the server.

    Args:
        path: image, folder of images, data set, DICOM, run folder, or folder of predictions.
        images: folder, data set or image that the predictions at ``path`` belong to.
        references: folder, data set or file of reference masks.
        dataset: data set of a run or of predictions: images and references at once.
        spacing_mm: (rows, columns) of PNG images.
        preset: rules of the list of lesions; a name or a YAML file, as for :func:`grcsf.evaluate`.
        port: of the loopback address; 0: a free one.
        browser: open the page in the browser.
        ready: called with the server once it listens, before it serves; its ``address`` is the page.

    Raises:
        DatasetError: nothing there that can be shown.
        SettingsError: an unknown preset, or a port that cannot be used.
    """
    beside = {"images": images, "references": references, "dataset": dataset}
    given = {name: Path(item) for name, item in beside.items() if item is not None}
    api = ViewerApi(find_cases(Path(path), spacing_mm=spacing_mm, **given), preset)
    with ViewerServer(api, port) as server:
        if ready is not None:
            ready(server)
        if browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return
