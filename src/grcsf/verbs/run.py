"""``grcsf run``: the whole chain for a data set and some of its folds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from grcsf.config import Settings, load_settings
from grcsf.datasets.dataset import Dataset
from grcsf.datasets.sources.check import remarks
from grcsf.datasets.sources.registry import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.datasets.tables import write_cases_table
from grcsf.errors import DatasetError, SettingsError
from grcsf.evaluation.html import failed_html, summary_html
from grcsf.evaluation.presets import resolve_preset
from grcsf.evaluation.summary import Summary
from grcsf.fitting.fit import check_device
from grcsf.io.files import atomic_path, ensure_new, make_folder
from grcsf.io.html import block, paragraph
from grcsf.io.record import RunRecord
from grcsf.preprocess.run import preprocess_dataset
from grcsf.verbs.common import clear_folder, clear_partial, lasting, refuse_other
from grcsf.verbs.evaluate import evaluate
from grcsf.verbs.predict import predict
from grcsf.verbs.pretrain import pretrain
from grcsf.verbs.report import report
from grcsf.verbs.residual import residual
from grcsf.verbs.train import train
from grcsf.verbs.validate import validate

__all__ = ["RunResult", "budget_settings", "run"]

SETTINGS_FILE, DATA_CASES_FILE = "settings.yaml", "data_cases.csv"
logger = logging.getLogger("grcsf")


@dataclass(frozen=True)
class RunResult:
    """What a run wrote: scores by fold, cases that could not be predicted, and the page."""

    scores: dict[int, Summary]
    failed: dict[str, str]
    report: Path

    def _repr_html_(self) -> str:
        """Scores of every fold, for notebooks."""
        folds = [part for index, one in self.scores.items() for part in (paragraph(f"Fold {index}"), summary_html(one))]
        return block("Run", *folds, failed_html(self.failed, "predicted"), paragraph(f"Report: {self.report.name}"))


def budget_settings(settings: Settings, minutes: float) -> Settings:
    """Settings with a wall-clock budget per fold: a quarter for pre-training (if there is any), the rest for training.

    Raises:
        SettingsError: not above 0.
    """
    share = 0.25 if settings.network.uses_residual else 0.0
    pairs = [f"training.minutes={(1 - share) * minutes}", *([f"mae.minutes={share * minutes}"] if share else [])]
    return load_settings(None, pairs, base=settings)


def run(
    dataset: str | Path,
    output: str | Path,
    *,
    folds: Sequence[int] = (0,),
    unlabelled: Sequence[str | Path] = (),
    settings: Settings | None = None,
    device: str = "auto",
    save_probabilities: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> RunResult:
    """Validate, preprocess, pre-train, map, train, predict, score and report.

    Args:
        dataset: a data set of any known source.
        output: folder of everything that is made (docs/reference/files.md).
        folds: which folds; each has models of its own.
        unlabelled: folders of further scans for pre-training.
        settings: all settings.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``gpu:4``.
        save_probabilities: keep probability maps of the validation cases.
        resume: go on where an earlier run stopped.
        overwrite: replace an earlier run.

    Raises:
        DatasetError: a data set with problems; all are listed.
        GrcsfError: whatever a stage refuses.
    """
    settings, out = settings or Settings(), Path(output)
    check_device(device)
    resolve_preset(settings.evaluation.preset)  # a wrong one is told now, not after training
    if not folds:
        raise SettingsError("no fold given; expected at least one, such as 0")
    data = read_dataset(Path(dataset))
    parts = {fold: get_fold(data, fold) for fold in folds}
    ensure_new(out, overwrite, resume)
    clear_partial(make_folder(out))
    _open(out, settings, resume)
    inputs = data.described_by
    dumped = settings.model_dump(mode="json")
    again = overwrite and not resume
    with RunRecord(out, verb="run", settings=dumped, inputs=inputs, seed=settings.seed, device=device) as record:
        record.add("dataset", data.name)
        record.add("source", data.source)
        record.add("changed_on_reading", remarks(data))
        record.add("folds", list(parts))
        _refuse_problems(data, Path(dataset))
        write_cases_table(data, out / DATA_CASES_FILE)
        learned_from = parts[folds[0]].train if len(parts) == 1 else None
        preprocess_dataset(
            data, settings, out / "preprocessed", resume=resume, overwrite=again, fingerprint_cases=learned_from
        )
        stages = _Stages(
            data, Path(dataset), out, tuple(unlabelled), settings, device, save_probabilities, resume, again
        )
        scores: dict[int, Summary] = {}
        failed: dict[str, str] = {}
        for fold, part in parts.items():
            summary, problems = stages.run(fold, part.val)
            scores[fold], failed = summary, {**failed, **problems}
        record.add_messages("failed", failed)
    page = report(out, dataset, overwrite=True)
    return RunResult(scores, failed, page)


def _open(out: Path, settings: Settings, resume: bool) -> None:
    """Write the settings; first refuse to resume a run of others, or remove the folds of a run that is replaced."""
    path = out / SETTINGS_FILE
    if path.is_file() and resume:
        before, now = lasting(load_settings(path)), lasting(settings)
        refuse_other(out, {**before, "evaluation": None}, {**now, "evaluation": None})
    elif path.is_file():
        for folder in (folder for folder in out.glob("fold_*") if folder.name.removeprefix("fold_").isdigit()):
            clear_folder(folder)
    with atomic_path(path) as partial:
        partial.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _refuse_problems(data: Dataset, path: Path) -> None:
    found = validate(path)
    errors = [problem for problem in found.problems if problem.severity == "error"]
    for problem in found.problems:
        if problem.severity == "warning":
            logger.warning("%s: %s", problem.case or data.name, problem.message)
    if errors:
        listed = "\n".join(f"  {problem.case or data.name}: {problem.message}" for problem in errors[:20])
        raise DatasetError(f"{data.name}: {len(errors)} problems (grcsf validate lists all):\n{listed}")


@dataclass(frozen=True)
class _Stages:
    """The stages of a fold, after preprocessing."""

    data: Dataset
    path: Path
    out: Path
    unlabelled: tuple[str | Path, ...]
    settings: Settings
    device: str
    save_probabilities: bool
    resume: bool
    overwrite: bool

    def run(self, fold: int, val: Sequence[str]) -> tuple[Summary, dict[str, str]]:
        """Pre-train, map, train, predict and score; gives the scores and the cases that could not be predicted."""
        here = self.out / f"fold_{fold}"
        self._train(fold, here)
        failed = predict(
            [self.data.case(name) for name in val],
            here / "train",
            here / "validation",
            settings=self.settings.inference,
            device=self.device,
            spacing_mm=self.data.spacing_mm,
            save_probabilities=self.save_probabilities,
            save_residuals=self.settings.network.uses_residual,
            resume=self.resume,
            overwrite=self.overwrite,
        )
        predicted = [name for name in val if name not in failed and self.data.case(name).label is not None]
        if not predicted:
            reasons = "; ".join(failed.values()) or "none has a label"
            raise DatasetError(f"{self.data.name}: no validation case of fold {fold} can be scored ({reasons})")
        summary = evaluate(
            self.data,
            here / "validation",
            here / "scores",
            cases=predicted,
            images=self.data,
            settings=self.settings,
            overwrite=True,
        )
        return summary, failed

    def _train(self, fold: int, here: Path) -> None:
        store, root = self.out / "preprocessed", self.path
        mae = here / "mae" if self.settings.network.uses_residual else None
        if mae is not None:
            pretrain(
                store,
                root,
                mae,
                fold=fold,
                unlabelled=self.unlabelled,
                settings=self.settings,
                device=self.device,
                resume=self.resume,
                overwrite=self.overwrite,
            )
            residual(
                store, root, mae, here / "residual", fold=fold, settings=self.settings, device=self.device, part="train"
            )
        train(
            store,
            root,
            here / "train",
            mae=mae,
            cache=here / "residual",
            fold=fold,
            settings=self.settings,
            device=self.device,
            resume=self.resume,
            overwrite=self.overwrite,
        )
