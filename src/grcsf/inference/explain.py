"""What the units of a network did at each voxel: importance of patches, fused weights, and gains.

The network does not know that it is watched: hooks stand on its units for the length of one pass, and nothing is
hooked, kept or computed without one. docs/how-to/explain.md says what each map means.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from grcsf.arrays import FloatArray
from grcsf.mae.model import ratio_name
from grcsf.nets.blocks import crop_end
from grcsf.nets.network import GrcsfNet
from grcsf.nets.peers import LesionNetwork
from grcsf.nets.rcu import RegionCompensationUnit
from grcsf.residual.compute import map_ratios
from grcsf.training.package import LesionModel

__all__ = ["Explanation", "explained_pass", "gain", "map_names", "model_facts", "residual_names", "watched"]

_LEAST = 1e-6
"""Smallest norm that a gain is measured against."""


@dataclass(frozen=True)
class Explanation:
    """Maps of one case on the grid of its first image, and the numbers that belong to them.

    Attributes:
        maps: float32 by name (``importance-1``, ``fusion-1-r50``, ``rcu-gain-1``, ``gcu-gain-0``), 0 outside the
            content that was predicted, means over the models that have them.
        models: what the units of each model are, JSON-able; see :func:`model_facts`.
    """

    maps: dict[str, FloatArray]
    models: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Least, greatest and mean value of each map, and the models."""
        values = {
            name: {"min": float(found.min()), "max": float(found.max()), "mean": float(found.mean(dtype=np.float64))}
            for name, found in self.maps.items()
        }
        return {"maps": values, "models": self.models}


def gain(before: Float[Tensor, "b c *space"], after: Float[Tensor, "b c *space"]) -> Float[Tensor, "b 1 *space"]:
    """What a unit added, relative to what it was added to: ``|after - before| / max(|before|, 1e-6)``, 0 or more.

    The norms are Euclidean over channels, so that there is one value per position.
    Source: own.
    """
    added: Tensor = torch.linalg.vector_norm((after - before).float(), dim=1, keepdim=True)
    there: Tensor = torch.linalg.vector_norm(before.float(), dim=1, keepdim=True)
    return added / there.clamp_min(_LEAST)


def map_names(network: LesionNetwork, ratios: Sequence[str]) -> tuple[str, ...]:
    """Names of the maps that a network can give, in order; none for a network without units.

    Args:
        network: ours or a peer.
        ratios: names of its residual maps (``r50`` ...), in order.
    """
    names: list[str] = []
    for level, unit in _units(network, "rcu"):
        if unit.score is not None:  # without a score there is one constant for all patches, which is no map
            names += [f"importance-{level}", *(f"fusion-{level}-{ratio}" for ratio in ratios)]
        names.append(f"rcu-gain-{level}")
    return (*names, *(f"gcu-gain-{level}" for level, _ in _units(network, "gcu")))


def explained_pass(network: LesionNetwork, ratios: Sequence[str]) -> Callable[[Tensor, Tensor | None], Tensor]:
    """A pass (image, residual) -> (b, labels + maps, *space): probabilities, then the maps of :func:`map_names`."""
    names = map_names(network, ratios)

    def run(image: Tensor, residual: Tensor | None) -> Tensor:
        with watched(network, ratios) as found:
            probabilities = network(image, residual).float().sigmoid()
        maps = [crop_end(found[name].to(probabilities.dtype), image.shape[2:]) for name in names]
        return torch.cat([probabilities, *maps], dim=1)

    return run


