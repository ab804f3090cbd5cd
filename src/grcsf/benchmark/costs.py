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
        interrupted: runs whose times are those of their last part only, for a step was stopped and resumed.
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
        interrupted=sum(any(int(step.get("attempts", 1)) > 1 for step in run.steps.values()) for run in runs),
    )


def _training(run: RunScores) -> Mapping[str, Any]:
    if "command" in run.steps:
        own = {"wall_seconds": run.budget.get("seconds"), "peak_memory_mb": run.budget.get("peak_memory_mb")}
        return {**run.steps["command"], **{key: value for key, value in own.items() if value is not None}}
    steps = [run.steps[name] for name in TRAINING if name in run.steps]
    return {
        "wall_seconds": _sum(step.get("wall_seconds") for step in steps),
        "cpu_seconds": _sum(step.get("cpu_seconds") for step in steps),
        "peak_memory_mb": _largest(step.get("peak_memory_mb") for step in steps),
    }


def _prediction(run: RunScores) -> Mapping[str, Any]:
    return run.steps.get("predict", {"wall_seconds": run.budget.get("prediction_seconds")})


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
