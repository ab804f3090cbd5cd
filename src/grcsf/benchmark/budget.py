"""Equal terms: what a training costs in multiply-adds, how many steps a budget buys, and widths of equal parameters.

The rule. One optimiser step costs three forward passes of its batch: the forward pass, and the backward pass at twice
its price (one product for the gradient of the inputs, one for that of the weights). Pre-training of the masked
autoencoder is counted in the same way and charged; so are the passes that make the residual maps of the training
cases, once and forward only. Augmentation, selection scores and prediction are not counted, for any entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from grcsf.benchmark.spec import BudgetRule
from grcsf.config import Settings, load_settings
from grcsf.config_parts import FIRST_WIDTH_MULTIPLES
from grcsf.errors import SettingsError
from grcsf.mae.bundle import MaeBundle
from grcsf.mae.masking import visible_count
from grcsf.mae.model import build_mae
from grcsf.mae.pretrain import mae_window
from grcsf.nets.peers import LesionNetwork
from grcsf.preprocess.plan import Plan
from grcsf.preprocess.store import CaseStore
from grcsf.residual.compute import map_ratios, window_starts
from grcsf.training.package import build_network
from grcsf.verbs.info import count_work, multiply_adds, residual_multiply_adds

__all__ = [
    "BACKWARD_AND_FORWARD",
    "Costs",
    "budget_of",
    "count_costs",
    "map_windows",
    "scaled_widths",
    "steps_within",
    "with_equal_parameters",
]

BACKWARD_AND_FORWARD = 3
"""Forward passes that a training step is worth: one forward, two backward."""
_WIDTH_STEP = 8
"""Widths are multiples of this, so that heads and groups of every network divide them."""


@dataclass(frozen=True)
class Costs:
    """Multiply-adds of the parts of one run, and its parameters.

    Attributes:
        forward: one forward pass of the network on one training patch.
        step: one optimiser step of the network: 3 x batch x forward.
        pretraining: all steps of the masked autoencoder; 0 where there is none.
        maps: residual maps of the training cases; 0 where there are none.
        parameters: of the network.
        mae_parameters: of the masked autoencoder; 0 where there is none.
    """

    forward: int
    step: int
    pretraining: int
    maps: int
    parameters: int
    mae_parameters: int

    def total(self, steps: int) -> int:
        """Training multiply-adds of a run of so many steps, everything charged."""
        return self.pretraining + self.maps + steps * self.step


def steps_within(total: float, costs: Costs) -> int:
    """Optimiser steps that are left of a budget after pre-training and maps.

    Args:
        total: multiply-adds of the run.
        costs: of its parts.

    Raises:
        SettingsError: nothing is left for a single step.

    >>> steps_within(1000, Costs(forward=5, step=30, pretraining=600, maps=40, parameters=1, mae_parameters=1))
    12
    """
    left = total - costs.pretraining - costs.maps
    if left < costs.step:
        raise SettingsError(
            f"a budget of {total:.3g} training multiply-adds leaves no step for the network: pre-training takes "
            f"{costs.pretraining:.3g}, residual maps {costs.maps:.3g}, one step {costs.step:.3g}; raise "
            "budget.training_multiply_adds or lower mae.steps"
        )
    return int(left // costs.step)


def count_costs(settings: Settings, plan: Plan, store: CaseStore, train_cases: Sequence[str]) -> Costs:
    """Costs of a run under a plan.

    Args:
        settings: of the entry.
        plan: of the data set.
        store: the preprocessed cases.
        train_cases: whose residual maps are made.
    """
    mae = _untrained_mae(settings, plan) if settings.network.uses_residual else None
    network = _network(settings, plan, mae)
    forward = multiply_adds(network, plan.patch_size)
    step = BACKWARD_AND_FORWARD * settings.training.patches(plan.spatial_dims) * forward
    maps = pretraining = 0
    if mae is not None:
        windows = sum(map_windows(store.shape(name), plan.spatial_dims, mae.window, settings) for name in train_cases)
        maps = windows * residual_multiply_adds(mae, map_ratios(settings.residual, mae))
        pretraining = settings.mae.steps * settings.mae.batch_size * BACKWARD_AND_FORWARD * _mae_forward(mae)
    return Costs(forward, step, pretraining, maps, _size(network), _size(mae.networks) if mae else 0)


def map_windows(shape: Sequence[int], spatial_dims: int, window: Sequence[int], settings: Settings) -> int:
    """Windows of a case ``(C, D, H, W)`` that the autoencoder rebuilds for its maps: slices x windows of each."""
    size = shape[-spatial_dims:]
    full = tuple(max(edge, wide) for edge, wide in zip(size, window, strict=True))
    starts = sum(1 for _ in window_starts(full, window, settings.residual.overlap))
    return starts * (shape[1] if spatial_dims == 2 else 1)


def with_equal_parameters(settings: Settings, plan: Plan, parameters: int) -> Settings:
    """The settings with ``network.features`` scaled so that the network comes as close as it can to a size.

    Args:
        settings: of an entry; the shape of its widths is kept.
        plan: of the data set.
        parameters: wanted.

    Raises:
        SettingsError: no widths within a sixteenth to sixteen times those of the entry come within 20 %.
    """
    mae = _untrained_mae(settings, plan) if settings.network.uses_residual else None

    def changed(features: tuple[int, ...]) -> Settings:
        return load_settings(None, [f"network.features={list(features)}"], base=settings)

    def size(features: tuple[int, ...]) -> int:
        return _size(_network(changed(features), plan, mae))

    step = math.lcm(_WIDTH_STEP, FIRST_WIDTH_MULTIPLES.get(settings.network.backbone, 1))
    best = scaled_widths(settings.network.features, parameters, size, step=step)
    found = size(best)
    if abs(found - parameters) > 0.2 * parameters:
        raise SettingsError(
            f"no widths like {list(settings.network.features)} give about {parameters:,} parameters (nearest: "
            f"{list(best)} with {found:,}); choose another reference or other network.features"
        )
    return changed(best)


def scaled_widths(
    features: tuple[int, ...],
    wanted: int,
    size: Callable[[tuple[int, ...]], int],
    *,
    limit: float = 16.0,
    step: int = _WIDTH_STEP,
) -> tuple[int, ...]:
    """Widths times one factor, found by bisection (of its logarithm), whose size is nearest to ``wanted``.

    Args:
        features: widths at factor 1.
        wanted: size to come near.
        size: parameters of the network of these widths; grows with them.
        limit: largest factor, and one over the smallest.
        step: what the widths are multiples of.
    """
    low, high = -math.log(limit), math.log(limit)
    tried: dict[tuple[int, ...], int] = {}
    for _ in range(12):  # 2 log(16) / 2 ** 12 is finer than a width step
        middle = (low + high) / 2
        widths = tuple(step * max(1, round(math.exp(middle) * wide / step)) for wide in features)
        tried.setdefault(widths, size(widths) if widths not in tried else 0)
        low, high = (middle, high) if tried[widths] < wanted else (low, middle)
    return min(tried, key=lambda widths: abs(tried[widths] - wanted))


def budget_of(rule: BudgetRule, times: float, settings: Settings, costs: Costs) -> dict[str, Any]:
    """What ``budget.json`` says of a run: its steps and widths, and every count behind them."""
    if rule.steps is not None:
        steps = max(1, round(rule.steps * times))
    else:
        assert rule.training_multiply_adds is not None
        steps = steps_within(rule.training_multiply_adds * times, costs)
    return {
        "steps": steps,
        "features": list(settings.network.features),
        "forward_multiply_adds": costs.forward,
        "step_multiply_adds": costs.step,
        "pretraining_multiply_adds": costs.pretraining,
        "maps_multiply_adds": costs.maps,
        "training_multiply_adds": costs.total(steps),
        "parameters": costs.parameters,
        "mae_parameters": costs.mae_parameters,
    }


def _untrained_mae(settings: Settings, plan: Plan) -> MaeBundle:
    try:
        window = mae_window(plan, settings.mae)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    channels = len(plan.channels)
    networks = build_mae(settings.mae, plan.spatial_dims, channels)
    return MaeBundle(networks, settings.mae, plan.spatial_dims, channels, window, "", {}, "")


def _network(settings: Settings, plan: Plan, mae: MaeBundle | None) -> LesionNetwork:
    try:
        return build_network(plan, settings, mae)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _mae_forward(mae: MaeBundle) -> int:
    """Multiply-adds of one forward pass on one window in pre-training, mean over the mask ratios that it draws."""
    image = torch.zeros(1, mae.in_channels, *mae.window)
    counts = []
    for ratio in mae.settings.ratios:
        network = mae.network(ratio)
        patches = math.prod(edge // network.patch for edge in mae.window)
        visible = torch.arange(visible_count(patches, ratio))[None]
        counts.append(count_work(network, image, visible))
    return round(sum(counts) / len(counts))


def _size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
