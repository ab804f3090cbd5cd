"""The way back to the scanner's grid is exact: every orientation, spacing, obliquity and size."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from grcsf.io.volume import Geometry, Volume, read_volume, write_like
from grcsf.preprocess.forward import preprocess_case, preprocess_label
from grcsf.preprocess.inverse import restore, restore_mask
from grcsf.preprocess.normalise import ChannelPlan
from grcsf.preprocess.plan import Plan

ORIENTATIONS = [
    (axes, flips) for axes in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)
]
ORDERS = list(itertools.permutations(range(3)))

shapes = st.tuples(*(st.integers(1, 11),) * 3)
spacings = st.tuples(*(st.floats(0.3, 7.0),) * 3)
angles = st.tuples(*(st.floats(-40, 40),) * 3)


def affine_of(axes, flips, spacing_mm, angles_degrees=(0, 0, 0), origin=(12.3, -45.6, 7.8)) -> np.ndarray:
    """Voxel axis i runs along world axis axes[i], forwards or backwards, then everything is turned."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, flip, spacing) in enumerate(zip(axes, flips, spacing_mm, strict=True)):
        affine[world, axis] = flip * spacing
    affine[:3, :3] = Rotation.from_euler("xyz", angles_degrees, degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = origin
    return affine


def plan_of(order=(2, 1, 0), spacing_mm=(None, None, None), crop=True) -> Plan:
    return Plan(
        spatial_dims=3,
        native_2d=False,
        context=0,
        axis_order=order,
        spacing_mm=spacing_mm,
        patch_size=(16, 16, 16),
        channels=(ChannelPlan(name="T1", scheme="none"),),
        labels={"background": 0, "lesion": 1},
        crop=crop,
        file_ending=".nii.gz",
    )


def scan(shape, affine, seed=0) -> tuple[Volume, Volume]:
    """A box of tissue in air, and a mask of about a third of its voxels."""
    rng = np.random.default_rng(seed)
    inside = np.zeros(shape, bool)
    inside[tuple(slice(size // 5, size - size // 5) for size in shape)] = True
    image = np.where(inside, 100 + 20 * rng.random(shape), 0).astype(np.float32)
    mask = (inside & (rng.random(shape) < 0.3)).astype(np.uint8)
    geometry = Geometry(tuple(shape), affine)
    return Volume(image, geometry, Path("a_0000.nii.gz")), Volume(mask, geometry, Path("a.nii.gz"))


def there_and_back(image: Volume, mask: Volume, plan: Plan) -> np.ndarray:
    array, foreground, geometry = preprocess_case([image], plan)
    label = preprocess_label(mask, plan, geometry)
    assert array.shape[1:] == label.shape == foreground.shape == geometry.resampled_shape
    back = restore(label[None].astype(np.float32), geometry)[0]
    assert back.shape == mask.array.shape
    return back > 0.5


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_every_orientation_comes_back_voxel_for_voxel(axes, flips):
    affine = affine_of(axes, flips, (1.0, 1.5, 4.0))
    image, mask = scan((9, 10, 7), affine)
    for order in ORDERS:
        assert np.array_equal(there_and_back(image, mask, plan_of(order)), mask.array > 0)


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_every_orientation_of_one_head_gives_the_same_array(axes, flips):
    """The array depends on the anatomy, not on how the scanner stored it."""
    reference, _ = scan((9, 10, 7), np.diag([1.0, 1.5, 4.0, 1.0]))
    expected, _, _ = preprocess_case([reference], plan_of())
    stored = reference.array.transpose(axes)
    stored = np.flip(stored, tuple(axis for axis, flip in enumerate(flips) if flip < 0))
    spacing = tuple((1.0, 1.5, 4.0)[world] for world in axes)
    result, _, _ = preprocess_case(
        [Volume(stored, Geometry(stored.shape, affine_of(axes, flips, spacing)), Path("a"))], plan_of()
    )
    assert np.array_equal(result, expected)


@given(
    shape=shapes,
    spacing=spacings,
    turn=angles,
    orientation=st.sampled_from(ORIENTATIONS),
    order=st.sampled_from(ORDERS),
    crop=st.booleans(),
)
def test_native_spacing_is_lossless(shape, spacing, turn, orientation, order, crop):
    image, mask = scan(shape, affine_of(*orientation, spacing, turn))
    assert np.array_equal(there_and_back(image, mask, plan_of(order, crop=crop)), mask.array > 0)


@given(shape=shapes, spacing=spacings, turn=angles, orientation=st.sampled_from(ORIENTATIONS))
def test_native_spacing_given_as_numbers_is_lossless(shape, spacing, turn, orientation):
    image, mask = scan(shape, affine_of(*orientation, spacing, turn))
    _, _, geometry = preprocess_case([image], plan_of())
    plan = plan_of(spacing_mm=geometry.spacing_mm)
    assert np.array_equal(there_and_back(image, mask, plan), mask.array > 0)


@given(shape=shapes, seed=st.integers(0, 99), orientation=st.sampled_from(ORIENTATIONS), order=st.sampled_from(ORDERS))
def test_maps_come_back_bit_for_bit(shape, seed, orientation, order):
    image, _ = scan(shape, affine_of(*orientation, (1.0, 1.0, 3.0)), seed)
    array, _, geometry = preprocess_case([image], plan_of(order))
    outside = restore(np.zeros_like(array), geometry, fill=1.0)[0] == 1
    back = restore(array, geometry, fill=-7.5)[0]
    assert np.array_equal(back[~outside], image.array[~outside])
    assert np.all(back[outside] == -7.5)
    assert not image.array[outside].any()  # only air was cropped away
    labels = np.arange(array[0].size, dtype=np.uint8).reshape(array[0].shape)
    assert np.array_equal(restore_mask(labels, geometry), restore(labels[None].astype(np.float32), geometry)[0])


@given(
    shape=shapes,
    spacing=spacings,
    target=st.tuples(*(st.one_of(st.none(), st.floats(0.5, 9.0)),) * 3),
    orientation=st.sampled_from(ORIENTATIONS),
)
def test_any_target_spacing_gives_the_native_grid_back(shape, spacing, target, orientation):
    image, mask = scan(shape, affine_of(*orientation, spacing))
    back = there_and_back(image, mask, plan_of(spacing_mm=target))
    assert back.shape == shape


@given(
    spacing=st.tuples(*(st.floats(0.6, 1.6),) * 3),
    target=st.tuples(*(st.floats(0.6, 2.0),) * 3),
    turn=angles,
    orientation=st.sampled_from(ORIENTATIONS),
)
def test_large_ball_survives_resampling(spacing, target, turn, orientation):
    radius_mm = 12.0
    half = [int(np.ceil(radius_mm / step)) + 3 for step in spacing]
    grid = np.meshgrid(*(np.arange(-n, n + 1) * step for n, step in zip(half, spacing, strict=True)), indexing="ij")
    distance_mm = np.sqrt(sum(axis**2 for axis in grid))
    geometry = Geometry(distance_mm.shape, affine_of(*orientation, spacing, turn))
    image = Volume(np.maximum(0, 200 - 10 * distance_mm).astype(np.float32), geometry, Path("a"))
    mask = Volume((distance_mm < radius_mm).astype(np.uint8), geometry, Path("a"))
    back = there_and_back(image, mask, plan_of(spacing_mm=target))
    truth = mask.array > 0
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.9


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS[::5])
@pytest.mark.parametrize("turned", [False, True], ids=["straight", "oblique"])
def test_written_mask_has_the_header_of_the_scan(tmp_path, axes, flips, turned):
    affine = affine_of(axes, flips, (0.9, 1.1, 3.3), (10, -20, 15) if turned else (0, 0, 0))
    image, mask = scan((9, 8, 7), affine)
    source = nibabel.Nifti1Image(image.array, affine)
    source.set_sform(affine, code=4)
    source.set_qform(affine, code=1)
    source.header.set_xyzt_units("mm", "sec")
    source.header["descrip"] = b"a scan"
    nibabel.save(source, tmp_path / "a_0000.nii.gz")

    volume = read_volume(tmp_path / "a_0000.nii.gz")
    back = there_and_back(volume, Volume(mask.array, volume.geometry, Path("a.nii.gz")), plan_of())
    write_like(back.astype(np.uint8), tmp_path / "a_0000.nii.gz", tmp_path / "a.nii.gz")

    before, after = nibabel.load(tmp_path / "a_0000.nii.gz"), nibabel.load(tmp_path / "a.nii.gz")
    assert np.array_equal(np.asanyarray(after.dataobj), mask.array)
    assert before.affine.tobytes() == after.affine.tobytes()
    same = ("dim", "pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "srow_x", "srow_y")
    for field in (*same, "srow_z", "qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units", "descrip"):
        assert before.header[field].tobytes() == after.header[field].tobytes(), field
