"""A budget of multiply-adds in nnU-Net's own terms: epochs of iterations, and widths of a wanted size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peer_files import PeerError

BACKWARD_AND_FORWARD = 3
"""Forward passes that a training step is worth, as everywhere in the benchmark: one forward, two backward."""
ITERATIONS_PER_EPOCH = 250
"""nnU-Net's own; shorter budgets have shorter epochs."""
LEAST_EPOCHS = 100
"""nnU-Net lowers its learning rate once an epoch: with this many, a short training still goes down its whole curve."""


@dataclass(frozen=True)
class Schedule:
    """How long to train, in nnU-Net's terms."""

    epochs: int
    iterations_per_epoch: int

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.epochs * self.iterations_per_epoch


def step_cost(forward: int, batch: int) -> int:
    """Multiply-adds of one optimiser step.

    >>> step_cost(forward=5, batch=2)
    30
    """
    return BACKWARD_AND_FORWARD * batch * forward


def steps_within(budget: int, cost: int) -> int:
    """Whole optimiser steps that a budget buys.

    Raises:
        PeerError: not even one.

    >>> steps_within(1000, 300)
    3
    """
    if budget < cost:
        raise PeerError(
            f"a budget of {budget:.3g} multiply-adds buys no step of this plan, one costs {cost:.3g}; raise the "
            "budget or take --plan narrow"
        )
    return budget // cost


def schedule(steps: int) -> Schedule:
    """Epochs and iterations, never more than ``steps`` in all and less than 1 % below it.

    Epochs have 250 iterations, or a hundredth of ``steps`` where that is less: what is left over is shorter than one
    epoch, and so below 1 %.

    >>> schedule(250_000), schedule(1499), schedule(7)
    (Schedule(epochs=1000, iterations_per_epoch=250), Schedule(epochs=107, iterations_per_epoch=14), \
Schedule(epochs=7, iterations_per_epoch=1))
    """
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, found {steps}")
    iterations = min(ITERATIONS_PER_EPOCH, max(1, steps // LEAST_EPOCHS))
    return Schedule(steps // iterations, iterations)


def narrowed(features: list[int], widest: int) -> list[int]:
    """The planner's widths times one factor, which makes the widest ``widest``.

    >>> narrowed([32, 64, 128, 256, 512, 512], 128)
    [8, 16, 32, 64, 128, 128]
    """
    return [max(1, round(wide * widest / max(features))) for wide in features]


def nearest_width(wanted: int, planned: int, count: Callable[[int], int]) -> int:
    """Widest width, at most the planned one, whose network comes nearest to a number of parameters.

    Args:
        wanted: parameters.
        planned: widest width of the planner.
        count: parameters of the network of a widest width; never falls with it.
    """
    low, high = 1, planned
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    return min((low, high), key=lambda width: abs(count(width) - wanted))
