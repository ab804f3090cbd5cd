"""The queue: every run once, one after another, whatever dies in between; several queues may share a folder.

State is in files only. A step's record says ``done`` after its process ended well, a run's ``result.json`` comes last,
and a folder is worked on by the holder of its lock, which the operating system takes back from the dead.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from grcsf.benchmark.process import run_step
from grcsf.benchmark.spec import Benchmark, Cell
from grcsf.benchmark.units import Unit, refuse_other_claims, run_unit
from grcsf.errors import GrcsfError, OutputError
from grcsf.io.files import read_json, write_json
from grcsf.io.locks import folder_lock

__all__ = ["RESULT_FILE", "run_queue", "state_of"]

RESULT_FILE = "result.json"
_WAIT_SECONDS = 0.5
_SAID = (
    "seconds",
    "cpu_seconds",
    "peak_memory_mb",
    "multiply_adds",
    "parameters",
    "prediction_seconds",
    "prediction_memory_mb",
    "steps",
    "forward_multiply_adds",
)
"""What is taken from the ``run.json`` of an outside entry."""
State = Literal["done", "failed", "started", "waiting"]
logger = logging.getLogger("grcsf")


def state_of(folder: Path) -> tuple[State, str]:
    """State of a run's folder, and the message of the step that failed."""
    if (folder / RESULT_FILE).is_file():
        return "done", ""
    if (folder / "failed.json").is_file():
        return "failed", str(read_json(folder / "failed.json", OutputError).get("message"))
    return ("started" if (folder / "job.json").is_file() else "waiting"), ""


def run_queue(
    spec: Benchmark, cells: Sequence[Cell], out: Path, data_root: Path, say: Callable[[str], None] | None = None
) -> dict[str, str]:
    """Do every run that is not done; one that fails does not stop the others and is tried again at the next call.

    Args:
        spec: the benchmark.
        cells: runs, in order.
        out: folder of everything.
        data_root: where relative paths of data sets start.
        say: told of each run as it starts and ends.

    Returns:
        Message of each run that failed, by id.

    Raises:
        OutputError: the folder of a run, or of a stage that it stands on, holds what was made in another way.
        DatasetError: a data set without ``splits_final.json``.
        SettingsError: settings that do not fit.
    """
    units = [(cell, run_unit(spec, cell, out, data_root)) for cell in cells]
    refuse_other_claims(part for _, unit in units for part in unit.chain())
    queue = _Queue(spec, out, say or logger.info)
    todo, total = units, len(units)
    while todo:
        busy = [(cell, unit) for cell, unit in todo if not queue.attempt(cell, unit, total)]
        if len(busy) == len(todo):
            time.sleep(_WAIT_SECONDS)  # another queue, or a step that outlived its queue, is at work
        todo = busy
    return queue.failed


class _Queue:
    def __init__(self, spec: Benchmark, out: Path, say: Callable[[str], None]) -> None:
        self.spec, self.out, self.say = spec, out, say
        self.failed: dict[str, str] = {}
        self._broken: dict[str, str] = {}
        self._met: set[str] = set()

    def attempt(self, cell: Cell, unit: Unit, total: int) -> bool:
        """Do a run, unless it is done or another process is at it; whether it is settled."""
        self._met.add(unit.id)
        if (unit.folder / RESULT_FILE).is_file():
            return True
        with folder_lock(unit.folder) as lock:
            if lock is None:
                return False
            if (unit.folder / RESULT_FILE).is_file():
                return True
            self.say(f"[{len(self._met)}/{total}] {unit.id}")
            message = self._do_chain(unit, lock)
            if message is None:
                message = self._conclude(cell, unit)
            if message is not None:
                self.failed[unit.id] = self._broken[unit.id] = message
                write_json(unit.folder / "failed.json", {"message": message})
                self.say(f"    failed: {message}")
        return True

    def _do_chain(self, unit: Unit, lock: int) -> str | None:
        for shared in list(unit.chain())[:-1]:
            message = self._broken.get(shared.id) or self._do_shared(shared)
            if message is not None:
                self._broken[shared.id] = message
                return f"{shared.id}: {message}" if not message.startswith(shared.id) else message
        return self._do(unit, lock, unit.steps)

    def _do_shared(self, unit: Unit) -> str | None:
        """Do a unit that others stand on; of a run whose scores are there already only what makes its model."""
        steps = unit.steps[:1] if (unit.folder / RESULT_FILE).is_file() else unit.steps
        while not unit.is_done(steps):
            with folder_lock(unit.folder) as lock:
                if lock is not None:
                    return self._do(unit, lock, steps)
            time.sleep(_WAIT_SECONDS)
        return None

    def _do(self, unit: Unit, lock: int, steps: Sequence[str]) -> str | None:
        """Do those of the steps that are not done; the message of the one that failed."""
        (unit.folder / "failed.json").unlink(missing_ok=True)
        write_json(unit.folder / "job.json", {"job": unit.job, "claim": unit.claim})
        for step in steps:
            files = unit.files(step)
            if files.read().get("status") == "done":
                continue
            record = run_step(files, unit.command_of(step), cores=self.spec.cores, lock=lock)
            self.say(f"    {step}: {record['status']} in {record['wall_seconds']:.0f} s")
            if record["status"] != "done":
                if step == "score":
                    _repeat_command(unit)
                return f"{step}: {record['message']}"
        return None

    def _conclude(self, cell: Cell, unit: Unit) -> str | None:
        """Write ``result.json``: what the tables need besides the scores."""
        steps = {step: part.files(step).read() for part in unit.chain() for step in part.steps}
        result: dict[str, Any] = {"id": unit.id, "run": asdict(cell), "steps": steps}
        try:
            result["budget"] = self._budget(unit)
            result["training"] = _training_record(unit)
        except GrcsfError as error:
            return str(error)
        write_json(unit.folder / RESULT_FILE, result)
        return None

    def _budget(self, unit: Unit) -> dict[str, Any]:
        """Steps, multiply-adds and parameters of a run; of an outside one, what its command said of itself."""
        given = unit.job.get("budget")
        if isinstance(given, str):
            found = read_json(Path(given), OutputError)
        else:
            said: dict[str, Any] = {}
            for part in unit.chain():  # of a transfer: what its training said, then what its prediction says
                path = part.folder / "run.json"
                found = read_json(path, OutputError) if path.is_file() else {}
                said |= found if isinstance(found, dict) else {}
            found = {key: said.get(key) for key in _SAID}
            found["training_multiply_adds"] = found.pop("multiply_adds", None)
        return dict(found)


def _repeat_command(unit: Unit) -> None:
    """Have the next call make the masks of an outside entry again, though its command ended well."""
    for files in (unit.files(step) for step in unit.steps if unit.is_outside(step)):
        write_json(files.record, {**files.read(), "status": "failed", "message": "its masks were not scored"})


def _training_record(unit: Unit) -> dict[str, Any]:
    """What a run of the package says of its training: precision, versions, commit; empty for an outside entry."""
    for part in reversed(list(unit.chain())):
        path = part.folder / "train" / "run.json"
        if path.is_file():
            found = read_json(path, OutputError)
            return {key: found.get(key) for key in ("precision", "versions", "git_commit", "platform")}
    return {}
