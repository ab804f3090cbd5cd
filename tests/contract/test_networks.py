"""What every registered network keeps, with any of its units, in two and three dimensions."""

from __future__ import annotations

import itertools
import typing

import pytest
import torch
from safetensors.torch import load_file, save_file

from grcsf.config import NetworkSettings
from grcsf.fitting.fit import frozen_weights
from grcsf.nets.blocks import BLOCKS
from grcsf.nets.network import GrcsfNet
from grcsf.nets.peers import PEERS
from grcsf.training.package import plain_backbone

BACKBONES = tuple(BLOCKS)
FORMS = typing.get_args(NetworkSettings.model_fields["gcu"].annotation)
MAPS, MAP_CHANNELS, CHANNELS, LABELS = 2, 1, 2, 3
STRIDES = {2: ((2, 2), (2, 2)), 3: ((1, 2, 2), (2, 2, 2))}
SIZES = {2: (9, 14), 3: (3, 7, 10)}
TINY = {2: [(1, 1), (3, 5), (4, 4)], 3: [(1, 1, 1), (1, 3, 5), (2, 4, 4)]}

every_network = pytest.mark.parametrize(
    ("backbone", "dims", "gcu", "rcu"),
    [
        pytest.param(*choice, id=f"{choice[0]}-{choice[1]}d-gcu_{choice[2]}-rcu_{'on' if choice[3] else 'off'}")
        for choice in itertools.product(BACKBONES, (2, 3), FORMS, (False, True))
    ],
)


def build(backbone: str, dims: int, gcu: str, rcu: bool, seed: int = 0, fresh: bool = False) -> GrcsfNet:
    settings = NetworkSettings(
        backbone=backbone, features=(4, 6, 8), gcu=gcu, rcu=rcu, rcu_levels=(0, 1), rcu_patch=4, rcu_dim=8, rcu_heads=2
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = GrcsfNet(settings, CHANNELS, LABELS, STRIDES[dims], maps=MAPS, map_channels=MAP_CHANNELS)
        if not fresh:  # units that do something
            for name, parameter in network.named_parameters():
                if name.startswith(("gcu", "rcu")):
                    torch.nn.init.normal_(parameter, std=0.2)
    return network


def inputs(size: tuple[int, ...], batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, CHANNELS, *size, generator=draw),
        torch.randn(batch, MAPS * MAP_CHANNELS, *size, generator=draw),
    )


@every_network
def test_grid_gradients_and_batches(backbone, dims, gcu, rcu):
    network = build(backbone, dims, gcu, rcu)
    image, residual = inputs(SIZES[dims])
    heads = network.train().all_heads(image, residual)
    assert heads[0].shape == (2, LABELS, *SIZES[dims])
    torch.stack([head.square().mean() for head in heads]).sum().backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert not [name for name, grad in gradients.items() if grad is None]
    assert all(grad.isfinite().all() for grad in gradients.values())

    with torch.no_grad():
        together = network.eval()(image, residual)
        for item in range(2):
            alone = network(image[item : item + 1], residual[item : item + 1])
            assert torch.allclose(alone, together[item : item + 1], atol=1e-4)


@every_network
def test_tiny_inputs(backbone, dims, gcu, rcu):
    network = build(backbone, dims, gcu, rcu)
    for size, training in itertools.product(TINY[dims], (True, False)):
        image, residual = inputs(size, batch=1)
        with torch.no_grad():
            logits = network.train(training)(image, residual)
        assert logits.shape == (1, LABELS, *size)
        assert logits.isfinite().all()


@every_network
def test_a_fresh_network_is_its_plain_backbone(backbone, dims, gcu, rcu):
    network = build(backbone, dims, gcu, rcu, fresh=True).eval()
    plain = build(backbone, dims, "off", False, fresh=True).eval()
    image, residual = inputs(SIZES[dims])
    with torch.no_grad():
        assert torch.equal(network(image, residual), plain(image))
    units = {name.split(".")[0] for name, _ in network.named_parameters()} - {"encoder", "decoder", "up", "heads"}
    assert units == {name for name, on in (("gcu", gcu != "off"), ("rcu", rcu)) if on}  # a unit that is off is absent


@every_network
def test_weights_survive_safetensors(backbone, dims, gcu, rcu, tmp_path):
    network = build(backbone, dims, gcu, rcu).eval()
    save_file(frozen_weights(network), tmp_path / "weights.safetensors")
    other = build(backbone, dims, gcu, rcu, seed=1).eval()
    image, residual = inputs(TINY[dims][1], batch=1)
    with torch.no_grad():
        assert not torch.equal(other(image, residual), network(image, residual))
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        assert torch.equal(other(image, residual), network(image, residual))


@pytest.mark.parametrize("dims", [2, 3])
def test_units_change_the_output_once_they_have_learned(dims):
    image, residual = inputs(SIZES[dims])
    with torch.no_grad():
        plain = build(BACKBONES[0], dims, "off", False).eval()(image)
        for gcu, rcu in itertools.product(FORMS, (False, True)):
            if gcu != "off" or rcu:
                assert not torch.allclose(build(BACKBONES[0], dims, gcu, rcu).eval()(image, residual), plain)


def test_plain_backbone_switches_both_units_off():
    for before in (NetworkSettings(), NetworkSettings(rcu=False, residual_input="concat")):
        settings = plain_backbone(before)
        assert (settings.gcu, settings.uses_residual) == ("off", False)
        assert settings.features == before.features


def test_an_unknown_backbone_lists_the_known_ones():
    with pytest.raises(ValueError, match=", ".join(f"'{name}'" for name in (*BACKBONES, *PEERS)[:-1])):
        NetworkSettings(backbone="u-net")
