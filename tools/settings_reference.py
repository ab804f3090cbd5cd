"""Write docs/reference/settings.md and configs/default.yaml from the settings models.

Run without arguments after changing ``grcsf.config``; ``tests/test_docs.py`` fails until both agree with the models.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from grcsf.config import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "settings.md"
DEFAULTS = ROOT / "configs" / "default.yaml"

INTRODUCTION = """\
# Settings

Every setting of the chain, its default and what it means. This page is written by `tools/settings_reference.py` from
`grcsf.config.Settings`; change the model, not the page. How to set them: [Change settings](../how-to/settings.md).

Keys are joined by a dot on the command line: `--set training.steps=500`. An unknown key is an error that lists the
known ones.
"""

NAMES = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text"}


def page() -> str:
    """The reference page as Markdown, one table for each group of settings."""
    parts = [INTRODUCTION, "## Top level\n\n" + _table("", _plain_fields(Settings))]
    for name, field in Settings.model_fields.items():
        if _is_group(field):
            group = field.annotation
            summary = (group.__doc__ or "").strip().splitlines()[0]
            parts.append(f"## `{name}`\n\n{summary}\n\n" + _table(f"{name}.", _plain_fields(group)))
    return "\n".join(parts)


def defaults() -> str:
    """Every default as YAML, each under a comment that says what it means."""
    lines = ["# Every setting with its default. Copy what you change; leave out the rest.", ""]
    for name, field in Settings.model_fields.items():
        if _is_group(field):
            lines += ["", f"{name}:"]
            for key, inner in _plain_fields(field.annotation).items():
                lines += _yaml_lines(key, inner, "  ")
        else:
            lines += _yaml_lines(name, field, "")
    return "\n".join(lines) + "\n"


def _is_group(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _plain_fields(model: Any) -> dict[str, FieldInfo]:
    return {name: field for name, field in model.model_fields.items() if not _is_group(field)}


def _table(prefix: str, fields: dict[str, FieldInfo]) -> str:
    rows = ["| Setting | Takes | Default | Meaning |", "| --- | --- | --- | --- |"]
    for name, field in fields.items():
        takes = f"{_kind(field.annotation)}{_limits(field)}"
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{prefix}{name}` | {takes} | `{_as_yaml(field.default)}` | {meaning} |")
    return "\n".join(rows) + "\n"


def _kind(annotation: Any) -> str:
    """The type in words, such as ``list of whole numbers or none``."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        if get_origin(get_args(annotation)[0]) is Literal:
            return f"list of {_kind(get_args(annotation)[0])}"
        return f"list of {NAMES[get_args(annotation)[0]]}s"
    arguments = get_args(annotation)
    if NoneType in arguments:
        return " or ".join(_kind(part) for part in arguments if part is not NoneType) + " or `null`"
    return NAMES[annotation]


def _limits(field: FieldInfo) -> str:
    words = []
    for limit in field.metadata:
        match limit:
            case annotated_types.Ge(ge=value):
                words.append(f"≥ {value}")
            case annotated_types.Gt(gt=value):
                words.append(f"> {value}")
            case annotated_types.Le(le=value):
                words.append(f"≤ {value}")
            case annotated_types.Lt(lt=value):
                words.append(f"< {value}")
            case annotated_types.MinLen(min_length=value):
                words.append(f"at least {value}")
    return f" ({', '.join(words)})" if words else ""


def _as_yaml(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    if isinstance(plain, float) and 0 < abs(plain) < 1e-2:
        return f"{plain:g}"
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


def _yaml_lines(name: str, field: FieldInfo, indent: str) -> list[str]:
    return [f"{indent}# {field.description}", f"{indent}{name}: {_as_yaml(field.default)}"]


def main() -> int:
    """Write both files."""
    for path, text in ((PAGE, page()), (DEFAULTS, defaults())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"written: {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
