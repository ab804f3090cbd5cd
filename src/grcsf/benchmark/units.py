"""What has to be done for a run: a chain of units, each a folder with steps; units that runs share are made once.

phantoms -> preprocessed -> budget -> mae -> maps -> run (train, predict, score) -> transfer (predict, score). A shared
unit's folder is named after a hash of all that decides its content, so two runs share it exactly when they would make
the same thing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from grcsf.benchmark.process import StepFiles
from grcsf.benchmark.spec import Benchmark, BudgetRule, Cell, DataSet
from grcsf.config import Settings, load_settings
from grcsf.datasets.sources.registry import find_source, read_dataset
from grcsf.datasets.splits import SPLITS_FILE
from grcsf.errors import DatasetError, OutputError
from grcsf.io.files import read_json, to_plain

__all__ = ["PHANTOM_FOLDER", "Unit", "claim_changes", "flat_differences", "run_unit"]

PHANTOM_FOLDER = "Dataset900_BrainPhantoms"
CONTENT = "data_content"
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

    def command_of(self, step: str) -> tuple[str, ...]:
        """Program and arguments of a step."""
        if self.command and step in ("command", "predict"):
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

    def refuse_other_claim(self) -> None:
        """Refuse a folder that holds the run of another method.

        Raises:
            OutputError: naming what differs.
        """
        if (self.folder / "job.json").is_file():
            changes = claim_changes(self.stored_claim(), self.claim)
            if changes:
                raise OutputError(
                    f"{self.id}: was run in another way ({'; '.join(changes[:5])}); give the entry another name, "
                    f"choose another output, or delete {self.folder}"
                )

    def stored_claim(self) -> dict[str, Any]:
        """The claim of the run in the folder."""
        return dict(read_json(self.folder / "job.json", OutputError).get("claim", {}))


def run_unit(spec: Benchmark, cell: Cell, out: Path, data_root: Path | None) -> Unit:
    """The unit of one run, with the chain of units that it needs.

    Args:
        spec: the benchmark.
        cell: which run.
        out: folder of everything.
        data_root: where relative paths of data sets start; none: data sets are not looked at, for nothing will be run.

    Raises:
        DatasetError: a data set without ``splits_final.json``.
        SettingsError: settings of the entry that do not fit.
    """
    if cell.onto:
        return _transfer_unit(spec, cell, run_unit(spec, replace(cell, onto=""), out, data_root), out, data_root)
    entry, data = spec.entry(cell.entry), spec.data_set(cell.data_set)
    shared = _Shared(spec, cell, out, data)
    dataset, needs = shared.data_set(data_root)
    folder = out / "runs" / cell.id
    base: dict[str, Any] = {"dataset": str(dataset), "fold": cell.fold, "seed": cell.seed, "output": str(folder)}
    claim = {"data_set": shared.identity, "fold": cell.fold, "seed": cell.seed, "fraction": cell.fraction}
    claim |= {"budget": spec.budget.model_dump(mode="json"), "times": cell.times}
    if data_root is not None and data.phantoms is None:
        claim[CONTENT] = _content_hash(dataset)
    settings = spec.entry_settings(cell.entry, seed=cell.seed, fraction=cell.fraction)
    if entry.kind == "outside":
        command = tuple(part.format(**_values(spec, cell, base)) for part in entry.command)
        claim |= {"command": list(entry.command), "settings": settings.model_dump(mode="json", include={"evaluation"})}
        job = {**base, "settings": settings.model_dump(mode="json"), "budget": _amounts(spec.budget, cell.times)}
        return Unit(cell.id, folder, OUTSIDE_STEPS, job, claim, needs, command)
    before, places = shared.stages(settings, base, needs)
    job = {**base, **places, "settings": settings.model_dump(mode="json"), "device": spec.device}
    return Unit(cell.id, folder, RUN_STEPS, job, {**claim, "settings": _deciding(settings)}, before)


def _transfer_unit(spec: Benchmark, cell: Cell, trained: Unit, out: Path, data_root: Path | None) -> Unit:
    """The unit of a run that predicts another data set with what the run ``trained`` left."""
    target = next(item for item in spec.transfer if item.name == cell.onto)
    entry, folder, dataset = spec.entry(cell.entry), out / "runs" / cell.id, (data_root or Path()) / target.path
    if data_root is not None and find_source(dataset) is None:
        raise DatasetError(f"{dataset}: no dataset.json there, nor another data set; transfer {cell.onto} needs one")
    places = {"dataset": str(dataset), "output": str(folder)}
    job = {**trained.job, **places, "trained_on": trained.job["dataset"], "model": str(trained.folder / "train")}
    claim = {**trained.claim, "onto": Path(target.path).name}
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


_AS_BEFORE = load_settings(
    None,
    [
        "training.carve_mix=0",
        "training.dice=sample",
        "training.map_dropout=0",
        "inference.min_lesion_peak=0",
        "inference.unknown_anatomy=as-is",
    ],
)
"""The defaults, but for settings whose default is not what was done before they came."""


def claim_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between the claim of a stored run and the same run's claim today, ``a.b: 1 there, 2 now``.

    What the data set holds is compared where both know it. A setting that did not exist when the run was stored counts
    as what the run did: its default or, where that changed what is done, the value that leaves things as they were.
    """
    claim, today = dict(before), to_plain(now)
    if CONTENT not in claim or CONTENT not in today:  # stored before it was noted, or the data are not at hand
        claim, today = ({k: v for k, v in tree.items() if k != CONTENT} for tree in (claim, today))
    if "settings" in today:
        stored, default = _without_steps(claim.get("settings", {})), _AS_BEFORE.model_dump(mode="json")
        claim["settings"] = _completed(stored, today["settings"], default)
    return flat_differences(claim, today)


