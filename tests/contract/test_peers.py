"""What every peer keeps, so that it can stand in the place of our network."""

from __future__ import annotations

import copy
import itertools
from functools import cache

import pytest
import torch
from safetensors.torch import load_file, save_file

from grcsf.config import NetworkSettings
from grcsf.fitting.fit import frozen_weights
from grcsf.nets.peers import PEERS, PeerNet, PeerShape, build_peer
from grcsf.training.losses import SegmentationLoss

CHANNELS, LABELS = 2, 3
STRIDES = {2: ((2, 2), (2, 2), (2, 1), (1, 1)), 3: ((1, 2, 2), (2, 2, 2), (1, 1, 1), (1, 1, 1))}
PATCH = {2: (17, 24), 3: (5, 9, 17)}
FEATURES = {"segresnet": (8, 8, 8, 8, 8), "swin-unetr": (12, 8, 8, 8, 8)}
SUPERVISED = ("dynunet", "basic-unet-plus-plus")
SIZES = {2: [(1, 1), (19, 30), (37, 5)], 3: [(1, 1, 1), (3, 11, 18)]}
CHOICES = [*((name, False) for name in PEERS), *((name, True) for name in SUPERVISED)]

every_peer = pytest.mark.parametrize(
    ("name", "deep", "dims"),
    [
        pytest.param(name, deep, dims, id=f"{name}-{dims}d{'-deep' if deep else ''}")
        for (name, deep), dims in itertools.product(CHOICES, (2, 3))
    ],
)


@cache
def fresh(name: str, deep: bool, dims: int, seed: int) -> PeerNet:
    settings = NetworkSettings(
        backbone=name, features=FEATURES.get(name, (4, 6, 8, 8, 8)), gcu="off", rcu=False, deep_supervision=deep
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_peer(settings, PeerShape(CHANNELS, LABELS, STRIDES[dims], PATCH[dims]))


def build(name: str, deep: bool, dims: int, seed: int = 0) -> PeerNet:
    return copy.deepcopy(fresh(name, deep, dims, seed))


def image_of(size: tuple[int, ...], batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, CHANNELS, *size, generator=torch.Generator().manual_seed(0))


@every_peer
def test_training_reaches_every_parameter_and_the_network_can_be_copied(name, deep, dims):
    network = build(name, deep, dims).train()
    heads = network.all_heads(image_of(PATCH[dims]), None)
    assert heads[0].shape == (2, LABELS, *PATCH[dims])
    assert len(heads) == (4 if deep else 1)
    label = torch.randint(0, LABELS + 1, (2, 1, *PATCH[dims]), generator=torch.Generator().manual_seed(0))
    SegmentationLoss(range(1, LABELS + 1))(heads, label).backward()
    gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
    assert not [key for key, grad in gradients.items() if grad is None]
    assert all(grad.isfinite().all() for grad in gradients.values())
    copy.deepcopy(network)  # as averaged weights need


@every_peer
def test_the_grid_is_kept_whatever_its_size_and_items_do_not_mix(name, deep, dims):
    network = build(name, deep, dims).eval()
    with torch.no_grad():
        for size in SIZES[dims]:
            image = image_of(size)
            together = network(image)
            assert together.shape == (2, LABELS, *size)
            assert together.isfinite().all()
            assert torch.allclose(network(image[1:]), together[1:], atol=1e-4)
        assert network.train()(image_of(SIZES[dims][0], batch=1)).isfinite().all()  # norms need two voxels


@every_peer
def test_weights_survive_safetensors(name, deep, dims, tmp_path):
    network, other = build(name, deep, dims), build(name, deep, dims, seed=1).eval()
    image = image_of(PATCH[dims])
    with torch.no_grad():
        network.train()(image)  # moves what batch norms have counted
        network.eval()
        save_file(frozen_weights(network), tmp_path / "weights.safetensors")
        assert not torch.equal(other(image), network(image))
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        assert torch.equal(other(image), network(image))


@pytest.mark.parametrize("dims", [2, 3])
def test_dynunet_heads_stand_on_the_grids_of_their_levels(dims):
    network = build("dynunet", True, dims)
    size = {2: (19, 30), 3: (3, 11, 18)}[dims]
    grids = {2: [(19, 30), (10, 15), (5, 8), (3, 8)], 3: [(3, 11, 18), (3, 6, 9), (2, 3, 5), (2, 3, 5)]}[dims]
    for mode in (True, False):
        with torch.no_grad():
            heads = network.train(mode).all_heads(image_of(size))
        assert [tuple(head.shape[2:]) for head in heads] == grids


@pytest.mark.parametrize("dims", [2, 3])
def test_dynunet_heads_are_those_that_monai_stacks(dims):
    network = build("dynunet", True, dims).train()
    image = image_of({2: (16, 24), 3: (2, 12, 12)}[dims])  # whole steps
    with torch.no_grad():
        heads, stacked = network.all_heads(image), network.net(image)
    for index, head in enumerate(heads):
        enlarged = torch.nn.functional.interpolate(head, image.shape[2:])
        assert torch.equal(enlarged, stacked[:, index])


def test_the_last_head_of_the_nested_unet_is_the_finest():
    network = build("basic-unet-plus-plus", True, 2).eval()
    image = image_of((32, 32))
    with torch.no_grad():
        heads, outputs = network.all_heads(image), network.net(image)
    assert all(torch.equal(head, output) for head, output in zip(heads, outputs[::-1], strict=True))


def test_unetr_covers_a_larger_image_with_windows_of_its_one_size():
    network = build("unetr", False, 2).eval()
    assert network.window == (32, 32)
    image = image_of((32, 50), batch=1)
    with torch.no_grad():
        whole, left, right = network(image), network(image[..., :32]), network(image[..., 18:])
    assert torch.allclose(whole[..., :18], left[..., :18], atol=1e-6)
    assert torch.allclose(whole[..., 32:], right[..., 14:], atol=1e-6)
    assert torch.allclose(whole[..., 18:32], (left[..., 18:] + right[..., :14]) / 2, atol=1e-6)


def test_a_wrong_image_is_refused():
    with pytest.raises(ValueError, match=r"2 channels and 2 axes, got shape \(1, 1, 32, 32\)"):
        build("segresnet", False, 2)(torch.zeros(1, 1, 32, 32))
