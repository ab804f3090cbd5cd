"""What the runs of an entry cost: steps, multiply-adds, parameters, time and memory of training and prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grcsf.benchmark.scores import RunScores

__all__ = ["Costs", "costs_of"]

TRAINING = ("pretrain", "maps", "train")


@dataclass(frozen=True)
class Costs:
    """Means over the runs of an entry (memory: the largest); none where nothing was said.

    Attributes:
        parameters: of the network.
        mae_parameters: of the masked autoencoder beside it.
        forward_multiply_adds: of one forward pass on one training patch.
        training_multiply_adds: of a whole run, pre-training and maps charged.
        steps: optimiser steps of the network.
        training_wall_seconds: of training, with pre-training and maps even where runs share them.
        training_cpu_seconds: as the wall seconds.
        training_memory_mb: largest resident memory.
        prediction_wall_seconds: of predicting the fold's validation cases, start of the process included.
        prediction_cpu_seconds: as the wall seconds.
        prediction_memory_mb: largest resident memory.
        cases: validation cases that were predicted, in all runs.
        interrupted: runs some of whose times are those of their last part only, for a step was stopped and resumed.
        precisions: what the runs inside the package were trained in, such as ``bf16-mixed``; empty where not stored.
    """

    parameters: float | None
    mae_parameters: float | None
    forward_multiply_adds: float | None
    training_multiply_adds: float | None
    steps: float | None
    training_wall_seconds: float | None
    training_cpu_seconds: float | None
    training_memory_mb: float | None
    prediction_wall_seconds: float | None
    prediction_cpu_seconds: float | None
    prediction_memory_mb: float | None
    cases: int
    interrupted: int
    precisions: tuple[str, ...]


def costs_of(runs: Sequence[RunScores]) -> Costs:
    """Costs of the runs of one entry.

    Of an outside entry, time and memory are those of its command unless its ``run.json`` tells its training apart.
    """
    said = [run.budget for run in runs]
    training = [_training(run) for run in runs]
    prediction = [_prediction(run) for run in runs]
    return Costs(
        parameters=_mean(item.get("parameters") for item in said),
        mae_parameters=_mean(item.get("mae_parameters") for item in said),
        forward_multiply_adds=_mean(item.get("forward_multiply_adds") for item in said),
        training_multiply_adds=_mean(item.get("training_multiply_adds") for item in said),
        steps=_mean(item.get("steps") for item in said),
        training_wall_seconds=_mean(item.get("wall_seconds") for item in training),
        training_cpu_seconds=_mean(item.get("cpu_seconds") for item in training),
        training_memory_mb=_largest(item.get("peak_memory_mb") for item in training),
        prediction_wall_seconds=_mean(item.get("wall_seconds") for item in prediction),
        prediction_cpu_seconds=_mean(item.get("cpu_seconds") for item in prediction),
        prediction_memory_mb=_largest(item.get("peak_memory_mb") for item in prediction),
        cases=sum(len(run.subjects) for run in runs),
        interrupted=sum(_of_last_part(run) for run in runs),
        precisions=tuple(sorted({str(run.training["precision"]) for run in runs if run.training.get("precision")})),
    )


def _of_last_part(run: RunScores) -> bool:
    """Whether some time of a run is that of its last part; one whose command adds up its parts is none."""
    added_up = {"command"} if run.budget.get("seconds") and run.budget.get("cpu_seconds") else set()
    return any(int(step.get("attempts", 1)) > 1 for name, step in run.steps.items() if name not in added_up)


def _training(run: RunScores) -> Mapping[str, Any]:
    if "command" in run.steps:
        names = {"wall_seconds": "seconds", "cpu_seconds": "cpu_seconds", "peak_memory_mb": "peak_memory_mb"}
        own = {key: run.budget.get(name) for key, name in names.items()}
        return {**run.steps["command"], **{key: value for key, value in own.items() if value is not None}}
    steps = [run.steps[name] for name in TRAINING if name in run.steps]
    return {
        "wall_seconds": _sum(step.get("wall_seconds") for step in steps),
        "cpu_seconds": _sum(step.get("cpu_seconds") for step in steps),
        "peak_memory_mb": _largest(step.get("peak_memory_mb") for step in steps),
    }


def _prediction(run: RunScores) -> Mapping[str, Any]:
    own = {"wall_seconds": "prediction_seconds", "peak_memory_mb": "prediction_memory_mb"}
    return run.steps.get("predict") or {key: run.budget.get(name) for key, name in own.items()}


def _known(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if isinstance(value, int | float)]


def _mean(values: Iterable[Any]) -> float | None:
    known = _known(values)
    return sum(known) / len(known) if known else None


def _sum(values: Iterable[Any]) -> float | None:
    known = _known(values)
    return sum(known) if known else None


def _largest(values: Iterable[Any]) -> float | None:
    return max(_known(values), default=None)
