"""Which cases are shown: worst first, no case twice, false alarms too, and never more than the page can hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.report import gallery
from grcsf.report.collect import collect_run
from grcsf.report.gallery import CaseRank, choose_cases, rank_cases
from grcsf.report.page import EAGER, write_report
from pages import Page


def rank(case: str, *dice: float, size: float = 1.0, false_size: float = 0.0) -> CaseRank:
    return CaseRank(case, "", {f"m{index}": value for index, value in enumerate(dice)}, size, false_size)


def names(groups: dict[str, list[CaseRank]]) -> dict[str, list[str]]:
    return {group: [one.case for one in members] for group, members in groups.items()}


def test_groups_of_fifteen_cases() -> None:
    ranks = [rank(f"c{index:02d}", index / 20) for index in range(15)]
    assert names(choose_cases(ranks)) == {
        "Worst": ["c00", "c01", "c02", "c03", "c04"],  # a third of them, at most six
        "Median": ["c07", "c08", "c09"],  # ten are left, best three aside seven: from the second of their middle on
        "Best": ["c14", "c13", "c12"],
        "Further cases, worst first": ["c05", "c06", "c10", "c11"],
    }


def test_cases_that_methods_differ_on_come_first() -> None:
    ranks = [rank("same", 0.5, 0.5), rank("little", 0.5, 0.6), rank("much", 0.1, 0.9), rank("gap", 0.3, math.nan)]
    groups = names(choose_cases(ranks))
    assert next(iter(groups)) == "Methods differ most"
    assert groups["Methods differ most"] == ["much", "little"]


def test_false_alarms_are_shown_by_size_and_empty_cases_never() -> None:
    free = [rank(f"free{index}", math.nan, size=0.0, false_size=float(index)) for index in range(5)]
    groups = names(choose_cases([rank("a", 0.5), *free]))
    assert groups["Largest false alarms in cases without a lesion"] == ["free4", "free3", "free2"]
    assert "free0" not in str(groups)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), max_size=40),
    st.integers(0, 45),
)
def test_no_case_is_shown_twice_and_never_more_than_asked_for(
    values: list[tuple[float, float, bool]], most: int
) -> None:
    ranks = [
        rank(f"c{index}", a, b) if lesion else rank(f"c{index}", math.nan, size=0.0, false_size=b)
        for index, (a, b, lesion) in enumerate(values)
    ]
    ranks.sort(key=lambda one: (math.isnan(one.mean), one.mean if one.mean == one.mean else 0.0))
    shown = [one.case for members in choose_cases(ranks, most).values() for one in members]
    assert len(shown) == len(set(shown)) <= most
    lesions = [one.case for one in ranks if not math.isnan(one.mean)]
    if most >= len(values):
        assert set(lesions) <= set(shown)  # with room for all, every scored case is there
    if lesions and most:
        assert set(shown) & set(lesions)


def test_cases_are_ranked_by_dice_and_then_by_size(make_sample: Callable[..., Any]) -> None:
    ranks = rank_cases(collect_run(make_sample().run))
    scored = [one for one in ranks if not math.isnan(one.mean)]
    assert ranks[: len(scored)] == scored  # the lesion-free case is last
    keys = [(one.mean, -one.size) for one in scored]
    assert keys == sorted(keys)
    assert {one.part for one in ranks} == {"fold_0", "fold_1"}


def test_pictures_beyond_the_first_wait_in_templates(make_sample: Callable[..., Any]) -> None:
    sample = make_sample(names=tuple(f"case-{index:02d}" for index in range(12)), folds=1)
    page = Page(write_report(sample.run, sample.dataset))
    assert len(page.all("template")) == 12 - EAGER
    assert len(page.waiting) == (12 - EAGER) * 5
    assert sorted(page.data["places"].values()) == list(range(1, 13))


@pytest.mark.parametrize("most", [0, 1, 4])
def test_the_number_of_cases_is_what_was_asked_for(make_sample: Callable[..., Any], most: int) -> None:
    sample = make_sample()
    page = Page(write_report(sample.run, sample.dataset, cases=most))
    assert len(page.all("article")) == most
    assert ("--cases N shows more" in page.text) is (most > 0)


def test_pictures_end_where_the_page_would_grow_too_large(
    make_sample: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = make_sample()
    monkeypatch.setattr(gallery, "PICTURE_BYTES", 1)
    page = Page(write_report(sample.run, sample.dataset))
    assert len(page.all("article")) == 1
    assert "Pictures end after 1 cases: the page would grow beyond 20 MB." in page.text
