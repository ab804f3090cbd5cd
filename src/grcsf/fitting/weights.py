"""Weights and their description on disk: safetensors beside JSON, complete or absent, checked by hash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from grcsf.errors import ModelError
from grcsf.io.files import atomic_path, hash_file, read_json, write_json

__all__ = ["has_model", "read_model", "write_model"]

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


def has_model(folder: Path) -> bool:
    """Whether a complete model stands in ``folder``; the description is written last."""
    return (folder / DESCRIPTION).is_file() and (folder / WEIGHTS).is_file()


def write_model(folder: Path, weights: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write ``model.safetensors``, then ``model.json`` with its SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    with atomic_path(folder / WEIGHTS) as partial:
        save_file(weights, str(partial))
    write_json(folder / DESCRIPTION, {**description, "weights_sha256": hash_file(folder / WEIGHTS)})


def read_model(folder: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and description of a model of ``kind``, checked against each other.

    Raises:
        ModelError: a file missing, weights that are not those described, or another kind of model.
    """
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: no {name}; expected a model folder with {WEIGHTS} and {DESCRIPTION}")
    try:
        description = read_json(folder / DESCRIPTION)
    except ValueError:
        raise ModelError(f"{folder / DESCRIPTION}: not valid JSON; copy the model folder again") from None
    found = description.get("kind") if isinstance(description, dict) else None
    if found != kind:
        raise ModelError(f"{folder}: holds a model of kind {found!r}, expected {kind!r}")
    actual = hash_file(folder / WEIGHTS)
    if actual != description.get("weights_sha256"):
        raise ModelError(
            f"{folder / WEIGHTS}: SHA-256 {actual[:12]}... but {DESCRIPTION} says "
            f"{str(description.get('weights_sha256'))[:12]}...; the file was changed or damaged, copy it again"
        )
    try:
        return load_file(str(folder / WEIGHTS)), description
    except SafetensorError as error:
        raise ModelError(f"{folder / WEIGHTS}: not a safetensors file ({error})") from None
