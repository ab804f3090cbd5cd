from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from grcsf.evaluation.methods.statistics import bootstrap_mean, holm, paired_difference, spread

numbers = st.lists(st.floats(-100, 100, allow_subnormal=False).map(lambda x: round(x, 3)), min_size=1, max_size=30)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)
NAN = math.nan


def test_mean_leaves_out_and_counts_nan():
    interval = bootstrap_mean([1.0, NAN, 2.0, 6.0, NAN])
    assert (interval.mean, interval.n, interval.n_missing) == (3.0, 3, 2)
    assert 1 <= interval.low < 3 < interval.high <= 6


@pytest.mark.parametrize(("values", "mean", "n"), [([], NAN, 0), ([NAN], NAN, 0), ([0.25], 0.25, 1)])
def test_too_few_values_have_no_interval(values, mean, n):
    interval = bootstrap_mean(values)
    np.testing.assert_equal((interval.mean, interval.low, interval.high, interval.n), (mean, NAN, NAN, n))


def test_ends_of_two_values_are_known():
    # means of two draws from {0, 1}: 0 and 1 with chance 1/4 each, so both lie beyond the 2.5 % tails
    interval = bootstrap_mean([0.0, 1.0])
    assert (interval.low, interval.mean, interval.high) == (0.0, 0.5, 1.0)
    assert bootstrap_mean([0.0, 1.0], level=0.4).low == 0.5  # the middle half of the means is 0.5


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(1).gamma(2.0, size=60)
    ours = bootstrap_mean(values, samples=20_000)
    oracle = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=3).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(tuple(oracle), abs=0.02)  # each end has an error of about 0.004


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [bootstrap_mean(rng.normal(size=40), samples=400, seed=i, level=0.9) for i in range(400)]
    assert 0.83 < np.mean([interval.low <= 0 <= interval.high for interval in found]) < 0.94


@settings(deadline=None, max_examples=30)
@given(numbers, st.integers(0, 5), st.floats(0.5, 0.99))
def test_interval_holds_the_laws(values, seed, level):
    interval = bootstrap_mean(values, samples=300, seed=seed, level=level)
    assert interval == bootstrap_mean(values, samples=300, seed=seed, level=level) or interval.n < 2
    if interval.n > 1:
        slack = 1e-9
        assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack
        wider = bootstrap_mean(values, samples=300, seed=seed, level=0.995)
        assert wider.low <= interval.low <= interval.high <= wider.high


def test_memory_is_bounded():
    values = np.random.default_rng(0).normal(size=50_000)
    tracemalloc.start()
    bootstrap_mean(values, samples=200)  # 10 million draws, 160 MB if made at once
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


def test_paired_difference_by_hand():
    found = paired_difference([5.0, 7.0, 3.0, NAN], [4.0, 5.0, 6.0, 1.0])
    # differences 1, 2, -3 with ranks 1, 2, 3: R+ = 3, R- = 3; every one of 8 signs is at least as far from 3
    assert (found.mean, found.n, found.n_missing) == (0.0, 3, 1)
    assert (found.effect, found.p_value) == (0.0, 1.0)
    better = paired_difference([1.0, 2.0, 3.0, 4.0], [0.9, 1.8, 2.7, 3.6])
    assert better.effect == 1.0
    assert better.p_value == pytest.approx(2 / 2**4)  # all signs alike: 2 of 16 ways
    assert better.low > 0


@pytest.mark.parametrize("digits", [6, 17])
def test_thirds_that_rounding_tells_apart_are_ties(digits):
    first, second = [1.0] * 20 + [0.0] * 20, [round(2 / 3, digits)] * 20 + [round(1 / 3, digits)] * 20
    found = paired_difference(first, second)  # twenty gain a third, twenty lose one
    assert (found.p_value, found.effect) == (1.0, 0.0)
    small = paired_difference([1e-9, 3e-9, 9e-9], [0.0, 0.0, 0.0])
    assert small.effect == 1.0


def test_equal_methods_do_not_differ():
    values = [0.1, 0.2, 0.3]
    found = paired_difference(values, values)
    assert (found.mean, found.low, found.high, found.p_value, found.effect) == (0, 0, 0, 1, 0)
    rounded = paired_difference([0.1 + 0.2, 0.5], [0.3, 0.5])
    assert (rounded.p_value, rounded.effect) == (1, 0)


