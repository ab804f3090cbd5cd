"""Where training patches come from: lesions of every size or of every case alike, and anywhere."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, LabelArray

__all__ = ["Lesion", "LesionIndex", "find_lesions"]

_KEPT_VOXELS = 16
"""Voxels remembered per lesion; a patch is centred on one of them."""


@dataclass(frozen=True)
class Lesion:
    """One connected component of a label: its case, its size in voxels and some of its voxels (n, 3)."""

    case: str
    size: int
    voxels: AnyArray


def find_lesions(case: str, label: LabelArray, per_slice: bool) -> list[Lesion]:
    """Connected components of a label ``(D, H, W)``, fully connected; within slices if ``per_slice``."""
    structure = np.ones((3, 3, 3), bool)
    if per_slice:
        structure[[0, 2]] = False
    components, _ = ndimage.label(label > 0, structure=structure)
    lesions = []
    for index, box in enumerate(ndimage.find_objects(components), start=1):
        if box is None:
            continue
        inside = np.argwhere(components[box] == index)
        picked = inside[np.linspace(0, len(inside) - 1, min(len(inside), _KEPT_VOXELS)).astype(int)]
        lesions.append(Lesion(case, len(inside), picked + [part.start for part in box]))
    return lesions


class LesionIndex:
    """Draws patch centres.

    A share of the draws is centred on a lesion. ``size``: first a size class (factor 4 wide) is drawn, each present
    class as likely as any other, then a lesion of that class, so that small lesions come as often as large ones.
    ``case``: first a case with a lesion, each as likely as any other, then a lesion of it by its share of the case's
    lesion voxels, so that specks do not crowd out what makes up a case. A centre is one of the lesion's remembered
    voxels. The other draws are centred anywhere in any case.
    Source: own (size), standard (case; close to the oversampling of nnU-Net, Isensee et al. 2021).

    Args:
        cases: names to draw from.
        label: reads the label ``(D, H, W)`` of a case.
        per_slice: lesions are components within slices (2-D).
        lesion_fraction: share of lesion-centred draws.
        sampling: ``size`` or ``case``.
    """

    def __init__(
        self,
        cases: Sequence[str],
        label: Callable[[str], LabelArray],
        per_slice: bool,
        lesion_fraction: float,
        sampling: Literal["size", "case"] = "size",
    ) -> None:
        self.cases, self.lesion_fraction, self.sampling = list(cases), lesion_fraction, sampling
        self.shapes: dict[str, tuple[int, ...]] = {}
        classes: dict[int, list[Lesion]] = defaultdict(list)
        for case in self.cases:
            array = label(case)
            self.shapes[case] = array.shape
            for lesion in find_lesions(case, array, per_slice):
                classes[int(math.log(lesion.size, 4))].append(lesion)
        self.classes = [classes[key] for key in sorted(classes)]
        by_case: dict[str, list[Lesion]] = defaultdict(list)
        for lesion in (lesion for found in self.classes for lesion in found):
            by_case[lesion.case].append(lesion)
        self.by_case = [by_case[key] for key in sorted(by_case)]

    @property
    def lesions(self) -> int:
        """Number of lesions."""
        return sum(len(found) for found in self.classes)

    def draw(self, rng: np.random.Generator, on_lesion: bool) -> tuple[str, tuple[int, int, int]]:
        """A case and the voxel (d, h, w) that a patch is centred on."""
        if on_lesion and self.classes:
            lesion = self._draw_lesion(rng)
            d, h, w = lesion.voxels[int(rng.integers(len(lesion.voxels)))]
            return lesion.case, (int(d), int(h), int(w))
        case = self.cases[int(rng.integers(len(self.cases)))]
        d, h, w = (int(rng.integers(edge)) for edge in self.shapes[case])
        return case, (d, h, w)

    def _draw_lesion(self, rng: np.random.Generator) -> Lesion:
        if self.sampling == "size":
            found = self.classes[int(rng.integers(len(self.classes)))]
            return found[int(rng.integers(len(found)))]
        found = self.by_case[int(rng.integers(len(self.by_case)))]
        ends = np.cumsum([lesion.size for lesion in found])
        return found[int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))]

    def draw_batch(self, rng: np.random.Generator, size: int) -> list[tuple[str, tuple[int, int, int]]]:
        """``size`` draws, the stated share of them on lesions (rounded up)."""
        on_lesion = math.ceil(self.lesion_fraction * size)
        return [self.draw(rng, index < on_lesion) for index in range(size)]
