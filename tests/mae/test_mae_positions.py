"""Position codes: about the centre, the same for the same place on any grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grcsf.mae.positions import centred_grid, sincos_codes


@given(grid=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_coordinates_are_symmetric_and_row_major(grid):
    where = centred_grid(grid)
    assert where.shape == (torch.tensor(grid).prod(), len(grid))
    assert torch.equal(where, -where.flip(0))
    last_axis = where[: grid[-1], -1]
    assert torch.equal(last_axis.diff(), torch.ones(grid[-1] - 1))


def test_a_larger_grid_holds_the_codes_of_a_smaller_one():
    small, large = sincos_codes(centred_grid((2, 2)), 16), sincos_codes(centred_grid((4, 4)), 16)
    inner = large.reshape(4, 4, 16)[1:3, 1:3].reshape(4, 16)
    assert torch.equal(small, inner)


def test_codes_by_hand():
    # One axis, width 4: two bands, wavelengths 10 ** 0.5 and 10 ** 2 patches.
    codes = sincos_codes(torch.tensor([[0.0], [10**0.5 / 4]]), 4)
    assert codes[0].tolist() == [0, 0, 1, 1]
    assert codes[1, 0] == pytest.approx(1.0)  # a quarter of the first wave
    assert codes[1, 2] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("dims", "width"), [(2, 18), (3, 16)])
def test_what_does_not_divide_is_padded_with_zeros(dims, width):
    used = width // (2 * dims) * 2 * dims
    codes = sincos_codes(torch.randn(5, dims), width)
    assert codes.shape == (5, width)
    assert not codes[:, used:].any()
    assert codes[:, :used].square().sum(1).allclose(torch.full((5,), used / 2))  # sin^2 + cos^2 = 1 per band


def test_too_narrow_a_width_is_refused():
    with pytest.raises(ValueError, match="width 5 is too small for 3 axes; at least 6"):
        sincos_codes(torch.zeros(1, 3), 5)
