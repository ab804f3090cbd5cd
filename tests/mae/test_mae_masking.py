"""Visible sets: complementary ones hide each patch k - 1 times, drawn ones have the right number."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grcsf.mae.masking import complementary_sets, random_visible, visible_count


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(sets=st.integers(2, 5), more=st.integers(0, 30), seed=st.integers(0, 100))
def test_complementary_sets_hide_each_patch_in_all_but_one(sets, more, seed):
    patches, ratio = sets + more, 1 - 1 / sets
    found = complementary_sets(patches, ratio, seeded(seed))
    assert len(found) == sets
    times_visible = torch.bincount(torch.cat(found), minlength=patches)
    assert torch.equal(times_visible, torch.ones(patches, dtype=torch.long))  # disjoint, and cover: hidden k - 1 times
    sizes = [len(part) for part in found]
    assert max(sizes) - min(sizes) <= 1
    assert all(torch.equal(part, part.sort().values) for part in found)


def test_the_seed_decides_the_sets():
    first, again, other = (torch.cat(complementary_sets(40, 0.75, seeded(seed))) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.6, 0.9001])
def test_a_ratio_without_complementary_sets_is_refused(ratio):
    with pytest.raises(ValueError, match=r"must be 1 - 1/k"):
        complementary_sets(20, ratio, seeded())


def test_too_few_patches_are_refused():
    with pytest.raises(ValueError, match="3 patches cannot be cut into 4 visible sets"):
        complementary_sets(3, 0.75, seeded())


@given(batch=st.integers(1, 3), patches=st.integers(2, 40), ratio=st.sampled_from([0.5, 0.75, 0.9, 0.01, 0.99]))
def test_drawn_sets_have_the_right_number_and_are_sorted(batch, patches, ratio):
    visible = random_visible(batch, patches, ratio, seeded())
    assert visible.shape == (batch, visible_count(patches, ratio))
    assert (visible.diff(dim=1) > 0).all()  # ascending, so unique
    assert 0 <= visible.min() <= visible.max() < patches
    assert 1 <= visible.shape[1] < patches  # something to see and something to rebuild


def test_items_of_a_batch_are_drawn_apart():
    visible = random_visible(2, 40, 0.5, seeded())
    assert not torch.equal(visible[0], visible[1])
    assert torch.equal(visible, random_visible(2, 40, 0.5, seeded()))


def test_count_by_hand():
    assert [visible_count(16, ratio) for ratio in (0.5, 0.75, 0.99)] == [8, 4, 1]
    assert visible_count(1, 0.5) == 1
