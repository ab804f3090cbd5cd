"""A trained model with everything that prediction needs: plan, settings, network and MAE in one folder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grcsf.config import NetworkSettings, Settings
from grcsf.fitting.fit import frozen_weights
from grcsf.fitting.weights import read_model, understood, write_model
from grcsf.mae.bundle import MaeBundle, restore_mae
from grcsf.nets.network import GrcsfNet, level_strides
from grcsf.nets.peers import LesionNetwork, PeerShape, build_peer
from grcsf.preprocess.plan import Plan
from grcsf.residual.compute import map_channels, map_ratios
from grcsf.training.tokens import EncoderTokens

__all__ = ["LesionModel", "build_network", "load_model", "plain_backbone", "save_model"]


@dataclass(frozen=True)
class LesionModel:
    """A segmentation network and what it was made with.

    Attributes:
        network: in evaluation mode.
        plan: preprocessing plan.
        settings: all settings of its training.
        mae: the masked autoencoder of its residual maps; none for a network without them.
        provenance: fold, training cases, scores; JSON-able.
        usual_residual: residual size that nearly all training images stay within; none: not known, or no maps.
    """

    network: LesionNetwork
    plan: Plan
    settings: Settings
    mae: MaeBundle | None
    provenance: dict[str, Any]
    usual_residual: float | None = None


def build_network(plan: Plan, settings: Settings, mae: MaeBundle | None) -> LesionNetwork:
    """Network for a plan; its maps are those of ``mae`` under the residual settings.

    Raises:
        SettingsError: a peer whose package is not installed.
    """
    in_channels = len(plan.channels) * (2 * plan.context + 1 if plan.spatial_dims == 2 else 1)
    spacing = [1.0 if value is None else value for value in plan.spacing_mm]
    strides = level_strides(plan.patch_size, spacing[-plan.spatial_dims :], len(settings.network.features))
    if settings.network.is_peer:
        return build_peer(settings.network, PeerShape(in_channels, len(plan.labels) - 1, strides, plan.patch_size))
    maps = len(map_ratios(settings.residual, mae)) if mae and settings.network.uses_residual else 0
    return GrcsfNet(
        settings.network,
        in_channels,
        len(plan.labels) - 1,
        strides,
        maps=maps,
        map_channels=map_channels(settings.residual, len(plan.channels)),
        tokens=_encoder_tokens(plan, settings, mae) if mae and settings.network.rcu else None,
    )


def _encoder_tokens(plan: Plan, settings: Settings, mae: MaeBundle) -> EncoderTokens | None:
    """The encoder of the MAE (of the first mask ratio where there are two), for an RCU that reads its tokens."""
    if not settings.network.rcu_tokens:
        return None
    reach = plan.context if plan.spatial_dims == 2 else 0
    channels = [index * (2 * reach + 1) + reach for index in range(len(plan.channels))]
    return EncoderTokens(mae.network(mae.settings.ratios[0]), channels)


def save_model(folder: Path, model: LesionModel) -> None:
    """Write ``model.safetensors`` and ``model.json``."""
    weights = {f"net.{name}": value for name, value in frozen_weights(model.network).items()}
    description: dict[str, Any] = {
        "kind": "lesion-model",
        "format": 1,
        "plan": model.plan.model_dump(mode="json"),
        "settings": model.settings.model_dump(mode="json"),
        "provenance": model.provenance,
        "mae": None,
        "usual_residual": model.usual_residual,
    }
    if model.mae is not None:
        weights |= {f"mae.{name}": value for name, value in frozen_weights(model.mae.networks).items()}
        description["mae"] = {**model.mae.description(), "weights_hash": model.mae.weights_hash}
    write_model(folder, weights, description)


def load_model(folder: Path) -> LesionModel:
    """Read a trained model.

    Raises:
        ModelError: a file missing or changed, another kind of model, or weights that do not fit its description.
    """
    weights, description = read_model(folder, "lesion-model")
    with understood(folder):
        plan = Plan.model_validate(description["plan"])
        settings = Settings.model_validate(description["settings"])
        mae, provenance = None, description["provenance"]
        if description["mae"]:
            part = {name[4:]: value for name, value in weights.items() if name.startswith("mae.")}
            mae = restore_mae(part, description["mae"], description["mae"]["weights_hash"])
        network = build_network(plan, settings, mae)
        network.load_state_dict({name[4:]: value for name, value in weights.items() if name.startswith("net.")})
        usual = description.get("usual_residual")  # absent: made before there was one
        usual = None if usual is None else float(usual)
        if usual is not None and not math.isfinite(usual):
            raise ValueError(f"usual_residual is {usual}")
    network.eval().requires_grad_(False)
    return LesionModel(network, plan, settings, mae, provenance, usual)


def plain_backbone(settings: NetworkSettings) -> NetworkSettings:
    """The same backbone with both units off, fed with the image alone."""
    return settings.model_copy(update={"gcu": "off", "rcu": False, "residual_input": "rcu"})
