"""Several methods: subjects counted once, shared cases only, tests corrected, missed lesions never lost."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from grcsf.errors import DatasetError, SettingsError
from grcsf.evaluation.extras import ExtraRules, extra_scores
from grcsf.evaluation.lesions import score_lesions
from grcsf.evaluation.methods.comparison import check_against, compare_summaries
from grcsf.evaluation.methods.comparison_files import comparison_text, comparison_tree, write_comparison
from grcsf.evaluation.methods.statistics import holm, paired_difference
from grcsf.evaluation.metrics import METRICS, CasePair
from grcsf.evaluation.overlap import WhenEmpty
from grcsf.evaluation.presets import PRESETS
from grcsf.evaluation.summary import CaseScore, Summary, summarise
from grcsf.evaluation.surface import WhenMissed

RULES = ExtraRules(("surface",), (1.0,))


def bar(length):
    """A bar of some voxels in a row of 20, 1 mm each; the reference has 10."""
    mask = np.zeros((5, 20), bool)
    mask[2, :length] = True
    return mask


def case_score(case, reference, prediction, rules=RULES):
    masks = CasePair(reference, prediction, (1.0, 1.0))
    lesions = score_lesions(reference, prediction, (1.0, 1.0))
    values = {name: metric(masks, WhenEmpty.SKIP) for name, metric in METRICS.items()}
    sizes = float(reference.sum()), float(prediction.sum())
    extras = extra_scores(masks, rules, WhenEmpty.SKIP, 1.0, lesions)
    return CaseScore(case, "lesion", masks.counts, *sizes, values, (case, case), lesions, extras)


def method(lengths, rules=RULES, reference=10, failed=()):
    """A method whose predictions are bars of these lengths, by case."""
    cases = tuple(
        case_score(case, bar(0 if case.startswith("free") else reference), bar(length), rules)
        for case, length in sorted(lengths.items())
    )
    labels = {"lesion": summarise(cases, 1, 2)}
    reasons = dict.fromkeys(failed, "no mask")
    return Summary(WhenEmpty.SKIP, 2, labels, cases, reasons, (), PRESETS["any-overlap"], rules)


GOOD = {"p1_a": 10, "p1_b": 8, "p2_a": 10, "p3_a": 10, "free_a": 0}
POOR = {"p1_a": 5, "p1_b": 6, "p2_a": 4, "p3_a": 0, "free_a": 3}
SUBJECTS = {case: case.split("_")[0] for case in GOOD}


def dice(length):
    return 2 * length / (10 + length)


@pytest.fixture
def comparison():
    return compare_summaries({"good": method(GOOD), "poor": method(POOR)}, SUBJECTS)


def test_a_subject_counts_once(comparison):
    good, poor = comparison.labels["lesion"].methods
    assert (good.name, comparison.n_subjects, len(comparison.cases)) == ("good", 4, 5)
    assert good.scores["dice"].mean == pytest.approx(((1 + dice(8)) / 2 + 1 + 1) / 3)
    assert poor.scores["dice"].mean == pytest.approx(((dice(5) + dice(6)) / 2 + dice(4) + 0) / 3)
    assert good.scores["dice"].n == 3  # the fourth subject has no lesion
    by_case = compare_summaries({"good": method(GOOD), "poor": method(POOR)})
    assert by_case.labels["lesion"].methods[0].scores["dice"].n == 4


def test_a_missed_lesion_counts_with_the_diagonal(comparison):
    poor = comparison.labels["lesion"].methods[1]
    assert poor.scores["hd_mm"].mean == pytest.approx(((5 + 4) / 2 + 6 + math.hypot(5, 20)) / 3)
    assert (poor.n_missed, poor.n_lesion_cases, poor.n_false, poor.n_lesion_free) == (1, 4, 1, 1)
    assert poor.n_infinite == {}


def test_differences_are_those_of_the_statistics(comparison):
    (pair,) = comparison.labels["lesion"].pairs
    assert (pair.a, pair.b) == ("poor", "good")
    values = ([(dice(5) + dice(6)) / 2, dice(4), 0], [(1 + dice(8)) / 2, 1, 1])
    expected, found = paired_difference(*values), pair.differences["dice"]
    assert (found.mean, found.p_value, found.effect) == pytest.approx((expected.mean, expected.p_value, -1))
    assert found.p_holm == found.p_value  # a single pair
    assert pair.differences["false_alarms"].mean == 1.0


def test_holm_is_over_the_pairs_of_a_measure():
    methods = {"a": method(GOOD), "b": method(POOR), "c": method(dict.fromkeys(GOOD, 9))}
    every, first = (compare_summaries(methods, against=against).labels["lesion"].pairs for against in ("all", "first"))
    assert [(pair.a, pair.b) for pair in every] == [("b", "a"), ("c", "a"), ("c", "b")]
    assert [(pair.a, pair.b) for pair in first] == [("b", "a"), ("c", "a")]
    for pairs in (every, first):
        found = [pair.differences["dice"] for pair in pairs]
        assert [one.p_holm for one in found] == holm([one.p_value for one in found])


def test_only_cases_that_all_have_are_compared():
    short = {case: length for case, length in POOR.items() if case != "p3_a"}
    found = compare_summaries({"good": method(GOOD), "poor": method(short, failed=["p3_a"])}, SUBJECTS)
    assert found.left_out == {"p3_a": ("poor",)}
    assert found.failed == {"poor/p3_a": "no mask"}
    assert found.labels["lesion"].methods[0].scores["dice"].n == 2
    assert "Left out for all methods: 1 cases: p3_a (no score of poor)." in comparison_text(found)


def test_infinite_distances_keep_their_rank_and_are_counted():
    rules = replace(RULES, when_missed=WhenMissed.INFINITE)
    found = compare_summaries({"good": method(GOOD, rules), "poor": method(POOR, rules)}, SUBJECTS)
    good, poor = found.labels["lesion"].methods
    assert (poor.scores["hd_mm"].mean, poor.n_infinite["hd_mm"]) == (math.inf, 1)
    assert math.isnan(poor.scores["hd_mm"].high)
    difference = found.labels["lesion"].pairs[0].differences["hd_mm"]
    assert (difference.mean, difference.n, difference.effect) == (math.inf, 3, 1)
    assert good.n_infinite == {}
    assert "inf n=3, 1 infinite" in comparison_text(found)


def test_distances_left_out_are_counted():
    rules = replace(RULES, when_missed=WhenMissed.SKIP)
    found = compare_summaries({"good": method(GOOD, rules), "poor": method(POOR, rules)}, SUBJECTS)
    poor, difference = found.labels["lesion"].methods[1], found.labels["lesion"].pairs[0].differences["hd_mm"]
    assert (poor.scores["hd_mm"].n, poor.scores["hd_mm"].n_missing) == (2, 1)
    assert (difference.n, difference.n_missing) == (2, 1)
    assert "n=2 (1 without)" in comparison_text(found)


def test_a_method_against_itself_differs_by_nothing():
    found = compare_summaries({"a": method(POOR), "b": method(POOR)}, SUBJECTS).labels["lesion"]
    for one in found.pairs[0].differences.values():
        assert (one.mean, one.low, one.high, one.effect, one.p_value) in [
            (0, 0, 0, 0, 1),
            (
                0,
                pytest.approx(math.nan, nan_ok=True),
                pytest.approx(math.nan, nan_ok=True),
                0,
                pytest.approx(math.nan, nan_ok=True),
            ),
        ]
    assert found.methods[0].scores == found.methods[1].scores


def test_sizes_agree_over_cases(comparison):
    good, poor = comparison.labels["lesion"].methods
    assert good.sizes.bias == pytest.approx(-2 / 5)
    assert poor.sizes.bias == pytest.approx((5 + 6 + 4 + 0 + 3 - 40) / 5)


def test_strata_by_size_and_contrast_are_there(comparison):
    scores = comparison.labels["lesion"].methods[1].scores
    assert scores["dice@below 100 mm2"].mean == scores["dice"].mean
    assert scores["lesions_found@unknown contrast"].mean == pytest.approx((1 + 1 + 0) / 3)


def test_three_files_hold_the_same_numbers(comparison, tmp_path):
    write_comparison(tmp_path, comparison)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "comparison.csv",
        "comparison.json",
        "comparison.md",
    ]
    tree = json.loads((tmp_path / "comparison.json").read_text(), parse_constant=pytest.fail)
    with (tmp_path / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    chosen = [row for row in rows if row["measure"] == "dice"]
    assert [(row["kind"], row["a"], row["b"]) for row in chosen] == [
        ("mean", "good", ""),
        ("mean", "poor", ""),
        ("difference", "poor", "good"),
    ]
    stored = tree["labels"]["lesion"]
    assert float(chosen[0]["mean"]) == pytest.approx(stored["methods"]["good"]["scores"]["dice"]["mean"])
    assert float(chosen[2]["p_holm"]) == pytest.approx(stored["pairs"][0]["differences"]["dice"]["p_holm"])
    assert (tree["n_subjects"], tree["against"], tree["when_missed"]) == (4, "all", "diagonal")
    text = (tmp_path / "comparison.md").read_text()
    assert text == comparison_text(comparison)
    assert "5 cases of 4 subjects, compared: good, poor." in text
    assert "when_missed=diagonal" in text
    assert "poor: nothing predicted in 1 of 4 cases with a lesion, something in 1 of 1 without." in text


def test_tree_names_the_rules(comparison):
    tree = comparison_tree(comparison)
    assert tree["lesion_preset"]["name"] == "any-overlap"
    assert tree["correction"].startswith("Holm")
    plain = {name: method(lengths, ExtraRules()) for name, lengths in (("good", GOOD), ("poor", POOR))}
    assert comparison_tree(compare_summaries(plain))["when_missed"] is None


def test_what_cannot_be_compared_is_refused():
    good, poor = method(GOOD), method(POOR)
    with pytest.raises(SettingsError, match="1 method; expected at least 2"):
        compare_summaries({"good": good})
    with pytest.raises(SettingsError, match="against last: unknown; known: all, first"):
        check_against(2, "last")
    with pytest.raises(DatasetError, match="poor was scored with another when_empty than good"):
        compare_summaries({"good": good, "poor": replace(poor, when_empty=WhenEmpty.ONE)})
    with pytest.raises(DatasetError, match="poor has the labels"):
        compare_summaries({"good": good, "poor": replace(poor, labels={"core": poor.labels["lesion"]})})
    other = method({"x": 1, "y": 2})
    with pytest.raises(DatasetError, match="no case could be scored for all of good, other"):
        compare_summaries({"good": good, "other": other})
