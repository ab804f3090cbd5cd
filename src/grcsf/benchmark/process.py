"""Run one step in a fresh process: on its cores, its output in a log, its time and memory written down."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grcsf.errors import OutputError
from grcsf.io.files import make_folder, read_json, write_json

__all__ = ["StepFiles", "run_step"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS", "NUMEXPR_MAX_THREADS")
_LOG_TAIL = 4000


@dataclass(frozen=True)
class StepFiles:
    """Where a step writes down how it went: ``steps/NAME.json`` and ``steps/NAME.log`` in its unit's folder."""

    folder: Path
    name: str

    @property
    def record(self) -> Path:
        """The JSON file; ``status`` is ``started``, ``done`` or ``failed``."""
        return self.folder / "steps" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """Everything the step wrote to the terminal."""
        return self.folder / "steps" / f"{self.name}.log"

    def read(self) -> dict[str, Any]:
        """The record; empty where the step was never started."""
        if not self.record.is_file():
            return {}
        found = read_json(self.record, OutputError)
        return found if isinstance(found, dict) else {}


def run_step(files: StepFiles, command: Sequence[str], *, cores: int, lock: int | None = None) -> dict[str, Any]:
    """Run a command to its end and write its record: status, wall and CPU seconds, peak memory, message.

    The system counts the memory of the process that starts the step as its first memory, so the peak is never below
    that of the queue itself (about 170 MB from the command line; more where a notebook has loaded torch).
    Wall and CPU seconds of a step that was interrupted and resumed are those of its last part; ``attempts`` says so.

    Args:
        files: of the step.
        command: program and arguments; no shell.
        cores: threads it may use.
        lock: descriptor that the command holds on to.

    Returns:
        The record, ``status`` being ``done`` or ``failed``.
    """
    make_folder(files.record.parent)
    attempts = int(files.read().get("attempts", 0)) + 1
    write_json(files.record, {"status": "started", "attempts": attempts})
    started = time.perf_counter()
    with files.log.open("wb") as log:
        try:
            code, usage = _wait(_start(command, cores, lock, log))
        except OSError as error:
            code, usage = 127, {}
            log.write(f"error: {command[0]}: cannot be started ({error.strerror or error})\n".encode())
    record = {
        "status": "done" if code == 0 else "failed",
        "attempts": attempts,
        "exit_code": code,
        "wall_seconds": round(time.perf_counter() - started, 3),
        "cpu_seconds": usage.get("cpu_seconds"),
        "peak_memory_mb": usage.get("peak_memory_mb"),
        "message": None if code == 0 else _last_words(files.log, code),
    }
    write_json(files.record, record)
    return record


def _start(command: Sequence[str], cores: int, lock: int | None, log: Any) -> subprocess.Popen[bytes]:
    threads = dict.fromkeys(_THREADS, str(cores))
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, **threads, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path}
    kept: dict[str, Any] = {"pass_fds": (lock,)} if lock is not None and os.name != "nt" else {}
    return subprocess.Popen(
        list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, **kept
    )


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, dict[str, float]]:
    """Exit code and usage; on Ctrl-C, which the child gets as well, first let it save its state."""
    try:
        return _reap(process)
    except KeyboardInterrupt:
        if process.returncode is None:
            _reap(process)
        raise


def _reap(process: subprocess.Popen[bytes]) -> tuple[int, dict[str, float]]:
    if not hasattr(os, "wait4"):  # pragma: no cover  Windows
        return process.wait(), {}
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    mb = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    seconds = round(usage.ru_utime + usage.ru_stime, 3)
    return process.returncode, {"cpu_seconds": seconds, "peak_memory_mb": round(mb, 1)}


def _last_words(log: Path, code: int) -> str:
    """The error line of a log, else its last line."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace")[-_LOG_TAIL:].splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = errors or lines[-1:] or ["it said nothing"]
    return f"exit code {code}: {said[-1]}"
