"""From slices in any order to a stack: sorted along its normal, with gaps, tilt and duplicates found.

Source: standard, DICOM PS3.3 C.7.6.2.1.1: the centre of pixel (row j, column i) lies at
position + i * column_spacing * orientation[:3] + j * row_spacing * orientation[3:], in mm, LPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grcsf.io.dicom.headers import Frame
from grcsf.io.geometry import FloatArray64

__all__ = ["Stack", "make_stack"]

_SAME_MM = 1e-3
_UNEVEN = 0.05
"""Share of the distance of slices that a slice may be off an even grid."""
_DRIFT = 0.1
"""Share of a pixel that a slice may be off the normal through the first one."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that lie behind each other.

    Attributes:
        frames: one per position, sorted along ``axes_lps[:, 2]``.
        duplicates: further frames at a position, by index in ``frames``.
        axes_lps: (3, 3), columns: direction of rising columns, of rising rows, and the normal (their cross product).
        spacing_mm: between columns (x), between rows (y).
        offsets_mm: (slices,) along the normal, from the first slice.
        drift_mm: (slices, 2) shift along x and y against the first slice.
        faults: of "missing", "uneven", "tilt", "shifted"; empty for a regular grid.
    """

    frames: tuple[Frame, ...]
    duplicates: tuple[tuple[int, Frame], ...]
    axes_lps: FloatArray64
    spacing_mm: tuple[float, float]
    offsets_mm: FloatArray64
    drift_mm: FloatArray64
    faults: tuple[str, ...]

    @property
    def gap_mm(self) -> float:
        """Usual distance of neighbouring slices; of a single slice its thickness, or 1 if that is not known."""
        if len(self.frames) < 2:
            return self.frames[0].thickness_mm or 1.0
        return float(np.median(np.diff(self.offsets_mm)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        rows, columns = self.frames[0].size
        return columns, rows, len(self.frames)

    @property
    def tilt_degrees(self) -> float:
        """Angle between the normal and the line through first and last slice."""
        if len(self.frames) < 2:
            return 0.0
        return float(np.degrees(np.arctan2(np.linalg.norm(self.drift_mm[-1]), self.offsets_mm[-1])))

    def affine_ras(self) -> FloatArray64:
        """(4, 4): voxel (column, row, slice) -> mm RAS+, exact where there is no fault."""
        steps = len(self.frames) - 1
        along = self.axes_lps[:, 2] * self.gap_mm
        if steps:
            along = (np.array(self.frames[-1].position_lps) - self.frames[0].position_lps) / steps
        affine: FloatArray64 = np.eye(4)
        affine[:3, 0] = self.axes_lps[:, 0] * self.spacing_mm[0]
        affine[:3, 1] = self.axes_lps[:, 1] * self.spacing_mm[1]
        affine[:3, 2], affine[:3, 3] = along, self.frames[0].position_lps
        return np.asarray(_LPS_TO_RAS @ affine, dtype=np.float64)

    def fault_text(self) -> str:
        """The faults in words, with numbers."""
        gaps = np.diff(self.offsets_mm)
        span = f"slices {gaps.min():.4g} to {gaps.max():.4g} mm apart, usually {self.gap_mm:.4g}" if len(gaps) else ""
        off = f"{np.abs(self.drift_mm).max():.3g} mm"
        words = {
            "missing": f"about {self.missing()} slice(s) missing ({span})",
            "uneven": f"uneven distances ({span})",
            "tilt": f"tilted by {self.tilt_degrees:.2f} degrees against the slice normal (gantry tilt)",
            "shifted": f"slices shifted against each other by up to {off} in the plane",
        }
        return "; ".join(words[fault] for fault in self.faults)

    def missing(self) -> int:
        """How many slices the gaps lack, rounded."""
        return int(np.sum(np.maximum(0, np.rint(np.diff(self.offsets_mm) / self.gap_mm) - 1)))


def make_stack(frames: Sequence[Frame]) -> Stack:
    """Sort slices of one size and orientation.

    Args:
        frames: at least one, in any order.

    Returns:
        The stack; its faults are noted, nothing is refused.
    """
    first = frames[0]
    along_x, along_y = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    axes = np.column_stack([along_x, along_y, np.cross(along_x, along_y)])
    axes = axes / np.linalg.norm(axes, axis=0)
    places = np.array([frame.position_lps for frame in frames]) @ axes
    order = np.lexsort((np.arange(len(frames)), np.round(places[:, 2] / _SAME_MM)))
    kept: list[int] = []
    twins: list[tuple[int, Frame]] = []
    for index in order:
        if kept and places[index, 2] - places[kept[-1], 2] < 2 * _SAME_MM:
            twins.append((len(kept) - 1, frames[index]))
        else:
            kept.append(int(index))
    offsets = places[kept, 2] - places[kept[0], 2]
    drift = places[kept, :2] - places[kept[0], :2]
    spacing = (first.spacing_mm[1], first.spacing_mm[0])
    faults = (*_gap_faults(offsets), *_drift_faults(offsets, drift, min(spacing)))
    return Stack(tuple(frames[i] for i in kept), tuple(twins), axes, spacing, offsets, drift, faults)


def _gap_faults(offsets: FloatArray64) -> tuple[str, ...]:
    if len(offsets) < 3:
        return ()
    gap = float(np.median(np.diff(offsets)))
    even = np.linspace(0.0, offsets[-1], len(offsets))
    if np.abs(offsets - even).max() <= _UNEVEN * gap:
        return ()
    steps = offsets / gap
    whole = bool(np.all(np.abs(steps - np.rint(steps)) <= _UNEVEN * np.maximum(1, np.rint(steps) / 20)))
    return ("missing",) if whole else ("uneven",)


def _drift_faults(offsets: FloatArray64, drift: FloatArray64, pixel_mm: float) -> tuple[str, ...]:
    worst = np.abs(drift).max()
    if worst <= _DRIFT * pixel_mm:
        return ()
    line = np.outer(offsets / offsets[-1], drift[-1])
    return ("tilt",) if np.abs(drift - line).max() <= _DRIFT * pixel_mm else ("shifted",)
