"""What happens between steps: learning rate and budget, history, checkpoints, signals, early stop."""

from __future__ import annotations

import csv
import math
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.plugins.io import TorchCheckpointIO

from grcsf.fitting.module import FittedModule
from grcsf.io.files import atomic_path

__all__ = ["AtomicCheckpoints", "Conductor"]

_COLUMNS = ("step", "seconds", "loss", "learning_rate", "selection")


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, complete or absent: written beside and renamed; read without pickled code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write through a temporary sibling."""
        with atomic_path(Path(path)) as partial:
            super().save_checkpoint(checkpoint, str(partial), storage_options)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """Read tensors and plain values only."""
        return super().load_checkpoint(path, map_location, weights_only=True)


class Conductor(lightning.Callback):
    """Keep one training within its budget and its files in order.

    Progress is the larger of the shares of steps and of minutes; the learning rate follows it. At the end of an epoch
    the history and ``last.ckpt`` are written (and ``best.ckpt`` when the selection score improved). SIGTERM and SIGINT
    write a checkpoint at the next step and end the run, :attr:`interrupted` set.

    Args:
        folder: where checkpoints and history go.
        steps: steps of the whole training.
        minutes: wall-clock budget, over all resumed parts; none for no limit.
        patience: epochs without a better selection score before an early stop; 0 for never.
        score_name: column name of the selection score in the history.
    """

    def __init__(self, folder: Path, steps: int, minutes: float | None, patience: int, score_name: str) -> None:
        self.folder, self.steps, self.patience, self.score_name = folder, steps, patience, score_name
        self.budget = minutes * 60.0 if minutes else None
        self.rows: list[dict[str, float | int | None]] = []
        self.losses: list[float] = []
        self.elapsed_before = 0.0
        self.best, self.best_epoch = -math.inf, -1
        self.interrupted = False
        self._started = time.monotonic()
        self._handlers: dict[int, Any] = {}

    @property
    def elapsed(self) -> float:
        """Seconds of training over all resumed parts."""
        return self.elapsed_before + time.monotonic() - self._started

    def progress(self, step: int) -> float:
        """Share of the training that is done, 0 to 1."""
        share = step / self.steps
        return max(share, self.elapsed / self.budget) if self.budget else share

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {
            "rows": self.rows,
            "losses": self.losses,
            "elapsed": self.elapsed,
            "best": self.best,
            "best_epoch": self.best_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.rows, self.losses = state_dict["rows"], state_dict["losses"]
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
        self.elapsed_before, self._started = state_dict["elapsed"], time.monotonic()

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Tell Lightning that an epoch is over if the checkpoint was written at its end.

        A trainer with a number of steps takes it for unfinished, and spends a step and an epoch on ending it.
        """
        loop = checkpoint["loops"]["fit_loop"]
        epoch, batch = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        if epoch["total"]["processed"] == epoch["total"]["ready"]:
            for count in (epoch["total"], epoch["current"]):
                count["completed"] = count["processed"]
            batch["current"] = dict.fromkeys(batch["current"], 0)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the signals; leave them as they were where this is not the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._handlers[number] = signal.signal(number, self._on_signal)
            except ValueError:
                return

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def on_exception(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: Any) -> None:
        """Give the signals back after an error too."""
        self.on_train_end(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the learning rate of this step."""
        assert isinstance(pl_module, FittedModule)
        pl_module.set_learning_rate(trainer.optimizers[0], self.progress(trainer.global_step))

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss; stop at the end of the budget or at a signal."""
        assert isinstance(pl_module, FittedModule)
        self.losses.append(pl_module.last_loss)
        if self.interrupted:
            trainer.should_stop = True
            if not _epoch_is_whole(trainer):  # else on_train_epoch_end, which comes next, writes it
                trainer.save_checkpoint(self.folder / "last.ckpt")
        elif self.budget and self.elapsed >= self.budget:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Score, write the history and the checkpoints."""
        assert isinstance(pl_module, FittedModule)
        if self.interrupted:
            trainer.should_stop = True
            if not _epoch_is_whole(trainer):
                return
        score = pl_module.selection_score()
        if self.losses:
            self.rows.append(
                {
                    "step": trainer.global_step,
                    "seconds": round(self.elapsed, 2),
                    "loss": sum(self.losses) / len(self.losses),
                    "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                    "selection": score,
                }
            )
            self.losses = []
        improved = score is not None and score > self.best
        if improved:
            assert score is not None
            self.best, self.best_epoch = score, trainer.current_epoch
        if trainer.is_global_zero:
            write_history(self.folder / "history.csv", self.rows, self.score_name)
        if improved:
            trainer.save_checkpoint(self.folder / "best.ckpt")
        trainer.save_checkpoint(self.folder / "last.ckpt")
        if self.patience and score is not None and trainer.current_epoch - self.best_epoch >= self.patience:
            trainer.should_stop = True


def _epoch_is_whole(trainer: lightning.Trainer) -> bool:
    return trainer.global_step % int(trainer.num_training_batches) == 0 or trainer.global_step == trainer.max_steps


def write_history(path: Path, rows: list[dict[str, float | int | None]], score_name: str) -> None:
    """Write the learning curve as CSV: step, seconds, mean loss since the last row, learning rate, score."""
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*_COLUMNS[:-1], score_name])
        writer.writerows([["" if row[key] is None else row[key] for key in _COLUMNS] for row in rows])
