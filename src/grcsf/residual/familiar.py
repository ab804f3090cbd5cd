"""Whether a masked autoencoder knows the anatomy of an image: how large its residual is beside those of training."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from grcsf.arrays import AnyArray

__all__ = ["residual_size", "usual_size"]

_USUAL = 0.95  # share of the training images that count as usual


def residual_size(maps: Float[AnyArray, "r d h w"], foreground: Bool[AnyArray, "d h w"]) -> float:
    """Median magnitude of the residual maps inside the foreground, in units of the normalised image.

    A lesion takes too small a share of an image to move it; another plane, body part or contrast does.
    Source: own (docs/decisions/0021).

    Args:
        maps: of any kind.
        foreground: voxels of the patient, at least one.
    """
    return float(np.median(np.abs(maps[:, foreground])))


def usual_size(sizes: Iterable[float]) -> float:
    """Residual size that all but the oddest twentieth of the training images stay within.

    Args:
        sizes: :func:`residual_size` of each, at least one.
    """
    return float(np.quantile(list(sizes), _USUAL))
