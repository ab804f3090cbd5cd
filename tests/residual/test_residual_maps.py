"""Residual maps by hand, their ranges, and the rebuilding from hidden patches against slow loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grcsf.mae.masking import complementary_sets
from grcsf.mae.model import MaskedAutoencoder
from grcsf.mae.patches import patchify
from grcsf.residual.maps import rebuild_hidden, residual_map

PATCH = 2


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_signed_and_absolute_by_hand():
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    rebuilt = torch.tensor([[[[1.0, 5.0], [1.0, 4.5]]]])
    assert residual_map(image, rebuilt, "signed")[0, 0].tolist() == [[0.0, -3.0], [2.0, -0.5]]
    assert residual_map(image, rebuilt, "absolute")[0, 0].tolist() == [[0.0, 3.0], [2.0, 0.5]]


def test_cosine_by_hand():
    # Window 3 sees all of a 2 x 2 image from each corner, so every voxel has the cosine of the two whole images.
    image, rebuilt = torch.tensor([[[[3.0, 4.0], [0.0, 0.0]]]]), torch.tensor([[[[4.0, 3.0], [0.0, 0.0]]]])
    expected = 1 - (3 * 4 + 4 * 3) / (5 * 5)
    assert torch.allclose(residual_map(image, rebuilt, "cosine", 3), torch.full((1, 1, 2, 2), expected), atol=1e-5)


def test_cosine_takes_all_channels_together():
    image, rebuilt = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    image[:, 0], rebuilt[:, 1] = 1.0, 1.0  # orthogonal at every voxel
    assert torch.allclose(residual_map(image, rebuilt, "cosine", 3), torch.ones(1, 1, 2, 2), atol=1e-5)


@pytest.mark.parametrize("kind", ["signed", "absolute", "cosine"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_perfect_reconstruction_has_no_residual(kind, dims):
    image = torch.randn(1, 2, *[6] * dims)
    assert torch.allclose(residual_map(image, image, kind), torch.zeros(1), atol=1e-5)
    empty = torch.zeros_like(image)
    assert torch.equal(residual_map(empty, empty, kind).unique(), torch.zeros(1))


@given(dims=st.sampled_from([2, 3]), channels=st.integers(1, 2), seed=st.integers(0, 1000), scale=st.floats(0, 1e3))
def test_ranges(dims, channels, seed, scale):
    draw = seeded(seed)
    image = torch.randn(1, channels, *[5] * dims, generator=draw) * scale
    rebuilt = torch.randn(1, channels, *[5] * dims, generator=draw)
    signed, absolute = residual_map(image, rebuilt, "signed"), residual_map(image, rebuilt, "absolute")
    assert torch.equal(signed.abs(), absolute)
    assert torch.equal(signed, image - rebuilt)
    assert absolute.shape == image.shape
    assert absolute.min() >= 0
    cosine = residual_map(image, rebuilt, "cosine")
    assert cosine.shape == (1, 1, *image.shape[2:])
    assert -1e-4 <= cosine.min() <= cosine.max() <= 2 + 1e-4


def textbook(mae: MaskedAutoencoder, image: torch.Tensor, ratio: float, generator: torch.Generator) -> torch.Tensor:
    """For each patch, the mean over the passes that did not see it, patch by patch."""
    grid = [edge // PATCH for edge in image.shape[2:]]
    sets = complementary_sets(int(torch.tensor(grid).prod()), ratio, generator)
    passes = [mae(image, part.expand(image.shape[0], -1)) for part in sets]
    rebuilt = torch.full_like(image, torch.nan)
    for index, corner in enumerate(itertools.product(*(range(count) for count in grid))):
        where = (slice(None), slice(None), *(slice(at * PATCH, (at + 1) * PATCH) for at in corner))
        unseen = [one[where] for part, one in zip(sets, passes, strict=True) if index not in part.tolist()]
        assert len(unseen) == len(sets) - 1
        rebuilt[where] = sum(unseen) / len(unseen)
    return rebuilt


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.8])
def test_rebuilding_equals_its_textbook_twin(make_bundle, dims, ratio):
    mae = make_bundle(dims, channels=2).network(ratio)
    image = torch.randn(2, 2, *[6, 4, 4][:dims])
    rebuilt = rebuild_hidden(mae, image, ratio, seeded(5))
    assert torch.allclose(rebuilt, textbook(mae, image, ratio, seeded(5)), atol=1e-5)


@given(seed=st.integers(0, 1000), ratio=st.sampled_from([0.5, 0.75]), patch=st.integers(0, 5))
@settings(max_examples=10)
def test_a_patch_is_never_rebuilt_from_itself(seed, ratio, patch):
    mae = MAE
    image = torch.randn(1, 1, 6, 4)
    other = image.clone()
    row, column = divmod(patch, 2)
    other[..., row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] += 100.0
    one, two = (patchify(rebuild_hidden(mae, x, ratio, seeded(seed)), PATCH) for x in (image, other))
    assert torch.equal(one[:, patch], two[:, patch])
    assert not torch.equal(one, two)  # its neighbours are


def _untrained() -> MaskedAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MaskedAutoencoder(2, 1, patch=PATCH, dim=16, depth=1, heads=2, decoder_dim=16, decoder_depth=1).eval()


MAE = _untrained()
