"""A preprocessed store with labels, the smallest settings, and an untrained autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from grcsf.config import MaeSettings, NetworkSettings, Settings, TrainingSettings
from grcsf.mae.bundle import MaeBundle
from grcsf.mae.model import build_mae
from grcsf.preprocess.store import CaseStore
from stores import plain_plan, write_store


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., CaseStore]:
    """A function that writes a store of noise with a lesion; ``context`` slices beside each, if asked."""

    def make(
        spatial_dims: int = 2, shape: tuple[int, int, int] = (3, 14, 12), *, context: int = 0, **options: Any
    ) -> CaseStore:
        return write_store(tmp_path / "store", plain_plan(spatial_dims, context=context), shape, **options)

    return make


@pytest.fixture
def settings() -> Settings:
    """The smallest training in which every part works: both units, deep supervision, dropout, averaging."""
    return Settings(
        mae=MaeSettings(patch=4, dim=16, depth=1, heads=2, decoder_dim=16, decoder_depth=1),
        network=NetworkSettings(
            features=(4, 6, 8), rcu_levels=(0,), rcu_patch=4, rcu_dim=8, rcu_heads=2, deep_supervision=True, dropout=0.2
        ),
        training=TrainingSettings(steps=6, steps_per_epoch=2, batch_size=2, precision="32-true", ema_decay=0.9),
    )


@pytest.fixture
def make_bundle() -> Callable[[Settings], MaeBundle]:
    """A function that gives an untrained MAE for one-channel slices, which counts as saved."""

    def make(settings: Settings) -> MaeBundle:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            networks = build_mae(settings.mae, 2, 1).eval().requires_grad_(False)
        return MaeBundle(networks, settings.mae, 2, 1, (8, 8), "plan", {"case-0": "content"}, "0" * 64)

    return make
