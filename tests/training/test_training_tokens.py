"""Encoder tokens: those of the autoencoder that sees every patch, frozen, on any input."""

from __future__ import annotations

import pytest
import torch

from grcsf.mae.model import MaskedAutoencoder
from grcsf.training.tokens import EncoderTokens


@pytest.fixture
def mae() -> MaskedAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return MaskedAutoencoder(2, 2, patch=4, dim=16, depth=1, heads=2, decoder_dim=16, decoder_depth=1).eval()


def test_tokens_are_those_of_the_encoder_that_sees_all(mae):
    image = torch.randn(3, 2, 8, 12, generator=torch.Generator().manual_seed(0))
    tokens = EncoderTokens(mae, (0, 1))(image)
    assert tokens.shape == (3, 16, 2, 3)
    expected = mae.encode(image, torch.arange(6).expand(3, -1))
    assert torch.allclose(tokens[1, :, 1, 2], expected[1, 5], atol=1e-6)


def test_only_the_chosen_channels_count(mae):
    image = torch.randn(1, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    tokens = EncoderTokens(mae, (1, 4))
    others = image.clone()
    others[:, [0, 2, 3, 5]] += 1
    assert torch.equal(tokens(image), tokens(others))
    assert not torch.equal(tokens(image), tokens(image + 1))
    with pytest.raises(ValueError, match="takes 2 channels, got 3"):
        EncoderTokens(mae, (0, 1, 2))


def test_a_part_of_a_patch_sees_the_last_voxel_repeated(mae):
    image = torch.randn(1, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    whole = torch.cat([image, image[:, :, -1:].expand(-1, -1, 3, -1)], dim=2)
    assert torch.equal(EncoderTokens(mae, (0, 1))(image), EncoderTokens(mae, (0, 1))(whole))


def test_the_encoder_is_a_frozen_copy(mae):
    tokens = EncoderTokens(mae, (0, 1))
    assert not any(parameter.requires_grad for parameter in tokens.parameters())
    before = tokens(torch.ones(1, 2, 4, 4))
    with torch.no_grad():
        mae.embed.weight.zero_()
    assert torch.equal(tokens(torch.ones(1, 2, 4, 4)), before)
