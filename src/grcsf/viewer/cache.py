"""What was computed last, up to a size; the same thing is never computed twice at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["BoundedCache"]

_V = TypeVar("_V")


class BoundedCache(Generic[_V]):
    """Values by key; the longest unused go first once ``limit`` is passed.

    One value is made at a time, which also bounds the memory that reading takes. A value larger than the limit is
    given out and not kept; an error is not kept either.

    Args:
        limit: sum of the sizes of what is kept.
        size: size of a value.
    """

    def __init__(self, limit: int, size: Callable[[_V], int]) -> None:
        self._limit, self._size = limit, size
        self._kept: OrderedDict[str, _V] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Lock()

    def get(self, key: str, make: Callable[[], _V]) -> _V:
        """The value of ``key``, made if it is not there."""
        found = self._find(key)
        if found is not None:
            return found
        with self._making:
            found = self._find(key)
            if found is None:
                found = make()
                self._keep(key, found)
            return found

    @property
    def total(self) -> int:
        """Sum of the sizes of what is kept."""
        with self._lock:
            return sum(self._size(value) for value in self._kept.values())

    def _find(self, key: str) -> _V | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: str, value: _V) -> None:
        with self._lock:
            self._kept[key] = value
            while self._kept and sum(self._size(kept) for kept in self._kept.values()) > self._limit:
                self._kept.popitem(last=False)
