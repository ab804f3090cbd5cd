"""Batches as a pure function of (seed, step, rank), so that a resumed run sees what an uninterrupted one would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

__all__ = ["Batch", "MakeBatch", "StepLoader", "step_generator"]

Batch = dict[str, Tensor]
MakeBatch = Callable[[int, int], Batch]
"""Makes the batch of one step and one rank; must not keep state between calls."""


def step_generator(seed: int, *keys: int) -> np.random.Generator:
    """Generator of one step: the same keys always give the same stream."""
    return np.random.default_rng([seed, *keys])


class _StepDataset(Dataset[Batch]):
    def __init__(self, make: MakeBatch) -> None:
        self.make = make

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        return self.make(*key)


class _StepSampler(Sampler[tuple[int, int]]):
    """Steps of the current epoch from the global step on."""

    def __init__(self, steps_per_epoch: int, position: Callable[[], tuple[int, int]]) -> None:
        self.steps_per_epoch, self.position = steps_per_epoch, position

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        step, rank = self.position()
        end = (step // self.steps_per_epoch + 1) * self.steps_per_epoch
        for index in range(step, end):
            yield index, rank


class StepLoader(DataLoader[Batch]):
    """Loader whose position is the trainer's global step; it has no other state to save.

    Args:
        make: makes the batch of (step, rank).
        steps_per_epoch: steps between two checkpoints.
        position: gives the current (global step, rank).
        workers: loader processes; 0 makes batches in this process.
    """

    def __init__(
        self, make: MakeBatch, steps_per_epoch: int, position: Callable[[], tuple[int, int]], workers: int = 0
    ) -> None:
        super().__init__(
            _StepDataset(make),
            sampler=_StepSampler(steps_per_epoch, position),
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=2 if workers else None,
            generator=torch.Generator(),  # else every pass over the loader takes a number from the global one
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the position is the trainer's step. Present so that Lightning knows the loader resumes."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""
