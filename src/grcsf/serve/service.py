"""The parts of a running server together: private folder, jobs, workers, and the removal of what has expired."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Self

from starlette.requests import Request

from grcsf.errors import GrcsfError
from grcsf.serve.folders import private_folder
from grcsf.serve.jobs import Job, JobStore
from grcsf.serve.pool import COMMAND, WorkerPool
from grcsf.serve.schemas import JobOptions, ModelView
from grcsf.serve.settings import ServeSettings
from grcsf.serve.uploads import receive, sort_images, with_fields

__all__ = ["Service"]

logger = logging.getLogger("grcsf.serve")

_SWEEP_S = 0.5
_CHECKS = 2


class Service:
    """Context manager of a server: everything starts with it and is removed with it.

    Args:
        model: ``models``, ``folds`` and ``device``, see :class:`grcsf.serve.tasks.Worker`.
        settings: the limits.
        command: what starts a worker.
        started: called with the service when it is ready.
    """

    def __init__(
        self,
        model: dict[str, Any],
        settings: ServeSettings,
        *,
        command: Sequence[str] = COMMAND,
        started: Callable[[Service], None] | None = None,
    ) -> None:
        self.model, self.settings, self.command, self.started = model, settings, command, started
        self.failure: GrcsfError | None = None
        self.folder: Path | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Make the folder, start the workers and wait for them.

        Raises:
            GrcsfError: a model that cannot be loaded, or a folder that cannot be made.
        """
        async with AsyncExitStack() as stack:
            try:
                self.folder = stack.enter_context(private_folder(self.settings.folder))
                self.store = JobStore(self.folder, self.settings)
                self.pool = WorkerPool(self.store, self.model, self.settings, self.command)
                await self.pool.start()
            except GrcsfError as error:
                self.failure = error
                raise
            stack.push_async_callback(self.pool.stop)
            self._checking = asyncio.Semaphore(_CHECKS)
            sweeper = asyncio.create_task(self._sweep())
            stack.push_async_callback(self._end_sweep, sweeper)
            self._stack = stack.pop_all()
        if self.started is not None:
            self.started(self)
        return self

    async def __aexit__(self, *error: object) -> None:
        """End the workers and remove all files."""
        await self._stack.aclose()

    def abandon(self) -> None:
        """Kill the workers and remove all files, where the event loop ended before it could."""
        if self.folder is not None and self.folder.exists():
            if hasattr(self, "pool"):
                self.pool.kill_all()
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def view(self) -> ModelView:
        """The model."""
        if self.pool.view is None:  # pragma: no cover  start() waits for it
            raise RuntimeError("not started")
        return self.pool.view

    async def take(self, request: Request, options: JobOptions) -> Job:
        """Take an upload as a job.

        Raises:
            Problem: it is refused; nothing of it remains.
            ClientDisconnect: the client went away; nothing remains either.
        """
        job = self.store.admit()
        try:
            arrived, _ = await receive(request, job.folder / "in", self.settings)
            job.options = with_fields(options, arrived.fields)
            async with self._checking:
                job.images = await asyncio.to_thread(
                    sort_images, arrived, job.options, self.view.channels, self.settings
                )
        except BaseException:
            self.store.drop(job)
            raise
        self.store.enqueue(job)
        await self.pool.notify()
        return job

    def delete(self, name: str) -> None:
        """Remove a job and its files; one that runs is ended.

        Raises:
            Problem: 404 or 410, there is no such job.
        """
        job = self.store.find(name)
        self.pool.cancel(job)
        self.store.forget(job)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.store.expire()

    @staticmethod
    async def _end_sweep(task: asyncio.Task[None]) -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
