"""One call that fits a module: builds the Lightning trainer, resumes, returns when done or says why not."""

from __future__ import annotations

import logging
import math
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import RichProgressBar
from torch import nn

from grcsf.errors import OutputError, SettingsError, TrainingError
from grcsf.fitting.batches import MakeBatch, StepLoader
from grcsf.fitting.callbacks import AtomicCheckpoints, Conductor
from grcsf.fitting.module import FittedModule
from grcsf.io.files import make_folder

__all__ = [
    "Budget",
    "FitResult",
    "automatic_precision",
    "check_device",
    "fit",
    "frozen_weights",
    "parse_device",
    "torch_device",
]

logger = logging.getLogger("grcsf")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(?::\d+)?|gpu(?::[1-9]\d*)?")


@dataclass(frozen=True)
class Budget:
    """How long to train and on what.

    Attributes:
        steps: optimiser steps of the whole training.
        minutes: wall-clock limit, resumed parts included; none for no limit.
        steps_per_epoch: steps between checkpoints.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or a number of GPUs such as ``gpu:4``.
        precision: Lightning's precision, or ``auto``.
        gradient_clip: gradient norm limit.
        patience: epochs without improvement before an early stop; 0 for never.
        workers: loader processes.
    """

    steps: int
    minutes: float | None = None
    steps_per_epoch: int = 50
    device: str = "auto"
    precision: str = "auto"
    gradient_clip: float = 1.0
    patience: int = 0
    workers: int = 0


@dataclass(frozen=True)
class FitResult:
    """What a training did: steps, seconds, best selection score (nan if none), precision that it computed in."""

    steps: int
    seconds: float
    best_score: float
    precision: str


def fit(
    module: FittedModule, make_batch: MakeBatch, folder: Path, budget: Budget, *, resume: bool, score_name: str
) -> FitResult:
    """Train ``module``; checkpoints and ``history.csv`` go to ``folder``, which is made if need be.

    With ``resume`` the run goes on from ``last.ckpt`` and ends with the weights that an uninterrupted run would have
    (exactly so on the CPU, and without a wall-clock budget).

    Raises:
        TrainingError: a loss that is not finite, or an interruption (the message says how to go on).
        OutputError: checkpoints of an earlier run without ``resume``, or a folder that cannot be written.
    """
    last = folder / "last.ckpt"
    if last.exists() and not resume:
        raise OutputError(
            f"{folder.name}: holds an unfinished training; go on with --resume or start anew: --overwrite"
        )
    make_folder(folder)
    conductor = Conductor(folder, budget.steps, budget.minutes, budget.patience, score_name)
    trainer = _trainer(budget, conductor)
    loader = StepLoader(
        make_batch, budget.steps_per_epoch, lambda: (trainer.global_step, trainer.global_rank), budget.workers
    )
    if last.exists():
        logger.info("resuming from %s", last.name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*will duplicate.*|.*GPU available.*|.*LeafSpec.*")
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch|lightning")
        trainer.fit(module, loader, ckpt_path=str(last) if last.exists() else None)
    if conductor.interrupted:
        raise TrainingError(f"interrupted at step {trainer.global_step}; the state is saved, go on with --resume")
    best = conductor.best if math.isfinite(conductor.best) else math.nan
    return FitResult(trainer.global_step, conductor.elapsed, best, str(trainer.precision))


def _trainer(budget: Budget, conductor: Conductor) -> lightning.Trainer:
    callbacks: list[Any] = [conductor]
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar(leave=False))
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    accelerator, devices = parse_device(budget.device)
    precision = budget.precision
    if precision == "auto":
        precision = automatic_precision(accelerator)
    return lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
        precision=precision,  # type: ignore[arg-type]
        max_steps=budget.steps,
        max_epochs=math.ceil(budget.steps / budget.steps_per_epoch),
        gradient_clip_val=budget.gradient_clip,
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        use_distributed_sampler=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        default_root_dir=conductor.folder,
        deterministic="warn" if accelerator != "cpu" else None,
    )


def parse_device(device: str) -> tuple[str, Any]:
    """Lightning's accelerator and devices for ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:1`` or ``gpu:4``.

    >>> parse_device("cuda:1"), parse_device("gpu:4"), parse_device("cpu")
    (('cuda', [1]), ('gpu', 4), ('cpu', 1))

    Raises:
        SettingsError: anything else.
    """
    import torch

    if not _DEVICE.fullmatch(device):
        raise SettingsError(f"--device {device}: expected auto, cpu, cuda, cuda:1, gpu:4 (four GPUs) or mps")
    name, _, number = device.partition(":")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "gpu":
        return "gpu", int(number or 1)
    return name, ([int(number)] if number else 1)


def torch_device(device: str) -> str:
    """Torch's name of the one device that prediction uses; ``auto`` takes a GPU where there is one.

    >>> torch_device("cuda:1"), torch_device("gpu:4")
    ('cuda:1', 'cuda')
    """
    name, number = parse_device(device)
    name = "cuda" if name == "gpu" else name
    return f"{name}:{number[0]}" if isinstance(number, list) else name


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have, before anything is written.

    Raises:
        SettingsError: it is not there, or no device has this name.
    """
    import torch

    name, number = parse_device(device)
    if name in ("cuda", "gpu"):
        wanted = number[0] + 1 if isinstance(number, list) else number
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if found < wanted:
            raise SettingsError(f"--device {device}: this machine has {found} usable GPUs; use --device auto or cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise SettingsError(f"--device {device}: not available on this machine; use --device auto or cpu")


def automatic_precision(accelerator: str) -> str:
    """Mixed precision where the hardware computes in it: 16-bit floats on CUDA, bfloat16 on CPUs that have it."""
    import torch

    if accelerator in ("cuda", "gpu"):
        return "16-mixed"
    if accelerator == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False):
        return "bf16-mixed"
    return "32-true"


def frozen_weights(network: nn.Module) -> dict[str, Any]:
    """Contiguous CPU copies of a network's weights, ready for safetensors."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
