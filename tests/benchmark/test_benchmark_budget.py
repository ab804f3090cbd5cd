"""The arithmetic of equal terms, by hand."""

from __future__ import annotations

import math

import pytest

from chain import tiny
from grcsf.benchmark.budget import (
    Costs,
    budget_of,
    count_costs,
    map_windows,
    scaled_widths,
    steps_within,
    with_equal_parameters,
)
from grcsf.benchmark.spec import BudgetRule
from grcsf.config import Settings
from grcsf.errors import SettingsError
from grcsf.preprocess.normalise import ChannelPlan
from grcsf.preprocess.plan import Plan

COSTS = Costs(forward=10, step=60, pretraining=300, maps=100, parameters=7, mae_parameters=3)


class Store:
    """Three cases of 5 slices of 32 x 32."""

    def shape(self, name: str) -> tuple[int, int, int, int]:
        return 1, 5, 32, 32


def plan() -> Plan:
    return Plan(
        spatial_dims=2,
        native_2d=False,
        context=0,
        axis_order=(2, 1, 0),
        spacing_mm=(None, 1.0, 1.0),
        patch_size=(32, 32),
        channels=(ChannelPlan(name="T1", scheme="zscore"),),
        labels={"background": 0, "lesion": 1},
        crop=True,
        file_ending=".nii.gz",
    )


def costs(settings: Settings) -> Costs:
    return count_costs(settings, plan(), Store(), ["a", "b", "c"])  # type: ignore[arg-type]


def test_steps_are_what_pretraining_and_maps_leave() -> None:
    assert steps_within(1000, COSTS) == 10  # (1000 - 300 - 100) / 60
    assert steps_within(1059, COSTS) == 10
    assert steps_within(1060, COSTS) == 11
    assert COSTS.total(10) == 1000


def test_a_budget_too_small_for_pretraining_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"459 training multiply-adds leaves no step .* pre-training takes 300"):
        steps_within(459, COSTS)


def test_a_longer_run_has_that_multiple_of_the_whole_budget() -> None:
    found = budget_of(BudgetRule(training_multiply_adds=1000), 4.0, Settings(), COSTS)
    assert found["steps"] == 60  # (4000 - 400) / 60
    assert found["training_multiply_adds"] == 4000
    for rule in (
        BudgetRule(mode="equal-parameters", steps=12, reference="a"),
        BudgetRule(mode="equal-steps", steps=12),
    ):
        fixed = budget_of(rule, 2.0, Settings(), COSTS)
        assert (fixed["steps"], fixed["training_multiply_adds"]) == (24, 300 + 100 + 24 * 60)


def test_multiply_adds_of_a_plain_network_are_those_of_its_layers() -> None:
    settings = tiny(
        "network.backbone=plain-unet",
        "network.features=[4, 8]",
        "network.gcu=off",
        "network.rcu_levels=[]",
        "network.rcu=false",
    )
    fine, coarse = 32 * 32, 16 * 16
    by_hand = (
        fine * 9 * (1 * 4 + 4 * 4)  # two convolutions of the first level, 3 x 3
        + coarse * 9 * (4 * 8 + 8 * 8)  # of the second, the first with stride 2
        + fine * 8 * 4  # transposed convolution: each output pixel has one of its 2 x 2 weights
        + fine * 9 * (8 * 4 + 4 * 4)  # decoder block over skip and up-sampled
        + fine * 4 * 1  # head
    )
    found = costs(settings)
    assert found.forward == by_hand
    assert found.step == 3 * 2 * by_hand  # batches of two
    assert (found.pretraining, found.maps, found.mae_parameters) == (0, 0, 0)


def test_pretraining_is_charged_per_step_and_maps_per_pass() -> None:
    settings = tiny()
    one = costs(settings)
    longer = costs(tiny("mae.steps=8"))  # 8 in place of 4
    assert longer.pretraining == 2 * one.pretraining > 0
    assert longer.maps == one.maps
    # Maps of 3 cases of 5 slices: two passes that see half of the 16 patches, and four that see a quarter.
    hidden_half, hidden_more = _mae_work(settings, 8), _mae_work(settings, 4)
    assert one.maps == 3 * 5 * (2 * hidden_half + 4 * hidden_more)
    assert one.pretraining == 4 * 2 * 3 * (hidden_half + hidden_more) / 2  # steps x batch x 3 x mean over the ratios


def _mae_work(settings: Settings, visible: int) -> int:
    """Products of the masked autoencoder on 32 x 32 pixels: 16 patches of 64 values, ``visible`` of them seen."""
    mae, patches, values = settings.mae, 16, 64

    def block(tokens: int, width: int) -> int:
        projections = tokens * width * 4 * width  # queries, keys, values, output
        attention = 2 * tokens * tokens * width
        return projections + attention + 2 * tokens * width * 4 * width

    encoder = visible * values * mae.dim + patches * mae.dim**2 + mae.depth * block(visible, mae.dim)
    to_decoder = visible * mae.dim * mae.decoder_dim + patches * mae.decoder_dim**2
    decoder = mae.decoder_depth * block(patches, mae.decoder_dim) + patches * mae.decoder_dim * values
    return encoder + to_decoder + decoder


def test_windows_of_a_case_are_slices_times_windows_of_each() -> None:
    settings = Settings()  # overlap 0.25: steps of 24 along 32
    assert map_windows((1, 7, 32, 32), 2, (32, 32), settings) == 7
    assert map_windows((1, 7, 30, 20), 2, (32, 32), settings) == 7
    assert map_windows((1, 7, 56, 32), 2, (32, 32), settings) == 7 * 2  # starts 0 and 24
    assert map_windows((1, 32, 56, 56), 3, (32, 32, 32), settings) == 4


def test_widths_are_scaled_to_a_size() -> None:
    def size(widths: tuple[int, ...]) -> int:
        return widths[0] * widths[1]

    assert scaled_widths((16, 32), 4 * 16 * 32, size) == (32, 64)
    assert scaled_widths((16, 32), 16 * 32, size) == (16, 32)
    assert scaled_widths((16, 32), 1, size) == (8, 8)
    assert scaled_widths((24, 48), 4 * 24 * 48, size, step=24) == (48, 96)


def test_every_width_that_is_tried_suits_swin_unetr() -> None:
    off = ("network.gcu=off", "network.rcu=false", "network.backbone=swin-unetr")
    swin = tiny("network.features=[24, 48, 96]", *off)
    wanted = costs(tiny("network.features=[48, 96, 192]", *off)).parameters
    found = with_equal_parameters(swin, plan(), wanted)
    assert found.network.features == (48, 96, 192)


def test_an_entry_gets_the_parameters_of_the_reference() -> None:
    reference = costs(tiny("network.features=[16, 32, 32]"))
    plain = tiny("network.features=[8, 8, 16]", "network.gcu=off", "network.rcu=false")
    found = costs(with_equal_parameters(plain, plan(), reference.parameters))
    assert abs(math.log(found.parameters / reference.parameters)) < math.log(1.2)
    with pytest.raises(SettingsError, match=r"no widths like .8, 8, 16. give about 100,000,000 parameters"):
        with_equal_parameters(plain, plan(), 10**8)
