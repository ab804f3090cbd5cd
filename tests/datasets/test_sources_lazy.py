"""Images that are put together from files: channels, unions of masks, one image on the grid of another."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.datasets.sources.lazy import ChannelOf, LesionMask, OnGridOf
from grcsf.errors import GridMismatch, ImageError
from grcsf.io.volume import files_of, name_of, read_geometry, read_volume, write_like
from mimics import OBLIQUE, save


def box(*corner: int, shape: tuple[int, int, int] = (8, 8, 8), value: int = 1) -> np.ndarray:
    """A mask of 2 x 2 x 2 voxels."""
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(start, start + 2) for start in corner)] = value
    return mask


def test_a_channel_is_the_slice_along_the_fourth_axis(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(5, 6, 7, 3)).astype(np.float32)
    path = save(array, tmp_path / "four.nii.gz", OBLIQUE)
    for channel in range(3):
        volume = read_volume(ChannelOf(path, channel, 3))
        assert np.array_equal(volume.array, array[..., channel])
        assert volume.geometry.shape == (5, 6, 7)
        assert np.allclose(volume.geometry.affine_ras, OBLIQUE, atol=1e-6)


def test_a_channel_written_like_itself_reads_back_the_same(tmp_path: Path) -> None:
    path = save(np.arange(5 * 6 * 7 * 2, dtype=np.int16).reshape(5, 6, 7, 2), tmp_path / "four.nii", OBLIQUE)
    source = ChannelOf(path, 1, 2)
    volume = read_volume(source)
    write_like(volume.array, source, tmp_path / "one.nii.gz")
    again = read_volume(tmp_path / "one.nii.gz")
    assert again.array.tobytes() == volume.array.tobytes()
    assert np.array_equal(again.geometry.affine_ras, volume.geometry.affine_ras), "bit for bit"


@pytest.mark.parametrize(("shape", "channels"), [((5, 6, 7, 3), 4), ((5, 6, 7, 3), 2), ((5, 6, 7), 2), ((5, 6), 2)])
def test_another_number_of_channels_is_refused(shape: tuple[int, ...], channels: int, tmp_path: Path) -> None:
    path = save(np.ones(shape, np.uint8), tmp_path / "four.nii.gz")
    for look in (read_volume, read_geometry):
        with pytest.raises(ImageError, match=f"expected 3-D with {channels} channel"):
            look(ChannelOf(path, 0, channels))


def test_a_file_that_ends_in_the_last_channel_is_refused_for_every_channel(tmp_path: Path) -> None:
    path = save(np.ones((5, 6, 7, 3), np.int16), tmp_path / "four.nii")
    path.write_bytes(path.read_bytes()[:-10])
    for channel in range(3):
        with pytest.raises(ImageError, match="truncated"):
            read_volume(ChannelOf(path, channel, 3))


def test_channels_are_read_from_nifti_files_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_volume(ChannelOf(tmp_path / "four.nii.gz", 0, 3))
    with pytest.raises(ImageError, match="NIfTI only"):
        read_geometry(ChannelOf(tmp_path / "four.nrrd", 0, 3))


def test_the_union_counts_every_marked_voxel_once(tmp_path: Path) -> None:
    paths = tuple(
        save(box(*corner, value=value), tmp_path / f"{value}{corner[0]}.nii.gz")
        for corner, value in (((0, 0, 0), 1), ((1, 0, 0), 255), ((5, 5, 5), 1))
    )
    source = LesionMask(paths)
    union = read_volume(source).array
    assert union.dtype == np.uint8
    assert set(np.unique(union)) == {0, 1}
    assert int(union.sum()) == 8 + 8 - 4 + 8, "the first two share 1 x 2 x 2 voxels"
    assert source.remark == "3 masks merged by union"
    assert files_of(source) == paths
    assert name_of(source) == "10.nii.gz and 2 more"
    assert LesionMask(paths[:1]).remark == ""


@given(seed=st.integers(0, 1000))
def test_the_order_of_masks_does_not_matter(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("masks")
    paths = [save((rng.random((4, 4, 4)) > 0.7).astype(np.uint8), folder / f"{k}.nii") for k in range(3)]
    one, two = read_volume(LesionMask(tuple(paths))), read_volume(LesionMask(tuple(paths[::-1])))
    assert np.array_equal(one.array, two.array)


@pytest.mark.parametrize("value", [2, 0.5, 7])
def test_other_values_than_a_mask_has_are_refused(value: float, tmp_path: Path) -> None:
    mask = box(0, 0, 0).astype(np.float32) * value
    with pytest.raises(ImageError, match=rf"binary mask .* holds 0, {value:g}"):
        read_volume(LesionMask((save(mask, tmp_path / "m.nii"),)))


def test_ones_beside_255_are_two_classes_not_a_mask(tmp_path: Path) -> None:
    mask = box(0, 0, 0) + box(4, 4, 4, value=255)
    with pytest.raises(ImageError, match="0, 1, 255"):
        read_volume(LesionMask((save(mask, tmp_path / "m.nii"),)))


def test_masks_on_different_grids_are_not_merged(tmp_path: Path) -> None:
    first = save(box(0, 0, 0), tmp_path / "a.nii")
    shifted = OBLIQUE.copy()
    second = save(box(0, 0, 0), tmp_path / "b.nii", shifted)
    with pytest.raises(GridMismatch, match=r"a\.nii and b\.nii"):
        read_volume(LesionMask((first, second)))


def test_an_image_on_the_same_grid_is_left_as_it_is(tmp_path: Path) -> None:
    path = save(box(0, 0, 0), tmp_path / "a.nii", OBLIQUE)
    other = save(np.arange(512, dtype=np.int16).reshape(8, 8, 8), tmp_path / "b.nii", OBLIQUE)
    source = OnGridOf(path, other)
    assert source.remark == ""
    assert read_volume(source).array.dtype == np.int16
    assert np.array_equal(read_volume(source).array, read_volume(other).array)


@given(slope=st.tuples(*[st.floats(-5, 5, width=32)] * 3), shift=st.tuples(*[st.floats(-2, 2, width=32)] * 3))
def test_a_ramp_in_millimetres_is_the_same_ramp_on_another_grid(
    slope: tuple[float, ...], shift: tuple[float, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ramp")
    big = np.diag([0.9, 1.1, 1.3, 1.0])
    big[:3, 3] = [-20, -20, -20]
    ramp = np.moveaxis(np.indices((45, 40, 35)), 0, -1) @ (np.diag(big)[:3] * slope) + big[:3, 3] @ slope
    moved = save(ramp.astype(np.float32), folder / "ramp.nii", big)
    small = OBLIQUE.copy()
    small[:3, 3] = [3 + shift[0], -3 + shift[1], -4 + shift[2]]
    grid = save(np.zeros((6, 6, 6), np.uint8), folder / "grid.nii", small)
    source = OnGridOf(grid, moved)
    volume = read_volume(source)
    there = np.moveaxis(np.indices((6, 6, 6)), 0, -1) @ volume.geometry.affine_ras[:3, :3].T
    expected = (there + volume.geometry.affine_ras[:3, 3]) @ slope
    assert np.allclose(volume.array, expected, atol=2e-3), "linear interpolation is exact on a linear image"
    assert "ramp.nii put onto the grid of grid.nii (45 x 40 x 35 voxels" in source.remark


def test_outside_the_image_the_values_are_zero(tmp_path: Path) -> None:
    moved = save(np.full((4, 4, 4), 9, np.int16), tmp_path / "moved.nii", np.diag([1.0, 1, 1, 1]))
    grid = save(np.zeros((9, 4, 4), np.int16), tmp_path / "grid.nii", np.diag([1.0, 1, 1, 1]))
    values = read_volume(OnGridOf(grid, moved)).array
    assert (values[:4] == 9).all()
    assert (values[4:] == 0).all()


def test_sources_can_be_sent_to_other_processes_and_compared(tmp_path: Path) -> None:
    paths = tmp_path / "a.nii", tmp_path / "b.nii"
    for source in (ChannelOf(paths[0], 1, 2), LesionMask(paths), OnGridOf(*paths)):
        assert pickle.loads(pickle.dumps(source)) == source
        assert hash(source) == hash(pickle.loads(pickle.dumps(source)))
