"""The same work on every case, in this process or in several; a case that fails does not stop the others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from grcsf.errors import DatasetError, GrcsfError

__all__ = ["map_cases"]

T = TypeVar("T")
R = TypeVar("R")


def map_cases(
    work: Callable[[T], R], jobs: Sequence[tuple[str, T]], workers: int
) -> Iterator[tuple[str, R | GrcsfError]]:
    """Run ``work(job)`` for every ``(case name, job)``, yielding results as they come.

    Args:
        work: a function at module level, so that a new process can import it.
        jobs: case names and what ``work`` takes.
        workers: processes (spawned, not forked); 0 works in this one, in order.

    Yields:
        Case name with the result, or with the error if that is one the user can mend.

    Raises:
        Exception: any other error of ``work``, with a note that names the case.
        DatasetError: a process that died, most often for lack of memory.
    """
    if workers < 1:
        for name, job in jobs:
            yield name, _attempt(work, name, job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, max(1, len(jobs))), mp_context=context) as pool:
        name = "?"
        try:
            futures = {pool.submit(_attempt, work, name, job): name for name, job in jobs}
            for future in as_completed(futures):
                name = futures[future]
                yield name, future.result()
        except BrokenProcessPool:
            raise DatasetError(
                f"{name}: the worker process died around this case; most often memory ran out: use fewer workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _attempt(work: Callable[[T], R], name: str, job: T) -> R | GrcsfError:
    try:
        return work(job)
    except GrcsfError as error:
        return error
    except Exception as error:
        error.add_note(f"case {name}")
        raise
