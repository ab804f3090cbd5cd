"""Tables of measures as CSV: written whole or not at all, numbers as text that loses nothing that matters."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from grcsf.io.files import atomic_path

__all__ = ["cell", "write_rows"]


def cell(value: object) -> str:
    """A value as text: fractions with ten digits, nan as ``nan``.

    >>> cell(1 / 3), cell(float("nan")), cell(7), cell("LAD")
    ('0.3333333333', 'nan', '7', 'LAD')
    """
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a header and rows; atomic, each value by :func:`cell`.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows([cell(value) for value in row] for row in rows)
