"""Weights and their description on disk: safetensors beside JSON, complete or absent, checked by hash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from grcsf.errors import ModelError
from grcsf.io.files import atomic_path, hash_file, read_json, write_json

__all__ = ["DESCRIPTION", "WEIGHTS", "has_model", "read_model", "understood", "write_model"]

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
    description = read_json(folder / DESCRIPTION, ModelError)
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


@contextmanager
def understood(folder: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a model is built from its description into one message.

    Raises:
        ModelError: an entry missing or out of range, or weights that do not fit.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ModelError(
            f"{folder}: the weights do not fit {DESCRIPTION} ({type(error).__name__}: {reason}); "
            "copy the model folder again, or make it anew with this version"
        ) from None
