from __future__ import annotations

import math

from grcsf.evaluation.overlap import Confusion, WhenEmpty, dice, f1, iou, precision, recall
from grcsf.evaluation.summary import CaseScore, Summary, summarise
from grcsf.evaluation.table import summary_table


def score(case, counts, size_ml, when_empty=WhenEmpty.SKIP):
    values = {f.__name__: f(counts, when_empty=when_empty) for f in (dice, iou, f1, precision, recall)}
    return CaseScore(case, "lesion", counts, size_ml, 0.0, values, (case, case))


def make_summary(when_empty=WhenEmpty.SKIP, failed=()):
    cases = (
        score("a", Confusion(48, 16, 16, 0), 0.5, when_empty),  # Dice 96 / 128 = 0.750
        score("b", Confusion(10, 0, 30, 0), 20.0, when_empty),  # Dice 20 / 50 = 0.400
        score("c", Confusion(0, 0, 0, 99), 0.0, when_empty),
    )
    return Summary(when_empty, 3, {"lesion": summarise(cases, 1, 3)}, cases, dict(failed))


def test_table_shows_number_of_cases_and_means():
    lines = summary_table(make_summary()).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:6]]
    assert cells[0] == ["label", "cases", "n", "dice", "iou", "f1", "precision", "recall"]
    assert cells[2][:4] == ["lesion", "all", "2", "0.575"]  # (0.750 + 0.400) / 2
    assert cells[3][:4] == ["lesion", "with lesion", "2", "0.575"]
    assert cells[4][:4] == ["lesion", "below 1 ml", "1", "0.750"]
    assert cells[5][:4] == ["lesion", "above 10 ml", "1", "0.400"]
    assert len({len(line) for line in lines[:6]}) == 1  # aligned


def test_table_names_the_policy_and_what_is_missing():
    skip = summary_table(make_summary())
    assert "both masks empty: left out of the means (when_empty=skip)" in skip
    assert "0 of 1 lesion-free cases with a false positive" in skip
    assert "Dice of all voxels together 0.652" in skip  # 2 * 58 / (2 * 58 + 16 + 46) = 116 / 178
    one = summary_table(make_summary(WhenEmpty.ONE, failed={"d": "no prediction"}))
    assert "scored 1 (when_empty=one)" in one
    assert "Not scored: 1 (d)." in one


def test_an_empty_mean_is_a_dash():
    cases = (score("c", Confusion(0, 0, 0, 99), 0.0),)
    summary = Summary(WhenEmpty.SKIP, 3, {"lesion": summarise(cases, 1, 3)}, cases)
    assert math.isnan(summary.labels["lesion"].all_cases.mean["dice"])
    assert "| 0 |    - |" in summary_table(summary)


def test_size_limits_belong_to_the_middle():
    cases = [score(str(size), Confusion(1, 0, 0, 0), size) for size in (0.99, 1.0, 10.0, 10.01)]
    assert [scores.n for scores in summarise(cases, 1, 3).by_size.values()] == [1, 2, 1]
