"""The scores of one case, by name: a new metric is one function and one line in ``METRICS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from grcsf.arrays import BoolArray
from grcsf.evaluation import overlap
from grcsf.evaluation.overlap import Confusion, WhenEmpty

__all__ = ["METRICS", "CasePair", "Metric"]


@dataclass(frozen=True)
class CasePair:
    """What a metric may look at: one label of one case.

    Attributes:
        reference: boolean mask, 2-D or 3-D.
        prediction: boolean mask of the same shape.
        spacing_mm: edge lengths of a voxel, one number per axis of the masks.
    """

    reference: BoolArray
    prediction: BoolArray
    spacing_mm: tuple[float, ...]

    @cached_property
    def counts(self) -> Confusion:
        """Voxel counts, made once and shared by the overlap metrics."""
        return overlap.confusion(self.reference, self.prediction)


Metric = Callable[[CasePair, WhenEmpty], float]

METRICS: MappingProxyType[str, Metric] = MappingProxyType(
    {
        "dice": lambda pair, when_empty: overlap.dice(pair.counts, when_empty=when_empty),
        "iou": lambda pair, when_empty: overlap.iou(pair.counts, when_empty=when_empty),
        "f1": lambda pair, when_empty: overlap.f1(pair.counts, when_empty=when_empty),
        "precision": lambda pair, when_empty: overlap.precision(pair.counts, when_empty=when_empty),
        "recall": lambda pair, when_empty: overlap.recall(pair.counts, when_empty=when_empty),
    }
)
