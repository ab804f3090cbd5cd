"""Grey values on the common scale."""

from __future__ import annotations

import numpy as np
import pytest

from grcsf.errors import ImageError
from grcsf.preprocess.normalise import LOWEST_ZSCORE, ChannelPlan, normalise_channel

ZSCORE = ChannelPlan(name="T1", scheme="zscore", clip_low=LOWEST_ZSCORE)
CT = ChannelPlan(name="CT", scheme="ct", clip_low=0.0, clip_high=80.0, mean=30.0, std=10.0)


@pytest.fixture
def image() -> np.ndarray:
    return (500 + 50 * np.random.default_rng(0).standard_normal((4, 9, 7))).astype(np.float32)


def test_zscore_has_mean_0_and_std_1_inside_the_foreground(image):
    inside = np.zeros(image.shape, bool)
    inside[1:3] = True
    image[~inside] = 0
    result = normalise_channel(image, inside, ZSCORE, "a")
    assert result.dtype == np.float32
    assert result[inside].mean() == pytest.approx(0, abs=1e-5)
    assert result[inside].std() == pytest.approx(1, abs=1e-5)
    assert np.all(result[~inside] == LOWEST_ZSCORE)  # (0 - 500) / 50 is far below -5


def test_zscore_keeps_bright_lesions(image):
    image[0, 0, 0] = 5000
    everything = np.ones(image.shape, bool)
    expected = (5000 - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)
    assert normalise_channel(image, everything, ZSCORE, "a")[0, 0, 0] == pytest.approx(expected, rel=1e-4)


def test_zscore_does_not_depend_on_scale_and_offset(image):
    everything = np.ones(image.shape, bool)
    first = normalise_channel(image, everything, ZSCORE, "a")
    second = normalise_channel(image * 3 + 100, everything, ZSCORE, "a")
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_constant_foreground_falls_back_to_the_whole_image():
    image = np.zeros((1, 4, 4), np.float32)
    image[0, :2] = 10  # half the voxels: mean 5, std 5
    result = normalise_channel(image, image > 0, ZSCORE, "a")
    assert np.array_equal(np.unique(result), [-1.0, 1.0])


@pytest.mark.parametrize("value", [0.0, 1e6])
def test_constant_image_is_refused_by_name(value):
    image = np.full((1, 4, 4), value, np.float32)
    with pytest.raises(ImageError, match=r"case-7: channel T1 is constant"):
        normalise_channel(image, np.ones(image.shape, bool), ZSCORE, "case-7")


def test_ct_clips_and_scales_by_the_data_set():
    image = np.array([[[-1000.0, 0.0, 40.0, 80.0, 3000.0]]], np.float32)
    result = normalise_channel(image, np.ones(image.shape, bool), CT, "a")
    assert result.tolist() == [[[-3.0, -3.0, 1.0, 5.0, 5.0]]]  # (0 - 30) / 10, (40 - 30) / 10, (80 - 30) / 10


def test_ct_without_numbers_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="needs clip_low"):
        normalise_channel(
            np.zeros((1, 2, 2), np.float32), np.ones((1, 2, 2), bool), ChannelPlan(name="CT", scheme="ct"), ""
        )


def test_none_leaves_values_alone_and_copies(image):
    before = image.copy()
    result = normalise_channel(image, np.ones(image.shape, bool), ChannelPlan(name="T1", scheme="none"), "a")
    result += 1
    assert np.array_equal(image, before)
