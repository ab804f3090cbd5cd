"""Strides, padding, heads and receptive fields of the network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from grcsf.config import NetworkSettings
from grcsf.nets.blocks import crop_end, pad_end, whole_steps
from grcsf.nets.network import GrcsfNet, cumulative_strides, level_strides
from grcsf.nets.receptive import receptive_fields

TINY = NetworkSettings(features=(4, 6, 8), gcu="off", rcu=False, rcu_levels=(0,))


def test_an_isotropic_patch_is_halved_alike():
    assert level_strides((64, 64, 64), (1.0, 1.0, 1.0), 5) == ((2, 2, 2),) * 4
    assert level_strides((32, 32), (0.5, 0.5), 3) == ((2, 2), (2, 2))


def test_thick_slices_wait_for_the_plane():
    # 5 mm slices of 1 mm pixels: pixels become 2 and 4 mm, then 5 <= 2 * 4 and slices join.
    assert level_strides((16, 64, 64), (5.0, 1.0, 1.0), 5) == ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))


def test_an_axis_keeps_its_last_four_voxels():
    assert level_strides((8, 64), (1.0, 1.0), 4) == ((2, 2), (1, 2), (1, 2))
    assert level_strides((4, 4), (1.0, 1.0), 3) == ((1, 1), (1, 1))


def test_an_axis_that_is_used_up_does_not_hold_the_others():
    strides = level_strides((8, 256, 256), (1.0, 1.0, 1.0), 6)
    assert strides == ((2, 2, 2), *[(1, 2, 2)] * 4)


@given(
    patch=st.lists(st.integers(4, 128), min_size=2, max_size=3),
    spacing=st.lists(st.floats(0.3, 8.0), min_size=3, max_size=3),
    levels=st.integers(2, 6),
)
def test_no_axis_is_halved_below_its_smallest(patch, spacing, levels):
    strides = level_strides(patch, spacing[: len(patch)], levels)
    assert len(strides) == levels - 1
    deepest = cumulative_strides(strides)[-1]
    assert all(edge // step >= 4 for edge, step in zip(patch, deepest, strict=True))


@given(
    size=st.lists(st.integers(1, 6), min_size=2, max_size=3), more=st.lists(st.integers(0, 9), min_size=3, max_size=3)
)
def test_padding_repeats_the_end_and_cropping_takes_it_off(size, more):
    x = torch.randn(1, 2, *size)
    padded = pad_end(x, more[: len(size)])
    assert list(padded.shape[2:]) == [edge + extra for edge, extra in zip(size, more, strict=False)]
    assert torch.equal(crop_end(padded, size), x)
    assert torch.equal(padded[..., -1][(..., *(slice(0, edge) for edge in size[:-1]))], x[..., -1])


@given(size=st.lists(st.integers(1, 20), min_size=2, max_size=2))
@settings(max_examples=15)
def test_the_deepest_level_has_at_least_two_voxels(size):
    padded = [edge + more for edge, more in zip(size, whole_steps(size, (4, 4)), strict=True)]
    assert all(edge % 4 == 0 for edge in padded)
    assert padded[0] // 4 * (padded[1] // 4) >= 2
    if padded != [4, 8]:  # nothing more than needed
        assert all(edge - was < 4 for edge, was in zip(padded, size, strict=True))


@pytest.mark.parametrize("dims", [2, 3])
def test_deep_supervision_has_a_head_per_decoder_level(dims):
    deep = NetworkSettings(features=(4, 6, 8, 10), gcu="off", rcu=False, rcu_levels=(0,), deep_supervision=True)
    strides = [(2,) * dims, (1, *[2] * (dims - 1)), (2,) * dims]
    size = (13, 11, 9)[:dims]
    image = torch.randn(1, 1, *size)
    heads = GrcsfNet(deep, 1, 3, strides).all_heads(image)
    assert len(heads) == 3
    for head, stride in zip(heads, cumulative_strides(strides), strict=False):
        assert head.shape[1] == 3
        assert list(head.shape[2:]) == [-(-edge // step) for edge, step in zip(size, stride, strict=True)]
    plain = deep.model_copy(update={"deep_supervision": False})
    assert len(GrcsfNet(plain, 1, 3, strides).all_heads(image)) == 1
    unset = deep.model_copy(update={"deep_supervision": None})
    assert len(GrcsfNet(unset, 1, 3, strides).all_heads(image)) == 3


def test_wrong_inputs_are_refused():
    network = GrcsfNet(TINY, 2, 1, [(2, 2), (2, 2)])
    with pytest.raises(ValueError, match=r"expected an image of 2 channels and 2 axes, got shape \(1, 1, 8, 8\)"):
        network(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="and 2 axes"):
        network(torch.zeros(1, 2, 8, 8, 8))
    with pytest.raises(ValueError, match="3 levels need 2 strides, got 1"):
        GrcsfNet(TINY, 1, 1, [(2, 2)])
    with_rcu = TINY.model_copy(update={"rcu": True, "rcu_levels": (0,)})
    network = GrcsfNet(with_rcu, 1, 1, [(2, 2), (2, 2)], maps=2, map_channels=3)
    with pytest.raises(ValueError, match="needs 2 residual maps; got none"):
        network(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"expected residual maps of shape \(1, 6, 8, 8\), got \(1, 2, 8, 8\)"):
        network(torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 8, 8))


def test_maps_beside_the_image_are_further_channels_and_nothing_else():
    beside = NetworkSettings(features=(2, 3, 4), rcu=False, rcu_levels=(0,), residual_input="concat")
    plain = NetworkSettings(features=(2, 3, 4), rcu=False, rcu_levels=(0,))
    networks = []
    for settings_of, channels, maps in ((beside, 1, 2), (plain, 7, 0)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            networks.append(GrcsfNet(settings_of, channels, 1, [(2, 2), (2, 2)], maps=maps, map_channels=3).eval())
    image, maps = torch.randn(2, 1, 9, 14), torch.randn(2, 6, 9, 14)
    with torch.no_grad():
        assert torch.equal(networks[0](image, maps), networks[1](torch.cat([image, maps], dim=1)))
    assert networks[0].uses_residual
    assert (networks[0].in_channels, len(networks[0].rcu)) == (1, 0)
    with pytest.raises(ValueError, match="needs 2 residual maps; got none"):
        networks[0](image)
    assert not GrcsfNet(beside, 1, 1, [(2, 2), (2, 2)]).uses_residual  # nobody makes maps


def test_maps_in_both_ways_are_concat_until_the_rcu_has_learnt():
    base = NetworkSettings(features=(2, 3, 4), rcu=False, rcu_levels=(0,), residual_input="concat", gcu="off")
    concat = GrcsfNet(base, 1, 1, [(2, 2), (2, 2)], maps=2)
    twice = GrcsfNet(base.model_copy(update={"rcu": True, "residual_input": "both"}), 1, 1, [(2, 2), (2, 2)], maps=2)
    missing = twice.load_state_dict(concat.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    assert {key.split(".")[0] for key in missing.missing_keys} == {"rcu"}
    image, maps = torch.randn(2, 1, 9, 14), torch.randn(2, 2, 9, 14)
    with torch.no_grad():
        assert torch.equal(twice.eval()(image, maps), concat.eval()(image, maps))
        torch.nn.init.normal_(twice.rcu["0"].fuse[-1].weight)
        assert not torch.equal(twice(image, maps), concat(image, maps))


def test_dropout_acts_in_training_only():
    network = GrcsfNet(TINY.model_copy(update={"dropout": 0.5}), 1, 1, [(2, 2), (2, 2)])
    image = torch.randn(16, 1, 16, 16)  # of one image, all 8 channels are dropped alike twice in one of 256 runs
    assert not torch.equal(network.train()(image), network(image))
    assert torch.equal(network.eval()(image), network(image))


@pytest.mark.parametrize("strides", [[(2, 2)], [(1, 2)], [(1, 2, 2)], [(2, 2, 2)]])
def test_the_receptive_field_is_where_the_gradient_reaches(strides):
    dims = len(strides[0])
    network = GrcsfNet(
        NetworkSettings(features=(2, 2), backbone="plain-unet", gcu="off", rcu=False, rcu_levels=(0,)), 1, 1, strides
    )
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm2d | nn.InstanceNorm3d):
                setattr(module, name, nn.Identity())  # norms see everything
            elif isinstance(child, nn.Conv2d | nn.Conv3d):
                nn.init.uniform_(child.weight, 0.1, 1.0)  # no sum cancels
    for level in receptive_fields(network.widths, strides, [1.0] * dims):
        image = torch.zeros(1, 1, *[24] * dims, requires_grad=True)
        feature = network._encode(image)[level.index]
        feature[(0, 0, *(edge // 2 for edge in feature.shape[2:]))].backward()
        reached = image.grad[0, 0].nonzero()
        found = (reached.max(dim=0).values - reached.min(dim=0).values + 1).tolist()
        assert tuple(found) == level.field_voxels


def test_receptive_fields_in_millimetres():
    level = receptive_fields((8, 16), [(1, 2)], (5.0, 0.5))[1]
    assert level.stride == (1, 2)
    assert level.field_voxels == (9, 11)  # 5 + 2 + 2, 5 + 2 + 2 * 2
    assert level.field_mm == (45.0, 5.5)