@contextmanager
def watched(network: LesionNetwork, ratios: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the maps of the passes that this thread makes inside the ``with``; a later pass replaces an earlier one.

    Yields:
        Maps by name, ``(b, 1, *space)``, on the grid that the network padded its input to; the input stands at its
        start. Values of patches and coarser levels are interpolated linearly, cell edges aligned.
    """
    found: dict[str, Tensor] = {}
    owner = threading.get_ident()

    def keep(level: str, collect: _Collect) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(unit: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            if threading.get_ident() == owner:
                found.update(collect(level, unit, inputs, output))

        return hook

    def region(level: str, unit: RegionCompensationUnit, inputs: tuple[Any, ...], output: Tensor) -> dict[str, Tensor]:
        return _region_maps(level, unit, inputs, output, ratios)

    def fine(level: str, _unit: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> dict[str, Tensor]:
        assert isinstance(network, GrcsfNet)
        return {f"gcu-gain-{level}": _enlarged(gain(inputs[0], output), network.total_strides[int(level)])}

    with ExitStack() as hooks:
        for kind, collect in (("rcu", region), ("gcu", fine)):
            for level, unit in _units(network, kind):
                handle = unit.register_forward_hook(keep(level, collect))
                hooks.callback(handle.remove)
        yield found


def model_facts(model: LesionModel) -> dict[str, Any]:
    """What the units of a model are, JSON-able: forms, strides, learnt weights per map and gates.

    Where a model has no units, ``note`` says why there are no maps of them.
    """
    network, settings = model.network, model.settings.network
    facts: dict[str, Any] = {"backbone": settings.backbone, "gcu": {}, "rcu": {}}
    names = residual_names(model)
    if names:
        facts["residual"] = {"maps": names, **model.settings.residual.model_dump(mode="json")}
    for level, unit in _units(network, "gcu"):
        size = unit.gate.abs().mean()
        facts["gcu"][level] = {"form": unit.form, "stride": _stride(network, level), "mean_gate": float(size)}
    for level, unit in _units(network, "rcu"):
        facts["rcu"][level] = {
            "stride": _stride(network, level),
            "patch_voxels": list(unit.cell),
            "importance": unit.score is not None,
            "pixel_path": unit.pixels is not None,
            "weights": dict(zip(names, unit.weights.tolist(), strict=True)),
        }
    if not facts["gcu"] and not facts["rcu"]:
        why = "GCU and RCU are off" if isinstance(network, GrcsfNet) else f"{settings.backbone} has no units"
        facts["note"] = f"{why}: no maps of units"
    return facts


def residual_names(model: LesionModel) -> list[str]:
    """Names of the residual maps of a model (``r50`` ...), in order; none where its network takes none."""
    if model.mae is None or not model.network.uses_residual:
        return []
    return [ratio_name(ratio) for ratio in map_ratios(model.settings.residual, model.mae)]


_Collect = Callable[[str, Any, tuple[Any, ...], Tensor], Mapping[str, Tensor]]


def _units(network: LesionNetwork, kind: str) -> list[tuple[str, Any]]:
    """Level and unit, finest level first."""
    if not isinstance(network, GrcsfNet):
        return []
    units: nn.ModuleDict = getattr(network, kind)
    return sorted(units.items(), key=lambda pair: int(pair[0]))


def _stride(network: LesionNetwork, level: str) -> list[int]:
    assert isinstance(network, GrcsfNet)
    return list(network.total_strides[int(level)])


def _region_maps(
    level: str, unit: RegionCompensationUnit, inputs: tuple[Any, ...], output: Tensor, ratios: Sequence[str]
) -> dict[str, Tensor]:
    decoder, residual, deepest = inputs[:3]
    maps = {f"rcu-gain-{level}": _enlarged(gain(decoder, output), unit.level_stride)}
    if unit.score is not None:
        importance = _enlarged(unit.importance_maps(residual, deepest).float(), unit.cell)
        maps[f"importance-{level}"] = importance.mean(dim=1, keepdim=True)
        for index, (ratio, weight) in enumerate(zip(ratios, unit.weights, strict=True)):
            maps[f"fusion-{level}-{ratio}"] = weight * importance[:, index : index + 1]
    return maps


def _enlarged(values: Tensor, times: Sequence[int]) -> Tensor:
    if all(step == 1 for step in times):
        return values
    size = [edge * step for edge, step in zip(values.shape[2:], times, strict=True)]
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return nn.functional.interpolate(values, size=size, mode=mode, align_corners=False)
