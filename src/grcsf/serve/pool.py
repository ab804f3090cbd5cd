"""Processes that predict: started, fed with one job at a time, killed where a job takes too long, started again."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from grcsf.errors import ModelError
from grcsf.serve.jobs import Job, JobStore
from grcsf.serve.schemas import ModelView, Result
from grcsf.serve.settings import ServeSettings

__all__ = ["COMMAND", "WorkerDied", "WorkerPool", "path_of_file"]

logger = logging.getLogger("grcsf.serve")

COMMAND = (sys.executable, "-m", "grcsf.serve.worker")
"""What starts a worker."""

_LONGEST_LINE = 16 << 20
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PAUSE_S = 2.0


def path_of_file(job: str, name: str) -> str:
    """Where a file of a job can be fetched.

    >>> path_of_file("ID", "mask"), path_of_file("ID", "residual-r50"), path_of_file("ID", "view-mask")
    ('/jobs/ID/mask', '/jobs/ID/maps/residual-r50', '/jobs/ID/view/mask')
    """
    if name.startswith("view-"):
        return f"/jobs/{job}/view/{name.removeprefix('view-')}"
    return f"/jobs/{job}/{name}" if name in ("mask", "probability", "image") else f"/jobs/{job}/maps/{name}"


class WorkerDied(Exception):
    """A worker that ended, or said something that is no answer."""


class _Process:
    """One worker process and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, command: Sequence[str], folder: Path, workers: int) -> _Process:
        source = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        threads = dict.fromkeys(_THREADS, str(max(1, (os.cpu_count() or 1) // workers)))
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **threads, **os.environ, "PYTHONPATH": path}
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=folder,
            env=environment,
            limit=_LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for the server, which then ends its workers
        )
        return cls(process)

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a line and wait for the answer.

        Raises:
            WorkerDied: there is none.
        """
        if self.process.stdin is None or self.process.stdout is None:
            raise WorkerDied
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            await self.process.stdin.drain()
            answer = json.loads(await self.process.stdout.readline())
        except (OSError, ValueError) as error:
            raise WorkerDied from error
        if not isinstance(answer, dict):
            raise WorkerDied
        return answer

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()

    async def end(self) -> None:
        """Kill it and wait until it is gone; its pipes are read to their ends, which closes them."""
        self.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
            with suppress(OSError):
                await self.process.stdin.wait_closed()
        await self.process.communicate()


class WorkerPool:
    """Workers that take the jobs of a store, one each at a time.

    Args:
        store: of the jobs.
        model: first message to each worker: ``models``, ``folds`` and ``device``.
        settings: number of workers, and their limits of time.
        command: what starts a worker.
    """

    def __init__(
        self, store: JobStore, model: dict[str, Any], settings: ServeSettings, command: Sequence[str] = COMMAND
    ) -> None:
        self.store, self.model, self.settings, self.command = store, model, settings, tuple(command)
        self.view: ModelView | None = None
        self._processes: dict[int, _Process] = {}
        self._busy: dict[str, _Process] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Condition()

    @property
    def alive(self) -> int:
        """Workers that are ready or busy."""
        return sum(process.alive for process in self._processes.values())

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers."""
        return [process.process.pid for process in self._processes.values() if process.alive]

    async def start(self) -> None:
        """Start all workers and wait until they have loaded the model.

        Raises:
            ModelError: the model cannot be loaded; what the worker said.
        """
        try:
            await asyncio.gather(*(self._start_one(index) for index in range(self.settings.workers)))
        except BaseException:
            await self.stop()
            raise
        self._tasks = [asyncio.create_task(self._work(index)) for index in range(self.settings.workers)]

    async def stop(self) -> None:
        """End all workers; jobs that run are lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await asyncio.gather(*(process.end() for process in self._processes.values()))
        self._processes.clear()

    def kill_all(self) -> None:
        """End all workers without waiting, where no event loop is left to wait with."""
        for process in self._processes.values():
            process.kill()

    async def notify(self) -> None:
        """Tell the workers that a job waits."""
        async with self._wake:
            self._wake.notify()

    def cancel(self, job: Job) -> None:
        """Kill the worker that runs a job, if one does."""
        if job.id in self._busy:
            self._busy[job.id].kill()

    async def _start_one(self, index: int) -> _Process:
        process = await _Process.start(self.command, self.store.folder, self.settings.workers)
        self._processes[index] = process
        try:
            answer = await asyncio.wait_for(process.ask(self.model), self.settings.start_timeout_s)
        except (WorkerDied, TimeoutError) as error:
            await process.end()
            reason = "took too long" if isinstance(error, TimeoutError) else "ended; most often memory ran out"
            raise ModelError(f"the worker that loads the model {reason}") from None
        if "ready" not in answer:
            await process.end()
            raise ModelError(str(answer.get("failed")))
        self.view = ModelView.model_validate(answer["ready"])
        return process

    async def _work(self, index: int) -> None:
        while True:
            if not await self._ready(index):
                continue
            async with self._wake:
                await self._wake.wait_for(lambda: bool(self.store.waiting))
                job = self.store.next()
            if job is not None:
                await self._run(self._processes[index], job)

    async def _ready(self, index: int) -> bool:
        """Whether the worker is there, started again if need be; while it cannot be, jobs that wait fail."""
        if self._processes[index].alive:
            return True
        try:
            await self._start_one(index)
        except ModelError as error:
            logger.error("a worker cannot be started again: %s", error)
            job = self.store.next()
            if job is not None:
                self.store.fail(job, "the model cannot be loaded any more; ask the keeper of the server")
            await asyncio.sleep(_PAUSE_S)
            return False
        return True

    async def _run(self, process: _Process, job: Job) -> None:
        self._busy[job.id] = process
        try:
            answer = await asyncio.wait_for(process.ask(self._message(job)), self.settings.job_timeout_s)
            self._settle(job, answer)
            return
        except TimeoutError:
            error = f"took longer than {self.settings.job_timeout_s:g} s and was ended"
        except WorkerDied:
            error = "the process that predicted it died; most often memory ran out"
        finally:
            del self._busy[job.id]
        await process.end()
        self.store.fail(job, error)

    def _settle(self, job: Job, answer: dict[str, Any]) -> None:
        """Take over what a worker found.

        Raises:
            WorkerDied: an answer that is none.
        """
        if "failed" in answer:
            self.store.fail(job, str(answer["failed"]))
            return
        try:
            done = answer["done"]
            files = {str(name): job.folder / "out" / str(file) for name, file in done["files"].items()}
            links = {name: path_of_file(job.id, name) for name in files}
            result = Result.model_validate({**done["result"], "files": links})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise WorkerDied from error
        self.store.finish(job, result, files)

    def _message(self, job: Job) -> dict[str, Any]:
        return {
            "images": [str(path) for path in job.images],
            "folder": str(job.folder),
            "threshold": job.options.threshold,
            "spacing_mm": job.options.spacing,
            "explain": job.options.explain,
            "max_voxels": self.settings.max_voxels,
            "max_bytes": self.settings.max_unpacked_bytes,
        }
