"""``grcsf report``: one HTML page of a run."""

from __future__ import annotations

from pathlib import Path

from grcsf.report.page import write_report

__all__ = ["report"]


def report(
    run: str | Path, dataset: str | Path | None = None, output: str | Path | None = None, *, overwrite: bool = False
) -> Path:
    """Write one self-contained page: data, settings, learning curves, scores, and panels of cases.

    Args:
        run: folder of :func:`grcsf.run`.
        dataset: the data set, for images and references; none leaves the panels out.
        output: the page; none: ``report.html`` in the run folder.
        overwrite: replace it.

    Returns:
        Path of the page.
    """
    return write_report(Path(run), Path(dataset) if dataset else None, Path(output) if output else None, overwrite)
