"""Names of the files that stand beside a mask: ``CASE_prob``, ``CASE_residual-r50``, ``CASE_importance-1`` ..."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterable
from pathlib import Path

__all__ = ["EXPLAIN_FILE", "MAP_KINDS", "case_of_map", "clashing_case", "files_beside"]

MAP_KINDS = ("prob", "residual-*", "importance-*", "fusion-*", "gcu-gain-*", "rcu-gain-*")
"""What a map can be, as patterns; ``*`` stands for a mask ratio, a level, or both."""

EXPLAIN_FILE = "explain.json"
"""``CASE_explain.json``: numbers that belong to the maps of ``--explain``; written after them."""


def case_of_map(name: str) -> str | None:
    """Case of a map by its name without ending; none where the name is not that of a map.

    >>> case_of_map("patient_7_residual-r50"), case_of_map("patient_7")
    ('patient_7', None)
    """
    case, _, kind = name.rpartition("_")
    return case if case and any(fnmatch.fnmatchcase(kind, pattern) for pattern in MAP_KINDS) else None


def clashing_case(names: Iterable[str]) -> tuple[str, str] | None:
    """Two cases of which one is called like a map of the other, so that its mask and that map would be one file.

    >>> clashing_case(["a", "b", "a_prob"])
    ('a_prob', 'a')
    """
    known = list(names)
    return next(((name, case) for name in known if (case := case_of_map(name)) in set(known)), None)


def files_beside(folder: Path, case: str) -> list[Path]:
    """Maps of a case in a folder, whatever their format, and the numbers that belong to them."""
    kinds = (*(f"{kind}.*" for kind in MAP_KINDS), EXPLAIN_FILE)
    return [path for kind in kinds for path in sorted(folder.glob(f"{glob.escape(case)}_{kind}")) if path.is_file()]
