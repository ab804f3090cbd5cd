"""CT: windows in HU, and a channel of what is bright, from the settings to the array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from grcsf.config import WINDOWS_HU, PreprocessSettings, load_settings
from grcsf.datasets.dataset import Dataset
from grcsf.errors import DatasetError, ImageError, SettingsError
from grcsf.io.geometry import Geometry, Volume
from grcsf.preprocess.fingerprint import QUANTILES, CaseMeasures, ChannelIntensities, Fingerprint
from grcsf.preprocess.forward import preprocess_case
from grcsf.preprocess.normalise import ChannelPlan, normalise_channel
from grcsf.preprocess.plan import Plan, make_plan


def facts(*names: str) -> Fingerprint:
    """Volumes whose grey values go evenly from -1000 to 1000."""
    content = tuple((-1000 + 2000 * np.array(QUANTILES)).tolist())
    return Fingerprint(
        dataset="Dataset001_Test",
        native_2d=False,
        requested=("a",),
        cases=(CaseMeasures(name="a", shape=(20, 16, 8), spacing_mm=(1.0, 1.0, 3.0), content_shape=(20, 16, 8)),),
        channels=tuple(ChannelIntensities(name=n, content=content, lesion=None, lesion_voxels=0) for n in names),
    )


def plan_of(*names: str, **settings: object) -> Plan:
    dataset = Dataset("Dataset001_Test", Path(), (), (), names, {"background": 0, "lesion": 1}, ".nii.gz", None)
    return make_plan(facts(*names), PreprocessSettings.model_validate({"dimensions": "2d", **settings}), dataset)


def scan(seed: int = 0, low: float = -800, high: float = 900) -> Volume:
    array = np.random.default_rng(seed).uniform(low, high, (20, 16, 8)).astype(np.float32)
    return Volume(array, Geometry((20, 16, 8), np.diag([1.0, 1.0, 3.0, 1.0])), Path("a_0000.nii.gz"))


# windows


@pytest.mark.parametrize("name", WINDOWS_HU)
def test_a_named_window_is_what_the_plan_clips_to(name: str) -> None:
    (channel,) = plan_of("CT", window_hu=name).channels
    assert (channel.clip_low, channel.clip_high) == WINDOWS_HU[name]


def test_a_window_of_two_numbers_is_clipped_to_and_scaled_by_what_is_in_it() -> None:
    (channel,) = plan_of("CT", window_hu=(-100, 100)).channels
    inside = np.clip(-1000 + 2000 * np.array(QUANTILES), -100, 100)
    assert (channel.clip_low, channel.clip_high) == (-100, 100)
    assert channel.mean == pytest.approx(inside.mean())
    assert channel.std == pytest.approx(inside.std())


def test_no_window_leaves_the_percentiles_of_the_data_set() -> None:
    (channel,) = plan_of("CT").channels
    assert (channel.clip_low, channel.clip_high) == (-990, 990)  # 0.5 and 99.5 % of -1000 to 1000


def test_a_window_without_any_voxel_in_it_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"after clipping to 2000\.\.\.3000"):
        plan_of("CT", window_hu=(2000, 3000))


@pytest.mark.parametrize("name", ["window_hu", "candidate_hu"])
def test_hounsfield_units_are_refused_where_no_channel_holds_them(name: str) -> None:
    value = {"window_hu": (0, 80), "candidate_hu": 130}[name]
    with pytest.raises(SettingsError, match=rf"preprocess.{name}: .* no CT channel but \['FLAIR'\]"):
        plan_of("FLAIR", **{name: value})


@pytest.mark.parametrize(
    "pair",
    [
        "preprocess.window_hu=[100, 100]",
        "preprocess.window_hu=[400, -100]",
        "preprocess.window_hu=[1, 2, 3]",
        "preprocess.window_hu=[.nan, 100]",
        "preprocess.window_hu=[0, .inf]",
        "preprocess.window_hu=heart",
        "preprocess.candidate_hu=.nan",
        "preprocess.candidate_hu=bright",
        "inference.candidate_hu=.inf",
        "inference.candidate_rule=components",
        "inference.candidate_rule=clicks",
    ],
)
def test_windows_and_thresholds_that_are_none(pair: str) -> None:
    with pytest.raises(SettingsError, match=pair.split("=", maxsplit=1)[0].split(".")[1]):
        load_settings(None, [pair])


@pytest.mark.parametrize("scheme", ["zscore", "none"])
def test_a_window_needs_hounsfield_units_to_be_kept(scheme: str) -> None:
    with pytest.raises(ValidationError, match="expected normalisation auto or ct"):
        PreprocessSettings(normalisation=scheme, window_hu="lung")


# the channel of candidates


def test_candidates_are_a_channel_after_those_of_the_files() -> None:
    plan = plan_of("CT", candidate_hu=130)
    assert [channel.name for channel in plan.channels] == ["CT", "CT >= 130 HU"]
    assert [channel.name for channel in plan.file_channels] == ["CT"]
    assert plan.ct_channel == 0
    assert plan_of("FLAIR", "CT").ct_channel == 1
    assert plan_of("FLAIR").ct_channel is None


def test_nothing_changes_where_they_are_off() -> None:
    """Plans made before the setting existed have the same hash, so that their arrays are still good."""
    plan = plan_of("CT")
    assert set(plan.model_dump()["channels"][0]) == {"name", "scheme", "clip_low", "clip_high", "mean", "std"}
    assert plan == Plan.model_validate(plan.model_dump(mode="json"))
    assert plan.file_channels == plan.channels


def test_the_channel_is_one_where_the_scan_is_bright_enough() -> None:
    volume = scan()
    image, _, way = preprocess_case([volume], plan_of("CT", candidate_hu=130, window_hu="calcium"))
    assert image.shape == (2, 8, 16, 20)
    assert way.native_shape == (20, 16, 8)
    assert np.array_equal(image[1], (volume.array.transpose(2, 1, 0) >= 130).astype(np.float32))
    alone, _, _ = preprocess_case([volume], plan_of("CT", window_hu="calcium"))
    assert np.array_equal(image[:1], alone)


def test_candidates_come_from_the_ct_among_several_channels() -> None:
    other, ct = scan(1, 0, 500), scan(2)
    image, _, _ = preprocess_case([other, ct], plan_of("T1", "CT", candidate_hu=130))
    assert np.array_equal(image[2], (ct.array.transpose(2, 1, 0) >= 130).astype(np.float32))


def test_a_plan_with_candidates_takes_one_file_per_case() -> None:
    with pytest.raises(ImageError, match=r"2 images given, but the plan has 1 channels: \['CT'\]"):
        preprocess_case([scan(), scan()], plan_of("CT", candidate_hu=130))


def test_resampled_candidates_are_shares() -> None:
    image, _, _ = preprocess_case([scan()], plan_of("CT", candidate_hu=130, spacing_mm=(2.0, 2.0)))
    assert image.shape == (2, 8, 8, 10)
    assert 0 <= image[1].min() < image[1].max() <= 1


@given(st.floats(-500, 1500))
def test_a_higher_limit_keeps_fewer_voxels(limit: float) -> None:
    array, inside = scan().array, np.ones((20, 16, 8), bool)
    found = [
        normalise_channel(array, inside, ChannelPlan(name="", scheme="candidates", clip_low=at), "a")
        for at in (limit, limit + 50)
    ]
    assert (found[1] <= found[0]).all()
    assert set(np.unique(found[0])) <= {0, 1}
