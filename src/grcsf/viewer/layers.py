"""What lies on top of each other in the viewer: a case, its layers, and what their kinds are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from grcsf.io.lazy import ImageRef

__all__ = ["MAP_KINDS", "CaseList", "Layer", "Role", "ViewCase", "kind_label", "map_layers", "split_map"]

Role = Literal["image", "reference", "prediction", "map"]
"""What a layer is: grey values, the mask of an expert, the mask of a method, or a map of numbers."""

MAP_KINDS: Mapping[str, str] = {
    "prob": "Lesion probability",
    "residual": "Residual",
    "importance": "Importance of regions",
    "gcu-gain": "Gain of the global unit",
    "gcu": "Global unit",
    "rcu": "Region unit",
    "uncertainty": "Uncertainty",
    "entropy": "Entropy",
}
"""First word or words of ``CASE_KIND`` -> its name in the viewer; other kinds are shown under their own name."""

_KNOWN = re.compile(rf"^(?P<case>.+)_(?P<kind>(?:{'|'.join(map(re.escape, MAP_KINDS))})(?:-[A-Za-z0-9.]+)*)$")
_DETAIL = re.compile(r"^(?P<letter>[rl])(?P<number>\d+)$")


@dataclass(frozen=True)
class Layer:
    """One volume of a case.

    Attributes:
        role: what it is.
        kind: such as ``prob`` or ``residual-r50`` of a map, the name of the channel of an image; else empty.
        label: what the viewer calls it.
        image: where it is read from.
        series: which stack of a DICOM study, as ``--series`` takes it; none: the image itself.
    """

    role: Role
    kind: str
    label: str
    image: ImageRef
    series: str | None = None


@dataclass(frozen=True)
class ViewCase:
    """A case of the list: its name and its layers, images first."""

    name: str
    layers: tuple[Layer, ...]

    def first(self, role: Role) -> Layer | None:
        """The first layer of that role."""
        return next((layer for layer in self.layers if layer.role == role), None)


@dataclass(frozen=True)
class CaseList:
    """What can be shown.

    Attributes:
        title: name of the data set, run, folder or file.
        cases: in the order of the list.
        labels: label value -> name, without the background.
        modality: ``CT``, ``MR`` or another word of the data set; none: not known.
        spacing_mm: (rows, columns) of PNG images.
        notes: what the user should know, in words.
    """

    title: str
    cases: tuple[ViewCase, ...]
    labels: Mapping[int, str] = field(default_factory=lambda: {1: "lesion"})
    modality: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        """The case of that name (KeyError: there is none)."""
        return {case.name: case for case in self.cases}[name]


def kind_label(kind: str) -> str:
    """The name of a kind of map.

    >>> kind_label("residual-r50"), kind_label("gcu-gain-l0"), kind_label("my-map")
    ('Residual, mask ratio 0.50', 'Gain of the global unit, level 0', 'my-map')
    """
    known = next((key for key in sorted(MAP_KINDS, key=len, reverse=True) if _begins(kind, key)), None)
    if known is None:
        return kind
    details = [_detail(word) for word in kind.removeprefix(known).split("-") if word]
    return ", ".join([MAP_KINDS[known], *details])


def split_map(stem: str) -> tuple[str, str] | None:
    """Case and kind of a map of a known kind, from its file name without ending.

    >>> split_map("case-1_residual-r50"), split_map("case_1")
    (('case-1', 'residual-r50'), None)
    """
    match = _KNOWN.match(stem)
    return (match["case"], match["kind"]) if match else None


def map_layers(case: str, files: Mapping[str, Path], cases: Iterable[str]) -> list[Layer]:
    """Maps of a case among files by stem: every ``CASE_KIND`` that is no case itself nor a map of a longer name."""
    others = set(cases)
    longer = tuple(f"{name}_" for name in others if name.startswith(f"{case}_"))
    found = [
        (stem.removeprefix(f"{case}_"), path)
        for stem, path in files.items()
        if stem.startswith(f"{case}_") and stem not in others and not stem.startswith(longer)
    ]
    order = list(MAP_KINDS)
    found.sort(key=lambda item: (next((i for i, key in enumerate(order) if _begins(item[0], key)), len(order)), item))
    return [Layer("map", kind, kind_label(kind), path) for kind, path in found]


def _begins(kind: str, key: str) -> bool:
    return kind == key or kind.startswith(f"{key}-")


def _detail(word: str) -> str:
    match = _DETAIL.match(word)
    if match is None:
        return word
    number = int(match["number"])
    return f"mask ratio {number / 100:.2f}" if match["letter"] == "r" else f"level {number}"
