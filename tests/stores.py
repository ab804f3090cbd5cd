"""Preprocessed stores of noise with a bright box, which is the lesion, for tests that need no real preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from grcsf.preprocess.geometry import CaseGeometry
from grcsf.preprocess.normalise import ChannelPlan
from grcsf.preprocess.plan import Plan
from grcsf.preprocess.store import CaseStore


def plain_plan(spatial_dims: int = 2, channels: int = 1, **changes: Any) -> Plan:
    """Slices or volumes of 1 mm voxels, patches of 8, one lesion label, arrays as the files hold them."""
    plan = Plan(
        spatial_dims=spatial_dims,
        native_2d=False,
        context=0,
        axis_order=(2, 1, 0),
        spacing_mm=(1.0, 1.0, 1.0),
        patch_size=(8,) * spatial_dims,
        channels=tuple(ChannelPlan(name=f"c{index}", scheme="none") for index in range(channels)),
        labels={"background": 0, "lesion": 1},
        crop=False,
        file_ending=".nii.gz",
    )
    return plan.model_copy(update=changes)


def write_store(
    folder: Path,
    plan: Plan,
    shape: tuple[int, int, int] = (3, 14, 12),
    *,
    cases: int = 3,
    brightness: float = 3.0,
    lesions: bool = True,
    lesion_free: tuple[int, ...] = (),
) -> CaseStore:
    """A store of ``case-0``, ``case-1``...; the lesion is the box ``[:, 3:7, 4:8]`` in every channel, if any."""
    store = CaseStore.create(folder, plan)
    geometry = CaseGeometry(
        native_shape=shape[::-1],
        affine_ras=tuple(tuple(float(value) for value in row) for row in np.eye(4)),
        orientation=((0, 1), (1, 1), (2, 1)),
        axis_order=(2, 1, 0),
        spacing_mm=(1.0, 1.0, 1.0),
        crop_start=(0, 0, 0),
        crop_stop=shape,
        resampled_shape=shape,
    )
    for index in range(cases):
        image = np.random.default_rng(index).standard_normal((len(plan.channels), *shape)).astype(np.float32)
        label = np.zeros(shape, np.uint8)
        if lesions and index not in lesion_free:
            label[:, 3:7, 4:8] = 1
            image[:, label > 0] += brightness
        store.write_case(f"case-{index}", image, np.ones(shape, bool), geometry, label)
    return store
