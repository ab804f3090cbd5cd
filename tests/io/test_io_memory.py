"""Memory that is freed: kept by our own processes, and where it is not for us to decide."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_ARRAYS = """
import resource, sys
import numpy as np
from grcsf.io.memory import keep_freed_memory
done = sys.argv[1] == "keep" and keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        [np.ones(2**21) for _ in range(8)]  # eight of 16 MB, freed together
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(done, faults())
"""


def _run(mode: str, **environment: str) -> tuple[str, int]:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", _ARRAYS, mode]
    done, faults = subprocess.run(
        command, env=known | environment, capture_output=True, text=True, check=True
    ).stdout.split()
    return done, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_pages_are_not_cleared_again_for_the_next_arrays() -> None:
    done, kept = _run("keep")
    _, given_back = _run("leave")
    assert done == "True"
    assert given_back > 10 * 4000  # an array has 4096 pages; at least one is given back each time
    assert kept < given_back / 20


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_what_the_environment_chose_stays(name: str) -> None:
    assert _run("keep", **{name: "131072"})[0] == "False"


def test_the_allocator_of_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from grcsf.io import memory

    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
