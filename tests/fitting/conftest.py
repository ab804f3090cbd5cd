"""A linear network as the smallest thing that can be fitted."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from grcsf.fitting.batches import Batch
from grcsf.fitting.module import FittedModule


class TinyModule(FittedModule):
    """Fits ``w x = 0`` with dropout and averaged weights; notes the steps it saw."""

    def __init__(self, **options: float) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        super().__init__(network, 1e-1, 1e-2, **{"ema_decay": 0.9, **options})
        self.seen: list[int] = []

    def loss(self, batch: Batch) -> Tensor:
        self.seen.append(int(batch["step"]))
        return self.network(batch["x"]).square().mean()


class BatchMaker:
    """Batches of one number per step; breaks at a step: an error, or a signal after which the step still ends."""

    def __init__(self, breaks_at: int | None = None, how: str = "error") -> None:
        self.breaks_at, self.how = breaks_at, how

    def __call__(self, step: int, rank: int) -> Batch:
        if step == self.breaks_at:
            if self.how == "error":
                raise RuntimeError("pulled the plug")
            signal.raise_signal(signal.SIGTERM if self.how == "sigterm" else signal.SIGINT)
        return {"x": torch.full((2, 3), float(step + 1)), "step": torch.tensor(step)}


@pytest.fixture
def make_module() -> Callable[..., TinyModule]:
    return TinyModule


@pytest.fixture
def make_batches() -> Callable[..., BatchMaker]:
    return BatchMaker
