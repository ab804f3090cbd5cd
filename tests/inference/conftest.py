"""Untrained models for the tiny data sets that all tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from grcsf.config import MaeSettings, NetworkSettings, Settings
from grcsf.mae.bundle import MaeBundle
from grcsf.mae.model import build_mae
from grcsf.preprocess.normalise import ChannelPlan
from grcsf.preprocess.plan import Plan
from grcsf.training.package import LesionModel, build_network
from stores import plain_plan


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """A function that gives a plan with patches of 16 that normalises each image and keeps its spacing."""

    def make(spatial_dims: int = 2, channels: int = 1, native_2d: bool = False, **changes: object) -> Plan:
        usual = {
            "native_2d": native_2d,
            "axis_order": (0, 1, 2) if native_2d else (2, 1, 0),
            "spacing_mm": (None, None, None),
            "patch_size": (16,) * spatial_dims,
            "channels": tuple(ChannelPlan(name=f"c{index}", scheme="zscore") for index in range(channels)),
            "crop": True,
            "file_ending": ".png" if native_2d else ".nii.gz",
        }
        return plain_plan(spatial_dims).model_copy(update={**usual, **changes})

    return make


@pytest.fixture
def make_model() -> Callable[..., LesionModel]:
    """A function that gives a network with random units for a plan; with an MAE if asked."""

    def make(plan: Plan, *, with_mae: bool = False, seed: int = 0, **network: object) -> LesionModel:
        small = {"features": (4, 6), "rcu_levels": (0,), "rcu_patch": 4, "rcu_dim": 8, "rcu_heads": 2}
        settings = Settings(
            mae=MaeSettings(patch=4, dim=16, depth=1, heads=2, decoder_dim=16, decoder_depth=1),
            network=NetworkSettings(**{**small, **network}),
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            bundle = None
            if with_mae:
                networks = build_mae(settings.mae, plan.spatial_dims, len(plan.channels)).eval().requires_grad_(False)
                window = (16,) * plan.spatial_dims
                bundle = MaeBundle(
                    networks, settings.mae, plan.spatial_dims, len(plan.channels), window, "plan", {}, "0" * 64
                )
            net = build_network(plan, settings, bundle)
            for parameter in net.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        return LesionModel(net.eval().requires_grad_(False), plan, settings, bundle, {})

    return make
