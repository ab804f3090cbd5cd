"""Coded terms for the labels of a model, as DICOM segments carry them.

Source: standard, SNOMED CT codes of DICOM PS3.16 (CID 7150, category; morphologies of CID 7159 and its kin, type).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from grcsf.errors import SettingsError

__all__ = ["Code", "Term", "load_terms", "term_of"]

_CODE_CHARACTERS, _MEANING_CHARACTERS = 16, 64


@dataclass(frozen=True)
class Code:
    """A coded concept: value, scheme (``SCT``, ``DCM``, ``99LOCAL``) and meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Term:
    """What a segment shows: category and type, and where it lies if that is known."""

    category: Code
    type: Code
    region: Code | None = None


def load_terms(path: Path | None = None) -> dict[str, Term]:
    """Terms by label name in small letters: those of the package, and over them those of a file.

    Args:
        path: YAML or JSON: label -> ``category``, ``type`` and optionally ``region``, each
            ``[value, scheme, meaning]``, and optionally ``words``, further labels it stands for.

    Raises:
        SettingsError: the file cannot be read, or an entry is not of that form.
    """
    shipped = resources.files("grcsf.io.dicom").joinpath("segment_terms.json").read_text("utf-8")
    terms = _terms(json.loads(shipped), "segment_terms.json")
    if path is not None:
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SettingsError(f"--segment-terms {path}: cannot be read ({type(error).__name__})") from None
        terms |= _terms(tree, str(path))
    return terms


def term_of(label: str, terms: Mapping[str, Term]) -> Term:
    """The term of a label: its own, that of the first word in it that has one, else that of a lesion.

    >>> term_of("acute_infarct", load_terms()).type.meaning
    'Infarct'
    """
    name = label.lower()
    words = [name, *re.split(r"[^a-z]+", name)]
    return next((terms[word] for word in words if word in terms), terms["lesion"])


def _terms(tree: Any, where: str) -> dict[str, Term]:
    if not isinstance(tree, dict):
        raise SettingsError(f"{where}: expected label names with category and type, not a {type(tree).__name__}")
    found = {}
    for label, entry in tree.items():
        place = f"{where}: {label}"
        if not isinstance(entry, dict) or not {"category", "type"} <= set(entry) <= {
            "category",
            "type",
            "region",
            "words",
        }:
            raise SettingsError(f"{place}: expected category and type, optionally region and words")
        region = _code(entry["region"], place) if entry.get("region") else None
        term = Term(_code(entry["category"], place), _code(entry["type"], place), region)
        for word in (label, *(entry.get("words") or ())):
            found[str(word).lower()] = term
    return found


def _code(value: Any, where: str) -> Code:
    if not (isinstance(value, list) and len(value) == 3 and all(isinstance(part, str) and part for part in value)):
        raise SettingsError(f"{where}: {value!r}; expected three texts: [value, scheme, meaning]")
    if max(len(value[0]), len(value[1])) > _CODE_CHARACTERS or len(value[2]) > _MEANING_CHARACTERS:
        raise SettingsError(f"{where}: {value!r}; value and scheme have at most 16 characters, the meaning 64")
    return Code(*value)
