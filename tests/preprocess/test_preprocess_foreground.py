"""The background search on the kinds of background that scans have."""

from __future__ import annotations

import numpy as np
import pytest

from grcsf.io.volume import read_volume
from grcsf.preprocess.foreground import AIR_HU, find_foreground, is_ct, union_foreground


def ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    centre = [(size - 1) / 2 for size in shape]
    return sum((axis - middle) ** 2 for axis, middle in zip(np.indices(shape), centre, strict=True)) <= radius**2


@pytest.fixture
def head() -> np.ndarray:
    return ball((20, 40, 40), 9.0)


def tissue(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return (100 + 10 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def test_exact_zero_background(head):
    assert np.array_equal(find_foreground(np.where(head, tissue(head.shape), 0).astype(np.float32)), head)


def test_background_with_negative_ringing(head):
    image = np.where(head, tissue(head.shape), 0).astype(np.float32)
    near = ball(head.shape, 11.0) & ~head
    image[near] = -np.abs(np.random.default_rng(1).normal(0, 8, int(near.sum())))
    assert np.array_equal(find_foreground(image), head)


def test_noisy_air_is_background(head):
    rng = np.random.default_rng(2)
    air = np.hypot(rng.normal(0, 4, head.shape), rng.normal(0, 4, head.shape))
    found = find_foreground(np.where(head, tissue(head.shape), air).astype(np.float32))
    assert found[head].mean() > 0.99
    assert found[~ball(head.shape, 10.5)].mean() < 0.001


@pytest.mark.parametrize("image", [tissue((5, 30, 30)), np.full((3, 8, 8), 7.0, np.float32)], ids=["noise", "constant"])
def test_without_background_all_is_foreground(image):
    assert find_foreground(image).all()


def test_dark_holes_inside_are_foreground(head):
    image = np.where(head, tissue(head.shape), 0).astype(np.float32)
    image[ball(head.shape, 4.0)] = 0
    assert np.array_equal(find_foreground(image), head)


def test_dark_ventricle_in_the_first_slice_is_not_reached_from_there():
    disc = ball((1, 40, 40), 15.0)
    image = np.where(disc, tissue(disc.shape), 0).astype(np.float32)
    image[ball(disc.shape, 4.0)] = 0
    assert np.array_equal(find_foreground(image), disc)


def test_specks_in_air_are_dropped():
    disc = ball((1, 80, 80), 33.0)
    image = np.where(disc, tissue(disc.shape), 0).astype(np.float32)
    image[0, 2, 2] = 100
    assert np.array_equal(find_foreground(image), disc)


def test_ct_foreground_is_what_is_denser_than_air(head):
    image = np.where(head, 40.0, -1000.0).astype(np.float32)
    image[ball(head.shape, 3.0)] = -1000.0
    assert np.array_equal(find_foreground(image, ct=True), head)
    assert find_foreground(np.full(head.shape, AIR_HU - 1, np.float32), ct=True).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 1), (1, 6, 1), (1, 1, 6), (4, 5, 1)])
def test_axes_of_one_voxel(shape):
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = find_foreground(image)
    assert found.shape == shape
    assert found.any()


def test_channel_without_background_does_not_widen_the_union(head):
    everything = np.ones_like(head)
    assert np.array_equal(union_foreground([everything, head]), head)
    assert union_foreground([everything, everything]).all()


@pytest.mark.parametrize(("name", "expected"), [("CT", True), ("ct ", True), ("CTA", False), ("FLAIR", False)])
def test_ct_goes_by_the_channel_name(name, expected):
    assert is_ct(name) is expected


@pytest.mark.real_data
def test_skull_stripped_brain_with_interpolated_background(real_data):
    path = real_data("Dataset510_OpenMs3D") / "imagesTr" / "openms-07_0000.nii.gz"
    image = read_volume(path).array.astype(np.float32)
    found = find_foreground(np.ascontiguousarray(image[..., 90:91].transpose(2, 1, 0)))
    brain = image[..., 90].T[None] > 20
    assert 0.2 < found.mean() < 0.5
    assert found[brain].mean() > 0.999


@pytest.mark.real_data
def test_lung_ct_keeps_the_lungs(real_data):
    volume = read_volume(real_data("pyradiomics") / "lung1_image.nrrd")
    slice_hu = volume.array[:, :, 24].T[None].astype(np.float32)
    found = find_foreground(slice_hu, ct=True)
    assert found[slice_hu > -500].mean() > 0.99
    assert (found & (slice_hu < AIR_HU)).sum() > 0
    assert not found[0, 0].any()
