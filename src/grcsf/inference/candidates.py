"""Masks of bright lesions: only voxels that are bright enough on the scanner's grid, one by one or as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, FloatArray

__all__ = ["candidate_probabilities"]


def candidate_probabilities(
    probabilities: FloatArray, hu: AnyArray, limit_hu: float, rule: Literal["voxels", "components"]
) -> FloatArray:
    """Probabilities that decide about candidates: 0 elsewhere, and one value for a connected one under ``components``.

    A candidate is a set of voxels of at least ``limit_hu`` whose faces touch. Under ``components`` each of its voxels
    gets the mean of the probabilities in it, so that a threshold takes or leaves it whole, as a reader does who clicks
    on a bright spot.

    Args:
        probabilities: ``(labels, *space)`` on the scanner's grid.
        hu: the scan ``(*space)``.
        limit_hu: 130 for calcium.
        rule: ``voxels`` leaves the probabilities of candidates as they are.

    Source: standard, Agatston et al. 1990, doi 10.1016/0735-1097(90)90282-T (calcium has 130 HU or more); own
    (``components``; docs/decisions/0015).
    """
    bright = hu >= limit_hu
    if rule == "voxels":
        return np.where(bright, probabilities, np.float32(0))
    numbers, count = ndimage.label(bright)
    index: Sequence[int] = range(1, count + 1)
    kept = np.zeros_like(probabilities)
    for label, values in enumerate(probabilities):
        means = np.concatenate([[0.0], ndimage.mean(values, numbers, index)]).astype(np.float32)
        kept[label] = means[numbers]
    return kept
