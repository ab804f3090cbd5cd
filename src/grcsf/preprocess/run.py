"""Preprocess a data set: fingerprint, plan, then every case, resumable."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from grcsf.config import Settings
from grcsf.datasets.dataset import Case, Dataset
from grcsf.errors import DatasetError, GrcsfError, OutputError
from grcsf.io.files import ensure_new, make_folder, mark_files, read_json, same_files, write_json
from grcsf.io.progress import track
from grcsf.io.record import RunRecord
from grcsf.io.volume import files_of, read_volume
from grcsf.preprocess.fingerprint import Fingerprint, make_fingerprint
from grcsf.preprocess.forward import preprocess_case, preprocess_label
from grcsf.preprocess.parallel import map_cases
from grcsf.preprocess.plan import Plan, make_plan
from grcsf.preprocess.store import CaseStore

__all__ = ["preprocess_dataset", "preprocess_unlabelled"]

log = logging.getLogger(__name__)


def preprocess_dataset(  # noqa: PLR0917
    dataset: Dataset,
    settings: Settings,
    out: Path,
    resume: bool = False,
    overwrite: bool = False,
    fingerprint_cases: Sequence[str] | None = None,
) -> CaseStore:
    """Make ``out/{fingerprint.json, plan.json, cases/, run.json}`` from the cases of a data set (not its test cases).

    Args:
        dataset: what to preprocess.
        settings: ``preprocess`` and ``workers`` are used.
        out: folder of the store.
        resume: go on with a store that stopped half-way; complete cases are skipped.
        overwrite: replace a store that is there.
        fingerprint_cases: the only cases the plan may learn from, such as the training cases of a fold; none: all.

    Returns:
        The store with every case in it.

    Raises:
        DatasetError: some cases cannot be used; all are named, and the others are kept for ``resume``.
        OutputError: ``out`` exists, or was made with other settings or from other files and is to be resumed.
        SettingsError: settings that do not fit the data.
    """
    ensure_new(out, overwrite, resume)
    make_folder(out)
    if overwrite and not resume:
        _clear(out)
    inputs = [path for path in (dataset.root / "dataset.json",) if path.is_file()]
    dumped = settings.model_dump(mode="json")
    with RunRecord(out, verb="preprocess", settings=dumped, inputs=inputs, seed=settings.seed, device="cpu") as record:
        names = tuple(fingerprint_cases) if fingerprint_cases is not None else tuple(c.name for c in dataset.cases)
        plan = _plan(dataset, settings, out, names)
        store = CaseStore.create(out, plan)
        todo = [case for case in dataset.cases if case.name not in store]
        skipped = len(dataset.cases) - len(todo)
        _refuse_changed(store, [case for case in dataset.cases if case.name in store])
        if skipped:
            log.info("%s: %d cases are complete already", dataset.name, skipped)
        failed = _preprocess_cases(store, todo, dataset.spacing_mm, settings.workers)
        record.add("cases", len(store.names))
        record.add("skipped", skipped)
        record.add("failed", sorted(failed))
        record.add("plan_hash", plan.content_hash())
        if failed:
            reasons = "\n".join(f"  {name}: {message}" for name, message in sorted(failed.items()))
            raise DatasetError(
                f"{dataset.name}: {len(failed)} of {len(dataset.cases)} cases cannot be preprocessed:\n{reasons}\n"
                "mend or remove them, then run again with --resume"
            )
    return store


def preprocess_unlabelled(
    cases: Sequence[Case], plan: Plan, out: Path, spacing_mm: tuple[float, ...] | None = None, workers: int = 0
) -> CaseStore:
    """Preprocess further scans under a plan that exists; complete cases are kept.

    Args:
        cases: scans with the channels of the plan; labels are not read.
        plan: of the data set they join.
        out: folder of their store.
        spacing_mm: pixel spacing of PNG images.
        workers: processes.

    Raises:
        DatasetError: scans that cannot be used; all are named.
    """
    store = CaseStore.create(out, plan)
    images = [replace(case, label=None) for case in cases]
    _refuse_changed(store, [case for case in images if case.name in store])
    todo = [case for case in images if case.name not in store]
    failed = _preprocess_cases(store, todo, spacing_mm, workers)
    if failed:
        reasons = "\n".join(f"  {name}: {message}" for name, message in sorted(failed.items()))
        raise DatasetError(f"{len(failed)} of {len(cases)} unlabelled scans cannot be preprocessed:\n{reasons}")
    return store


def _plan(dataset: Dataset, settings: Settings, out: Path, names: tuple[str, ...]) -> Plan:
    """A new plan, or the one in ``out`` if the same settings and cases made it."""
    path = out / "fingerprint.json"
    if not path.is_file() or not (out / "plan.json").is_file():
        fingerprint = make_fingerprint(dataset, names, settings.workers)
        plan = make_plan(fingerprint, settings.preprocess, dataset)
        write_json(path, fingerprint.model_dump(mode="json"))
        return plan
    try:
        fingerprint = Fingerprint.model_validate(read_json(path, OutputError))
    except ValueError as error:
        raise OutputError(f"{path}: not a fingerprint ({error}); preprocess again with --overwrite") from None
    plan = make_plan(fingerprint, settings.preprocess, dataset)
    if fingerprint.requested != names or plan.content_hash() != CaseStore(out).plan.content_hash():
        raise OutputError(
            f"{out}: was made with other settings or other cases, so it cannot be resumed; choose another output "
            "(a run of one fold learns from that fold: another fold needs a folder of its own), or --overwrite it"
        )
    return plan


@dataclass(frozen=True)
class _Job:
    case: Case
    spacing_mm: tuple[float, ...] | None
    plan: Plan
    folder: Path


def _preprocess_cases(
    store: CaseStore, cases: Sequence[Case], spacing_mm: tuple[float, ...] | None, workers: int
) -> dict[str, str]:
    """Write all cases; returns the message for each that failed."""
    jobs = [(case.name, _Job(case, spacing_mm, store.plan, store.folder)) for case in cases]
    failed: dict[str, str] = {}
    for name, result in track(map_cases(_preprocess_one, jobs, workers), "preprocess", total=len(jobs)):
        if isinstance(result, OutputError):
            raise result
        if isinstance(result, GrcsfError):
            failed[name] = str(result)
            log.error("%s: %s", name, result)
        else:
            store.refresh(name)
    return failed


def _preprocess_one(job: _Job) -> None:
    marks = mark_files(_files(job.case))
    volumes = [read_volume(path, job.spacing_mm) for path in job.case.images]
    image, foreground, geometry = preprocess_case(volumes, job.plan)
    label = None
    if job.case.label is not None:
        label = preprocess_label(read_volume(job.case.label, job.spacing_mm), job.plan, geometry)
    store = CaseStore.writer(job.folder, job.plan)
    store.write_case(job.case.name, image, foreground, geometry, label, made_from=marks)


def _files(case: Case) -> list[Path]:
    return [*case.image_files, *(files_of(case.label) if case.label is not None else ())]


def _refuse_changed(store: CaseStore, cases: Sequence[Case]) -> None:
    """Refuse complete cases whose image or mask is another one now; the plan may have learnt from the old ones."""
    changed = [
        case.name
        for case in cases
        if (marks := store.made_from(case.name)) is not None and not same_files(_files(case), marks)
    ]
    if changed:
        raise OutputError(
            f"{store.folder}: image or mask of {len(changed)} cases changed since ({', '.join(changed[:5])}); "
            "choose another output or --overwrite"
        )


def _clear(out: Path) -> None:
    """Remove what an earlier run of this verb left; nothing else in the folder is touched."""
    for name in ("plan.json", "fingerprint.json", "run.json", "grcsf.log"):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "cases", ignore_errors=True)
