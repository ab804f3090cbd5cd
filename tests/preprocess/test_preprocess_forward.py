"""One case forwards and back, and what is refused on the way."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from grcsf.errors import GridMismatch, ImageError
from grcsf.io.volume import Geometry, Volume
from grcsf.preprocess.forward import preprocess_case, preprocess_label
from grcsf.preprocess.geometry import CaseGeometry, content_box
from grcsf.preprocess.inverse import restore, restore_mask
from grcsf.preprocess.normalise import ChannelPlan
from grcsf.preprocess.plan import Plan

LABELS = {"background": 0, "lesion": 1}


def make_plan(channels: int = 1, **changes: object) -> Plan:
    fields = {
        "spatial_dims": 3,
        "native_2d": False,
        "context": 0,
        "axis_order": (2, 1, 0),
        "spacing_mm": (None, None, None),
        "patch_size": (16, 16, 16),
        "channels": tuple(ChannelPlan(name=f"C{index}", scheme="zscore", clip_low=-5) for index in range(channels)),
        "labels": LABELS,
        "crop": True,
        "file_ending": ".nii.gz",
    }
    return Plan.model_validate(fields | changes)


def volume(array: np.ndarray, affine: np.ndarray | None = None, name: str = "case-1_0000.nii.gz") -> Volume:
    return Volume(array, Geometry(array.shape, np.eye(4) if affine is None else affine), Path(name))


@pytest.fixture
def block() -> np.ndarray:
    """Tissue in x 2..7, y 3..8, z 4..11 of a 12 x 14 x 16 image, zero outside."""
    image = np.zeros((12, 14, 16), np.float32)
    image[2:8, 3:9, 4:12] = 100 + np.arange(6 * 6 * 8).reshape(6, 6, 8)
    return image


@pytest.mark.parametrize(("ending", "other"), [(".png", "slice.mha"), (".nii.gz", "slice.png")])
def test_slices_with_other_axes_than_those_of_the_plan_are_refused(ending, other):
    plan = make_plan(spatial_dims=2, native_2d=True, axis_order=(0, 1, 2), patch_size=(8, 8), file_ending=ending)
    image = np.arange(12 * 10, dtype=np.float32).reshape(12, 10)
    preprocess_case([volume(image, name=f"slice{ending}")], plan)
    with pytest.raises(ImageError, match=f"but the plan was made for {ending} images; convert it"):
        preprocess_case([volume(image, name=other)], plan)


def test_arrays_have_slices_first_and_cover_the_content(block):
    image, foreground, geometry = preprocess_case([volume(block)], make_plan())
    assert image.shape == (1, 8, 6, 6)
    assert image.dtype == np.float32
    assert foreground.shape == (8, 6, 6)
    assert foreground.all()
    assert (geometry.crop_start, geometry.crop_stop) == ((4, 3, 2), (12, 9, 8))
    assert geometry.array_shape == (16, 14, 12)
    assert not geometry.is_resampled


def test_without_crop_all_is_kept(block):
    image, _, geometry = preprocess_case([volume(block)], make_plan(crop=False))
    assert image.shape == (1, 16, 14, 12)
    assert geometry.cropped_shape == (16, 14, 12)


def test_integer_images_become_float(block):
    whole, _, _ = preprocess_case([volume(block.astype(np.int16))], make_plan())
    fraction, _, _ = preprocess_case([volume(block)], make_plan())
    assert np.array_equal(whole, fraction)


def test_orientation_of_the_file_does_not_matter(block):
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = block.shape[0] - 1
    one, _, _ = preprocess_case([volume(block)], make_plan())
    two, _, _ = preprocess_case([volume(block[::-1], flipped)], make_plan())
    assert np.array_equal(one, two)


def test_spacing_of_the_plan_is_reached(block):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    image, _, geometry = preprocess_case([volume(block, affine)], make_plan(spacing_mm=(1.5, 1.0, 2.0)))
    # D: 8 x 3 / 1.5 = 16; H: 6 x 2 / 1 = 12; W: 6 x 1 / 2 = 3
    assert image.shape == (1, 16, 12, 3)
    assert geometry.spacing_mm == (3.0, 2.0, 1.0)
    assert geometry.resampled_spacing_mm == (1.5, 1.0, 2.0)


def test_native_2d_images_have_one_slice():
    disc = np.zeros((20, 30), np.float32)
    disc[5:15, 10:25] = 50 + np.random.default_rng(0).random((10, 15))
    plan = make_plan(spatial_dims=2, native_2d=True, axis_order=(0, 1, 2), patch_size=(16, 16), file_ending=".png")
    image, _, geometry = preprocess_case([volume(disc, name="case-1_0000.png")], plan)
    assert image.shape == (1, 1, 10, 15)
    back = restore(image, geometry, fill=-9.0)
    assert back.shape == (1, 20, 30)
    assert np.array_equal(back[0, 5:15, 10:25], image[0, 0])
    assert back[0, 0, 0] == -9.0


def test_geometry_survives_json(block):
    _, _, geometry = preprocess_case([volume(block)], make_plan())
    assert CaseGeometry.model_validate_json(geometry.model_dump_json()) == geometry


def test_content_box_of_nothing_is_everything():
    assert content_box(np.zeros((3, 4, 5), bool)) == ((0, 0, 0), (3, 4, 5))


def test_restore_is_linear(block):
    _, _, geometry = preprocess_case([volume(block)], make_plan(spacing_mm=(1.7, 0.6, 2.3)))
    rng = np.random.default_rng(0)
    one, two = rng.random((2, 1, *geometry.resampled_shape)).astype(np.float32)
    together = restore(2 * one - 3 * two, geometry)
    np.testing.assert_allclose(together, 2 * restore(one, geometry) - 3 * restore(two, geometry), atol=1e-5)


def test_restored_probabilities_stay_probabilities(block):
    _, _, geometry = preprocess_case([volume(block)], make_plan(spacing_mm=(1.7, 0.6, 2.3)))
    restored = restore(np.ones((1, *geometry.resampled_shape), np.float32), geometry)
    assert restored.min() == 0
    assert restored.max() == pytest.approx(1)
    assert np.count_nonzero(restored) == 6 * 6 * 8


def test_restore_mask_is_nearest(block):
    _, _, geometry = preprocess_case([volume(block)], make_plan(spacing_mm=(2.0, 2.0, 2.0)))
    mask = np.full(geometry.resampled_shape, 3, np.uint8)
    restored = restore_mask(mask, geometry)
    assert restored.shape == block.shape
    assert np.array_equal(restored == 3, block > 0)


def test_restore_refuses_another_case(block):
    _, _, geometry = preprocess_case([volume(block)], make_plan())
    with pytest.raises(ValueError, match=r"was preprocessed to \(8, 6, 6\)"):
        restore(np.zeros((1, 8, 6, 7), np.float32), geometry)


def test_lesion_outside_the_content_is_lost_with_a_warning(block, caplog):
    label = np.zeros(block.shape, np.uint8)
    label[3, 4, 5] = 1
    label[0, 0, :2] = 1
    _, _, geometry = preprocess_case([volume(block)], make_plan())
    with caplog.at_level(logging.WARNING, logger="grcsf"):
        result = preprocess_label(volume(label, name="case-1.nii.gz"), make_plan(), geometry)
    assert result.sum() == 1
    assert "case-1: 2 labelled voxels lie outside" in caplog.text


def test_label_in_floating_point_is_read(block):
    _, _, geometry = preprocess_case([volume(block)], make_plan())
    label = preprocess_label(volume((block > 150).astype(np.float32)), make_plan(), geometry)
    assert label.dtype == np.uint8
    assert label.sum() == (block > 150).sum()


@pytest.mark.parametrize("value", [2, 0.5])
def test_label_values_without_a_name_are_refused(block, value):
    _, _, geometry = preprocess_case([volume(block)], make_plan())
    with pytest.raises(ImageError, match=rf"case-1: label values \[{float(value)}\] are not in dataset.json"):
        preprocess_label(volume(np.full(block.shape, value), name="case-1.nii.gz"), make_plan(), geometry)


def test_label_of_another_size_or_place_is_refused(block):
    _, _, geometry = preprocess_case([volume(block)], make_plan())
    with pytest.raises(GridMismatch, match=r"image grid \(12, 14, 16\) but label grid \(12, 14, 15\)"):
        preprocess_label(volume(np.zeros((12, 14, 15), np.uint8)), make_plan(), geometry)
    moved = np.eye(4)
    moved[0, 3] = 4
    with pytest.raises(GridMismatch, match="up to 4 mm apart"):
        preprocess_label(volume(np.zeros(block.shape, np.uint8), moved), make_plan(), geometry)


def test_rounding_in_a_header_is_no_other_place(block):
    _, _, geometry = preprocess_case([volume(block)], make_plan())
    almost = np.eye(4)
    almost[0, 3] = 1e-3
    assert preprocess_label(volume(np.ones(block.shape, np.uint8), almost), make_plan(), geometry).all()


def test_wrong_channels_are_refused(block):
    with pytest.raises(ImageError, match=r"1 images given, but the plan has 2 channels: \['C0', 'C1'\]"):
        preprocess_case([volume(block)], make_plan(channels=2))
    with pytest.raises(GridMismatch, match="case-1_0001 has"):
        preprocess_case([volume(block), volume(block[1:], name="case-1_0001.nii.gz")], make_plan(channels=2))
    with pytest.raises(GridMismatch, match="apart"):
        preprocess_case([volume(block), volume(block, np.diag([1, 1, 2.0, 1]))], make_plan(channels=2))
    with pytest.raises(ImageError, match="has 2 axes, but the plan was made for volumes"):
        preprocess_case([volume(block[0])], make_plan())
    with pytest.raises(ImageError, match="made for 2-D images"):
        preprocess_case([volume(block)], make_plan(native_2d=True))


def test_constant_image_is_refused_by_name():
    with pytest.raises(ImageError, match="case-1_0000: channel C0 is constant"):
        preprocess_case([volume(np.zeros((4, 5, 6), np.float32))], make_plan())


def test_foreground_is_the_union_of_the_channels(block):
    other = np.zeros_like(block)
    other[1:3, 3:9, 4:12] = 7 + np.arange(96).reshape(2, 6, 8)
    image, foreground, _ = preprocess_case([volume(block), volume(other)], make_plan(channels=2))
    assert image.shape == (2, 8, 6, 7)
    assert foreground.all()
