"""``grcsf info``: what a model is made of."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from grcsf.errors import ModelError
from grcsf.fitting.weights import DESCRIPTION
from grcsf.io.files import read_json
from grcsf.io.html import block, table
from grcsf.mae.bundle import MaeBundle, load_mae
from grcsf.nets.network import GrcsfNet
from grcsf.nets.peers import LesionNetwork
from grcsf.nets.receptive import Level, receptive_fields
from grcsf.residual.compute import map_ratios
from grcsf.training.package import LesionModel, load_model

__all__ = ["ModelInfo", "count_work", "info", "multiply_adds", "residual_multiply_adds"]


@dataclass(frozen=True)
class ModelInfo:
    """Size and reach of a model.

    Attributes:
        kind: ``lesion-model`` or ``mae``.
        parameters: by part.
        multiply_adds: by part, for one training patch; ``residual maps`` counts all passes of the MAE.
        patch_size: the training patch, voxels.
        levels: receptive field of the convolutions per encoder level; empty for an MAE and for a peer.
        facts: labels, channels, provenance.
    """

    kind: str
    parameters: dict[str, int]
    multiply_adds: dict[str, int]
    patch_size: tuple[int, ...]
    levels: tuple[Level, ...]
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def to_text(self) -> str:
        """A table for the terminal."""
        size = " x ".join(map(str, self.patch_size))
        lines = [f"{self.kind}, patch {size} voxels", "", "part                 parameters   multiply-adds"]
        for part, count in self.parameters.items():
            work = self.multiply_adds.get(part)
            lines.append(f"{part:<20} {count:>10,}   {'' if work is None else f'{work / 1e6:,.1f} M'}")
        lines += [
            f"{part:<20} {'':>10}   {work / 1e6:,.1f} M"
            for part, work in self.multiply_adds.items()
            if part not in self.parameters
        ]
        if self.levels:
            lines += ["", "level  channels  stride      receptive field (voxels)  (mm)"]
            for level in self.levels:
                stride, field = ("x".join(map(str, value)) for value in (level.stride, level.field_voxels))
                mm = " x ".join(f"{value:.0f}" for value in level.field_mm)
                lines.append(f"{level.index:<6} {level.channels:<9} {stride:<11} {field:<25} {mm}")
            lines.append(
                "(convolutions alone; instance norm, squeeze-excitation and the RCU's attention see the whole patch)"
            )
        lines += ["", *(f"{key}: {value}" for key, value in self.facts.items())]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Parameters and multiply-adds, for notebooks; without the provenance, which names cases."""
        parts = dict.fromkeys([*self.parameters, *self.multiply_adds])
        rows = [(part, _grouped(self.parameters.get(part)), _grouped(self.multiply_adds.get(part))) for part in parts]
        size = " x ".join(map(str, self.patch_size))
        return block(f"{self.kind}, patch {size} voxels", table(["part", "parameters", "multiply-adds"], rows))


def _grouped(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def info(model: str | Path) -> ModelInfo:
    """Describe a trained model or a masked autoencoder.

    Raises:
        ModelError: a file missing or changed.
    """
    folder = Path(model)
    if not (folder / DESCRIPTION).is_file():
        raise ModelError(f"{folder}: no {DESCRIPTION}; expected a model folder (RUN/fold_0/train or RUN/fold_0/mae)")
    description = read_json(folder / DESCRIPTION)
    if isinstance(description, dict) and description.get("kind") == "mae":
        return _describe_mae(load_mae(folder))
    return _describe_model(load_model(folder))


def multiply_adds(network: LesionNetwork, patch_size: tuple[int, ...]) -> int:
    """Multiply-adds of one forward pass on one patch, as torch counts them (convolutions, matrix products)."""
    image = torch.zeros(1, network.in_channels, *patch_size)
    maps = torch.zeros(1, network.maps * network.map_channels, *patch_size) if network.uses_residual else None
    return count_work(network, image, maps)


def residual_multiply_adds(mae: MaeBundle, ratios: tuple[float, ...]) -> int:
    """Multiply-adds of all passes that make the residual maps of one window."""
    image = torch.zeros(1, mae.in_channels, *mae.window)
    total = 0
    for ratio in ratios:
        network = mae.network(ratio)
        patches = math.prod(edge // network.patch for edge in mae.window)
        sets = round(1 / (1 - ratio))
        visible = torch.arange(patches)[None, : patches // sets]
        total += sets * count_work(network, image, visible)
    return total


def count_work(network: torch.nn.Module, *inputs: torch.Tensor | None) -> int:
    """Multiply-adds of one call, as torch counts them (convolutions, matrix products, attention among them).

    In training mode and with plain attention, for fused attention kernels are not counted. A copy is called, because
    batch norms learn in training mode.
    """
    copied = copy.deepcopy(network).train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        copied(*inputs)
    return int(counter.get_total_flops()) // 2


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _describe_mae(mae: MaeBundle) -> ModelInfo:
    facts = {"images seen": len(mae.seen), "mask ratios": list(mae.settings.ratios), "channels": mae.in_channels}
    work = {"residual maps": residual_multiply_adds(mae, mae.settings.ratios)}
    return ModelInfo("mae", {"masked autoencoder": _count(mae.networks)}, work, mae.window, (), facts)


def _describe_model(model: LesionModel) -> ModelInfo:
    network, plan = model.network, model.plan
    units = {"GCU": _count(network.gcu), "RCU": _count(network.rcu)} if isinstance(network, GrcsfNet) else {}
    parameters = {"backbone": _count(network) - sum(units.values()), **units}
    work = {"network": multiply_adds(network, plan.patch_size)}
    if model.mae is not None:
        parameters["masked autoencoder"] = _count(model.mae.networks)
        work["residual maps"] = residual_multiply_adds(model.mae, map_ratios(model.settings.residual, model.mae))
    parameters["all"] = sum(parameters.values())
    spacing = [1.0 if mm is None else mm for mm in plan.spacing_mm][-plan.spatial_dims :]
    facts = {"channels": [channel.name for channel in plan.channels], "labels": plan.labels, **model.provenance}
    fields = receptive_fields(network.widths, network.strides, spacing) if isinstance(network, GrcsfNet) else []
    return ModelInfo("lesion-model", parameters, work, plan.patch_size, tuple(fields), facts)
