"""One step of the queue in a process of its own: ``python -m grcsf.benchmark.worker STEP FOLDER``.

The folder holds ``job.json``. Exit code 0: done; 1: failed, with ``error: MESSAGE`` as the last line. A worker ends
itself when the queue that started it has died, so that nothing goes on unseen; every step can be resumed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from grcsf.config import Settings, load_settings
from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.sources.registry import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.errors import DatasetError, GrcsfError, OutputError
from grcsf.io.files import read_json, write_json
from grcsf.io.memory import enough_memory, keep_freed_memory

__all__ = ["STEPS", "main"]

Job = Mapping[str, Any]


def _phantoms(job: Job) -> None:
    from grcsf.benchmark.spec import PhantomData
    from grcsf.benchmark.units import PHANTOM_FOLDER
    from grcsf.phantoms.brain import PhantomSettings, write_phantoms

    wanted = PhantomData.model_validate(job["phantoms"])
    values = {**wanted.model_dump(exclude={"held_out"}), "subjects": wanted.subjects + wanted.held_out}
    folder = Path(job["output"]) / PHANTOM_FOLDER
    names = list(write_phantoms(folder, PhantomSettings.model_validate(values), overwrite=True).case_names)
    write_json(folder / "splits_final.json", [{"train": names[: wanted.subjects], "val": names[wanted.subjects :]}])


def _preprocess(job: Job) -> None:
    from grcsf.verbs.preprocess import preprocess

    preprocess(
        job["dataset"],
        Path(job["output"]) / "store",
        fold=job["fold"],
        settings=_settings(job, budget=False),
        resume=True,
    )


def _budget(job: Job) -> None:
    from grcsf.benchmark.budget import budget_of, count_costs, with_equal_parameters
    from grcsf.benchmark.spec import BudgetRule
    from grcsf.preprocess.store import CaseStore

    settings, store = _settings(job, budget=False), CaseStore(Path(job["preprocessed"]))
    cases = get_fold(read_dataset(Path(job["dataset"])), job["fold"]).train
    if job["reference"] is not None:
        other = Settings.model_validate(job["reference"])
        settings = with_equal_parameters(settings, store.plan, count_costs(other, store.plan, store, ()).parameters)
    costs = count_costs(settings, store.plan, store, cases)
    rule = BudgetRule.model_validate(job["rule"])
    write_json(Path(job["output"]) / "budget.json", budget_of(rule, job["times"], settings, costs))


def _pretrain(job: Job) -> None:
    from grcsf.verbs.pretrain import pretrain

    pretrain(
        job["preprocessed"],
        job["dataset"],
        Path(job["output"]) / "model",
        fold=job["fold"],
        unlabelled=[_unlabelled(job, Path(folder)) for folder in job.get("unlabelled", ())],
        settings=_settings(job, budget=False),
        device=job["device"],
        resume=True,
    )


def _unlabelled(job: Job, folder: Path) -> Dataset:
    """A further data set without the subjects that the fold validates on."""
    data, found = read_dataset(Path(job["dataset"])), read_dataset(folder)
    held_out = data.groups(get_fold(data, job["fold"]).val)
    cases = tuple(case for case in found.cases if case.group not in held_out)
    if not cases:
        raise DatasetError(f"{folder.name}: no case of a subject outside the validation part of fold {job['fold']}")
    return replace(found, cases=cases)


def _maps(job: Job) -> None:
    from grcsf.verbs.residual import residual

    cache = Path(job["output"]) / "cache"
    residual(
        job["preprocessed"],
        job["dataset"],
        job["mae"],
        cache,
        fold=job["fold"],
        settings=_settings(job, budget=False),
        device=job["device"],
        part="train",
    )


def _train(job: Job) -> None:
    from grcsf.verbs.train import train

    train(
        job["preprocessed"],
        job["dataset"],
        Path(job["output"]) / "train",
        mae=job.get("mae"),
        cache=job.get("maps"),
        fold=job["fold"],
        settings=_settings(job),
        device=job["device"],
        resume=True,
    )


def _predict(job: Job) -> None:
    from grcsf.verbs.predict import predict

    data = read_dataset(Path(job["dataset"]))
    out = Path(job["output"])
    failed = predict(
        _cases(job),
        Path(job.get("model", out / "train")),
        out / "validation",
        settings=_settings(job).inference,
        device=job["device"],
        spacing_mm=data.spacing_mm,
        resume=True,
    )
    if failed:
        name, message = next(iter(failed.items()))
        raise DatasetError(f"{len(failed)} validation cases could not be predicted ({name}: {message})")


def _list_cases(job: Job) -> None:
    """For an outside method: names of the cases of a transfer."""
    write_json(Path(job["output"]) / "cases.json", [case.name for case in _cases(job)])


def _score(job: Job) -> None:
    from grcsf.verbs.evaluate import evaluate

    out, cases = Path(job["output"]), _cases(job)
    data, names = read_dataset(Path(job["dataset"])), [case.name for case in cases]
    summary = evaluate(
        data,
        out / "validation",
        out / "scores",
        cases=names,
        images=data,
        settings=_settings(job, budget=False),
        overwrite=True,
    )
    if summary.failed:
        name, message = next(iter(summary.failed.items()))
        raise DatasetError(
            f"{len(summary.failed)} of {len(names)} masks could not be scored ({name}: {message}); every validation "
            "case needs one, or the means would leave cases out"
        )
    write_json(out / "scores" / "subjects.json", {case.name: case.group for case in cases})


STEPS: Mapping[str, Callable[[Job], None]] = MappingProxyType(
    {
        "phantoms": _phantoms,
        "preprocess": _preprocess,
        "budget": _budget,
        "pretrain": _pretrain,
        "maps": _maps,
        "train": _train,
        "predict": _predict,
        "cases": _list_cases,
        "score": _score,
    }
)
"""Name of a step -> what it does with a job."""


def _settings(job: Job, *, budget: bool = True) -> Settings:
    """Settings of the job, with the steps and widths that its budget gave."""
    settings = Settings.model_validate(job["settings"])
    if not budget:
        return settings
    given = read_json(Path(job["budget"]), OutputError)
    pairs = [f"training.steps={given['steps']}", f"network.features={given['features']}"]
    return load_settings(None, pairs, base=settings)


def _cases(job: Job) -> list[Case]:
    """Validation cases of the fold that have a reference mask; of a transfer, the cases of the same subjects."""
    data = read_dataset(Path(job["dataset"]))
    if "trained_on" in job:
        source = read_dataset(Path(job["trained_on"]))
        fold = get_fold(source, job["fold"])
        held_out = source.groups(fold.val) - source.groups(fold.train)
        cases = [case for case in data.cases if case.group in held_out]
        if not any(case.label is not None for case in cases):
            raise DatasetError(
                f"{data.root.name}: no labelled case of a subject in the validation part of fold {job['fold']} of "
                f"{source.root.name}; subjects are told by their groups, so both need the same names"
            )
    else:
        cases = [data.case(name) for name in get_fold(data, job["fold"]).val]
    return [case for case in cases if case.label is not None]


def _end_with_parent() -> None:
    """Watch, in a thread, for the death of the process that started this one, and end then as if killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Do one step; the exit code."""
    _end_with_parent()
    keep_freed_memory()
    step, folder = arguments
    try:
        job = read_json(Path(folder) / "job.json", OutputError)["job"]
        with enough_memory("lower batch_size or the patch size"):
            STEPS[step](job)
    except GrcsfError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
