"""A preprocessed store and the smallest autoencoder for pre-training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from grcsf.config import MaeSettings
from grcsf.preprocess.store import CaseStore
from stores import plain_plan, write_store


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., CaseStore]:
    """A function that writes a store of noise with a lesion that is brighter than anything else."""

    def make(
        spatial_dims: int = 2, shape: tuple[int, int, int] = (3, 12, 14), channels: int = 1, cases: int = 3
    ) -> CaseStore:
        plan = plain_plan(spatial_dims, channels)
        return write_store(tmp_path / "store", plan, shape, cases=cases, brightness=50.0)

    return make


@pytest.fixture
def tiny_mae_settings() -> MaeSettings:
    """The smallest network that still has every part."""
    return MaeSettings(
        patch=4,
        dim=16,
        depth=1,
        heads=2,
        decoder_dim=16,
        decoder_depth=1,
        normative=False,
        steps=4,
        batch_size=2,
        learning_rate=1e-2,
    )
