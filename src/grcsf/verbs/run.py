"""``grcsf run``: the whole chain for a data set and some of its folds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from grcsf.config import Settings
from grcsf.datasets.dataset import Dataset
from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.errors import DatasetError
from grcsf.evaluation.summary import Summary
from grcsf.io.files import atomic_path, ensure_new, make_folder
from grcsf.io.record import RunRecord
from grcsf.preprocess.run import preprocess_dataset
from grcsf.verbs.evaluate import evaluate
from grcsf.verbs.predict import predict
from grcsf.verbs.pretrain import pretrain
from grcsf.verbs.report import report
from grcsf.verbs.residual import residual
from grcsf.verbs.train import train
from grcsf.verbs.validate import validate

__all__ = ["RunResult", "budget_settings", "run"]

logger = logging.getLogger("grcsf")


@dataclass(frozen=True)
class RunResult:
    """What a run wrote: scores by fold, cases that could not be predicted, and the page."""

    scores: dict[int, Summary]
    failed: dict[str, str]
    report: Path


def budget_settings(settings: Settings, minutes: float) -> Settings:
    """Settings with a wall-clock budget per fold: a quarter for pre-training, if there is any, the rest for training."""
    share = 0.25 if settings.network.rcu else 0.0
    mae = settings.mae.model_copy(update={"minutes": share * minutes or None})
    training = settings.training.model_copy(update={"minutes": (1 - share) * minutes})
    return settings.model_copy(update={"mae": mae, "training": training})


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
        dataset: an nnU-Net raw folder.
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
    ensure_new(out, overwrite, resume)
    make_folder(out)
    data = read_dataset(Path(dataset))
    parts = {fold: get_fold(data, fold, settings.seed) for fold in folds}
    with atomic_path(out / "settings.yaml") as partial:
        partial.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    inputs = [data.root / "dataset.json"]
    dumped = settings.model_dump(mode="json")
    with RunRecord(out, verb="run", settings=dumped, inputs=inputs, seed=settings.seed, device=device) as record:
        record.add("dataset", data.name)
        record.add("folds", list(folds))
        _refuse_problems(data)
        learned_from = parts[folds[0]].train if len(parts) == 1 else None
        again = overwrite and not resume
        preprocess_dataset(
            data, settings, out / "preprocessed", resume=resume, overwrite=again, fingerprint_cases=learned_from
        )
        scores: dict[int, Summary] = {}
        failed: dict[str, str] = {}
        for fold in folds:
            summary, problems = _run_fold(
                data, out, fold, unlabelled, settings, device, save_probabilities, resume, again
            )
            scores[fold], failed = summary, {**failed, **problems}
        record.add("failed", failed)
    page = report(out, data.root, overwrite=True)
    return RunResult(scores, failed, page)


def _refuse_problems(data: Dataset) -> None:
    found = validate(data.root)
    errors = [problem for problem in found.problems if problem.severity == "error"]
    for problem in found.problems:
        if problem.severity == "warning":
            logger.warning("%s: %s", problem.case or data.name, problem.message)
    if errors:
        listed = "\n".join(f"  {problem.case or data.name}: {problem.message}" for problem in errors[:20])
        raise DatasetError(f"{data.name}: {len(errors)} problems (grcsf validate lists all):\n{listed}")


def _run_fold(
    data: Dataset,
    out: Path,
    fold: int,
    unlabelled: Sequence[str | Path],
    settings: Settings,
    device: str,
    save_probabilities: bool,
    resume: bool,
    again: bool,
) -> tuple[Summary, dict[str, str]]:
    store, here = out / "preprocessed", out / f"fold_{fold}"
    flags = {"resume": resume, "overwrite": again}
    mae = None
    if settings.network.rcu:
        mae = here / "mae"
        pretrain(store, data.root, mae, fold=fold, unlabelled=unlabelled, settings=settings, device=device, **flags)
        residual(store, data.root, mae, here / "residual", fold=fold, settings=settings, device=device)
    train(
        store,
        data.root,
        here / "train",
        mae=mae,
        cache=here / "residual",
        fold=fold,
        settings=settings,
        device=device,
        **flags,
    )
    val = get_fold(data, fold, settings.seed).val
    failed = predict(
        [data.case(name) for name in val],
        here / "train",
        here / "validation",
        settings=settings.inference,
        device=device,
        spacing_mm=data.spacing_mm,
        save_probabilities=save_probabilities,
        save_residuals=settings.network.rcu,
        **flags,
    )
    predicted = [name for name in val if name not in failed and data.case(name).label is not None]
    summary = evaluate(
        data.root / "labelsTr",
        here / "validation",
        here / "scores",
        cases=predicted,
        settings=settings,
        overwrite=True,
    )
    return summary, failed
