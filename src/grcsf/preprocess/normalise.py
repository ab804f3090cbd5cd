"""Grey values to a common scale."""

from __future__ import annotations

from typing import Literal

import numpy as np

from grcsf.arrays import BoolArray, FloatArray
from grcsf.config import Frozen
from grcsf.errors import ImageError

__all__ = ["LOWEST_ZSCORE", "ChannelPlan", "Scheme", "normalise_channel"]

Scheme = Literal["ct", "zscore", "none", "candidates"]

LOWEST_ZSCORE = -5.0


class ChannelPlan(Frozen):
    """How one channel is brought to a common scale.

    Attributes:
        name: as in ``dataset.json``.
        scheme: "ct": clip, then subtract the data set's mean and divide by its standard deviation; "zscore": mean and
            standard deviation inside the image's own foreground, applied to every voxel, then clip; "none": as it is;
            "candidates": made from the first "ct" channel, 1 where it is at least ``clip_low``, else 0.
        clip_low: lowest value kept; grey values for "ct", standard deviations for "zscore"; HU for "candidates".
        clip_high: highest value kept, likewise; none keeps all.
        mean: of the data set, "ct" only.
        std: of the data set, "ct" only.
    """

    name: str
    scheme: Scheme
    clip_low: float | None = None
    clip_high: float | None = None
    mean: float | None = None
    std: float | None = None


def normalise_channel(image: FloatArray, foreground: BoolArray, plan: ChannelPlan, case: str) -> FloatArray:
    """One channel on the common scale.

    The z-score is applied to the background as well, so that its edge stays continuous, and the low side is clipped at
    ``plan.clip_low`` standard deviations (`LOWEST_ZSCORE` by default): padding far below the tissue would otherwise
    take most of the range. The high side is left alone because lesions may be the brightest tissue. Where the
    foreground is constant but the image is not, mean and standard deviation come from the whole image.

    Args:
        image: ``(D, H, W)``.
        foreground: ``(D, H, W)``.
        plan: scheme and its numbers.
        case: named in the error.

    Returns:
        ``(D, H, W)`` float32, a new array.

    Raises:
        ImageError: a constant image, which has no scale.
    """
    if plan.scheme == "none":
        return image.astype(np.float32)
    if plan.scheme == "candidates":
        return (image >= _limit(plan)).astype(np.float32)
    if plan.scheme == "ct":
        return _clip_and_scale(image, plan)
    mean, std = _mean_and_std(image[foreground])
    if not _usable(mean, std):
        mean, std = _mean_and_std(image)
    if not _usable(mean, std):
        raise ImageError(
            f"{case}: channel {plan.name} is constant (every voxel {float(image.reshape(-1)[0]):g}); expected an image "
            "with contrast; look at the file and leave the case out if it is blank"
        )
    scaled = (image.astype(np.float32) - np.float32(mean)) / np.float32(std)
    return np.clip(scaled, plan.clip_low, plan.clip_high) if plan.clip_low is not None else scaled


def _limit(plan: ChannelPlan) -> float:
    if plan.clip_low is None:
        raise ValueError(f"channel {plan.name}: scheme candidates needs clip_low")
    return plan.clip_low


def _clip_and_scale(image: FloatArray, plan: ChannelPlan) -> FloatArray:
    if plan.mean is None or plan.std is None or plan.clip_low is None or plan.clip_high is None:
        raise ValueError(f"channel {plan.name}: scheme ct needs clip_low, clip_high, mean and std")
    clipped = np.clip(image.astype(np.float32), np.float32(plan.clip_low), np.float32(plan.clip_high))
    scaled: FloatArray = (clipped - np.float32(plan.mean)) / np.float32(plan.std)
    return scaled


def _mean_and_std(values: FloatArray) -> tuple[float, float]:
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def _usable(mean: float, std: float) -> bool:
    """A spread that is more than the rounding of float32 around the mean."""
    return std > 1e-6 * max(abs(mean), 1e-12)
