"""The Lightning module that pre-training and training share: loss, AdamW, learning rate schedule, averaged weights."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from grcsf.errors import TrainingError
from grcsf.fitting.batches import Batch

__all__ = ["FittedModule", "learning_rate_factor"]


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Linear warm-up, then half a cosine to zero; ``progress`` and ``warmup`` are shares of the whole, 0 to 1.

    >>> [round(learning_rate_factor(p, 0.1), 2) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - warmup) / (1.0 - warmup))))


class FittedModule(lightning.LightningModule):
    """A network being fitted.

    Args:
        network: what is trained.
        learning_rate: peak learning rate.
        weight_decay: AdamW weight decay, not applied to vectors (norms, biases).
        warmup: share of the training spent warming up.
        ema_decay: decay of the averaged copy of the weights; 0 keeps none.
        seed: seed of what a step draws on the device (dropout).
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float,
        weight_decay: float,
        *,
        warmup: float = 0.03,
        ema_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.learning_rate, self.weight_decay, self.warmup, self.seed = learning_rate, weight_decay, warmup, seed
        self.ema_decay = ema_decay
        self.averaged = torch.optim.swa_utils.AveragedModel(network, avg_fn=self._average) if ema_decay else None
        self.last_loss = math.nan

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Loss of one batch, a scalar."""

    def selection_score(self) -> float | None:
        """Score of the averaged weights on the selection set, higher is better; none if there is no such set."""
        return None

    def rate_times(self, name: str) -> float:
        """Factor on the learning rate of the network's parameter of that name."""
        return 1.0

    @property
    def final_network(self) -> nn.Module:
        """The network whose weights are used: the averaged one where there is one."""
        return self.averaged.module if self.averaged is not None else self.network

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one step.

        Raises:
            TrainingError: a loss that is not finite.
        """
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed((self.seed * 1_000_003 + self.global_step) % 2**63)
            loss = self.loss(batch)
        self.last_loss = float(loss.detach())
        if not math.isfinite(self.last_loss):
            raise TrainingError(
                f"the loss became {self.last_loss} at step {self.global_step}; lower the learning rate "
                "(--set training.learning_rate=...), or look for extreme intensities with grcsf validate"
            )
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then average the weights: a checkpoint written at the end of the batch holds both."""
        super().optimizer_step(*args, **kwargs)
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def _average(self, averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        decay = min(self.ema_decay, float(1 + count) / float(10 + count))
        return decay * averaged + (1.0 - decay) * current

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; vectors are not decayed, and parameters of one rate are of one group (two, with the vectors)."""
        trained = [(self.rate_times(n), p) for n, p in self.network.named_parameters() if p.requires_grad]
        groups = []
        rates = {times for times, _ in trained}
        for times in sorted(rates, key=lambda times: times != 1):  # the first is what the history tells
            group = [p for own, p in trained if own == times]
            decayed = {"params": [p for p in group if p.dim() > 1], "weight_decay": self.weight_decay}
            vectors = {"params": [p for p in group if p.dim() <= 1], "weight_decay": 0.0}
            groups += [{**part, "rate_times": times} for part in (decayed, vectors)]
        return torch.optim.AdamW(groups, lr=self.learning_rate)

    def set_learning_rate(self, optimizer: torch.optim.Optimizer, progress: float) -> None:
        """Set the learning rate of every parameter for this share of the training, 0 to 1."""
        rate = self.learning_rate * learning_rate_factor(progress, self.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate_times", 1.0)  # a checkpoint from before has none
