"""The process that predicts: one line of JSON in, one out; it ends when its server does.

It is started as ``python -m grcsf.serve.worker``. The first line names the model; each further line is a job.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import IO, Any, Protocol

from grcsf.errors import GrcsfError

__all__ = ["Loaded", "main", "serve_lines"]


class Loaded(Protocol):
    """What a worker has in memory, see :class:`grcsf.serve.tasks.Worker`."""

    def describe(self) -> dict[str, Any]:
        """The fields of :class:`grcsf.serve.schemas.ModelView`."""
        ...

    def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        """``{"done": ...}``, or ``{"failed": message}``."""
        ...


def serve_lines(load: Callable[[dict[str, Any]], Loaded]) -> int:
    """Answer the lines on standard input until it ends.

    Whatever libraries write to the terminal goes nowhere, for it may hold text of headers.

    Args:
        load: from the first line to what answers the others.

    Returns:
        Exit code.
    """
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    try:
        loaded = load(json.loads(lines.get()))
    except Exception as error:
        _say(answers, {"failed": str(error) if isinstance(error, GrcsfError) else type(error).__name__})
        return 1
    _say(answers, {"ready": loaded.describe()})
    while True:
        _say(answers, loaded.answer(json.loads(lines.get())))


def _listen(lines: queue.Queue[str]) -> None:
    """Pass lines on; when the server is gone, so is this process, in the midst of a job too."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _say(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


class _Model:
    def __init__(self, first: dict[str, Any]) -> None:
        from grcsf.serve.tasks import Worker

        self.worker = Worker(first["models"], first["folds"], first["device"])

    def describe(self) -> dict[str, Any]:
        return self.worker.describe()

    def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        from grcsf.serve.tasks import Task

        task = Task.of(job)
        try:
            return {"done": self.worker.run(task)}
        except Exception as error:  # a job that fails must not end the worker
            return {"failed": task.private(error)}


def main() -> int:
    """Entry point of the process."""
    return serve_lines(_Model)


if __name__ == "__main__":
    sys.exit(main())
