"""Lesion probabilities of one preprocessed case: slices or volumes, whole or in sliding windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor
from torch.nn import functional

from grcsf.arrays import FloatArray
from grcsf.config import InferenceSettings
from grcsf.fitting.cases import slice_with_context, window_start
from grcsf.nets.peers import LesionNetwork
from grcsf.preprocess.plan import Plan

__all__ = ["Pass", "case_probabilities"]

Pass = Callable[[Tensor, Tensor | None], Tensor]
"""What is made of an image (b, c, *space) and its residual maps, or none: (b, k, *space)."""

_WHOLE = 1.5
"""An image up to this many times the training patch along each axis is predicted whole, if the network can."""


@torch.inference_mode()
def case_probabilities(
    network: LesionNetwork,
    image: FloatArray,
    residual: FloatArray | None,
    plan: Plan,
    settings: InferenceSettings,
    *,
    device: str = "cpu",
    run: Pass | None = None,
) -> FloatArray:
    """Probability of each label at each voxel.

    Args:
        network: in evaluation mode, on ``device``.
        image: ``(C, D, H, W)``, preprocessed under ``plan``.
        residual: ``(R, D, H, W)`` on the same grid; none for a network without RCU.
        plan: the plan the network was trained under.
        settings: overlap, batch size, mirroring.
        device: torch device.
        run: what to compute of every window in the place of the probabilities; windows and mirror images are blended
            in the same way, channel by channel.

    Returns:
        ``(labels, D, H, W)`` float32 in [0, 1], background left out; with ``run`` the channels that it gives.
    """
    run = run or _label_probabilities(network)
    channels = _stack(image, residual, plan)
    if plan.spatial_dims == 3:
        volume = torch.from_numpy(channels).unsqueeze(0).to(device)
        return np.ascontiguousarray(_mirrored(network, run, volume, plan, settings)[0].cpu().numpy())
    parts = []
    slices = torch.from_numpy(channels)
    for batch in torch.split(slices, settings.batch_size):
        parts.append(_mirrored(network, run, batch.to(device), plan, settings).cpu())
    return np.ascontiguousarray(torch.cat(parts).transpose(0, 1).numpy())


def _stack(image: FloatArray, residual: FloatArray | None, plan: Plan) -> FloatArray:
    """Image and maps as channels of one array: ``(C + R, D, H, W)``, or ``(D, C + R, H, W)`` for slices."""
    if plan.spatial_dims == 3:
        return image if residual is None else np.concatenate([image, residual])
    slices = [slice_with_context(image, index, plan) for index in range(image.shape[1])]
    if residual is not None:
        slices = [np.concatenate([part, residual[:, index]]) for index, part in enumerate(slices)]
    return np.stack(slices)


def _label_probabilities(network: LesionNetwork) -> Pass:
    def run(image: Tensor, residual: Tensor | None) -> Tensor:
        return network(image, residual).float().sigmoid()  # type: ignore[no-any-return]

    return run


def _mirrored(network: LesionNetwork, run: Pass, inputs: Tensor, plan: Plan, settings: InferenceSettings) -> Tensor:
    total = _windowed(network, run, inputs, plan.patch_size, settings)
    axes = [2 + axis for axis in plan.mirror_axes] if settings.mirroring else []
    for axis in axes:
        total = total + _windowed(network, run, inputs.flip(axis), plan.patch_size, settings).flip(axis)
    return total / (1 + len(axes))


def _windowed(
    network: LesionNetwork, run: Pass, inputs: Tensor, patch_size: Sequence[int], settings: InferenceSettings
) -> Tensor:
    def predict(part: Tensor) -> Tensor:
        image, residual = part[:, : network.in_channels], part[:, network.in_channels :]
        return run(image, residual if network.uses_residual else None)

    padded, inside = _at_least(inputs, patch_size, network.in_channels)
    largest = _WHOLE if network.window is None else 1.0
    if all(edge <= largest * patch for edge, patch in zip(padded.shape[2:], patch_size, strict=True)):
        return predict(padded)[inside]
    result = sliding_window_inference(
        padded,
        tuple(patch_size),
        settings.batch_size,
        predict,
        overlap=settings.overlap,
        mode="gaussian",
    )
    assert isinstance(result, Tensor)
    return result[inside]


def _at_least(inputs: Tensor, patch_size: Sequence[int], image_channels: int) -> tuple[Tensor, tuple[slice, ...]]:
    """Inputs of at least the size of a patch, filled as in training: edges of the image repeated, maps of zero.

    Also where in them the inputs are.
    """
    pads, inside = list[int](), [slice(None), slice(None)]
    size = inputs.shape[2:]
    wide = [max(edge, patch) for edge, patch in zip(size, patch_size, strict=True)]
    for edge, whole, start in zip(size, wide, window_start(size, wide, [0] * len(size)), strict=True):
        pads = [-start, whole - edge + start, *pads]  # the last axis first
        inside.append(slice(-start, edge - start))
    if not any(pads):
        return inputs, tuple(inside)
    image, maps = inputs[:, :image_channels], inputs[:, image_channels:]
    return torch.cat([functional.pad(image, pads, mode="replicate"), functional.pad(maps, pads)], 1), tuple(inside)
