"""Pre-training of the masked autoencoder on images without labels."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from grcsf.arrays import AnyArray, Sliceable
from grcsf.config import MaeSettings
from grcsf.fitting.batches import Batch, step_generator
from grcsf.fitting.cases import ArrayCache, cut_window, window_start
from grcsf.fitting.fit import Budget, FitResult, fit
from grcsf.fitting.module import FittedModule
from grcsf.mae.bundle import MaeBundle, save_mae
from grcsf.mae.masking import random_visible
from grcsf.mae.model import MaskedAutoencoder, build_mae, ratio_name
from grcsf.mae.patches import patchify
from grcsf.preprocess.plan import Plan
from grcsf.preprocess.store import CaseStore

__all__ = ["PretrainingBatches", "hidden_patch_loss", "mae_window", "pretrain_mae"]


def hidden_patch_loss(
    mae: MaskedAutoencoder,
    image: Float[Tensor, "b c *space"],
    visible: Tensor,
    origin: Float[Tensor, "b dims"],
    weight: Float[Tensor, "b 1 *space"],
) -> Float[Tensor, ""]:
    """Mean squared error over the voxels of hidden patches, weighted per voxel (0 leaves a voxel out).

    Source: standard (MAE, He et al. 2022, plain pixel targets), own (voxel weights).
    """
    rebuilt = mae(image, visible, origin)
    hidden = torch.ones(image.shape[0], patchify(weight, mae.patch).shape[1], 1, device=image.device)
    hidden.scatter_(1, visible.unsqueeze(-1), 0.0)
    counted = patchify(weight.expand_as(image), mae.patch) * hidden
    error = patchify(rebuilt - image, mae.patch).square() * counted
    return error.sum() / counted.sum().clamp_min(1.0)


def mae_window(plan: Plan, settings: MaeSettings) -> tuple[int, ...]:
    """Pre-training window in voxels: the set one or the plan's patch, rounded up to whole MAE patches."""
    size = settings.window or plan.patch_size
    if len(size) != plan.spatial_dims:
        raise ValueError(f"mae.window {size} has {len(size)} numbers, the plan has {plan.spatial_dims} axes")
    return tuple(math.ceil(edge / settings.patch) * settings.patch for edge in size)


