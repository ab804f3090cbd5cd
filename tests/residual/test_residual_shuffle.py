"""The control of shuffled maps: whose maps a case gets, and how they come onto its grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.errors import DatasetError
from grcsf.residual.shuffle import fit_grid, other_cases

patients = st.lists(st.integers(1, 4), min_size=1, max_size=8).map(
    lambda counts: {f"case-{p}-{i}": f"p{p}" for p, count in enumerate(counts) for i in range(count)}
)


@given(groups=patients.filter(lambda groups: len(groups) > 1), seed=st.integers(0, 99))
def test_a_permutation_without_fixed_points_to_other_patients(groups, seed):
    others = other_cases(groups, seed)
    assert sorted(others) == sorted(others.values()) == sorted(groups)
    assert all(name != other for name, other in others.items())
    counts = [list(groups.values()).count(patient) for patient in groups.values()]
    if 2 * max(counts) <= len(groups):
        assert all(groups[name] != groups[other] for name, other in others.items())
    assert others == other_cases(dict(reversed(groups.items())), seed)


def test_the_seed_decides_the_permutation():
    groups = {f"case-{i}": f"case-{i}" for i in range(12)}
    assert len({tuple(other_cases(groups, seed).items()) for seed in range(5)}) == 5


@pytest.mark.parametrize(("names", "found"), [((), "none"), (("only",), "only")])
def test_one_case_has_no_other(names, found):
    with pytest.raises(DatasetError, match=f"residual.source=shuffled .*two cases or more, found {found}"):
        other_cases(dict.fromkeys(names, "p"), 0)


def test_maps_are_put_middle_on_middle():
    maps = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 1, 5)
    assert fit_grid(maps, (1, 1, 3)).tolist() == [[[[2, 3, 4]]]]
    assert fit_grid(maps, (1, 1, 7)).tolist() == [[[[0, 1, 2, 3, 4, 5, 0]]]]
    assert fit_grid(maps, (3, 1, 5))[0, :, 0].tolist() == [[0] * 5, [1, 2, 3, 4, 5], [0] * 5]


@given(there=st.tuples(*[st.integers(1, 6)] * 3), here=st.tuples(*[st.integers(1, 6)] * 3), channels=st.integers(1, 2))
def test_a_grid_that_fits_changes_nothing_and_no_value_is_made_up(there, here, channels):
    maps = np.random.default_rng(0).standard_normal((channels, *there)).astype(np.float32)
    assert np.array_equal(fit_grid(maps, there), maps)
    fitted = fit_grid(maps, here)
    assert fitted.shape == (channels, *here)
    assert set(fitted.ravel().tolist()) <= {*maps.ravel().tolist(), 0.0}
    assert np.count_nonzero(fitted) == channels * np.prod(np.minimum(there, here))
