"""What a benchmark compares, read from a YAML file: data sets, entries, folds, seeds, label fractions, budget."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from grcsf.config import Frozen, Settings, load_settings, read_yaml
from grcsf.errors import SettingsError
from grcsf.io.files import flat_pairs
from grcsf.phantoms.brain import PhantomSettings

__all__ = [
    "Benchmark",
    "BudgetRule",
    "Cell",
    "DataSet",
    "Entry",
    "Extra",
    "PhantomData",
    "Transfer",
    "Unlabelled",
    "load_benchmark",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_FIXED = ("seed", "training.label_fraction", "training.steps", "training.minutes", "mae.minutes")
PREDICT_PLACEHOLDERS = ("model", "cases")
PLACEHOLDERS = ("python", "dataset", "fold", "seed", "fraction", "output", "multiply_adds", "steps", "cores")


def _dotted(settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in flat_pairs(settings):
        if name in found:
            raise ValueError(f"{name} is there twice")
        found[name] = value
    return found


DottedSettings = Annotated[dict[str, Any], AfterValidator(_dotted)]
"""``a: {b: value}`` as ``a.b: value``, so that an entry changes one setting of a group and keeps the others."""


class PhantomData(PhantomSettings):
    """A data set of brain phantoms that the benchmark makes itself; ``subjects`` are those to train on."""

    held_out: int = Field(4, ge=1, description="Further phantoms, the validation cases of the one fold.")


class DataSet(Frozen):
    """An nnU-Net raw folder with ``splits_final.json``, or phantoms."""

    name: str = Field(description="Short name for run folders and tables.")
    path: str | None = Field(None, description="Folder; relative ones are looked for below --data.")
    phantoms: PhantomData | None = Field(None, description="Make these phantoms in place of a folder.")

    @model_validator(mode="after")
    def _one_source(self) -> DataSet:
        _refuse_name("data set", self.name)
        if (self.path is None) == (self.phantoms is None):
            raise ValueError(f"data set {self.name}: expected either path or phantoms")
        return self


class Entry(Frozen):
    """One method."""

    name: str = Field(description="Short name for run folders and tables.")
    description: str = Field("", description="One line for the tables: what it is, what was tuned.")
    kind: Literal["grcsf", "outside"] = Field("grcsf", description="grcsf: through our loop; outside: a command.")
    settings: DottedSettings = Field(default_factory=dict, description="Changed settings, as `a.b: value`.")
    unlabelled: tuple[str, ...] = Field((), description="Data sets of `unlabelled` that pre-training sees as well.")
    command: tuple[str, ...] = Field((), description="outside: program and arguments with {placeholders}; no shell.")
    predict_command: tuple[str, ...] = Field((), description="outside: predicts {cases} of a transfer with {model}.")
    label_fraction: float | None = Field(None, gt=0, le=1, description="Run at this label fraction only.")

    @model_validator(mode="after")
    def _fits_together(self) -> Entry:
        _refuse_name("entry", self.name)
        if self.kind == "grcsf" and (self.command or self.predict_command):
            raise ValueError(f"entry {self.name}: a command needs kind: outside")
        if self.kind == "outside":
            if not self.command or self.settings or self.unlabelled:
                raise ValueError(
                    f"entry {self.name}: kind outside needs a command, and takes no settings and no unlabelled scans"
                )
            _refuse_placeholders(self.name, self.command)
            _refuse_placeholders(self.name, self.predict_command, (*PLACEHOLDERS, *PREDICT_PLACEHOLDERS))
        fixed = [key for key in self.settings if key in _FIXED or key.split(".")[0] == "evaluation"]
        if fixed:
            raise ValueError(f"entry {self.name}: {', '.join(fixed)} is set by the benchmark, the same for all")
        return self


class BudgetRule(Frozen):
    """What is equal between entries."""

    mode: Literal["equal-compute", "equal-steps", "equal-parameters"] = Field(
        "equal-compute",
        description="Equal training multiply-adds, equal steps of the network, or widths scaled to equal parameters.",
    )
    training_multiply_adds: float | None = Field(None, gt=0, description="Of one run, pre-training and maps included.")
    steps: int | None = Field(None, ge=1, description="Optimiser steps of the network, in place of multiply-adds.")
    reference: str | None = Field(None, description="equal-parameters: entry whose parameter count the others get.")

    @model_validator(mode="after")
    def _fits_together(self) -> BudgetRule:
        if (self.training_multiply_adds is None) == (self.steps is None):
            raise ValueError("expected either training_multiply_adds or steps")
        if self.mode == "equal-compute" and self.steps is not None:
            raise ValueError("mode equal-compute takes training_multiply_adds, not steps")
        if self.mode == "equal-steps" and self.steps is None:
            raise ValueError("mode equal-steps needs steps")
        if self.mode != "equal-parameters" and self.reference is not None:
            raise ValueError(f"mode {self.mode} takes no reference")
        if self.mode == "equal-parameters" and self.reference is None:
            raise ValueError("mode equal-parameters needs a reference entry")
        return self


class Extra(Frozen):
    """Further runs of some entries: more seeds on one fold, or a longer training."""

    entries: tuple[str, ...] = Field(min_length=1, description="Names of entries.")
    data_sets: tuple[str, ...] | None = Field(None, min_length=1, description="Names of data sets; none: all.")
    folds: tuple[int, ...] | None = Field(None, min_length=1, description="None: those of the benchmark.")
    seeds: tuple[int, ...] | None = Field(None, min_length=1, description="None: those of the benchmark.")
    fractions: tuple[float, ...] | None = Field(None, min_length=1, description="None: those of the benchmark.")
    budget_times: float = Field(1.0, gt=0, description="Multiple of the budget.")
    title: str = Field("", description="Tables of its own over these runs; none: they join those of their kind.")
    reference: str | None = Field(None, description="Entry that the others are paired with in these tables.")

    @model_validator(mode="after")
    def _reference_has_tables(self) -> Extra:
        if self.reference is not None and (not self.title or self.reference not in self.entries):
            raise ValueError(f"extra: reference {self.reference} needs a title and must be one of its entries")
        return self


class Transfer(Frozen):
    """A further data set, not trained on, that runs predict as well: its subjects of the fold's validation part.

    Subjects are told by their groups, as folds are; one that a run was trained on is left out.
    """

    name: str = Field(description="Short name for run folders and tables.")
    path: str = Field(description="nnU-Net raw folder; a relative one is looked for below --data.")
    entries: tuple[str, ...] = Field(min_length=1, description="Names of entries.")
    data_sets: tuple[str, ...] | None = Field(None, min_length=1, description="Data sets trained on; none: all.")
    folds: tuple[int, ...] | None = Field(None, min_length=1, description="None: those of the benchmark.")
    seeds: tuple[int, ...] | None = Field(None, min_length=1, description="None: those of the benchmark.")

    @model_validator(mode="after")
    def _named(self) -> Transfer:
        _refuse_name("transfer", self.name)
        return self


class Unlabelled(Frozen):
    """A further data set whose images pre-training may see; those of validation subjects are left out.

    Subjects are told by their groups, as folds are. No label is read.
    """

    name: str = Field(description="Short name, for `unlabelled` of the entries.")
    path: str = Field(description="A data set; a relative one is looked for below --data.")


@dataclass(frozen=True, order=True)
class Cell:
    """One run: an entry on a fold of a data set, with a seed, a label fraction and a multiple of the budget.

    ``onto`` names the further data set that the trained run predicts; empty: its own validation cases.
    """

    entry: str
    data_set: str
    fold: int
    seed: int
    fraction: float
    times: float
    onto: str = ""

    @property
    def id(self) -> str:
        """Name of its folder, the same in every process.

        >>> Cell("ours", "strokes", 0, 1, 0.25, 4.0).id
        'ours_strokes_f0_s1_l25_x4'
        """
        longer = "" if self.times == 1 else f"_x{self.times:g}"
        onto = f"_onto-{self.onto}" if self.onto else ""
        return f"{self.entry}_{self.data_set}_f{self.fold}_s{self.seed}_l{100 * self.fraction:g}{longer}{onto}"


class Benchmark(Frozen):
    """A whole benchmark file."""

    title: str = Field("Benchmark", description="Heading of the tables.")
    note: str = Field("", description="A sentence below it, such as what was tuned.")
    data_sets: tuple[DataSet, ...] = Field(min_length=1, description="What the entries are measured on.")
    entries: tuple[Entry, ...] = Field(min_length=1, description="What is measured.")
    settings: DottedSettings = Field(default_factory=dict, description="Settings of all entries, as `a.b: value`.")
    folds: tuple[int, ...] = Field((0,), min_length=1, description="Folds of splits_final.json.")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="Seeds.")
    fractions: tuple[float, ...] = Field((1.0,), min_length=1, description="Shares of the labelled patients.")
    extra: tuple[Extra, ...] = Field((), description="Further runs of some entries.")
    transfer: tuple[Transfer, ...] = Field((), description="Further data sets that trained runs predict.")
    unlabelled: tuple[Unlabelled, ...] = Field((), description="Further data sets for pre-training.")
    reference: str | None = Field(None, description="Entry that all others are paired with; none: the first.")
    budget: BudgetRule = Field(description="What is equal.")
    cores: int = Field(1, ge=1, description="Threads of each run; runs go one after another.")
    device: str = Field("cpu", description="Device of the runs inside the package.")

    @model_validator(mode="after")
    def _fits_together(self) -> Benchmark:
        names, data = [entry.name for entry in self.entries], [item.name for item in self.data_sets]
        more = [item.name for item in self.unlabelled]
        for kind, given in (("entry", names), ("data set", data), ("unlabelled", more)):
            if len(set(given)) < len(given):
                raise ValueError(f"two {kind} names are the same: {', '.join(given)}")
        for entry in self.entries:
            _refuse_unknown(f"entry {entry.name}: unlabelled", entry.unlabelled, more)
        blocks: list[tuple[str, Extra | Transfer]] = [("extra", extra) for extra in self.extra]
        blocks += [(f"transfer {item.name}", item) for item in self.transfer]
        for where, block in blocks:
            _refuse_unknown(where, block.entries, names)
            _refuse_unknown(where, block.data_sets or (), data)
        self._refuse_transfer()
        self._refuse_blocks()
        _refuse_unknown("reference", [self.reference] if self.reference else [], names)
        _refuse_unknown("budget.reference", [self.budget.reference] if self.budget.reference else [], names)
        for fraction in (*self.fractions, *(f for extra in self.extra for f in extra.fractions or ())):
            if not 0 < fraction <= 1:
                raise ValueError(f"fractions: {fraction} is not above 0 and at most 1")
        if min((*self.folds, *self.seeds)) < 0:
            raise ValueError("folds and seeds go from 0")
        if self.budget.reference and self.entry(self.budget.reference).kind == "outside":
            raise ValueError(f"budget.reference {self.budget.reference}: expected an entry inside the package")
        fixed = [key for key in self.settings if key in _FIXED]
        if fixed:
            raise ValueError(f"settings: {', '.join(fixed)} is set by the benchmark")
        return self

    @property
    def paired_with(self) -> str:
        """Name of the entry that the others are compared with."""
        return self.reference or self.entries[0].name

    def entry(self, name: str) -> Entry:
        """The entry of that name."""
        return next(entry for entry in self.entries if entry.name == name)

    def data_set(self, name: str) -> DataSet:
        """The data set of that name."""
        return next(item for item in self.data_sets if item.name == name)

    def entry_settings(self, name: str, *, seed: int = 0, fraction: float = 1.0) -> Settings:
        """All settings of an entry's run, but the steps that the budget gives.

        Raises:
            SettingsError: an unknown setting or a value that does not fit; the entry is named.
        """
        changed = {**self.settings, **self.entry(name).settings, "seed": seed, "training.label_fraction": fraction}
        try:
            return load_settings(None, [f"{key}={json.dumps(value)}" for key, value in changed.items()])
        except SettingsError as error:
            raise SettingsError(f"entry {name}: {str(error).removeprefix('--set ')}") from None

    def cells(self) -> tuple[Cell, ...]:
        """All runs, in the order of the queue: fold by fold and seed by seed, so that every entry is met early."""
        return tuple(dict.fromkeys(self._cells(self.extra)))

    def untitled_cells(self) -> tuple[Cell, ...]:
        """All runs but those that only blocks with tables of their own ask for."""
        return tuple(dict.fromkeys(self._cells([block for block in self.extra if not block.title])))

    def main_cells(self) -> tuple[Cell, ...]:
        """The runs of the full grid, without the extra ones."""
        return tuple(self._block(Extra(entries=tuple(entry.name for entry in self.entries))))

    def titled(self) -> tuple[tuple[Extra, tuple[Cell, ...]], ...]:
        """The extra blocks that have tables of their own, each with its runs."""
        return tuple((block, tuple(self._block(block))) for block in self.extra if block.title)

    def _refuse_transfer(self) -> None:
        for item in self.transfer:
            for entry in (self.entry(name) for name in item.entries):
                if entry.kind == "outside" and not entry.predict_command:
                    raise ValueError(f"transfer {item.name}: entry {entry.name} has no predict_command")
        if len({item.name for item in self.transfer}) < len(self.transfer):
            raise ValueError(f"two transfer names are the same: {', '.join(item.name for item in self.transfer)}")

    def _refuse_blocks(self) -> None:
        """Refuse an entry that no block runs, and tables that would stand under one heading."""
        run = {cell.entry for cell in self.cells()}
        for entry in self.entries:
            if entry.name not in run:
                raise ValueError(f"entry {entry.name}: label_fraction {entry.label_fraction} is in no fractions")
        main = {(cell.data_set, cell.fraction, cell.times) for cell in self.main_cells()}
        for extra in self.extra:
            further = {cell.fold for cell in self._block(extra) if (cell.data_set, cell.fraction, cell.times) in main}
            if not extra.title and further - set(self.folds):
                raise ValueError(
                    f"extra: folds {sorted(further - set(self.folds))} are not those of the benchmark, "
                    f"{list(self.folds)}, so they would enter no mean; give the block a title, for tables of its own"
                )
        headings = [
            (block.title, *heading)
            for block, cells in self.titled()
            for heading in dict.fromkeys((cell.data_set, cell.fraction, cell.times) for cell in cells)
        ]
        for title, name, fraction, times in headings:
            if headings.count((title, name, fraction, times)) > 1:
                raise ValueError(
                    f"extra: two blocks have the title {title!r}, both for {name}, fraction {fraction:g}, "
                    f"budget_times {times:g}; join them or name them apart"
                )

    def _cells(self, blocks: Sequence[Extra]) -> Iterator[Cell]:
        yield from self.main_cells()
        for extra in blocks:
            yield from self._block(extra)
        for item in self.transfer:
            trained = Extra(
                entries=item.entries, data_sets=item.data_sets, folds=item.folds, seeds=item.seeds, fractions=(1.0,)
            )
            for cell in self._block(trained):
                yield replace(cell, onto=item.name)

    def _block(self, block: Extra) -> Iterator[Cell]:
        for data in block.data_sets or tuple(item.name for item in self.data_sets):
            for fraction in block.fractions or self.fractions:
                for fold in block.folds if block.folds is not None else self.folds:
                    for seed in block.seeds if block.seeds is not None else self.seeds:
                        for name in block.entries:
                            if self.entry(name).label_fraction in (None, fraction):
                                yield Cell(name, data, fold, seed, fraction, block.budget_times)


def load_benchmark(path: Path) -> Benchmark:
    """A benchmark from its YAML file, with the settings of every entry checked.

    Raises:
        SettingsError: an unreadable file, an unknown key, or something that does not fit; all are listed.
    """
    try:
        found = Benchmark.model_validate(read_yaml(path))
    except ValidationError as error:
        raise SettingsError(f"{path.name}: {_explain(error)}") from None
    for entry in found.entries:
        if entry.kind == "grcsf":
            settings = found.entry_settings(entry.name)
            if settings.training.minutes is not None or settings.mae.minutes is not None:
                raise SettingsError(f"entry {entry.name}: a budget of minutes is not equal work; remove it")
            if settings.training.patience:
                raise SettingsError(f"entry {entry.name}: training.patience may stop before the budget; set it to 0")
            if entry.unlabelled and not settings.network.uses_residual:
                raise SettingsError(f"entry {entry.name}: unlabelled scans are for pre-training, which it does without")
    return found


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "value_error":
            lines.append(f"{where}: {item['ctx']['error']}" if where else str(item["ctx"]["error"]))
        else:
            lines.append(f"{where}: {item['msg']} (found {item.get('input')!r:.60})")
    return "; ".join(lines)


def _refuse_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{kind} {name!r}: expected letters, digits, dots and hyphens, such as our-model")


def _refuse_unknown(where: str, names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known: {', '.join(known)}")


def _refuse_placeholders(name: str, command: Sequence[str], known: Sequence[str] = PLACEHOLDERS) -> None:
    used = {word for part in command for _, word, _, _ in Formatter().parse(part) if word is not None}
    unknown = sorted(used - set(known))
    if unknown:
        raise ValueError(f"entry {name}: unknown placeholder {unknown[0]!r}; known: {', '.join(known)}")