def _without_steps(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without the network's steps, which were once written down as the default that no run had."""
    kept = {key: value for key, value in settings.get("training", {}).items() if key != "steps"}
    return {**settings, "training": kept} if "training" in settings else dict(settings)


def _completed(before: Any, now: Any, default: Any) -> Any:
    """``before`` with the keys of ``now`` that it lacks, at their defaults."""
    if not all(isinstance(tree, Mapping) for tree in (before, now, default)):
        return before
    missing = {key: default.get(key) for key in now if key not in before}
    return missing | {key: _completed(value, now.get(key), default.get(key)) for key, value in before.items()}


def flat_differences(before: object, now: object, prefix: str = "") -> list[str]:
    """``a.b: 1 there, 2 now`` for every value that differs between two trees."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = {**before, **now}
        return [line for key in keys for line in flat_differences(before.get(key), now.get(key), f"{prefix}{key}.")]
    return [] if before == now else [f"{prefix.rstrip('.')}: {before!s:.40} there, {now!s:.40} now"]


@dataclass(frozen=True)
class _Shared:
    """The units below ``shared/`` that a run stands on."""

    spec: Benchmark
    cell: Cell
    out: Path
    data: DataSet

    @property
    def identity(self) -> Any:
        """What tells one data set from another, wherever it lies."""
        made = self.data.phantoms
        return made.model_dump(mode="json") if made else Path(str(self.data.path)).name

    def data_set(self, data_root: Path | None) -> tuple[Path, Unit | None]:
        """Folder of the data set, and the unit that makes it."""
        if self.data.phantoms is None:
            folder = (data_root or Path()) / str(self.data.path)
            if data_root is not None and not (folder / SPLITS_FILE).is_file():
                raise DatasetError(
                    f"{folder}: no {SPLITS_FILE}; a benchmark needs it, so that every entry and seed has the same folds"
                )
            return folder, None
        made = self.data.phantoms.model_dump(mode="json")
        unit = self._unit("phantoms", ("phantoms",), made, {"phantoms": made}, None)
        return unit.folder / PHANTOM_FOLDER, unit

    def stages(self, settings: Settings, base: Mapping[str, Any], needs: Unit | None) -> tuple[Unit, dict[str, str]]:
        """The last unit before the run, and where each of them lies."""
        tree = _deciding(settings)
        job = {**base, "settings": settings.model_dump(mode="json"), "device": self.spec.device}
        claim: dict[str, Any] = {"data_set": self.identity, "fold": self.cell.fold, "preprocess": tree["preprocess"]}
        unit = self._unit("preprocessed", ("preprocess",), claim, job, needs)
        places = {"preprocessed": str(unit.folder / "store")}
        rule, neutral = self.spec.budget, self.spec.entry_settings(self.cell.entry)
        other = self.spec.entry_settings(rule.reference).model_dump(mode="json") if rule.reference else None
        bought = {**claim, "rule": rule.model_dump(mode="json"), "times": self.cell.times, "reference": other}
        bought |= {"settings": _deciding(neutral)}
        extra = {"rule": bought["rule"], "times": self.cell.times, "reference": other}
        unit = self._unit("budget", ("budget",), bought, {**job, **places, **extra}, unit)
        places["budget"] = str(unit.folder / "budget.json")
        if settings.network.uses_residual:
            read = settings.training.label_fraction if settings.mae.normative else None
            claim |= {"mae": tree["mae"], "seed": settings.seed, "labels_read": read}
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
        text = json.dumps(to_plain([kind, claim]), sort_keys=True)
        name = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        folder = self.out / "shared" / name
        return Unit(name, folder, steps, {**job, "output": str(folder)}, dict(claim), needs)


@cache
def _content_hash(dataset: Path) -> str:
    """Hash of the folds, and of name, subject and mask size of each case; tells data sets of the same name apart."""
    cases = [(case.name, case.group, _bytes(case.label)) for case in read_dataset(dataset).cases]
    text = (dataset / SPLITS_FILE).read_text("utf-8") + json.dumps(sorted(cases))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _bytes(label: object) -> int:
    return label.stat().st_size if isinstance(label, Path) and label.is_file() else 0


def _deciding(settings: Settings) -> dict[str, Any]:
    """Settings that decide a result; those of stages and units that a network does without are left out.

    So are the steps of the network, for they are the budget's.
    """
    network = settings.network
    unused = {name for name in type(network).model_fields if name.startswith("rcu_") and not network.rcu}
    left_out: dict[str, Any] = {
        "workers": True,
        "training": {"minutes", "steps"},
        "network": unused,
        "mae": {"minutes"},
    }
    if not network.uses_residual:
        left_out |= {"mae": True, "residual": True, "inference": {"unknown_anatomy"}}
        left_out["training"].add("map_dropout")
    found = settings.model_dump(mode="json", exclude=left_out)
    if settings.preprocess.dimensions != "auto":  # as it was written before it could be none
        found["training"]["batch_size"] = settings.training.patches(2 if settings.preprocess.dimensions == "2d" else 3)
    return found


def _amounts(rule: BudgetRule, times: float) -> dict[str, int]:
    """Multiply-adds and steps of a budget for outside entries; 0 for the one that is not set."""
    return {
        "multiply_adds": round((rule.training_multiply_adds or 0) * times),
        "steps": round((rule.steps or 0) * times),
    }
