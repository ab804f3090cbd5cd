"""Kappa, ICC and Bland-Altman against published examples, sums done by hand and an independent library."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa

from grcsf.evaluation.methods.agreement import bland_altman, icc_absolute, weighted_kappa

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
# Bland and Altman 1986: peak expiratory flow, large and mini Wright meter, first measurements, l/min
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_icc_of_the_example_of_shrout_and_fleiss():
    found = icc_absolute(SHROUT_FLEISS)
    # their table: mean squares 11.24 of targets, 32.49 of judges, 1.02 of error; ICC(2,1) = .29
    assert found.value == pytest.approx((11.24 - 1.02) / (11.24 + 3 * 1.02 + 4 * (32.49 - 1.02) / 6), abs=2e-4)
    assert round(found.value, 2) == 0.29
    assert (found.low, found.high) == pytest.approx((0.019, 0.76), abs=2e-3)  # as R's psych prints for these data
    assert (found.n, found.raters) == (6, 4)


def test_icc_of_two_scorings_by_hand():
    # rows mean 1.5, 3, 6, columns 3 and 4, all 3.5. Sums of squares: subjects 2 (4 + 0.25 + 6.25) = 21,
    # raters 3 (0.25 + 0.25) = 1.5, all 23.5, so error 1; mean squares 10.5, 1.5, 0.5
    assert icc_absolute([[1, 2], [3, 3], [5, 7]]).value == pytest.approx(
        (10.5 - 0.5) / (10.5 + 0.5 + 2 * (1.5 - 0.5) / 3)
    )


def test_icc_counts_a_constant_difference_as_error():
    scores = np.arange(10.0)
    same, shifted = (icc_absolute(np.stack([scores, scores + shift], axis=1)) for shift in (0.0, 5.0))
    assert (same.value, same.low, same.high) == (1, 1, 1)
    assert shifted.value < 0.5
    assert shifted.low < shifted.value < shifted.high


@pytest.mark.parametrize("ratings", [[[1.0, 2.0]], [[3, 3], [3, 3]], np.empty((0, 2))])
def test_icc_is_nan_where_it_has_no_meaning(ratings):
    assert math.isnan(icc_absolute(ratings).value)


def test_icc_of_subjects_that_do_not_differ_has_no_interval():
    found = icc_absolute([[1, 2], [1, 2], [1, 2]])
    assert found.value == 0
    assert math.isnan(found.low)


def test_intervals_of_the_icc_cover_it():
    # subjects 3, raters 0.5, error 1: true ICC = 9 / (9 + 0.25 + 1)
    rng, truth, inside = np.random.default_rng(1), 9 / (9 + 0.25 + 1), 0
    for _ in range(400):
        table = rng.normal(0, 3, (20, 1)) + rng.normal(0, 0.5, (1, 4)) + rng.normal(0, 1, (20, 4))
        found = icc_absolute(table)
        inside += found.low <= truth <= found.high
    assert 0.91 <= inside / 400 <= 0.99  # 95 % -+ 4 standard errors of 1.1 %


tables = hnp.arrays(np.float64, st.tuples(st.integers(3, 8), st.integers(2, 4)), elements=st.integers(-50, 50))


@given(tables, st.floats(0.1, 10), st.integers(-100, 100), st.randoms())
def test_icc_knows_neither_unit_nor_order(table, scale, shift, random):
    before = icc_absolute(table)
    assume(not math.isnan(before.value))
    assert before.value <= 1 + 1e-12
    rows, columns = list(range(len(table))), list(range(table.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    after = icc_absolute(scale * table[rows][:, columns] + shift)
    assert after.value == pytest.approx(before.value, abs=1e-6)
    if not math.isnan(before.low):
        assert before.low <= before.value + 1e-9 <= before.high + 2e-9


def from_table(table):
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def test_kappa_by_hand():
    found = weighted_kappa(*from_table([[10, 2, 0], [1, 8, 3], [0, 1, 5]]), 3)
    # 30 subjects; weights 1, 0.5, 0. Observed: 23 + 7 / 2 = 26.5 of 30 = 795 / 900.
    # Margins 12, 12, 6 and 11, 11, 8. Chance: 132 + 132 + 48 + (132 + 132 + 96 + 66) / 2 = 525 of 900.
    assert found.value == pytest.approx((795 - 525) / (900 - 525))  # 0.72
    assert (found.agreement, found.n) == (pytest.approx(23 / 30), 30)
    assert found.table == ((10, 2, 0), (1, 8, 3), (0, 1, 5))


@given(hnp.arrays(np.int64, (5, 5), elements=st.integers(0, 9)))
def test_kappa_and_its_interval_are_those_of_statsmodels(table):
    assume(np.count_nonzero(table.sum(axis=0)) > 1 and np.count_nonzero(table.sum(axis=1)) > 1)
    mine, other = weighted_kappa(*from_table(table.tolist()), 5), cohens_kappa(table, wt="linear")
    assert mine.value == pytest.approx(other.kappa, abs=1e-9)
    reach = stats.norm.ppf(0.975) * math.sqrt(max(0.0, other.var_kappa))
    assert (mine.low, mine.high) == pytest.approx((max(-1, mine.value - reach), min(1, mine.value + reach)), abs=1e-6)


def test_kappa_weights_count_empty_categories():
    # five categories although only two are used: one step costs 1 / 4, so kappa is that of a 2 x 2 table
    table = [[5, 2], [1, 4]]
    assert weighted_kappa(*from_table(table), 5).value == pytest.approx(weighted_kappa(*from_table(table), 2).value)


@pytest.mark.parametrize("scores", [[], [2, 2, 2]])
def test_kappa_is_nan_where_it_has_no_meaning(scores):
    assert math.isnan(weighted_kappa(scores, scores, 5).value)


def test_full_agreement_is_kappa_one():
    found = weighted_kappa([0, 1, 2, 4], [0, 1, 2, 4], 5)
    assert (found.value, found.agreement) == (pytest.approx(1), 1)


def test_bland_altman_of_the_peak_flow_data():
    found = bland_altman(LARGE, MINI)
    assert (found.bias, found.sd) == pytest.approx((-2.1, 38.8), abs=0.05)  # as published
    # published with 2 sd: -79.7 and 75.5; here with 1.96
    assert (found.lower, found.upper) == pytest.approx((-2.1 - 1.96 * 38.8, -2.1 + 1.96 * 38.8), abs=0.1)
    assert (found.bias_low, found.bias_high) == pytest.approx((-22.0, 17.8), abs=0.1)  # as published
    # of the lower limit published -114.3 to -45.1, with 2 sd and the simpler sqrt(3 / n); 1.6 less for 1.96
    assert (found.lower_low, found.lower_high) == pytest.approx((-114.3 + 1.6, -45.1 + 1.6), abs=0.6)


def test_bland_altman_by_hand():
    found = bland_altman([2, 4, 6], [1, 2, 3])  # differences 1, 2, 3: mean 2, sd 1; t(2) = 4.3027
    assert (found.bias, found.sd, found.n) == (2, 1, 3)
    assert (found.lower, found.upper) == pytest.approx((2 - 1.95996, 2 + 1.95996), abs=1e-4)
    assert (found.bias_low, found.bias_high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    edge = 4.3027 * math.sqrt(1 / 3 + 1.95996**2 / (2 * 2))
    assert (found.upper_low, found.upper_high) == pytest.approx((3.95996 - edge, 3.95996 + edge), abs=1e-3)


@given(hnp.arrays(np.float64, st.tuples(st.integers(2, 9), st.just(2)), elements=st.integers(-99, 99)))
def test_bland_altman_turns_its_sign_with_the_order(table):
    forth, back = bland_altman(table[:, 0], table[:, 1]), bland_altman(table[:, 1], table[:, 0])
    assert (back.bias, back.lower, back.upper) == pytest.approx((-forth.bias, -forth.upper, -forth.lower))
    assert (back.lower_low, back.upper_high) == pytest.approx((-forth.upper_high, -forth.lower_low))


def test_few_subjects_have_no_limits():
    assert math.isnan(bland_altman([], []).bias)
    one = bland_altman([3], [1])
    assert (one.bias, one.n) == (2, 1)
    assert math.isnan(one.lower)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bland_altman([1], [1, 2]), "1 and 2 values"),
        (lambda: bland_altman([1], [math.nan]), "not finite"),
        (lambda: bland_altman([1, 2], [1, 2], level=1), "level 1"),
        (lambda: weighted_kappa([0], [5], 5), "expected numbers from 0 to 4"),
        (lambda: weighted_kappa([0], [0], 1), "categories"),
        (lambda: icc_absolute([[1], [2]]), "two or more raters"),
        (lambda: icc_absolute([[1, math.nan]]), "expected finite numbers"),
    ],
)
def test_wrong_input_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()
