"""A pre-trained masked autoencoder with what is known of it: settings, plan, and the images it saw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from grcsf.config import MaeSettings
from grcsf.errors import LeakageError, ModelError
from grcsf.fitting.fit import frozen_weights
from grcsf.fitting.weights import read_model, understood, write_model
from grcsf.mae.model import MaskedAutoencoder, build_mae, ratio_name

__all__ = ["MaeBundle", "load_mae", "restore_mae", "save_mae"]


@dataclass(frozen=True)
class MaeBundle:
    """The network of each mask ratio and its provenance.

    Attributes:
        networks: ``all`` or one entry per ratio (``r50``, ``r75``), in evaluation mode.
        settings: how they were made.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        window: size of the training windows in voxels.
        plan_hash: plan under which the images were preprocessed.
        seen: content hash of each image it was trained on, by case name.
        weights_hash: SHA-256 of its weights file; empty for a network that is not on disk.
        labels_read: cases whose labels kept their lesions out of the loss; none where that was not noted.
    """

    networks: nn.ModuleDict
    settings: MaeSettings
    spatial_dims: int
    in_channels: int
    window: tuple[int, ...]
    plan_hash: str
    seen: dict[str, str]
    weights_hash: str
    labels_read: tuple[str, ...] | None = None

    def network(self, ratio: float) -> MaskedAutoencoder:
        """The network that serves a mask ratio.

        Raises:
            ModelError: separate networks, none of them for this ratio.
        """
        name = "all" if "all" in self.networks else ratio_name(ratio)
        if name not in self.networks:
            raise ModelError(f"this MAE has networks for {', '.join(self.networks)}; none for mask ratio {ratio}")
        found = self.networks[name]
        assert isinstance(found, MaskedAutoencoder)
        return found

    def refuse_if_seen(self, held_out: Iterable[tuple[str, str]]) -> None:
        """Refuse when the network was trained on a held-out image.

        Args:
            held_out: (case name, content hash) of the images it must not have seen.

        Raises:
            LeakageError: the same name or the same content.
        """
        hashes = set(self.seen.values())
        leaked = sorted(name for name, content in held_out if name in self.seen or content in hashes)
        if leaked:
            raise LeakageError(
                f"the MAE was pre-trained on {len(leaked)} of the fold's validation cases "
                f"({_some(leaked)}); residual maps would leak. "
                "Pre-train one for this fold (grcsf pretrain -f FOLD)"
            )

    def refuse_other_labels(self, labelled: Iterable[str]) -> None:
        """Refuse when labels were read for the pre-training that are to be kept from the network.

        Args:
            labelled: cases whose labels the network may be trained with.

        Raises:
            LeakageError: labels of further cases were read.
        """
        more = sorted(set(self.labels_read or ()) - set(labelled))
        if more:
            raise LeakageError(
                f"the pre-training of the MAE read the labels of {len(more)} cases that training.label_fraction and "
                f"seed keep from the network ({_some(more)}); pre-train one with the same label_fraction and seed, or "
                "with mae.normative=false"
            )

    def description(self) -> dict[str, Any]:
        """All but the weights, JSON-able."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "spatial_dims": self.spatial_dims,
            "in_channels": self.in_channels,
            "window": list(self.window),
            "plan_hash": self.plan_hash,
            "seen": self.seen,
            "labels_read": self.labels_read,
        }


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:5])}{'...' if len(names) > 5 else ''}"


def save_mae(folder: Path, bundle: MaeBundle) -> None:
    """Write a bundle as ``model.safetensors`` and ``model.json``."""
    write_model(folder, frozen_weights(bundle.networks), {"kind": "mae", "format": 1, **bundle.description()})


def load_mae(folder: Path) -> MaeBundle:
    """Read a bundle.

    Raises:
        ModelError: a file missing or changed, or another kind of model.
    """
    weights, description = read_model(folder, "mae")
    with understood(folder):
        return restore_mae(weights, description, description["weights_sha256"])


def restore_mae(weights: dict[str, Tensor], description: dict[str, Any], weights_hash: str) -> MaeBundle:
    """A bundle from weights and description, wherever they stood."""
    settings = MaeSettings.model_validate(description["settings"])
    networks = build_mae(settings, description["spatial_dims"], description["in_channels"])
    networks.load_state_dict(weights)
    networks.eval().requires_grad_(False)
    return MaeBundle(
        networks,
        settings,
        description["spatial_dims"],
        description["in_channels"],
        tuple(description["window"]),
        description["plan_hash"],
        description["seen"],
        weights_hash,
        None if description.get("labels_read") is None else tuple(description["labels_read"]),
    )
