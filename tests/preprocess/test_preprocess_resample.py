"""Resampling between grids over the same box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.preprocess.resample import resample_image, resample_label, resample_linear, resample_mask, resampled_shape

ISOTROPIC = (1.0, 1.0, 1.0)
sizes = st.tuples(*(st.integers(1, 7),) * 3)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_shape_keeps_the_extent_and_never_vanishes():
    # 10 x 2 / 1 = 20; 9 x 1 / 2 = 4.5, rounded up; 1 x 1 / 5 = 0.2, at least one
    assert resampled_shape((10, 9, 1), (2.0, 1.0, 1.0), (1.0, 2.0, 5.0)) == (20, 5, 1)
    assert resampled_shape((10, 9, 1), (2.0, 1.0, 1.0), (None, None, None)) == (10, 9, 1)


def test_same_shape_is_the_same_array():
    image = noise((3, 4, 5))
    label = (image > 0).astype(np.uint8)
    assert resample_image(image, (3, 4, 5), ISOTROPIC) is image
    assert resample_linear(image, (3, 4, 5)) is image
    assert resample_label(label, (3, 4, 5), ISOTROPIC) is label


@given(before=sizes, after=sizes)
def test_any_shape_to_any_shape_within_the_range(before, after):
    image = noise(before)
    result = resample_image(image, after, (5.0, 1.0, 1.0))
    assert result.shape == after
    assert result.dtype == np.float32
    assert result.min() >= image.min()
    assert result.max() <= image.max()


@given(before=sizes, after=sizes)
def test_constant_stays_constant(before, after):
    assert np.allclose(resample_image(np.full(before, 3.5, np.float32), after, ISOTROPIC), 3.5)
    assert resample_mask(np.ones(before, bool), after).all()
    assert (resample_label(np.full(before, 2, np.uint8), after, ISOTROPIC) == 2).all()


def test_halving_averages_pairs():
    row = np.array([[[0, 2, 4, 6]]], np.float32)
    assert resample_linear(row, (1, 1, 2)).tolist() == [[[1.0, 5.0]]]  # (0 + 2) / 2, (4 + 6) / 2: edges are aligned


def test_down_sampling_does_not_alias():
    stripes = np.tile(np.array([0, 0, 0, 1], np.float32), 16)[None, None]  # mean 1/4, period of four voxels
    result = resample_image(np.repeat(stripes, 8, axis=1), (1, 8, 16), ISOTROPIC)
    assert result[..., 2:-2] == pytest.approx(0.25, abs=0.06)


def test_coarse_axis_is_not_interpolated_with_splines():
    step = np.zeros((6, 4, 4), np.float32)
    step[3:] = 1
    between = resample_image(step, (12, 4, 4), (5.0, 1.0, 1.0))[:, 0, 0]
    # linear, voxel edges aligned: 1/4 and 3/4 on both sides of the step and nothing elsewhere
    assert between.tolist() == [0, 0, 0, 0, 0, 0.25, 0.75, 1, 1, 1, 1, 1]
    label = resample_label(step.astype(np.uint8), (12, 4, 4), (5.0, 1.0, 1.0))
    assert label[:, 0, 0].tolist() == [0] * 6 + [1] * 6


def test_half_a_voxel_counts_as_lesion():
    label = np.zeros((1, 4, 6), np.uint8)
    label[0, 0:2, 0] = 1  # two of the four voxels of the first coarse one: share 1/2
    label[0, 2, 2] = 1  # one of four
    label[0, :, 4:] = 1  # whole ones
    assert resample_label(label, (1, 2, 3), ISOTROPIC).tolist() == [[[1, 0, 1], [0, 0, 1]]]


@pytest.mark.parametrize("target", [(1, 3, 3), (3, 4, 4), (1, 1, 1)])
def test_lesion_of_one_voxel_survives(target):
    label = np.zeros((9, 12, 12), np.uint8)
    label[4, 7, 7] = 1
    assert resample_label(label, target, ISOTROPIC).sum() == 1


def test_labels_are_not_mixed_into_values_between_them():
    label = np.zeros((1, 8, 8), np.uint8)
    label[0, :, :4] = 1
    label[0, :, 4:] = 5
    result = resample_label(label, (1, 13, 11), ISOTROPIC)
    assert np.array_equal(np.unique(result), [1, 5])
