"""The jobs of a server: who waits, who runs, what is held and for how long. Nothing here computes or waits."""

from __future__ import annotations

import secrets
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grcsf.serve.problems import Problem
from grcsf.serve.schemas import JobOptions, JobView, Result, State
from grcsf.serve.settings import ServeSettings

__all__ = ["Job", "JobStore"]

_REMEMBERED = 10_000
"""Expired jobs whose names are kept, so that a client that comes late is told what happened."""


@dataclass(eq=False)
class Job:
    """One upload and what became of it.

    Attributes:
        id: its name, which nobody can guess.
        folder: its files; removed with it.
        options: what was asked.
        images: uploaded files, in the order of the channels.
        state: where it is.
        error: why it failed.
        result: what was found.
        files: what can be fetched: name to path.
        deadline: when it is forgotten, in the seconds of the store's clock; none while it is not finished.
    """

    id: str
    folder: Path
    options: JobOptions = field(default_factory=JobOptions)
    images: list[Path] = field(default_factory=list)
    state: State = "queued"
    error: str | None = None
    result: Result | None = None
    files: dict[str, Path] = field(default_factory=dict)
    deadline: float | None = None


class JobStore:
    """All jobs that are held.

    Args:
        folder: private to the server; each job gets a folder in it.
        settings: the limits.
        clock: seconds that never go back.
    """

    def __init__(self, folder: Path, settings: ServeSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self.settings, self.clock = folder, settings, clock
        self.jobs: dict[str, Job] = {}
        self.waiting: list[Job] = []
        self.arriving = 0
        self._expired: OrderedDict[str, None] = OrderedDict()
        self._seconds = 30.0

    def admit(self) -> Job:
        """Room for a job whose upload is about to begin; it must be given to :meth:`enqueue` or :meth:`drop`.

        Raises:
            Problem: 429, the queue or the store is full; 507, the disk is.
        """
        if self.arriving + len(self.waiting) >= self.settings.queue:
            workers = self.settings.workers
            seconds = min(600, max(1, round(self._seconds * (1 + len(self.waiting)) / workers / 2)))
            raise Problem(429, "the queue is full; try again later", {"Retry-After": str(seconds)})
        if len(self.jobs) >= self.settings.max_jobs:
            deadlines = [job.deadline for job in self.jobs.values() if job.deadline is not None]
            seconds = max(1, round(min(deadlines) - self.clock()) + 1) if deadlines else 30
            detail = "too many results are held; fetch and delete some of yours, or try again later"
            raise Problem(429, detail, {"Retry-After": str(seconds)})
        if shutil.disk_usage(self.folder).free < self.settings.max_upload_bytes + self.settings.max_unpacked_bytes:
            raise Problem(507, "the server has too little free disk; ask its keeper", {"Retry-After": "300"})
        name = secrets.token_urlsafe(24)
        job = Job(name, self.folder / f"job-{secrets.token_hex(8)}")
        (job.folder / "in").mkdir(parents=True)
        (job.folder / "out").mkdir()
        self.jobs[name] = job
        self.arriving += 1
        return job

    def enqueue(self, job: Job) -> None:
        """The upload is complete and good: the job waits for a worker."""
        self.arriving -= 1
        self.waiting.append(job)

    def drop(self, job: Job) -> None:
        """The upload was refused or broken off: nothing remains."""
        self.arriving -= 1
        del self.jobs[job.id]
        self.remove_files(job)

    def next(self) -> Job | None:
        """The job whose turn it is, now running; none if nobody waits."""
        if not self.waiting:
            return None
        job = self.waiting.pop(0)
        job.state = "running"
        return job

    def finish(self, job: Job, result: Result, files: dict[str, Path]) -> None:
        """It is done; what was uploaded is removed at once, the result later."""
        job.state, job.result, job.files = "done", result, files
        job.deadline = self.clock() + self.settings.expire_s
        self._seconds = 0.7 * self._seconds + 0.3 * result.seconds
        shutil.rmtree(job.folder / "in", ignore_errors=True)

    def fail(self, job: Job, error: str) -> None:
        """It failed; all its files are removed."""
        job.state, job.error = "failed", error
        job.deadline = self.clock() + self.settings.expire_s
        self.remove_files(job)

    def fetched(self, job: Job) -> None:
        """Its mask was fetched: from now on it is held for a shorter time."""
        if job.deadline is not None:
            job.deadline = min(job.deadline, self.clock() + self.settings.fetched_expire_s)

    def forget(self, job: Job) -> None:
        """Remove a job and all its files."""
        self.jobs.pop(job.id, None)
        if job in self.waiting:
            self.waiting.remove(job)
        self.remove_files(job)

    def expire(self) -> None:
        """Remove the jobs whose time has come."""
        now = self.clock()
        for job in [job for job in self.jobs.values() if job.deadline is not None and job.deadline <= now]:
            job.state = "expired"
            self.forget(job)
            self._expired[job.id] = None
        while len(self._expired) > _REMEMBERED:
            self._expired.popitem(last=False)

    def view(self, name: str) -> JobView:
        """State of a job.

        Raises:
            Problem: 404, no such job.
        """
        if name in self._expired:
            return JobView(id=name, state="expired", position=None, error=None, result=None)
        job = self.find(name)
        return JobView(
            id=name, state=job.state, position=self.position(job) or None, error=job.error, result=job.result
        )

    def find(self, name: str) -> Job:
        """A job that is held.

        Raises:
            Problem: 410, it has expired; 404, there never was one, or it was deleted.
        """
        if name in self._expired:
            raise Problem(410, "the job has expired and its files are removed; upload the scan again")
        job = self.jobs.get(name)
        if job is None:
            raise Problem(404, "there is no such job; it may have been deleted")
        return job

    def file(self, name: str, which: str) -> tuple[Job, Path]:
        """A file of a job that is done.

        Raises:
            Problem: as :meth:`find`; 409, it is not done; 404, it has no such file.
        """
        job = self.find(name)
        if job.state != "done":
            raise Problem(409, f"the job is {job.state}; its files can be fetched when it is done")
        if which not in job.files:
            raise Problem(404, "the job has no such file; its result lists those that it has")
        return job, job.files[which]

    def position(self, job: Job) -> int:
        """Place in the queue, 1 is next; 0 if it does not wait."""
        return self.waiting.index(job) + 1 if job in self.waiting else 0

    @property
    def running(self) -> int:
        """Jobs that run."""
        return sum(job.state == "running" for job in self.jobs.values())

    @staticmethod
    def remove_files(job: Job) -> None:
        """Remove the folder of a job."""
        shutil.rmtree(job.folder, ignore_errors=True)

    def facts(self) -> dict[str, Any]:
        """Numbers for the state of health."""
        return {"queued": len(self.waiting), "running": self.running}
