"""Patches: cut and put back, on any grid."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grcsf.mae.patches import patch_grid, patchify, unpatchify

grids = st.lists(st.integers(1, 3), min_size=2, max_size=3)


@given(grid=grids, patch=st.integers(1, 3), channels=st.integers(1, 3), batch=st.integers(1, 2))
def test_unpatchify_inverts_patchify(grid, patch, channels, batch):
    image = torch.randn(batch, channels, *(count * patch for count in grid))
    patches = patchify(image, patch)
    assert patches.shape == (batch, torch.tensor(grid).prod(), channels * patch ** len(grid))
    assert torch.equal(unpatchify(patches, grid, patch, channels), image)


@given(grid=grids, patch=st.integers(1, 3), channels=st.integers(1, 2))
def test_patchify_equals_slow_loops(grid, patch, channels):
    image = torch.randn(1, channels, *(count * patch for count in grid))
    patches = patchify(image, patch)
    for index, corner in enumerate(itertools.product(*(range(count) for count in grid))):
        where = (slice(None), *(slice(at * patch, (at + 1) * patch) for at in corner))
        assert torch.equal(patches[0, index], image[0][where].flatten())


@pytest.mark.parametrize(("size", "padded"), [((8, 9), r"\(8, 12\)"), ((1, 3, 4), r"\(4, 4, 4\)")], ids=["2-D", "3-D"])
def test_a_size_that_does_not_fit_says_what_to_pad_to(size, padded):
    with pytest.raises(ValueError, match=f"not a multiple of the patch 4; pad to {padded}"):
        patch_grid(size, 4)
    with pytest.raises(ValueError, match="pad to"):
        patchify(torch.zeros(1, 1, *size), 4)
