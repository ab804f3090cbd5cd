"""What other libraries say of two masks; panoptica, whose pins clash with ours, by its formulas and frozen numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)

from grcsf.evaluation.surface import SurfaceDistances, surface_distances


def monai_scores(reference, prediction, spacing_mm, tolerance_mm=1.0):
    """HD, HD95, ASSD (``symmetric=True``) and NSD of MONAI, border voxels."""
    pair = [torch.tensor(mask)[None, None].float() for mask in (prediction, reference)]
    how = {"include_background": True, "spacing": spacing_mm}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of empty masks
        return tuple(
            float(value)
            for value in (
                compute_hausdorff_distance(*pair, **how),
                compute_hausdorff_distance(*pair, percentile=95, **how),
                compute_average_surface_distance(*pair, symmetric=True, **how),
                compute_surface_dice(*pair, [tolerance_mm], **how),
            )
        )


def monai_one_sided(reference, prediction, spacing_mm):
    """``compute_average_surface_distance`` as it comes: from the prediction only."""
    pair = [torch.tensor(mask)[None, None].float() for mask in (prediction, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(compute_average_surface_distance(*pair, include_background=True, spacing=spacing_mm))


def deepmind_scores(reference, prediction, spacing_mm, tolerance_mm=1.0):
    """HD, HD95, both directed average distances and NSD of surface-distance 0.1, surface elements by their area."""
    package = pytest.importorskip("surface_distance")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports from scipy.ndimage.filters
        found = package.compute_surface_distances(reference, prediction, spacing_mm)
        return (
            package.compute_robust_hausdorff(found, 100),
            package.compute_robust_hausdorff(found, 95),
            package.compute_average_surface_distance(found),
            package.compute_surface_dice_at_tolerance(found, tolerance_mm),
        )


def panoptica_scores(found: SurfaceDistances, tolerance_mm=1.0):
    """HD, HD95, ASSD and NSD by the formulas of panoptica 2.1.7 (``metrics/*.py``), from the same border voxels."""
    one, two = found.from_prediction, found.from_reference
    within = [np.count_nonzero(part <= tolerance_mm) / part.size for part in (one, two)]
    return (
        max(one.max(), two.max()),
        np.percentile(np.hstack((one, two)), 95),
        np.mean((one.mean(), two.mean())),
        sum(within) / 2,
    )


def example(name):
    """The masks of docs/concepts/why-numbers-differ.md: reference, prediction, spacing."""
    reference, prediction = np.zeros((2, 24, 24), bool)
    if name == "outlier":
        reference[4:12, 4:12] = True
        prediction[5:13, 4:12] = prediction[20, 20] = True
        return reference, prediction, (1.0, 1.0)
    reference[4:8, 4:8] = True
    prediction[4:8, 4:8] = prediction[4:6, 8:20] = True
    return reference, prediction, (2.0, 1.0)


def distances(name):
    return surface_distances(*example(name))
