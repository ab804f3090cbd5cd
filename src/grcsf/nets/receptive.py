"""How far the convolutions of each encoder level see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Level", "receptive_fields"]


@dataclass(frozen=True)
class Level:
    """One encoder level: channels, stride against the input, receptive field per axis in voxels and mm."""

    index: int
    channels: int
    stride: tuple[int, ...]
    field_voxels: tuple[int, ...]
    field_mm: tuple[float, ...]


def receptive_fields(
    widths: Sequence[int], strides: Sequence[Sequence[int]], spacing_mm: Sequence[float]
) -> list[Level]:
    """Receptive field of each encoder level, whose block is two 3-wide convolutions, the first with the stride.

    A 3-wide convolution widens the field by two steps of its input grid.

    >>> [level.field_voxels for level in receptive_fields((8, 16), [(2, 2)], (1.0, 1.0))]
    [(5, 5), (11, 11)]
    """
    field = [1] * len(spacing_mm)
    jump = [1] * len(spacing_mm)
    levels = []
    for index, channels in enumerate(widths):
        step = strides[index - 1] if index else [1] * len(spacing_mm)
        field = [f + 2 * j for f, j in zip(field, jump, strict=True)]
        jump = [j * s for j, s in zip(jump, step, strict=True)]
        field = [f + 2 * j for f, j in zip(field, jump, strict=True)]
        mm = tuple(f * spacing for f, spacing in zip(field, spacing_mm, strict=True))
        levels.append(Level(index, channels, tuple(jump), tuple(field), mm))
    return levels
