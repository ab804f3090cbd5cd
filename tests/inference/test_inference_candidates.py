"""Masks of bright voxels only: what the rule keeps, against a slow twin, and on the scanner's grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from grcsf.config import InferenceSettings
from grcsf.errors import SettingsError
from grcsf.inference.candidates import candidate_probabilities
from grcsf.inference.predict import Predictor, mask_from_probabilities
from grcsf.io.geometry import Geometry, Volume
from grcsf.preprocess.normalise import ChannelPlan

CT = ChannelPlan(name="CT", scheme="ct", clip_low=-150, clip_high=650, mean=0, std=100)
BRIGHT = ChannelPlan(name="CT >= 130 HU", scheme="candidates", clip_low=130)


def twin(probabilities: np.ndarray, hu: np.ndarray, limit: float) -> np.ndarray:
    """Flood every bright spot from one of its voxels, in plain Python."""
    left = {tuple(at) for at in np.argwhere(hu >= limit)}
    result = np.zeros_like(probabilities)
    while left:
        spot, todo = [], [left.pop()]
        while todo:
            at = todo.pop()
            spot.append(at)
            for axis in range(hu.ndim):
                for step in (-1, 1):
                    near = (*at[:axis], at[axis] + step, *at[axis + 1 :])
                    if near in left:
                        left.remove(near)
                        todo.append(near)
        for label in range(len(probabilities)):
            mean = np.mean([float(probabilities[(label, *at)]) for at in spot])
            for at in spot:
                result[(label, *at)] = mean
    return result


@given(st.integers(0, 10**6), st.sampled_from([(7, 6), (5, 4, 6)]), st.floats(-100, 400))
def test_components_are_those_of_the_slow_twin(seed: int, shape: tuple[int, ...], limit: float) -> None:
    rng = np.random.default_rng(seed)
    hu = rng.integers(-100, 400, shape).astype(np.int16)
    probabilities = rng.random((2, *shape), dtype=np.float32)
    found = candidate_probabilities(probabilities, hu, limit, "components")
    np.testing.assert_allclose(found, twin(probabilities, hu, limit), atol=1e-5)
    voxels = candidate_probabilities(probabilities, hu, limit, "voxels")
    assert np.array_equal(voxels, np.where(hu >= limit, probabilities, 0))


def test_a_spot_is_taken_or_left_as_a_whole() -> None:
    hu = np.array([[130, 500, 129, 800, 800, 800]], np.int16)
    probabilities = np.array([[[0.3, 0.9, 1.0, 0.9, 0.2, 0.1]]], np.float32)
    # left spot: (0.3 + 0.9) / 2 = 0.6; right spot: (0.9 + 0.2 + 0.1) / 3 = 0.4
    whole = candidate_probabilities(probabilities, hu, 130, "components")
    assert mask_from_probabilities(whole, [1], 0.5).tolist() == [[1, 1, 0, 0, 0, 0]]
    single = candidate_probabilities(probabilities, hu, 130, "voxels")
    assert mask_from_probabilities(single, [1], 0.5).tolist() == [[0, 1, 0, 1, 0, 0]]


def test_a_spot_gets_the_label_that_is_likeliest_in_it() -> None:
    hu = np.full((1, 3), 200, np.int16)
    probabilities = np.array([[[0.9, 0.5, 0.4]], [[0.6, 0.8, 0.8]]], np.float32)  # means 0.6 and 0.73
    whole = candidate_probabilities(probabilities, hu, 130, "components")
    assert mask_from_probabilities(whole, [1, 2], 0.5).tolist() == [[2, 2, 2]]


@pytest.mark.parametrize("rule", ["voxels", "components"])
def test_nothing_bright_gives_an_empty_mask(rule: str) -> None:
    found = candidate_probabilities(np.ones((1, 4, 4, 4), np.float32), np.full((4, 4, 4), 40), 130, rule)
    assert found.shape == (1, 4, 4, 4)
    assert found.dtype == np.float32
    assert not found.any()


# in a prediction


@pytest.fixture
def volume() -> Volume:
    """Voxel axes that run to the left, posterior and superior; bright spots anywhere."""
    array = np.random.default_rng(0).integers(-200, 400, (20, 18, 6)).astype(np.int16)
    return Volume(array, Geometry((20, 18, 6), np.diag([-1.0, -1.0, 1.0, 1.0])), None)


def plan_with(plan):
    return plan.model_copy(update={"channels": (CT, BRIGHT)})


@pytest.mark.parametrize("rule", [None, "voxels", "components"])
def test_masks_hold_bright_voxels_of_the_scanners_grid_only(make_plan, make_model, volume, rule, tmp_path) -> None:
    model = make_model(plan_with(make_plan(2)))
    volume = replace(volume, path=tmp_path / "a_0000.nii.gz")
    low = {"mirroring": False, "threshold": 1e-6, "min_lesion_peak": 0}
    free = Predictor([model], InferenceSettings(**low)).predict([volume])
    kept = Predictor([model], InferenceSettings(**low, candidate_hu=130, candidate_rule=rule)).predict([volume])
    assert np.array_equal(free.probabilities, kept.probabilities)
    assert (free.mask > 0)[volume.array < 130].any()
    assert np.array_equal(kept.mask > 0, volume.array >= 130)  # every probability is above one in a million
    assert Predictor([model], InferenceSettings(**low)).channels == 1


def test_whole_spots_are_kept_on_the_scanners_grid(make_plan, make_model, volume, tmp_path) -> None:
    model = make_model(plan_with(make_plan(2)))
    volume = replace(volume, path=tmp_path / "a_0000.nii.gz")
    raw = Predictor([model], InferenceSettings(mirroring=False)).predict([volume]).probabilities
    middle = float(np.median(raw[0][volume.array >= 200]))
    settings = InferenceSettings(
        mirroring=False, threshold=middle, min_lesion_peak=0, candidate_hu=200, candidate_rule="components"
    )
    mask = Predictor([model], settings).predict([volume]).mask > 0
    numbers, count = ndimage.label(volume.array >= 200)
    whole = [set(mask[numbers == number]) for number in range(1, count + 1)]
    assert all(len(values) == 1 for values in whole)
    assert {True} in whole
    assert {False} in whole


def test_a_model_of_other_images_has_no_candidates(make_plan, make_model) -> None:
    model = make_model(make_plan(2))
    with pytest.raises(SettingsError, match=r"inference.candidate_hu=130: .* none of them CT in HU"):
        Predictor([model], InferenceSettings(candidate_hu=130))


def test_models_with_and_without_the_channel_can_be_averaged(make_plan, make_model, volume, tmp_path) -> None:
    one = make_model(plan_with(make_plan(2)))
    other = make_model(make_plan(2).model_copy(update={"channels": (CT,)}))
    found = Predictor([one, other], InferenceSettings(mirroring=False)).predict([replace(volume, path=tmp_path / "a")])
    assert found.mask.shape == volume.array.shape