class PretrainingBatches:
    """Batches of image windows and visible sets, a pure function of (seed, step, rank).

    ``labels_read`` are the names of the cases whose labels may be read.

    Args:
        stores: preprocessed images with the names to use from each.
        plan: their common plan.
        settings: MAE settings.
        seed: seed of every draw.
        labelled: with ``normative``, the cases whose labels may be read; none: all that have one.
    """

    def __init__(
        self,
        stores: Sequence[tuple[CaseStore, Sequence[str]]],
        plan: Plan,
        settings: MaeSettings,
        seed: int,
        labelled: Collection[str] | None = None,
    ) -> None:
        self.plan, self.settings, self.seed = plan, settings, seed
        self.window = mae_window(plan, settings)
        self.patches = math.prod(edge // settings.patch for edge in self.window)
        self.cases = [(store, name) for store, names in stores for name in names]
        names = dict.fromkeys(name for _, name in self.cases)
        allowed = names.keys() if labelled is None else frozenset(labelled)
        self.labels_read = tuple(name for name in names if name in allowed) if settings.normative else ()
        self._image = ArrayCache(self._open_image)
        self._label = ArrayCache(self._open_label, limit_bytes=2**29)

    def __call__(self, step: int, rank: int) -> Batch:
        """Image (B, C, *window), origin (B, dims), weight (B, 1, *window), visible (B, V), ratio index ()."""
        rng = step_generator(self.seed, 1, step, rank)
        ratio = int(rng.integers(len(self.settings.ratios)))
        windows = [self._window(rng) for _ in range(self.settings.batch_size)]
        draw = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return {
            "image": torch.from_numpy(np.stack([image for image, _, _ in windows])),
            "origin": torch.from_numpy(np.stack([origin for _, origin, _ in windows])),
            "weight": torch.from_numpy(np.stack([weight for _, _, weight in windows])),
            "visible": random_visible(len(windows), self.patches, self.settings.ratios[ratio], draw),
            "ratio": torch.tensor(ratio),
        }

    def _window(self, rng: np.random.Generator) -> tuple[AnyArray, AnyArray, AnyArray]:
        key = str(rng.integers(len(self.cases)))
        image = self._image(key)
        label = self._label(key) if self.settings.normative else None
        if self.plan.spatial_dims == 2:
            index = int(rng.integers(image.shape[1]))
            image = image[:, index]
            label = None if label is None else label[index]
        centre = [int(rng.integers(edge)) for edge in image.shape[1:]]
        half = self.settings.patch // 2  # any phase of the patch grid, so that no position is met first at prediction
        start = [s + int(rng.integers(-half, half + 1)) for s in window_start(image.shape[1:], self.window, centre)]
        part = cut_window(image, start, self.window)
        middle = [s + wide / 2 - edge / 2 for s, wide, edge in zip(start, self.window, image.shape[1:], strict=True)]
        weight = np.ones((1, *self.window), np.float32)
        if label is not None:
            weight = (cut_window(label, start, self.window, 0, lead=0)[None] == 0).astype(np.float32)
        part, weight = self._mirror(rng, part, middle, weight)
        scale, shift = rng.uniform(0.9, 1.1), rng.uniform(-0.1, 0.1)
        return (part * scale + shift).astype(np.float32), np.asarray(middle, np.float32), weight

    def _mirror(
        self, rng: np.random.Generator, part: AnyArray, middle: list[float], weight: AnyArray
    ) -> tuple[AnyArray, AnyArray]:
        for axis in self.plan.mirror_axes:
            if rng.random() < 0.5:
                part, weight = np.flip(part, 1 + axis), np.flip(weight, 1 + axis)
                middle[axis] = -middle[axis]
        return part, np.ascontiguousarray(weight)

    def _open_image(self, key: str) -> Sliceable:
        store, name = self.cases[int(key)]
        return store.open_image(name)

    def _open_label(self, key: str) -> Sliceable:
        """Label of a case, all background where there is none or it may not be read."""
        store, name = self.cases[int(key)]
        label = store.open_label(name) if name in self.labels_read else None
        return np.broadcast_to(np.uint8(0), store.shape(name)[1:]) if label is None else label


class _PretrainingModule(FittedModule):
    def __init__(self, networks: torch.nn.ModuleDict, batches: PretrainingBatches, settings: MaeSettings) -> None:
        super().__init__(networks, settings.learning_rate, settings.weight_decay, warmup=0.05, seed=batches.seed)
        self.settings, self._batches = settings, batches

    def loss(self, batch: Batch) -> Tensor:
        name = "all" if self.settings.networks == "one" else ratio_name(self.settings.ratios[int(batch["ratio"])])
        mae = self.network[name]  # type: ignore[index]
        return hidden_patch_loss(mae, batch["image"], batch["visible"], batch["origin"], batch["weight"])


def pretrain_mae(
    stores: Sequence[tuple[CaseStore, Sequence[str]]],
    plan: Plan,
    settings: MaeSettings,
    folder: Path,
    *,
    seed: int = 0,
    labelled: Collection[str] | None = None,
    device: str = "auto",
    workers: int = 0,
    resume: bool = False,
    steps_per_epoch: int = 100,
) -> tuple[MaeBundle, FitResult]:
    """Pre-train on the images of ``stores`` and write the model to ``folder``.

    Args:
        stores: preprocessed images, with the names to use; labelled voxels matter only with ``normative``.
        plan: the plan under which all of them were preprocessed.
        settings: network and schedule.
        folder: checkpoints, ``history.csv`` and the model.
        seed: seed of initial weights, windows and masks.
        labelled: with ``normative``, the cases whose labels may be read; none: all that have one.
        device: see :class:`grcsf.fitting.fit.Budget`.
        workers: loader processes.
        resume: go on from a checkpoint.
        steps_per_epoch: steps between checkpoints.

    Source: standard (MAE), own (the ratio is drawn at each step, one network serves all; METHOD in docs/concepts).
    """
    batches = PretrainingBatches(stores, plan, settings, seed, labelled)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = build_mae(settings, plan.spatial_dims, len(plan.channels))
    module = _PretrainingModule(networks, batches, settings)
    budget = Budget(settings.steps, settings.minutes, steps_per_epoch, device, "32-true", workers=workers)
    result = fit(module, batches, folder, budget, resume=resume, score_name="selection_loss")
    seen = {name: store.content_hash(name) for store, names in stores for name in names}
    networks.eval().requires_grad_(False)
    bundle = MaeBundle(
        networks.cpu(),
        settings,
        plan.spatial_dims,
        len(plan.channels),
        batches.window,
        plan.content_hash(),
        seen,
        weights_hash="",
        labels_read=batches.labels_read,
    )
    save_mae(folder, bundle)
    return bundle, result
