"""Augmentation is a function of its generator, and moves image, maps and label alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.meta_obj import get_track_meta, set_track_meta

from grcsf.training.augment import Augmentation


def sample(dims: int, residual: bool = True, size: int = 12) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (1, *[size] * dims)
    found = {
        "image": rng.standard_normal(shape).astype(np.float32),
        "label": (rng.random(shape) > 0.7).astype(np.uint8),
    }
    if residual:
        found["residual"] = rng.standard_normal((2, *shape[1:])).astype(np.float32)
    return found


@pytest.mark.parametrize("strength", ["off", "light", "full"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_the_same_generator_state_gives_the_same_sample(strength, dims, residual):
    made = Augmentation(strength, (12,) * dims, (0, dims - 1), residual)
    given = sample(dims, residual)
    before = {key: value.copy() for key, value in given.items()}
    global_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    results = []
    for seed in range(4):
        first = made(given, np.random.default_rng(seed))
        again = made(given, np.random.default_rng(seed))
        assert set(first) == set(given)
        for key, value in first.items():
            assert type(value) is torch.Tensor  # no subclass that carries history through the network
            assert value.dtype == torch.float32
            assert value.shape == given[key].shape
            assert value.isfinite().all()
            assert torch.equal(value, again[key])
        results.append(first["image"])
    assert all(np.array_equal(given[key], before[key]) for key in given)
    assert torch.equal(torch.random.get_rng_state(), global_state[0])
    assert np.array_equal(np.random.get_state()[1], global_state[1])  # noqa: NPY002
    if strength == "off":
        assert all(torch.equal(result, results[0]) for result in results)
    else:
        assert not all(torch.equal(result, results[0]) for result in results)


def test_off_is_the_identity():
    given = sample(2)
    result = Augmentation("off", (12, 12), (1,), True)(given, np.random.default_rng(0))
    assert all(np.array_equal(result[key].numpy(), given[key]) for key in given)


@pytest.mark.parametrize("coarse", [0, 1, 2])
@pytest.mark.parametrize("strength", ["light", "full"])
def test_nothing_leaves_its_thick_slice(coarse, strength):
    affine = Augmentation(strength, (12,) * 3, (), False, coarse_axes=(coarse,)).transform.transforms[0]
    ramp = np.broadcast_to(np.arange(12.0, dtype=np.float32), (12, 12, 12))
    slices = torch.tensor(np.moveaxis(ramp, -1, coarse)[None].copy())
    along = torch.tensor(np.moveaxis(ramp, -1, (coarse + 1) % 3)[None].copy())
    moved = False
    for seed in range(6):
        affine.set_random_state(seed=seed)
        result = affine({"image": slices, "label": along})
        assert torch.allclose(torch.as_tensor(result["image"]), slices, atol=1e-3)
        moved |= not torch.equal(torch.as_tensor(result["label"]), along)
    assert moved


@pytest.mark.parametrize("dims", [2, 3])
def test_mirrors_move_image_maps_and_label_alike(dims, monkeypatch):
    made = Augmentation("light", (12,) * dims, (0, dims - 1), True)
    monkeypatch.setattr(made.transform, "transforms", made.transform.transforms[:-1])  # mirrors, without the affine
    same = (np.arange(12**dims) % 2 * (np.arange(12**dims) % 5 == 0)).reshape(1, *[12] * dims)
    given = {"image": same, "residual": same, "label": same}
    seen = set()
    for seed in range(12):
        result = made(given, np.random.default_rng(seed))
        assert torch.equal(result["image"], result["label"])
        assert torch.equal(result["image"], result["residual"])
        flips = [
            axes
            for axes in ((), (0,), (dims - 1,), (0, dims - 1))
            if np.array_equal(np.flip(same, [1 + axis for axis in axes]), result["image"].numpy())
        ]
        assert len(flips) == 1
        seen.add(flips[0])
    assert len(seen) > 2


def test_the_affine_moves_image_and_label_alike():
    made = Augmentation("full", (32, 32), (), True)
    affine = made.transform.transforms[0]
    disc = (np.hypot(*(np.indices((32, 32)) - 13.0)) < 6).astype(np.float32)[None]
    moved = 0
    for seed in range(6):
        affine.set_random_state(seed)
        result = affine({key: torch.from_numpy(disc) for key in ("image", "residual", "label")})
        image, label = result["image"] > 0.5, result["label"] > 0.5
        assert set(result["label"].unique().tolist()) <= {0.0, 1.0}
        union = float((image | label).sum())
        assert float((image & label).sum()) > 0.9 * union
        assert torch.equal(result["residual"], result["image"])
        moved += not np.array_equal(label.numpy(), disc > 0)
    assert moved > 1


def test_intensity_touches_the_image_alone():
    made = Augmentation("full", (12, 12), (), True)
    made.transform.transforms = made.transform.transforms[1:]  # without the affine
    given = sample(2)
    changed = 0
    for seed in range(8):
        result = made(given, np.random.default_rng(seed))
        assert np.array_equal(result["label"].numpy(), given["label"])
        assert np.array_equal(result["residual"].numpy(), given["residual"])
        changed += not np.array_equal(result["image"].numpy(), given["image"])
    assert changed > 3


@pytest.mark.parametrize("tracked", [False, True])
def test_tracking_of_transforms_is_left_as_it_was(tracked):
    before = get_track_meta()
    set_track_meta(tracked)
    try:
        augment = Augmentation("full", (12, 12), (0,), with_residual=True)
        result = augment(sample(2), np.random.default_rng(0))
        assert get_track_meta() == tracked
        assert type(result["image"]) is torch.Tensor
    finally:
        set_track_meta(before)


def test_samples_of_one_generator_differ():
    augment = Augmentation("full", (12, 12), (0,), with_residual=True)
    rng = np.random.default_rng(0)
    first, second = (augment(sample(2), rng)["image"] for _ in range(2))
    assert not torch.equal(first, second)
