"""Array type aliases that several folders share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["AnyArray", "BoolArray", "FloatArray", "IntArray", "LabelArray"]

AnyArray = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
