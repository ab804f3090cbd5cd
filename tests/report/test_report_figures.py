"""Figures of scores: well formed, in the ink of the page, true to their numbers in words, small however many marks."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np
import pytest
from markupsafe import Markup

from grcsf.evaluation.methods.statistics import Interval
from grcsf.evaluation.volumes import agreement
from grcsf.report.figures import MANY, curve_figure, scatter_figure
from grcsf.report.figures_scores import (
    bland_altman_figure,
    box_figure,
    calibration_figure,
    difference_figure,
    interval_figure,
    paired_figure,
)

HOSTILE = '</svg><script>1</script> $\\frac{ & "quoted" ' + "long" * 30
POINTS = [(0.2, 0.4), (0.5, 0.5), (0.9, 0.1)]
SVG = "{http://www.w3.org/2000/svg}"

FIGURES: dict[str, Callable[[str], Markup | None]] = {
    "curve": lambda name: curve_figure("f", {name: POINTS, "b": POINTS}, "loss"),
    "scatter": lambda name: scatter_figure("f", {name: POINTS, "b": POINTS}, "size", "Dice"),
    "box": lambda name: box_figure("f", {name: [0.1, 0.5, math.nan], "b": [0.3]}, "Dice"),
    "interval": lambda name: interval_figure(
        "f", {name: {name: Interval(0.5, 0.4, 0.6, 9), "b": Interval(0.2, math.nan, math.nan, 1)}}, "Dice"
    ),
    "bland-altman": lambda name: bland_altman_figure("f", POINTS, agreement(*zip(*POINTS, strict=True)), name),
    "paired": lambda name: paired_figure("f", POINTS, name, "b", "Dice"),
    "difference": lambda name: difference_figure("f", POINTS, name, "b", "Dice"),
    "calibration": lambda name: calibration_figure("f", {name: POINTS, "b": POINTS}, {name: 0.1}),
}
every_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


def drawn(figure: Markup | None) -> ElementTree.Element:
    assert figure is not None
    return ElementTree.fromstring(figure)


def words(figure: Markup | None) -> str:
    return drawn(figure).attrib["aria-label"]


@every_figure
def test_names_are_text_whatever_they_hold(draw: Callable[[str], Markup | None]) -> None:
    root = drawn(draw(HOSTILE))  # parses: nothing ended the figure early
    assert root.attrib["role"] == "img"
    assert not [part for part in root.iter() if part.tag.endswith("script")]


@every_figure
def test_figures_take_the_ink_of_the_page_and_ask_for_nothing(draw: Callable[[str], Markup | None]) -> None:
    figure = draw("a")
    assert figure == draw("a")  # the same bytes every time
    assert figure is not None
    assert "currentColor" in figure
    assert "#010203" not in figure
    assert "<metadata" not in figure
    assert "width" not in drawn(figure).attrib
    ids = re.findall(r'\bid="([^"]*)"', figure)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("f-") for name in ids)
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', figure)
    assert set(targets) <= set(ids)


def test_a_box_says_its_quartiles() -> None:
    text = words(box_figure("f", {"ours": [0.0, 0.25, 0.5, 0.75, 1.0, math.nan]}, "Dice"))
    assert "ours: median 0.500, quartiles 0.250 and 0.750, 5 values" in text  # of five even steps from 0 to 1


def test_pairs_are_counted_by_who_is_higher() -> None:
    text = words(paired_figure("f", [*POINTS, (0.9, 0.2), (math.nan, 0.5)], "A", "B", "Dice"))
    assert "A higher in 2 of 4 cases, B in 1, equal in 1" in text


def test_differences_say_their_range() -> None:
    text = words(difference_figure("f", POINTS, "A", "B", "Dice"))
    # 0.2 - 0.4, 0.5 - 0.5, 0.9 - 0.1
    assert "A minus B, of 3 cases, sorted: from \u22120.200 to 0.800; median 0.000" in text


def test_bland_altman_says_bias_and_limits() -> None:
    points = [(1.0, 2.0), (3.0, 6.0)]  # differences 1 and 3: mean 2, standard deviation sqrt(2)
    reach = 1.96 * math.sqrt(2)  # 2.77
    text = words(bland_altman_figure("f", points, agreement([1.0, 3.0], [2.0, 6.0]), "ml"))
    assert f"bias 2 ml, limits of agreement \u22120.772 to {2 + reach:.3g}" in text


def test_strata_say_means_and_intervals() -> None:
    rows = {"below 1 ml": {"A": Interval(0.5, 0.4, 0.6, 9)}, "above": {"A": Interval(math.nan, math.nan, math.nan, 0)}}
    text = words(interval_figure("f", rows, "Dice"))
    assert "below 1 ml, A: 0.500 (0.400 to 0.600)" in text
    assert "above" not in text


def test_many_marks_become_one_picture() -> None:
    rng = np.random.default_rng(0)
    points = [(float(a), float(b)) for a, b in rng.uniform(0.01, 1, (3 * MANY, 2))]
    values = [a for a, _ in points]
    sizes = agreement(values, values)
    for figure in (
        box_figure("f", {"a": values}, "Dice"),
        scatter_figure("f", {"a": points}, "size", "Dice"),
        bland_altman_figure("f", points, sizes, "ml"),
        paired_figure("f", points, "A", "B", "Dice"),
        difference_figure("f", points, "A", "B", "Dice"),
    ):
        root = drawn(figure)
        assert len(list(root.iter(f"{SVG}image"))) >= 1
        assert len(list(root.iter())) < 600
        assert len(str(figure)) < 500_000


def test_nothing_to_draw_is_no_figure() -> None:
    nothing = [(math.nan, 0.5)]
    assert box_figure("f", {"a": [math.nan]}, "Dice") is None
    assert interval_figure("f", {"a": {"b": Interval(math.nan, math.nan, math.nan, 0)}}, "Dice") is None
    assert bland_altman_figure("f", nothing, agreement([], []), "ml") is None
    assert paired_figure("f", nothing, "A", "B", "Dice") is None
    assert difference_figure("f", nothing, "A", "B", "Dice") is None
    assert calibration_figure("f", {"a": nothing}, {}) is None


def test_one_case_has_no_limits_and_still_a_figure() -> None:
    text = words(bland_altman_figure("f", [(1.0, 2.0)], agreement([1.0], [2.0]), "ml"))
    assert "1 cases: bias 1 ml, limits of agreement - to -" in text


def test_a_narrow_range_of_losses_is_not_drawn_in_powers_of_ten() -> None:
    narrow = curve_figure("f", {"a": [(1.0, 0.2), (2.0, 0.4)]}, "loss", log_y=True)
    wide = curve_figure("f", {"a": [(1.0, 0.001), (2.0, 0.4)]}, "loss", log_y=True)
    assert "e-0" not in str(narrow)
    assert narrow != wide
