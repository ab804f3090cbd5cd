"""Tiny masked autoencoders with random weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from grcsf.config import MaeSettings
from grcsf.mae.bundle import MaeBundle
from grcsf.mae.model import build_mae


@pytest.fixture
def make_bundle() -> Callable[..., MaeBundle]:
    """A function that gives an untrained MAE of patch 2 and window 8 that counts as saved."""

    def make(
        spatial_dims: int = 2, channels: int = 1, networks: str = "one", weights_hash: str = "0" * 64
    ) -> MaeBundle:
        settings = MaeSettings(
            patch=2, dim=16, depth=1, heads=2, decoder_dim=16, decoder_depth=1, networks=networks, normative=False
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            built = build_mae(settings, spatial_dims, channels).eval().requires_grad_(False)
        window = (8,) * spatial_dims if spatial_dims == 2 else (4,) * spatial_dims
        return MaeBundle(built, settings, spatial_dims, channels, window, "plan", {}, weights_hash)

    return make
