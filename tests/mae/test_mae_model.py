"""The masked autoencoder sees its visible patches only, on any grid, in two and three dimensions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grcsf.config import MaeSettings
from grcsf.errors import ModelError
from grcsf.mae.bundle import MaeBundle
from grcsf.mae.masking import random_visible
from grcsf.mae.model import MaskedAutoencoder, build_mae, ratio_name
from grcsf.mae.patches import patchify, unpatchify

PATCH = 2


def tiny(dims: int, channels: int = 1) -> MaskedAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mae = MaskedAutoencoder(dims, channels, patch=PATCH, dim=16, depth=1, heads=2, decoder_dim=16, decoder_depth=1)
    return mae.eval()


def drawn(batch: int, patches: int, seed: int = 0, ratio: float = 0.5) -> torch.Tensor:
    return random_visible(batch, patches, ratio, torch.Generator().manual_seed(seed))


NETWORKS = {2: tiny(2, channels=2), 3: tiny(3)}


@given(grid=st.lists(st.integers(1, 4), min_size=2, max_size=3), batch=st.integers(1, 2))
@settings(max_examples=10)
def test_any_grid_gives_an_image_of_its_own_size(grid, batch):
    mae = NETWORKS[len(grid)]
    image = torch.randn(batch, mae.in_channels, *(PATCH * count for count in grid))
    patches = int(torch.tensor(grid).prod())
    rebuilt = mae(image, drawn(batch, patches) if patches > 1 else torch.zeros(batch, 1, dtype=torch.long))
    assert rebuilt.shape == image.shape
    assert rebuilt.isfinite().all()


@pytest.mark.parametrize("dims", [2, 3])
def test_a_batch_is_its_items(dims):
    mae = NETWORKS[dims]
    image, visible, origin = torch.randn(3, mae.in_channels, *[4] * dims), drawn(3, 2**dims), torch.randn(3, dims)
    together = mae(image, visible, origin)
    for item in range(3):
        one = slice(item, item + 1)
        assert torch.allclose(mae(image[one], visible[one], origin[one]), together[one], atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_visible_set_is_an_argument(dims):
    mae = NETWORKS[dims]
    image, visible = torch.randn(1, mae.in_channels, *[4] * dims), drawn(1, 2**dims)
    before = torch.random.get_rng_state()
    first, again = mae(image, visible), mae(image, visible)
    assert torch.equal(torch.random.get_rng_state(), before)  # nothing is drawn inside
    assert torch.equal(first, again)
    hidden = torch.tensor([[index for index in range(2**dims) if index not in visible[0]]])
    assert not torch.allclose(mae(image, hidden), first)


@given(dims=st.sampled_from([2, 3]), seed=st.integers(0, 1000), ratio=st.sampled_from([0.5, 0.75]))
@settings(max_examples=15)
def test_hidden_patches_do_not_change_the_output(dims, seed, ratio):
    mae, grid = NETWORKS[dims], [3, 2, 2][:dims]
    image = torch.randn(1, mae.in_channels, *(PATCH * count for count in grid))
    patches = patchify(image, PATCH)
    visible = drawn(1, patches.shape[1], seed, ratio)
    changed = torch.full_like(patches, 1e4)
    changed[:, visible[0]] = patches[:, visible[0]]
    other = unpatchify(changed, grid, PATCH, mae.in_channels)
    assert torch.equal(mae(image, visible), mae(other, visible))


def test_visible_patches_change_the_output():
    mae = NETWORKS[2]
    image, visible = torch.randn(1, 2, 4, 4), torch.tensor([[0, 3]])
    other = image.clone()
    other[..., :PATCH, :PATCH] += 1.0
    assert not torch.allclose(mae(image, visible), mae(other, visible))


def test_the_origin_says_where_the_window_lies():
    mae, image, visible = NETWORKS[2], torch.randn(1, 2, 4, 4), torch.tensor([[0, 3]])
    centre, shifted = torch.zeros(1, 2), torch.tensor([[0.0, 6.0]])
    assert torch.equal(mae(image, visible, centre), mae(image, visible))
    assert not torch.allclose(mae(image, visible, shifted), mae(image, visible))
    assert torch.equal(mae.encode(image, visible, centre), mae.encode(image, visible))
    assert not torch.allclose(mae.encode(image, visible, shifted), mae.encode(image, visible))


def test_order_of_visible_patches_does_not_matter():
    mae, image = NETWORKS[2], torch.randn(1, 2, 4, 4)
    one, other = mae(image, torch.tensor([[0, 3]])), mae(image, torch.tensor([[3, 0]]))
    assert torch.allclose(one, other, atol=1e-5)


def test_encoder_tokens_are_those_of_the_visible_patches():
    assert NETWORKS[3].encode(torch.randn(2, 1, 4, 4, 4), drawn(2, 8)).shape == (2, 4, 16)


def test_a_size_that_does_not_fit_says_what_to_pad_to():
    with pytest.raises(ValueError, match=r"pad to \(6, 4\)"):
        NETWORKS[2](torch.zeros(1, 2, 5, 4), torch.tensor([[0]]))


def test_one_network_or_one_per_ratio():
    settings_ = {"patch": 2, "dim": 16, "depth": 1, "heads": 2, "decoder_dim": 16, "decoder_depth": 1}
    assert list(build_mae(MaeSettings(**settings_), 2, 1)) == ["all"]
    separate = MaeSettings(networks="per-ratio", **settings_)
    networks = build_mae(separate, 2, 1)
    assert list(networks) == ["r50", "r75"] == [ratio_name(ratio) for ratio in separate.ratios]
    bundle = MaeBundle(networks, separate, 2, 1, (4, 4), "plan", {}, "")
    assert bundle.network(0.75) is networks["r75"]
    with pytest.raises(ModelError, match=r"networks for r50, r75; none for mask ratio 0.8"):
        bundle.network(0.8)
