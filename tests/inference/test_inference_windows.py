"""Probabilities stand on the case's grid, whole or in windows, and mirroring is fair to both sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from grcsf.config import InferenceSettings
from grcsf.fitting.cases import cut_window, window_start
from grcsf.inference.windows import case_probabilities


class Local(nn.Module):
    """Stands for a network: a convolution of the image, or one of the maps, so that windows cannot matter (much)."""

    window: tuple[int, ...] | None = None

    def __init__(self, dims: int, channels: int, kernel: int = 1, residual_channel: int | None = None) -> None:
        super().__init__()
        self.in_channels, self.uses_residual = channels, residual_channel is not None
        self.residual_channel = residual_channel
        with torch.random.fork_rng():
            torch.manual_seed(0)
            of = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
            self.conv = of(channels, 2, kernel, padding=kernel // 2, padding_mode="replicate").requires_grad_(False)
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        self.sizes.append(tuple(image.shape))
        assert image.shape[1] == self.in_channels
        if self.residual_channel is None:
            assert residual is None
            return self.conv(image)
        return residual[:, [self.residual_channel]]


def image_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


PLAIN = InferenceSettings(mirroring=False, batch_size=3)


@pytest.mark.parametrize(
    ("dims", "shape"),
    [(2, (1, 7, 16, 20)), (2, (2, 3, 41, 9)), (2, (1, 1, 1, 1)), (3, (1, 18, 20, 16)), (3, (2, 5, 30, 17))],
)
@pytest.mark.parametrize("mirroring", [False, True])
def test_the_grid_is_kept_and_windows_do_not_show(make_plan, dims, shape, mirroring):
    network, image = Local(dims, shape[0]), image_of(*shape)
    settings = InferenceSettings(mirroring=mirroring, batch_size=3)
    found = case_probabilities(network, image, None, make_plan(dims, shape[0]), settings)
    assert found.shape == (2, *shape[1:])
    assert found.dtype == np.float32
    weight, bias = network.conv.weight.flatten(1).numpy(), network.conv.bias.numpy()
    logits = np.einsum("kc,cdhw->kdhw", weight, image) + bias[:, None, None, None]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_batches_hold_no_more_than_asked_for(make_plan):
    network = Local(2, 1)
    case_probabilities(network, image_of(1, 7, 16, 16), None, make_plan(), PLAIN)
    assert [size[0] for size in network.sizes] == [3, 3, 1]


def test_a_little_larger_than_the_patch_is_predicted_whole(make_plan):
    network = Local(2, 1)
    case_probabilities(network, image_of(1, 1, 24, 24), None, make_plan(), PLAIN)
    assert network.sizes == [(1, 1, 24, 24)]
    case_probabilities(network, image_of(1, 1, 24, 25), None, make_plan(), PLAIN)
    assert {size[2:] for size in network.sizes[1:]} == {(16, 16)}


@pytest.mark.parametrize("shape", [(5, 7, 9), (5, 40, 9), (13, 15, 16)])
@pytest.mark.parametrize("dims", [2, 3])
def test_an_image_smaller_than_the_patch_is_filled_as_in_training(make_plan, dims, shape):
    class Keeps(Local):
        def forward(self, image: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
            self.seen = image, residual
            return super().forward(image, residual)

    network, image, maps = Keeps(dims, 1, residual_channel=1), image_of(1, *shape), image_of(2, *shape)
    plan = make_plan(dims)
    found = case_probabilities(network, image, maps, plan, PLAIN)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-maps[[1]])), atol=1e-5)
    if max(shape) > 16:
        return  # several windows, blended
    space = shape if dims == 3 else shape[1:]
    start = window_start(space, plan.patch_size, [0] * dims)
    for seen, array, fill in zip(network.seen, (image, maps), (None, 0), strict=True):
        last = array if dims == 3 else array[:, -1]
        np.testing.assert_array_equal(seen[-1].numpy(), cut_window(last, start, plan.patch_size, fill))


def test_a_network_of_one_size_is_never_given_a_larger_image(make_plan):
    network = Local(2, 1)
    network.window = (16, 16)
    case_probabilities(network, image_of(1, 1, 16, 17), None, make_plan(), PLAIN)
    assert {size[2:] for size in network.sizes} == {(16, 16)}


@pytest.mark.parametrize("dims", [2, 3])
def test_windows_are_close_to_the_whole_for_a_small_neighbourhood(make_plan, dims):
    network, plan, image = Local(dims, 1, kernel=3), make_plan(dims), image_of(1, *([3] if dims == 2 else [30]), 40, 28)
    windows = case_probabilities(network, image, None, plan, PLAIN)
    whole = case_probabilities(network, image, None, plan.model_copy(update={"patch_size": (64,) * dims}), PLAIN)
    assert len(network.sizes) > 2
    assert np.median(np.abs(windows - whole)) < 1e-3
    assert np.abs(windows - whole).mean() < 0.02


@pytest.mark.parametrize(("dims", "shape"), [(2, (2, 40, 17)), (3, (9, 25, 33))])
def test_a_network_with_its_units_works_in_windows(make_plan, make_model, dims, shape):
    plan = make_plan(dims)
    model = make_model(plan, with_mae=True)
    found = case_probabilities(model.network, image_of(1, *shape), image_of(2, *shape), plan, PLAIN)
    assert found.shape == (1, *shape)
    assert 0 <= found.min() < found.max() <= 1


def test_context_and_maps_reach_their_places(make_plan):
    plan, image, maps = make_plan(context=1), image_of(1, 4, 12, 10), image_of(3, 4, 12, 10)
    for channel in range(3):
        network = Local(2, 3, residual_channel=channel)
        found = case_probabilities(network, image, maps, plan, InferenceSettings())
        np.testing.assert_allclose(found[0], 1 / (1 + np.exp(-maps[channel])), atol=1e-5)


@pytest.mark.parametrize(("dims", "native_2d", "axis"), [(2, False, 3), (3, False, 3), (2, True, 2)])
@pytest.mark.parametrize("with_mae", [False, True])
def test_mirroring_treats_left_and_right_alike(make_plan, make_model, dims, native_2d, axis, with_mae):
    plan = make_plan(dims, native_2d=native_2d, file_ending=".nii.gz")
    assert axis - 1 - (3 - dims) in plan.mirror_axes
    model, shape = make_model(plan, with_mae=with_mae), (1 if native_2d else 4, 14, 12)
    image, maps = image_of(1, *shape), image_of(2, *shape) if with_mae else None
    flipped = np.flip(image, axis).copy(), np.flip(maps, axis).copy() if with_mae else None
    for mirroring in (True, False):
        settings = InferenceSettings(mirroring=mirroring)
        straight = case_probabilities(model.network, image, maps, plan, settings)
        back = np.flip(case_probabilities(model.network, *flipped, plan, settings), axis)
        assert np.allclose(straight, back, atol=1e-5) == mirroring
