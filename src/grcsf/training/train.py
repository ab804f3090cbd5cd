"""Train the segmentation network of one fold."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grcsf.config import Settings
from grcsf.errors import DatasetError
from grcsf.fitting.batches import Batch
from grcsf.fitting.fit import Budget, FitResult, fit
from grcsf.fitting.module import FittedModule
from grcsf.mae.bundle import MaeBundle
from grcsf.nets.peers import LesionNetwork
from grcsf.preprocess.store import CaseStore
from grcsf.residual.familiar import residual_size, usual_size
from grcsf.training.data import LabelledPatches, ReadMaps
from grcsf.training.losses import SegmentationLoss, label_channels
from grcsf.training.package import LesionModel, build_network, save_model

__all__ = ["SELECTION_LIMIT", "train_network"]

SELECTION_LIMIT = 48
"""Most selection patches that are scored at the end of an epoch."""

logger = logging.getLogger("grcsf")


class _SegmentationModule(FittedModule):
    def __init__(
        self, network: LesionNetwork, settings: Settings, values: Sequence[int], selection: list[Batch]
    ) -> None:
        t = settings.training
        super().__init__(
            network, t.learning_rate, t.weight_decay, warmup=t.warmup, ema_decay=t.ema_decay, seed=settings.seed
        )
        self._units_times = t.units_rate_times
        self.criterion = SegmentationLoss(values, t.focal_weight, t.focal_gamma, t.dice)
        self._selection = selection

    def rate_times(self, name: str) -> float:
        """A factor of its own for the units that are added to the backbone."""
        return self._units_times if name.startswith(("gcu.", "rcu.")) else 1.0

    def loss(self, batch: Batch) -> Tensor:
        heads = self.network.all_heads(batch["image"], batch.get("residual"))  # type: ignore[operator]
        return self.criterion(heads, batch["label"])  # type: ignore[no-any-return]

    @torch.inference_mode()
    def selection_score(self) -> float | None:
        """Mean Dice over the selection patches and labels, averaged weights."""
        if not self._selection:
            return None
        network = self.final_network.eval()
        scores = []
        for batch in self._selection:
            part = {key: value.to(self.device) for key, value in batch.items()}
            mask = network(part["image"], part.get("residual")) > 0
            target = label_channels(part["label"], self.criterion.values) > 0
            both, total = (mask & target).flatten(2).sum(2), (mask.flatten(2).sum(2) + target.flatten(2).sum(2))
            scores.append((2 * both / total.clamp_min(1))[total > 0].float().mean())
        self.network.train()
        return float(torch.stack(scores).mean())


def train_network(
    store: CaseStore,
    cases: Sequence[str],
    selection: Sequence[str],
    settings: Settings,
    folder: Path,
    *,
    mae: MaeBundle | None = None,
    maps: ReadMaps | None = None,
    device: str = "auto",
    resume: bool = False,
    provenance: dict[str, Any] | None = None,
) -> tuple[LesionModel, FitResult]:
    """Train on ``cases`` of ``store`` and write the model to ``folder``.

    Args:
        store: preprocessed cases with labels.
        cases: names to train on.
        selection: names held out of the training part to watch training; may be empty.
        settings: all settings.
        folder: checkpoints, ``history.csv`` and the model.
        mae: masked autoencoder of the residual maps, packed into the model.
        maps: reads the residual maps of a case; needed with an RCU.
        device: see :class:`grcsf.fitting.fit.Budget`.
        resume: go on from a checkpoint.
        provenance: what else ``model.json`` should tell.

    Raises:
        DatasetError: no lesion in any training label.
        TrainingError: a non-finite loss, or an interruption.
    """
    t = settings.training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build_network(store.plan, settings, mae)
    use_maps = maps if network.uses_residual else None
    patches = LabelledPatches(store, cases, use_maps, t, settings.seed)
    if not patches.index.lesions:
        raise DatasetError(f"none of the {len(cases)} training labels holds a lesion; nothing to learn")
    watched = LabelledPatches(store, selection, use_maps, t, settings.seed).fixed(SELECTION_LIMIT) if selection else []
    values = sorted(value for value in store.plan.labels.values() if value)
    module = _SegmentationModule(network, settings, values, watched)
    logger.info("training on %d cases, %d lesions; watching %d", len(cases), patches.index.lesions, len(watched))
    budget = Budget(
        t.steps, t.minutes, t.steps_per_epoch, device, t.precision, t.gradient_clip, t.patience, settings.workers
    )
    result = fit(module, patches, folder, budget, resume=resume, score_name="selection_dice")
    final = _final_network(module, folder, t.keep)
    facts = {
        **(provenance or {}),
        "steps": result.steps,
        "training_cases": len(cases),
        "best_selection_dice": None if math.isnan(result.best_score) else result.best_score,
    }
    usual = usual_size(_sizes(use_maps, store, cases)) if use_maps else None
    model = LesionModel(final, store.plan, settings, mae if network.uses_residual else None, facts, usual)
    save_model(folder, model)
    return model, result


def _sizes(maps: ReadMaps, store: CaseStore, cases: Sequence[str]) -> Iterator[float]:
    """How large the residual of each case is."""
    for name in cases:
        yield residual_size(np.asarray(maps(name)[...], np.float32), store.foreground(name))


def _final_network(module: _SegmentationModule, folder: Path, keep: str) -> LesionNetwork:
    best = folder / "best.ckpt"
    if keep == "best" and best.is_file():
        module.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
    network = module.final_network.cpu().eval().requires_grad_(False)
    assert isinstance(network, LesionNetwork)
    return network
