"""What has to be done for a run: a chain of units, each a folder with steps; units that runs share are made once.

phantoms -> preprocessed -> budget -> mae -> maps -> run (train, predict, score) -> transfer (predict, score). A shared
unit's folder is named after a hash of all that decides its content, so two runs share it exactly when they would make
the same thing; what the data set holds is no part of the name, and a folder made from other data is refused.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from grcsf.benchmark.claims import (
    CONTENT,
    CONTENTS,
    ONTO_CONTENT,
    UNLABELLED_CONTENT,
    claim_changes,
    content_hash,
    deciding_settings,
)
from grcsf.benchmark.process import StepFiles
from grcsf.benchmark.spec import Benchmark, BudgetRule, Cell, DataSet
from grcsf.config import Settings
from grcsf.datasets.sources.registry import find_source, read_dataset
from grcsf.datasets.splits import SPLITS_FILE, get_fold
from grcsf.errors import DatasetError, OutputError
from grcsf.io.files import read_json, to_plain

__all__ = ["PHANTOM_FOLDER", "Unit", "refuse_other_claims", "run_unit"]

PHANTOM_FOLDER = "Dataset900_BrainPhantoms"
RUN_STEPS = ("train", "predict", "score")
OUTSIDE_STEPS = ("command", "score")
TRANSFER_STEPS = ("predict", "score")
OUTSIDE_TRANSFER_STEPS = ("cases", "predict", "score")


@dataclass(frozen=True)
class Unit:
    """One folder of the queue.

    Attributes:
        id: name of the folder.
        folder: where.
        steps: what is done there, in order, each in a process of its own.
        job: everything the steps need, JSON-able; where things lie may change between two calls.
        claim: what decides the result; a folder with another claim is refused.
        needs: the unit before it.
        command: of an outside entry, for its step ``command`` or, in a transfer, ``predict``; placeholders are filled.
    """

    id: str
    folder: Path
    steps: tuple[str, ...]
    job: Mapping[str, Any]
    claim: Mapping[str, Any]
    needs: Unit | None = None
    command: tuple[str, ...] = ()

    def files(self, step: str) -> StepFiles:
        """Record and log of a step."""
        return StepFiles(self.folder, step)

    def is_outside(self, step: str) -> bool:
        """Whether a step is the command of an outside entry."""
        return bool(self.command) and step in ("command", "predict")

    def command_of(self, step: str) -> tuple[str, ...]:
        """Program and arguments of a step."""
        if self.is_outside(step):
            return self.command
        return (sys.executable, "-m", "grcsf.benchmark.worker", step, str(self.folder))

    def is_done(self, steps: Sequence[str]) -> bool:
        """Whether each of these steps ended well."""
        return all(self.files(step).read().get("status") == "done" for step in steps)

    def chain(self) -> Iterator[Unit]:
        """This unit and those it needs, first things first."""
        if self.needs is not None:
            yield from self.needs.chain()
        yield self

    def changes(self) -> list[str]:
        """What differs between what the folder holds and what is asked for; empty where it holds nothing."""
        if not (self.folder / "job.json").is_file():
            return []
        return claim_changes(self.stored_claim(), self.claim)

    def stored_claim(self) -> dict[str, Any]:
        """The claim of the run in the folder."""
        return dict(read_json(self.folder / "job.json", OutputError).get("claim", {}))


def refuse_other_claims(units: Iterable[Unit]) -> None:
    """Refuse folders that hold what was made in another way: with other settings, or from other data.

    Raises:
        OutputError: naming what differs in the first of them, and every folder in the way.
    """
    once = {unit.folder: unit for unit in units}  # many runs stand on the same stages
    changed = {folder: changes for folder, unit in once.items() if (changes := unit.changes())}
    if changed:
        folder, changes = next(iter(changed.items()))
        of_data = any(change.startswith(CONTENTS) for change in changes)
        advice = "the data set is another one now: " if of_data else "give the entry another name, "
        raise OutputError(
            f"{folder.name}: was run in another way ({'; '.join(changes[:5])}); {advice}choose another output, or "
            f"delete {', '.join(map(str, changed))}"
        )


def run_unit(spec: Benchmark, cell: Cell, out: Path, data_root: Path | None) -> Unit:
    """The unit of one run, with the chain of units that it needs.

    Args:
        spec: the benchmark.
        cell: which run.
        out: folder of everything.
        data_root: where relative paths of data sets start; none: data sets are not looked at, for nothing will be run.

    Raises:
        DatasetError: a data set without ``splits_final.json``, or without the fold.
        SettingsError: settings of the entry that do not fit.
    """
    if cell.onto:
        return _transfer_unit(spec, cell, run_unit(spec, replace(cell, onto=""), out, data_root), out, data_root)
    entry, data = spec.entry(cell.entry), spec.data_set(cell.data_set)
    shared = _Shared(spec, cell, out, data, data_root)
    dataset, needs = shared.data_set()
    folder = out / "runs" / cell.id
    base: dict[str, Any] = {"dataset": str(dataset), "fold": cell.fold, "seed": cell.seed, "output": str(folder)}
    claim = {"data_set": shared.identity, "fold": cell.fold, "seed": cell.seed, "fraction": cell.fraction}
    claim |= {"budget": spec.budget.model_dump(mode="json"), "times": cell.times}
    claim |= shared.content
    settings = spec.entry_settings(cell.entry, seed=cell.seed, fraction=cell.fraction)
    if entry.kind == "outside":
        command = tuple(part.format(**_values(spec, cell, base)) for part in entry.command)
        claim |= {"command": list(entry.command), "settings": settings.model_dump(mode="json", include={"evaluation"})}
        job = {**base, "settings": settings.model_dump(mode="json"), "budget": _amounts(spec.budget, cell.times)}
        return Unit(cell.id, folder, OUTSIDE_STEPS, job, claim, needs, command)
    before, places = shared.stages(settings, base, needs)
    claim |= shared.unlabelled
    if spec.budget.reference:
        claim["reference"] = deciding_settings(spec.entry_settings(spec.budget.reference))
    job = {**base, **places, "settings": settings.model_dump(mode="json"), "device": spec.device}
    return Unit(cell.id, folder, RUN_STEPS, job, {**claim, "settings": deciding_settings(settings)}, before)


def _transfer_unit(spec: Benchmark, cell: Cell, trained: Unit, out: Path, data_root: Path | None) -> Unit:
    """The unit of a run that predicts another data set with what the run ``trained`` left."""
    target = next(item for item in spec.transfer if item.name == cell.onto)
    entry, folder, dataset = spec.entry(cell.entry), out / "runs" / cell.id, (data_root or Path()) / target.path
    if data_root is not None and find_source(dataset) is None:
        raise DatasetError(f"{dataset}: no dataset.json there, nor another data set; transfer {cell.onto} needs one")
    places = {"dataset": str(dataset), "output": str(folder)}
    job = {**trained.job, **places, "trained_on": trained.job["dataset"], "model": str(trained.folder / "train")}
    claim = {**trained.claim, "onto": Path(target.path).name}
    if data_root is not None:
        claim[ONTO_CONTENT] = content_hash(dataset)
    if entry.kind == "grcsf":
        return Unit(cell.id, folder, TRANSFER_STEPS, job, claim, trained)
    base = {"fold": cell.fold, "seed": cell.seed, **places}
    base |= {"model": str(trained.folder), "cases": str(folder / "cases.json")}
    command = tuple(part.format(**_values(spec, cell, base)) for part in entry.predict_command)
    claim |= {"predict_command": list(entry.predict_command)}
    return Unit(cell.id, folder, OUTSIDE_TRANSFER_STEPS, job, claim, trained, command)


def _values(spec: Benchmark, cell: Cell, base: Mapping[str, Any]) -> dict[str, Any]:
    """What fills the placeholders of a command."""
    more = {"python": sys.executable, "fraction": cell.fraction, "cores": spec.cores}
    return {**base, **more, **_amounts(spec.budget, cell.times)}


@cache
def _check_fold(dataset: Path, index: int) -> None:
    """Refuse a fold that the data set does not have, or that leaks, before hours are spent on the runs before it."""
    if not (dataset / SPLITS_FILE).is_file():
        raise DatasetError(
            f"{dataset}: no {SPLITS_FILE}; a benchmark needs it, so that every entry and seed has the same folds"
        )
    get_fold(read_dataset(dataset), index)


@dataclass(frozen=True)
class _Shared:
    """The units below ``shared/`` that a run stands on."""

    spec: Benchmark
    cell: Cell
    out: Path
    data: DataSet
    data_root: Path | None

    @property
    def content(self) -> dict[str, str]:
        """What the data set holds, for claims; empty where that follows from its settings or is not at hand."""
        known = self.data_root is not None and self.data.phantoms is None
        return {CONTENT: content_hash(self._folder)} if known else {}

    @property
    def unlabelled(self) -> dict[str, Any]:
        """Further data sets of its pre-training, for claims; empty without."""
        if not self._further:
            return {}
        told: dict[str, Any] = {"unlabelled": [folder.name for folder in self._further]}
        if self.data_root is not None:
            told[UNLABELLED_CONTENT] = [content_hash(folder) for folder in self._further]
        return told

    @property
    def _further(self) -> list[Path]:
        names = self.spec.entry(self.cell.entry).unlabelled
        return [(self.data_root or Path()) / item.path for item in self.spec.unlabelled if item.name in names]

    @property
    def _folder(self) -> Path:
        return (self.data_root or Path()) / str(self.data.path)

    @property
    def identity(self) -> Any:
        """What tells one data set from another, wherever it lies."""
        made = self.data.phantoms
        return made.model_dump(mode="json") if made else Path(str(self.data.path)).name

    def data_set(self) -> tuple[Path, Unit | None]:
        """Folder of the data set, and the unit that makes it."""
        if self.data.phantoms is None:
            if self.data_root is not None:
                _check_fold(self._folder, self.cell.fold)
            return self._folder, None
        made = self.data.phantoms.model_dump(mode="json")
        unit = self._unit("phantoms", ("phantoms",), made, {"phantoms": made}, None)
        return unit.folder / PHANTOM_FOLDER, unit

    def stages(self, settings: Settings, base: Mapping[str, Any], needs: Unit | None) -> tuple[Unit, dict[str, str]]:
        """The last unit before the run, and where each of them lies."""
        tree = deciding_settings(settings)
        job = {**base, "settings": settings.model_dump(mode="json"), "device": self.spec.device}
        claim: dict[str, Any] = {"data_set": self.identity, "fold": self.cell.fold, "preprocess": tree["preprocess"]}
        claim |= self.content
        unit = self._unit("preprocessed", ("preprocess",), claim, job, needs)
        places = {"preprocessed": str(unit.folder / "store")}
        rule, neutral = self.spec.budget, self.spec.entry_settings(self.cell.entry)
        other = self.spec.entry_settings(rule.reference).model_dump(mode="json") if rule.reference else None
        bought = {**claim, "rule": rule.model_dump(mode="json"), "times": self.cell.times, "reference": other}
        bought |= {"settings": deciding_settings(neutral)}
        extra = {"rule": bought["rule"], "times": self.cell.times, "reference": other}
        unit = self._unit("budget", ("budget",), bought, {**job, **places, **extra}, unit)
        places["budget"] = str(unit.folder / "budget.json")
        if settings.network.uses_residual:
            read = settings.training.label_fraction if settings.mae.normative else None
            claim |= {"mae": tree["mae"], "seed": settings.seed, "labels_read": read}
            claim |= self.unlabelled
            job["unlabelled"] = [str(folder) for folder in self._further]
            unit = self._unit("mae", ("pretrain",), claim, {**job, **places}, unit)
            places["mae"] = str(unit.folder / "model")
            kept = {key: value for key, value in tree["residual"].items() if key != "source"}  # whose maps: read later
            claim |= {"residual": kept}
            unit = self._unit("maps", ("maps",), claim, {**job, **places}, unit)
            places["maps"] = str(unit.folder / "cache")
        return unit, places

    def _unit(
        self, kind: str, steps: tuple[str, ...], claim: Mapping[str, Any], job: Mapping[str, Any], needs: Unit | None
    ) -> Unit:
        named = {key: value for key, value in claim.items() if key not in CONTENTS}
        text = json.dumps(to_plain([kind, named]), sort_keys=True)
        name = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        folder = self.out / "shared" / name
        return Unit(name, folder, steps, {**job, "output": str(folder)}, dict(claim), needs)


def _amounts(rule: BudgetRule, times: float) -> dict[str, int]:
    """Multiply-adds and steps of a budget for outside entries; 0 for the one that is not set."""
    return {
        "multiply_adds": round((rule.training_multiply_adds or 0) * times),
        "steps": round((rule.steps or 0) * times),
    }