@pytest.mark.parametrize(("a", "b", "mean"), [([], [], NAN), ([NAN], [1.0], NAN), ([2.0], [1.0], 1.0)])
def test_too_few_pairs_have_no_test(a, b, mean):
    found = paired_difference(a, b)
    np.testing.assert_equal((found.mean, found.low, found.p_value), (mean, NAN, NAN))


@pytest.mark.parametrize("n", [8, 13, 40, 80])
@pytest.mark.parametrize("digits", [1, 9])
def test_wilcoxon_agrees_with_scipy(n, digits):
    rng = np.random.default_rng(n)
    a = np.round(rng.normal(0.3, 1, n), digits)
    oracle = stats.wilcoxon(a[a != 0])  # its own choice of method
    assert paired_difference(a, np.zeros(n)).p_value == pytest.approx(oracle.pvalue)


@settings(deadline=None, max_examples=40)
@given(numbers, st.randoms())
def test_exchanging_the_methods_changes_the_sign(a, random):
    b = [random.uniform(-100, 100) for _ in a]
    one, other = paired_difference(a, b, samples=100), paired_difference(b, a, samples=100)
    np.testing.assert_allclose(
        [one.mean, one.low, one.high, one.effect], [-other.mean, -other.high, -other.low, -other.effect], atol=1e-9
    )
    np.testing.assert_allclose(one.p_value, other.p_value)


def test_holm_by_hand():
    # sorted 0.01, 0.03, 0.04: times 3, 2, 1 = 0.03, 0.06, 0.04, and never below the one before
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    np.testing.assert_equal(holm([NAN, 0.02]), [NAN, 0.02])
    assert holm([]) == []


@settings(deadline=None)
@given(p_values)
def test_holm_agrees_with_statsmodels(values):
    from statsmodels.stats.multitest import multipletests  # slow to import

    assert holm(values) == pytest.approx(list(multipletests(values, method="holm")[1]))


def test_spread_tells_seeds_from_subjects():
    found = spread([[1.0, 3.0, NAN], [2.0, 4.0, 9.0]])  # means of the seeds 2 and 3, of the subjects 1.5 and 3.5
    assert (found.mean, found.n_seeds, found.n_subjects, found.n_missing) == (2.5, 2, 2, 1)
    assert found.over_seeds == pytest.approx(math.sqrt(0.5))
    assert found.over_subjects == pytest.approx(math.sqrt(2))
    assert spread({0: [1.0, 3.0], 7: [2.0, 4.0]}).over_seeds == found.over_seeds
    alone = spread([[1.0, 3.0]])
    assert math.isnan(alone.over_seeds)
    assert alone.over_subjects == pytest.approx(math.sqrt(2))
    assert spread([[NAN], [1.0]]).n_subjects == 0


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="a has 2 values but b 1"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="level 95"):
        bootstrap_mean([1.0, 2.0], level=95)
    with pytest.raises(ValueError, match="samples 0"):
        bootstrap_mean([1.0, 2.0], samples=0)
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm([0.1, 1.2])
    with pytest.raises(ValueError, match="same subjects for each seed"):
        spread([[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match="same subjects for each seed"):
        spread([])


def test_an_infinite_value_makes_the_mean_infinite_and_takes_the_interval():
    found = bootstrap_mean([1.0, math.inf, 2.0])
    assert (found.mean, found.n, found.n_missing) == (math.inf, 3, 0)
    assert math.isnan(found.low)
    assert math.isnan(bootstrap_mean([math.inf, -math.inf]).mean)


def test_infinite_differences_have_the_highest_ranks():
    a, b = [math.inf, math.inf, 2.0, 1.0, math.inf], [5.0, math.inf, 1.0, 3.0, 4.0]
    found = paired_difference(a, b)  # differences inf, 0, 1, -2, inf
    finite = paired_difference([9.0, 0.0, 1.0, -2.0, 9.0], [0.0] * 5)
    assert (found.mean, found.n, found.n_missing) == (math.inf, 5, 0)
    assert (found.p_value, found.effect) == (finite.p_value, finite.effect)
