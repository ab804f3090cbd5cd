"""What the settings are made of: the frozen model, windows of CT, and checks of single values, YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from grcsf.errors import SettingsError

__all__ = [
    "FIRST_WIDTH_MULTIPLES",
    "WINDOWS_HU",
    "Frozen",
    "WindowName",
    "explain",
    "parse_value",
    "read_yaml",
    "refuse_below_one",
    "refuse_peer_widths",
    "refuse_ratios",
    "refuse_remainder",
    "refuse_window",
    "settings_file",
]

_HERE = Path(__file__).resolve().parent
_CONFIGS = _HERE / "configs" if (_HERE / "configs").is_dir() else _HERE.parents[1] / "configs"
"""Of an installed package, or of the source folder."""

WindowName = Literal["brain", "calcium", "lung", "soft-tissue"]
WINDOWS_HU: Mapping[WindowName, tuple[float, float]] = MappingProxyType(
    {"brain": (0.0, 80.0), "calcium": (-150.0, 650.0), "lung": (-1000.0, 400.0), "soft-tissue": (-160.0, 240.0)}
)
"""Named windows, lowest and highest HU. Source: brain, lung, soft-tissue as usual in reading rooms; calcium own."""

FIRST_WIDTH_MULTIPLES: Mapping[str, int] = MappingProxyType({"segresnet": 8, "swin-unetr": 12})
"""What the first of ``features`` is a multiple of, for backbones that ask for it."""


class Frozen(BaseModel):
    """A settings model: immutable, unknown keys forbidden, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def refuse_ratios(ratios: tuple[float, ...]) -> None:
    """Refuse no mask ratio, or one that complementary masks cannot have (ValueError)."""
    if not ratios:
        raise ValueError("ratios: expected at least one mask ratio, such as 0.5")
    for ratio in ratios:
        parts = 1.0 / (1.0 - ratio) if 0.0 < ratio < 1.0 else 0.0
        if parts < 1.5 or abs(parts - round(parts)) > 1e-6:
            raise ValueError(f"mask ratio {ratio} must be 1 - 1/k for a whole k >= 2 (0.5, 0.75, 0.8, ...)")


def refuse_remainder(width_name: str, width: int, heads_name: str, heads: int) -> None:
    """Refuse a width that does not divide into heads (ValueError)."""
    if width % heads:
        raise ValueError(f"{width_name} {width} must be a multiple of {heads_name} {heads}")


def refuse_below_one(name: str, values: tuple[int, ...]) -> None:
    """Refuse numbers below 1 (ValueError)."""
    if any(value < 1 for value in values):
        raise ValueError(f"{name} {list(values)}: expected numbers above 0")


def refuse_peer_widths(name: str, features: tuple[int, ...]) -> None:
    """Refuse levels or a first width that a network of others cannot have (ValueError)."""
    if name.startswith("basic-unet") and len(features) != 5:
        raise ValueError(f"backbone {name} has five levels; expected five features, found {list(features)}")
    if name == "dynunet" and len(features) < 3:
        raise ValueError(f"backbone {name} needs at least three levels; found features {list(features)}")
    multiple = FIRST_WIDTH_MULTIPLES.get(name, 1)
    if features[0] % multiple:
        raise ValueError(
            f"backbone {name}: the first of features must be a multiple of {multiple}, found {features[0]}"
        )


def refuse_window(name: str, window: object) -> None:
    """Refuse two numbers that are no window of HU (ValueError); names and none pass."""
    if isinstance(window, tuple) and not window[0] < window[1]:
        raise ValueError(f"{name} {list(window)}: expected a lowest HU and a higher one")


class _Loader(yaml.SafeLoader):
    """YAML 1.2 truth values: ``true`` and ``false`` only, so that ``off`` stays the word that options use."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _load_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # a SafeLoader


def parse_value(key: str, text: str) -> Any:
    """The value of a ``KEY=VALUE`` pair, in YAML syntax.

    Raises:
        SettingsError: text that is no YAML.
    """
    try:
        return _load_yaml(text)
    except yaml.YAMLError:
        raise SettingsError(f"--set {key}: {text!r} is not a YAML value") from None


def settings_file(name: str | Path) -> Path:
    """A YAML file of settings: the file that is named, or one that the package brings, by its name without an ending.

    >>> settings_file("calcium").name, settings_file("mine.yaml").name
    ('calcium.yaml', 'mine.yaml')

    Raises:
        SettingsError: a name without an ending that is neither.
    """
    path = Path(name)
    if path.suffix or len(path.parts) != 1 or path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(_CONFIGS.glob("*.yaml"))}
    if path.name not in shipped:
        raise SettingsError(f"--config {name}: no such file, and none that comes with grcsf ({', '.join(shipped)})")
    return shipped[path.name]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, ``off`` and ``on`` read as words; empty for an empty file.

    Raises:
        SettingsError: a file that cannot be read, is no YAML, or holds something else.
    """
    try:
        tree = _load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError(f"{path}: expected a mapping of settings, found a {type(tree).__name__}")
    return tree


def explain(error: ValidationError) -> str:
    """What pydantic found wrong, in one line that names each setting and its value."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "settings"
        if item["type"] == "value_error":  # a check of this file, which names the value itself
            lines.append(f"{where}: {item['ctx']['error']}")
        else:
            lines.append(f"{where}: {item['msg']} (found {item.get('input')!r})")
    return "; ".join(lines)
