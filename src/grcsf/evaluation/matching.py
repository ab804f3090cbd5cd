"""Lesions of a mask, and which lesions of two masks belong together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from grcsf.arrays import BoolArray, IntArray
from grcsf.evaluation.presets import LesionPreset

__all__ = ["Pair", "label_lesions", "match_lesions"]


@dataclass(frozen=True)
class Pair:
    """A reference and a predicted lesion that share voxels."""

    reference: int
    prediction: int
    shared: int
    iou: float


def label_lesions(mask: BoolArray, spacing_mm: tuple[float, ...], preset: LesionPreset) -> tuple[IntArray, IntArray]:
    """Connected components that are large enough.

    Args:
        mask: boolean, 2-D or 3-D.
        spacing_mm: edge lengths of a voxel.
        preset: connectivity and minimum size.

    Returns:
        Number of the lesion of every voxel (1, 2, ... in the order of their first voxels; 0 elsewhere), and the
        number of voxels of each lesion.
    """
    reach = {"face": 1, "edge": 2, "full": mask.ndim}[preset.connectivity(mask.ndim)]
    pieces, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, reach))
    sizes = np.bincount(pieces.reshape(-1), minlength=count + 1)
    sizes[0] = 0
    smallest = max(preset.min_voxels, preset.min_size_mm / math.prod(spacing_mm) * (1 - 1e-9))
    keep = sizes >= smallest
    numbers = np.where(keep, np.cumsum(keep), 0).astype(np.int64)
    return numbers[pieces], sizes[keep].astype(np.int64)


def match_lesions(
    reference: IntArray, prediction: IntArray, sizes: tuple[IntArray, IntArray], preset: LesionPreset
) -> list[Pair]:
    """Pairs of lesions that pass the overlap rule and what the preset says about several of them.

    Args:
        reference: number of the lesion of every voxel.
        prediction: the same of the predicted mask.
        sizes: voxels of each reference and each predicted lesion.
        preset: overlap rule, threshold and matching.
    """
    pairs = [pair for pair in _overlaps(reference, prediction, sizes) if _passes(pair, sizes[0], preset)]
    if preset.matching == "one-to-one":
        return _one_to_one(pairs)
    if preset.matching == "many-to-one":
        best: dict[int, Pair] = {}
        for pair in pairs:
            if pair.prediction not in best or pair.shared > best[pair.prediction].shared:
                best[pair.prediction] = pair
        return sorted(best.values(), key=lambda pair: (pair.reference, pair.prediction))
    return pairs


def _overlaps(reference: IntArray, prediction: IntArray, sizes: tuple[IntArray, IntArray]) -> list[Pair]:
    """All pairs that share a voxel, in order of reference and prediction."""
    both = (reference > 0) & (prediction > 0)
    base = len(sizes[1]) + 1
    keys, counts = np.unique(reference[both] * base + prediction[both], return_counts=True)
    pairs = []
    for key, shared in zip(keys.tolist(), counts.tolist(), strict=True):
        first, second = divmod(key, base)
        union = int(sizes[0][first - 1]) + int(sizes[1][second - 1]) - shared
        pairs.append(Pair(first, second, shared, shared / union))
    return pairs


def _passes(pair: Pair, reference_sizes: IntArray, preset: LesionPreset) -> bool:
    if preset.overlap == "voxels":
        return pair.shared >= preset.threshold
    if preset.overlap == "share":
        return pair.shared >= preset.threshold * int(reference_sizes[pair.reference - 1])
    return preset.overlap == "any" or pair.iou >= preset.threshold


def _one_to_one(pairs: list[Pair]) -> list[Pair]:
    taken: list[Pair] = []
    references: set[int] = set()
    predictions: set[int] = set()
    for pair in sorted(pairs, key=lambda pair: (-pair.iou, pair.reference, pair.prediction)):
        if pair.reference not in references and pair.prediction not in predictions:
            taken.append(pair)
            references.add(pair.reference)
            predictions.add(pair.prediction)
    return sorted(taken, key=lambda pair: pair.reference)
