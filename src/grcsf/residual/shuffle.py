"""A control: the maps of another case in the place of a case's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from grcsf.arrays import FloatArray
from grcsf.errors import DatasetError

__all__ = ["fit_grid", "other_cases"]


def other_cases(groups: Mapping[str, str], seed: int) -> dict[str, str]:
    """For each case the one whose maps it gets: a permutation without fixed points.

    The cases stand in a random order, patients together, and each gets the maps of the one that stands as many places
    on as the largest patient has cases: so it is another patient's, unless one patient has more than half of the cases.
    Source: own (a control of the claim that the true maps help).

    Args:
        groups: patient of each case.
        seed: seed of the order; the order in which the cases are given does not matter.

    Raises:
        DatasetError: fewer than two cases.
    """
    if len(groups) < 2:
        raise DatasetError(
            f"residual.source=shuffled gives each case the maps of another; expected two cases or more, "
            f"found {', '.join(groups) or 'none'}"
        )
    rng = np.random.default_rng([seed, 5])
    patients = sorted(set(groups.values()))
    place = dict(zip(patients, rng.permutation(len(patients)).tolist(), strict=True))
    names = sorted(groups)
    within = dict(zip(names, rng.permutation(len(names)).tolist(), strict=True))
    order = sorted(names, key=lambda name: (place[groups[name]], within[name]))
    largest = max(sum(group == patient for group in groups.values()) for patient in patients)
    step = largest if 2 * largest <= len(order) else 1
    return {name: order[(index + step) % len(order)] for index, name in enumerate(order)}


def fit_grid(maps: FloatArray, size: Sequence[int]) -> FloatArray:
    """Maps ``(R, D, H, W)`` on a grid of ``size``, middle on middle: cropped where too large, zeros where too small.

    Nothing is resampled, so that the values keep their statistics and their scale in millimetres.
    """
    out = np.zeros((maps.shape[0], *size), maps.dtype)
    source, target = [slice(None)], [slice(None)]
    for there, here in zip(maps.shape[1:], size, strict=True):
        kept = min(there, here)
        source.append(slice((there - kept) // 2, (there - kept) // 2 + kept))
        target.append(slice((here - kept) // 2, (here - kept) // 2 + kept))
    out[tuple(target)] = maps[tuple(source)]
    return out
