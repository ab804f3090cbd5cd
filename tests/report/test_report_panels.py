"""How a case is drawn: outlines by line style, signed maps centred at zero, close-ups of specks."""

from __future__ import annotations

import base64
import io

import matplotlib.image
import numpy as np
import pytest

from grcsf.report.panels import PREDICTION_COLOUR, REFERENCE_COLOUR, draw_tiles, map_title, window_of_plan
from grcsf.report.views import CaseView, ShownMap


def view(**changes: object) -> CaseView:
    shape = (30, 20)
    mask = np.zeros(shape, bool)
    mask[10:14, 5:9] = True
    residual = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    values = {
        "image": np.full(shape, 100.0),
        "reference": mask,
        "predictions": {"": mask},
        "maps": (ShownMap("", "residual", "r50", residual), ShownMap("", "residual", "r75", 2 * residual)),
        "aspect": 1.0,
        "place": "",
    }
    return CaseView(**{**values, **changes})  # type: ignore[arg-type]


def pixels(uri: str) -> np.ndarray:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format="jpg")


def test_signed_maps_share_a_scale_with_zero_in_the_middle() -> None:
    tiles, (scale,) = draw_tiles("a", view())
    assert [tile.title for tile in tiles] == [
        "Image",
        "Reference",
        "Prediction",
        "Residual, 50 % hidden",
        "Residual, 75 % hidden",
    ]
    assert scale.is_signed
    assert scale.low == -scale.high
    middle = scale.colours[len(scale.colours) // 2]
    red, green, blue = (int(middle[index : index + 2], 16) for index in (1, 3, 5))
    assert max(red, green, blue) - min(red, green, blue) < 8  # colourless at zero


def test_maps_without_sign_start_at_zero() -> None:
    positive = (ShownMap("", "residual", "r50", np.abs(np.random.default_rng(0).normal(size=(30, 20)))),)
    for kind in (None, False):
        _, (scale,) = draw_tiles("a", view(maps=positive), kind)
        assert scale.low == 0
    _, (scale,) = draw_tiles("a", view(maps=positive), True)
    assert scale.is_signed


def test_each_kind_of_map_has_a_scale_of_its_own() -> None:
    ones = np.ones((30, 20))
    maps = (ShownMap("", "residual", "r50", -2 * ones), ShownMap("", "importance", "1", 0.5 * ones))
    tiles, scales = draw_tiles("a", view(maps=maps))
    assert [tile.title for tile in tiles[3:]] == ["Residual, 50 % hidden", "Importance, level 1"]
    assert [(scale.low, scale.high) for scale in scales] == [(-2.0, 2.0), (0.0, 0.5)]


def test_maps_of_several_methods_name_their_method() -> None:
    one = np.zeros((1, 1))
    assert map_title(ShownMap("ours", "gcu-gain", "0", one)) == "GCU gain, level 0, ours"
    assert map_title(ShownMap("", "fusion", "2-r75", one)) == "Fusion, level 2, 75 % hidden"
    assert map_title(ShownMap("", "rcu-gain", "a.b", one)) == "RCU gain, a.b"


def test_each_method_has_a_picture_with_its_score_below() -> None:
    mask = view().predictions[""]
    both = {"ours": mask, "theirs": np.zeros_like(mask)}
    tiles, _ = draw_tiles("a", view(predictions=both, maps=()), captions={"ours": "Dice 1.000"})
    assert [(tile.title, tile.caption) for tile in tiles[2:]] == [("ours", "Dice 1.000"), ("theirs", "")]
    assert "empty in this slice" in tiles[3].alt


def test_empty_maps_and_constant_images_do_not_fail() -> None:
    blank = (ShownMap("", "residual", "r50", np.zeros((30, 20))),)
    tiles, (scale,) = draw_tiles("a", view(image=np.zeros((30, 20)), maps=blank))
    assert len(tiles) == 4
    assert scale.high > 0
    alone = view(image=None, reference=None, predictions={"": np.zeros((30, 20), bool)}, maps=())
    tiles, scales = draw_tiles("a", alone)
    assert [tile.alt for tile in tiles] == ["Prediction of a: empty in this slice"]
    assert scales == ()


def test_maps_that_hold_nan_do_not_fail() -> None:
    holes = np.full((30, 20), np.nan)
    _, (scale,) = draw_tiles("a", view(maps=(ShownMap("", "importance", "x", holes),)))
    assert (scale.low, scale.high) == (0.0, 1.0)


def test_a_tile_has_the_proportions_of_the_slice() -> None:
    image = np.random.default_rng(0).uniform(50, 100, (30, 20))
    tiles, _ = draw_tiles("a", view(image=image, aspect=2.0, maps=()))
    height, width = pixels(tiles[0].uri).shape[:2]
    assert height / width == pytest.approx(30 * 2.0 / 20, rel=0.02)
    assert (tiles[0].width, tiles[0].height) == pytest.approx((width, height), abs=1)


def test_outlines_are_drawn_even_where_a_mask_touches_the_border() -> None:
    whole = np.ones((30, 20), bool)
    plain, outlined = draw_tiles("a", view(predictions={}, reference=whole, maps=()))[0]
    assert not np.array_equal(pixels(plain.uri), pixels(outlined.uri))


def share_of(colour: str, picture: np.ndarray) -> float:
    """Share of pixels whose colour is near a CSS colour; JPEG moves them a little."""
    wanted = np.array([int(colour[index : index + 2], 16) for index in (1, 3, 5)])
    return float((np.abs(picture[..., :3].astype(int) - wanted).max(axis=-1) < 40).mean())


def test_lines_differ_by_style_and_not_by_colour_alone() -> None:
    mask = view().reference
    solid = draw_tiles("a", view(predictions={}, maps=()))[0][1]
    dashed = draw_tiles("a", view(reference=None, predictions={"": mask}, maps=()))[0][1]
    of_reference = share_of(REFERENCE_COLOUR, pixels(solid.uri))
    of_prediction = share_of(PREDICTION_COLOUR, pixels(dashed.uri))
    assert 0 < of_prediction < 0.9 * of_reference  # the same outline, with gaps


def test_a_speck_is_shown_as_a_close_up_framed_in_the_image() -> None:
    image = np.random.default_rng(0).uniform(50, 100, (200, 220))
    speck = np.zeros(image.shape, bool)
    speck[100:103, 50:52] = True
    tiles, _ = draw_tiles("a", view(image=image, reference=speck, predictions={"": speck}, maps=()))
    assert tiles[0].caption == "frame: the close-up beside it"
    assert tiles[0].width / tiles[0].height == pytest.approx(220 / 200, rel=0.02)
    assert tiles[1].width == tiles[1].height  # 32 x 32 pixels: the smallest close-up, wider than 3 x 3
    large = speck.copy()
    large[20:180, 20:200] = True
    tiles, _ = draw_tiles("a", view(image=image, reference=large, predictions={"": speck}, maps=()))
    assert tiles[0].caption == ""


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
