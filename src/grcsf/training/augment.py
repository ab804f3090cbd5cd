"""Augmentation through MONAI, seeded per sample."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from typing import Any, Literal, cast

import numpy as np
import torch
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import (
    RandAdjustContrastd,
    RandBiasFieldd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.transforms.spatial.dictionary import RandAffined, RandFlipd, RandSimulateLowResolutiond
from monai.transforms.transform import Randomizable
from monai.utils.type_conversion import convert_to_tensor

from grcsf.arrays import AnyArray

__all__ = ["Augmentation"]

Sample = dict[str, AnyArray]
_LARGEST_SEED = 2**31 - 1


class Augmentation:
    """Random transforms of one sample: geometry on image, maps and label alike, intensity on the image alone.

    Args:
        strength: ``off``, ``light`` (mirrors, small affine) or ``full`` (and intensity).
        patch_size: size of the sample in voxels.
        mirror_axes: axes that may be mirrored.
        with_residual: whether samples carry residual maps.
        coarse_axes: of 3-D samples, such as that of thick slices: nothing is turned out of its plane, moved or scaled
            along it.
    """

    def __init__(
        self,
        strength: Literal["off", "light", "full"],
        patch_size: tuple[int, ...],
        mirror_axes: tuple[int, ...],
        with_residual: bool,
        coarse_axes: tuple[int, ...] = (),
    ) -> None:
        self.keys = ["image", *(["residual"] if with_residual else []), "label"]
        transforms: list[Any] = []
        if strength != "off":
            transforms += [RandFlipd(self.keys, prob=0.5, spatial_axis=axis) for axis in mirror_axes]
            transforms.append(self._affine(len(patch_size), strength, coarse_axes))
        if strength == "full":
            transforms += _intensity(len(patch_size))
        self.transform = Compose(transforms)

    def _affine(self, dims: int, strength: str, coarse: tuple[int, ...]) -> Any:
        full = strength == "full"
        angle, shift = (math.radians(30), 8.0) if full else (math.radians(7), 4.0)
        scale = (-0.3, 0.4) if full else (-0.1, 0.1)  # 0.7 to 1.4 times, as nnU-Net
        pairs = list(permutations(range(dims), 2))  # in MONAI's order of shears
        turned = [angle] if dims == 2 else [0.0 if {*range(3)} - {axis} & {*coarse} else angle for axis in range(3)]
        return RandAffined(
            self.keys,
            prob=0.8 if full else 0.4,
            rotate_range=turned,
            shear_range=[0.0 if {*pair} & {*coarse} else 0.15 for pair in pairs] if full else None,
            scale_range=[(0.0, 0.0) if axis in coarse else scale for axis in range(dims)],
            translate_range=[0.0 if axis in coarse else shift for axis in range(dims)],
            mode=["nearest" if key == "label" else "bilinear" for key in self.keys],
            padding_mode=["zeros" if key != "image" else "border" for key in self.keys],
        )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Transformed copies as plain tensors; the same generator state gives the same result."""
        state = np.random.RandomState(int(rng.integers(_LARGEST_SEED)))
        for transform in self.transform.transforms:  # one stream for all: seeding each takes longer than drawing
            cast(Randomizable, transform).set_random_state(state=state)
        tensors = {key: torch.from_numpy(np.ascontiguousarray(sample[key], dtype=np.float32)) for key in self.keys}
        with _plain_tensors():
            result = self.transform(tensors)
        return {key: convert_to_tensor(result[key], track_meta=False).contiguous() for key in self.keys}


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """No history of transforms, which is not read here and takes a quarter of the time."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def _intensity(dims: int) -> list[Any]:
    linear = "bilinear" if dims == 2 else "trilinear"
    image = ["image"]
    return [
        RandGaussianNoised(image, prob=0.3, std=0.15),
        RandGaussianSmoothd(image, prob=0.25, sigma_x=(0.4, 1.2), sigma_y=(0.4, 1.2), sigma_z=(0.4, 1.2)),
        RandScaleIntensityd(image, factors=0.35, prob=0.5),
        RandShiftIntensityd(image, offsets=0.3, prob=0.5),
        RandAdjustContrastd(image, prob=0.4, gamma=(0.6, 1.7)),
        RandBiasFieldd(image, degree=3, coeff_range=(0.0, 0.2), prob=0.3),
        RandSimulateLowResolutiond(image, prob=0.2, zoom_range=(0.5, 1.0), upsample_mode=linear),
    ]
