"""A progress bar with the time left, on stderr and only for a person who watches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["track"]

Item = TypeVar("Item")


def track(iterable: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items of ``iterable`` while a bar on stderr shows how many are done and the time left.

    Nothing is shown where stderr is not a terminal (a log file, a pipe).

    Args:
        iterable: what to go through.
        description: what is being done, such as ``"Preprocessing"``.
        total: number of items, where ``len`` does not tell.
    """
    if not sys.stderr.isatty():
        yield from iterable
        return
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(iterable, description, total=total, console=Console(stderr=True), transient=True)
