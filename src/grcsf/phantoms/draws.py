"""Draws that all phantoms share: sizes over orders of magnitude, and which phantoms are free of lesions."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["check_range", "is_lesion_free", "log_uniform"]


def log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """A number between two limits above 0 whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))


def is_lesion_free(share: float, index: int) -> bool:
    """Whether phantom number ``index`` (from 0) has no lesion: every ``1 / share``-th, so small sets keep the share."""
    return math.floor((index + 1) * share + 1e-9) > math.floor(index * share + 1e-9)


def check_range(pair: tuple[float, float], lowest: float = 0.0) -> tuple[float, float]:
    """The pair itself, if it is finite, in order and above ``lowest``.

    Raises:
        ValueError: naming the pair.
    """
    if not lowest < pair[0] <= pair[1] < math.inf:
        raise ValueError(f"{pair}: expected a lowest value above {lowest:g} and a highest one not below it")
    return pair
