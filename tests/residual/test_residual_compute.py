"""Maps of whole cases stand on the case's grid, are finite, and the seed decides them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from grcsf.config import ResidualSettings
from grcsf.residual import compute
from grcsf.residual.compute import case_residual, map_channels, map_ratios
from grcsf.residual.maps import rebuild_hidden, residual_map


def image_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (1, 1, 5, 7), (1, 3, 13, 9), (2, 1, 20, 3), (1, 1, 1, 1)])
@pytest.mark.parametrize("kind", ["signed", "absolute", "cosine"])
def test_slices_of_any_size(make_bundle, shape, kind):
    settings = ResidualSettings(kind=kind)
    maps = case_residual(make_bundle(2, channels=shape[0]), image_of(*shape), settings)
    assert maps.shape == (2 * map_channels(settings, shape[0]), *shape[1:])
    assert maps.dtype == np.float32
    assert maps.flags.c_contiguous
    assert np.isfinite(maps).all()


@pytest.mark.parametrize("shape", [(1, 4, 4, 4), (2, 5, 7, 3), (1, 1, 9, 6)])
def test_volumes_of_any_size(make_bundle, shape):
    maps = case_residual(make_bundle(3, channels=shape[0]), image_of(*shape), ResidualSettings())
    assert maps.shape == (2 * shape[0], *shape[1:])
    assert np.isfinite(maps).all()


def test_the_seed_decides_the_maps(make_bundle):
    bundle, image, settings = make_bundle(), image_of(1, 2, 11, 9), ResidualSettings()
    state = torch.random.get_rng_state()
    first = case_residual(bundle, image, settings, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(first, case_residual(bundle, image, settings, seed=1))
    assert not np.array_equal(first, case_residual(bundle, image, settings, seed=2))


def test_an_image_of_the_window_size_is_one_window(make_bundle):
    bundle, image = make_bundle(), image_of(1, 1, 8, 8)
    maps = case_residual(bundle, image, ResidualSettings(ratios=(0.75,)), seed=3)
    tensor = torch.from_numpy(image)
    rebuilt = rebuild_hidden(bundle.network(0.75), tensor, 0.75, torch.Generator().manual_seed(3), torch.zeros(1, 2))
    np.testing.assert_allclose(maps, residual_map(tensor, rebuilt)[0].numpy()[:, None], atol=1e-5)


@pytest.mark.parametrize(("dims", "shape"), [(2, (1, 5, 7)), (2, (1, 8, 30)), (3, (3, 5, 11))])
def test_every_window_is_told_where_it_lies(make_bundle, monkeypatch, dims, shape):
    """A stub that returns the place of each voxel, as the origin tells, leaves nothing of an image of places."""

    def places(size: tuple[int, ...], origin: torch.Tensor) -> torch.Tensor:
        axes = [torch.arange(edge) - (edge - 1) / 2 for edge in size]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij")) + origin.reshape(-1, *[1] * len(size))
        return (grid * torch.tensor([1.0, 10.0, 100.0])[: len(size)].reshape(grid.shape[0], *[1] * len(size))).sum(0)

    def rebuild(network, image, ratio, generator, origin):
        return torch.stack([places(tuple(image.shape[2:]), one)[None] for one in origin])

    monkeypatch.setattr(compute, "rebuild_hidden", rebuild)
    image = places(shape[-dims:], torch.zeros(dims)).expand(1, *shape).numpy().astype(np.float32)
    maps = case_residual(make_bundle(dims), image, ResidualSettings())
    np.testing.assert_allclose(maps, 0, atol=1e-3)


def test_slices_do_not_see_each_other(make_bundle):
    bundle, image = make_bundle(), image_of(1, 20, 6, 6)  # more slices than fit in a batch
    together = case_residual(bundle, image, ResidualSettings())
    apart = np.concatenate([case_residual(bundle, image[:, i : i + 1], ResidualSettings()) for i in range(20)], axis=1)
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_maps_stand_in_the_order_of_the_ratios(make_bundle):
    bundle, image = make_bundle(channels=2, networks="per-ratio"), image_of(2, 1, 8, 8)
    both = case_residual(bundle, image, ResidualSettings())
    assert map_ratios(ResidualSettings(), bundle) == (0.5, 0.75)
    for index, ratio in enumerate((0.5, 0.75)):
        alone = case_residual(bundle, image, ResidualSettings(ratios=(ratio,)))
        np.testing.assert_array_equal(both[2 * index : 2 * index + 2], alone)


def test_input_is_left_alone(make_bundle):
    image = image_of(1, 1, 5, 5)
    before = image.copy()
    case_residual(make_bundle(), image, ResidualSettings())
    assert np.array_equal(image, before)


@pytest.mark.parametrize(("dims", "kept_apart"), [(2, True), (3, False)])
def test_smoothing_is_gaussian_and_stays_within_a_slice(make_bundle, dims, kept_apart):
    image = image_of(1, 4, 8, 8)
    plain = case_residual(make_bundle(dims), image, ResidualSettings())
    smooth = case_residual(make_bundle(dims), image, ResidualSettings(smoothing_voxels=1.5))
    assert smooth.shape == plain.shape
    assert smooth.dtype == np.float32
    offsets = np.arange(-6, 7)  # four standard deviations
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    expected = plain.astype(np.float64)
    for axis in (2, 3) if kept_apart else (1, 2, 3):
        places = np.clip(np.arange(expected.shape[axis])[:, None] + offsets, 0, expected.shape[axis] - 1)
        taken = np.moveaxis(np.take(expected, places, axis), (axis, axis + 1), (-2, -1))
        expected = np.moveaxis((taken * weights / weights.sum()).sum(-1), -1, axis)
    np.testing.assert_allclose(smooth, expected, atol=1e-5)
