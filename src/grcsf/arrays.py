"""Array type aliases that several folders share."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["AnyArray", "BoolArray", "FloatArray", "IntArray", "LabelArray", "Sliceable"]

AnyArray = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


@runtime_checkable
class Sliceable(Protocol):
    """An array in memory, or one on disk of which slicing reads the part that is asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Edges."""
        ...

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """A part of it, by slices and whole numbers."""
        ...
