"""CarveMix: inside the carved region everything is the donor's, outside the host's, in every array alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grcsf.config import TrainingSettings
from grcsf.training.carve import carve_mix, carved_region
from grcsf.training.data import LabelledPatches


def sample(space, value, box=None, channels=2):
    """Arrays of one value each, and a label that fills a box."""
    label = np.zeros((1, *space), np.int64)
    if box is not None:
        label[(0, *box)] = 1
    return {
        "image": np.full((channels, *space), value, np.float32),
        "residual": np.full((1, *space), value + 0.5, np.float32),
        "label": label,
    }


@pytest.mark.parametrize("space", [(16, 18), (12, 14, 16)])
def test_all_arrays_change_hands_in_the_same_region(space):
    box = tuple(slice(4, 9) for _ in space)
    host, donor = sample(space, 1.0), sample(space, 2.0, box)
    mixed = carve_mix(host, donor, np.random.default_rng(0))
    region = mixed["image"][0] == 2.0
    assert region.any()
    assert not region.all()
    for key, array in mixed.items():
        assert np.array_equal(array, np.where(region, donor[key], host[key]))
        assert array.dtype == host[key].dtype
    assert mixed["label"].sum() == (region & (donor["label"][0] > 0)).sum() > 0


def test_a_lesion_of_the_host_stays_outside_the_region():
    host = sample((20, 20), 1.0, (slice(14, 18), slice(14, 18)))
    donor = sample((20, 20), 2.0, (slice(2, 5), slice(2, 5)))
    for seed in range(20):
        mixed = carve_mix(host, donor, np.random.default_rng(seed))
        assert mixed["label"][0, 14:18, 14:18].all()
        assert mixed["image"][0, 15, 15] == 1.0
        assert mixed["image"][0, 3, 3] == 2.0


def test_neither_given_array_is_changed_and_no_lesion_means_no_change():
    host, donor = sample((8, 8), 1.0), sample((8, 8), 2.0)
    assert carve_mix(host, donor, np.random.default_rng(0)) is host
    donor = sample((8, 8), 2.0, (slice(2, 6), slice(2, 6)))
    carve_mix(host, donor, np.random.default_rng(0))
    assert (host["image"] == 1.0).all()
    assert (donor["image"] == 2.0).all()
    everywhere = sample((8, 8), 2.0, (slice(None), slice(None)))
    assert (carve_mix(host, everywhere, np.random.default_rng(0))["image"] == 2.0).all()


@given(st.integers(0, 2**32 - 1))
def test_the_margin_lies_between_half_the_depth_inside_and_the_depth_outside(seed):
    distance = np.arange(-4.0, 20.0)  # a half-space, 4 voxels deep
    region = carved_region(distance, np.random.default_rng(seed))
    assert region[distance <= -2.0].all()
    assert not region[distance > 4.0].any()


def test_smaller_and_larger_regions_come_as_often():
    distance = np.arange(-4.0, 20.0)
    rng = np.random.default_rng(0)
    larger = np.mean([carved_region(distance, rng)[distance == 0.0].any() for _ in range(400)])
    assert 0.4 < larger < 0.6


@pytest.mark.parametrize(("spatial_dims", "context"), [(2, 0), (2, 1), (3, 0)])
def test_batches_with_lesions_of_others_are_a_function_of_seed_and_step(make_store, spatial_dims, context):
    store = make_store(spatial_dims, shape=(9, 14, 12), context=context)
    settings = TrainingSettings(batch_size=4, augmentation="off", carve_mix=1.0)
    make, again = (LabelledPatches(store, store.names, None, settings, seed=1) for _ in range(2))
    batch = make(3, 0)
    assert all(torch.equal(value, again(3, 0)[key]) for key, value in batch.items())
    plain = LabelledPatches(store, store.names, None, settings.model_copy(update={"carve_mix": 0.0}), seed=1)(3, 0)
    assert not torch.equal(batch["image"], plain["image"])


def test_hosts_without_a_lesion_get_one(make_store):
    """Drawn anywhere, all cases come; with CarveMix each of them shows a lesion."""
    store = make_store(2, shape=(1, 8, 8), lesion_free=(0, 2))
    settings = TrainingSettings(batch_size=16, augmentation="off", lesion_fraction=0.0, carve_mix=1.0)
    batch = LabelledPatches(store, store.names, None, settings, seed=0)(0, 0)
    assert (batch["label"].flatten(1).sum(1) > 0).all()


def test_lesions_come_as_they_lie_and_mirrored(make_store):
    """Where left and right are an axis of the samples: the last one of the plan of these tests."""
    store = make_store(2, shape=(1, 8, 8), lesion_free=(0, 2))
    settings = TrainingSettings(batch_size=64, augmentation="off", lesion_fraction=0.0, carve_mix=1.0)
    patches = LabelledPatches(store, store.names, None, settings, seed=0)
    axis = patches.plan.mirror_axes[0]
    label = patches(0, 0)["label"][:, 0].float().movedim(1 + axis, 1).sum(2)  # along left and right
    sides = {("high" if row[5:].sum() > row[:3].sum() else "low") for row in label}
    assert sides == {"high", "low"}
