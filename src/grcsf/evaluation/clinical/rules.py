"""Frozen rules of clinical measures: what they have in common, and how a wrong value is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, ValidationError

from grcsf.config import Frozen
from grcsf.errors import SettingsError

__all__ = ["Rules"]


class Rules(Frozen):
    """Rules of one way to measure; immutable, unknown fields refused, written whole into every file of results."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Rules from fields; those that are none (a flag that was not given) keep their default.

        Raises:
            SettingsError: an unknown field or a value that does not fit, in the words of the flag.
        """
        try:
            return cls.model_validate({key: value for key, value in fields.items() if value is not None})
        except ValidationError as error:
            raise SettingsError("; ".join(_explain(item) for item in error.errors())) from None


def _explain(item: Any) -> str:
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    flag = "--" + ".".join(str(part) for part in item["loc"]).replace("_", "-")
    return f"{flag}: {item['msg']} (found {item.get('input')!r})"
