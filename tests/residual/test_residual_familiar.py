"""How large a residual is, and what is usual."""

from __future__ import annotations

import numpy as np
import pytest

from grcsf.residual.familiar import residual_size, usual_size


def test_the_size_is_the_median_magnitude_inside_the_foreground():
    foreground = np.zeros((2, 4, 4), bool)
    foreground[0, :2] = True
    maps = np.full((3, 2, 4, 4), 9.0, np.float32)  # what lies outside says nothing
    maps[0, foreground] = -0.5
    maps[1, foreground] = 0.3
    maps[2, foreground] = [0.1, 0.1, 0.3, 0.3, 0.3, 0.3, 7.0, 7.0]
    assert residual_size(maps, foreground) == pytest.approx(0.3)


def test_a_lesion_does_not_move_it():
    rng = np.random.default_rng(0)
    foreground = np.ones((1, 40, 40), bool)
    maps = rng.normal(0, 0.4, (2, 1, 40, 40)).astype(np.float32)
    before = residual_size(maps, foreground)
    maps[:, 0, 10:16, 10:16] += 3.0
    assert residual_size(maps, foreground) == pytest.approx(before, rel=0.05)


def test_all_but_a_twentieth_are_usual():
    sizes = np.arange(100.0)
    usual = usual_size(iter(sizes))
    assert (sizes > usual).sum() == 5
    assert usual_size([0.4]) == 0.4
