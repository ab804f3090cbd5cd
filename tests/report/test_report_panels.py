"""Which cases are shown, and how: groups without repeats, signed maps centred at zero."""

from __future__ import annotations

import base64
import io
import math

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.evaluation.overlap import Confusion
from grcsf.evaluation.summary import CaseScore
from grcsf.report.panels import choose_cases, draw_tiles, window_of_plan
from grcsf.report.views import CaseView


def score(case: str, dice: float, lesion: bool = True) -> CaseScore:
    return CaseScore(case, "lesion", Confusion(0, 0, int(lesion), 0), 1.0, 1.0, {"dice": dice}, ("", ""))


def names(groups: dict[str, list[CaseScore]]) -> dict[str, list[str]]:
    return {group: [case.case for case in cases] for group, cases in groups.items()}


def view(**changes: object) -> CaseView:
    shape = (30, 20)
    mask = np.zeros(shape, bool)
    mask[10:14, 5:9] = True
    residual = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    values = {
        "image": np.full(shape, 100.0),
        "reference": mask,
        "prediction": mask,
        "residuals": {50: residual, 75: 2 * residual},
        "aspect": 1.0,
        "place": "",
    }
    return CaseView(**{**values, **changes})  # type: ignore[arg-type]


def pixels(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(data)))


def test_best_median_and_worst_of_eleven() -> None:
    cases = [score(f"c{index:02d}", index / 10) for index in range(11)]
    assert names(choose_cases(cases)) == {
        "Best": ["c10", "c09", "c08"],
        "Median": ["c06", "c05", "c04"],
        "Worst": ["c00", "c01", "c02"],
    }


def test_lesion_free_cases_and_cases_without_a_score_are_not_ranked() -> None:
    cases = [score("a", 0.5), score("b", 1.0, lesion=False), score("c", math.nan)]
    assert names(choose_cases(cases)) == {"Best": ["a"]}
    assert choose_cases([]) == {}


@given(st.lists(st.floats(0, 1), max_size=30))
def test_no_case_is_shown_twice_and_the_extremes_always_are(values: list[float]) -> None:
    cases = [score(f"c{index:02d}", value) for index, value in enumerate(values)]
    groups = choose_cases(cases)
    shown = [case.case for group in groups.values() for case in group]
    assert len(shown) == len(set(shown)) <= 9
    if len(values) > 1:
        assert groups["Best"][0].scores["dice"] == max(values)
        assert groups["Worst"][0].scores["dice"] == min(values)


def test_signed_maps_share_a_scale_with_zero_in_the_middle() -> None:
    tiles, scale = draw_tiles("a", view())
    assert [tile.title for tile in tiles] == [
        "Image",
        "Reference",
        "Prediction",
        "Residual, 50 % hidden",
        "Residual, 75 % hidden",
    ]
    assert scale is not None
    assert scale.is_signed
    assert scale.low == -scale.high
    middle = scale.colours[len(scale.colours) // 2]
    red, green, blue = (int(middle[index : index + 2], 16) for index in (1, 3, 5))
    assert max(red, green, blue) - min(red, green, blue) < 8  # colourless at zero


def test_maps_without_sign_start_at_zero() -> None:
    positive = {50: np.abs(np.random.default_rng(0).normal(size=(30, 20)))}
    for kind in (None, False):
        _, scale = draw_tiles("a", view(residuals=positive), kind)
        assert scale is not None
        assert scale.low == 0
    _, scale = draw_tiles("a", view(residuals=positive), True)
    assert scale is not None
    assert scale.is_signed


def test_empty_maps_and_constant_images_do_not_fail() -> None:
    tiles, scale = draw_tiles("a", view(image=np.zeros((30, 20)), residuals={50: np.zeros((30, 20))}))
    assert len(tiles) == 4
    assert scale is not None
    assert scale.high > 0
    tiles, scale = draw_tiles("a", view(image=None, reference=None, prediction=np.zeros((30, 20), bool), residuals={}))
    assert [tile.alt for tile in tiles] == ["Prediction of a: empty in this slice"]
    assert scale is None


def test_a_tile_has_the_proportions_of_the_slice() -> None:
    image = np.random.default_rng(0).uniform(50, 100, (30, 20))
    tiles, _ = draw_tiles("a", view(image=image, aspect=2.0, residuals={}))
    height, width = pixels(tiles[0].uri).shape[:2]
    assert height / width == pytest.approx(30 * 2.0 / 20, rel=0.02)


def test_outlines_are_drawn_even_where_a_mask_touches_the_border() -> None:
    whole = np.ones((30, 20), bool)
    plain, outlined = draw_tiles("a", view(prediction=None, reference=whole, residuals={}))[0]
    assert not np.array_equal(pixels(plain.uri), pixels(outlined.uri))


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ({"scheme": "ct", "clip_low": -100.0, "clip_high": 300.0}, (-100.0, 300.0)),
        ({"scheme": "zscore", "clip_low": -5.0, "clip_high": None}, None),
        ({"scheme": "ct", "clip_low": None, "clip_high": 1.0}, None),
        ("nonsense", None),
    ],
)
def test_window_of_ct_comes_from_the_plan(channel: object, expected: tuple[float, float] | None) -> None:
    assert window_of_plan({"channels": [channel]}) == expected
    assert window_of_plan({}) is None
