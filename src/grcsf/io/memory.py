"""What the process does with memory that it frees, and how to tell that there was not enough."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from grcsf.errors import GrcsfError

__all__ = ["enough_memory", "keep_freed_memory", "out_of_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of ``mallopt`` in glibc's malloc.h."""
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""glibc takes no larger one."""
_CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Keep what is freed for the next array; blocks above 32 MB still go back to the system.

    A training step frees what it made, glibc gives much of it back to the kernel, and the next step has every page
    cleared and mapped again: a fifth of the time of a step in 3-D. For processes of our own that end with their work; a
    library must not decide this for its host. Does nothing without glibc, and where the environment has chosen.

    Returns:
        Whether it was set.

    Source: own (docs/decisions/0020).
    """
    if sys.platform != "linux" or any(name in os.environ for name in _CHOSEN):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return bool(mallopt and mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: that of Python and NumPy, of CUDA, or of torch on a CPU."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(re.search("out of memory|can't allocate memory", str(error)))


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Where memory runs out, an error that the user can mend takes the place of the one that said it.

    Args:
        advice: what to do about it.

    Raises:
        GrcsfError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise GrcsfError(f"not enough memory; {advice}") from None
