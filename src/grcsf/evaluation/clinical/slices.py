"""Which axis of a volume runs through its axial slices, and how large a pixel and how far apart the slices are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from grcsf.errors import ImageError
from grcsf.io.geometry import Geometry

__all__ = ["AxialSlices", "axial_slices"]


@dataclass(frozen=True)
class AxialSlices:
    """The axial slices of a volume.

    Attributes:
        axis: of the array, from slice to slice.
        pixel_mm2: area of a pixel.
        gap_mm: distance between neighbouring slices along their normal (not their thickness).
        tilt_deg: angle between their normal and the superior direction, in [0, 90].
    """

    axis: int
    pixel_mm2: float
    gap_mm: float
    tilt_deg: float

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return self.pixel_mm2 * self.gap_mm


def axial_slices(geometry: Geometry, case: str, max_tilt_deg: float = 90.0) -> AxialSlices:
    """Find the slices of a volume that are closest to axial.

    The slices are the planes spanned by two array axes whose normal is closest to superior. Area and distance come
    from the affine (cross and scalar products), so they hold for oblique and for sheared (gantry-tilted) grids too.

    Args:
        geometry: of a 3-D volume.
        case: name for the messages.
        max_tilt_deg: how far the normal may be from superior.

    Raises:
        ImageError: not 3-D, or slices turned further than ``max_tilt_deg``.

    Source: own.
    """
    if len(geometry.shape) != 3:
        raise ImageError(f"{case}: a {len(geometry.shape)}-D image ({geometry}), expected a 3-D volume with slices")
    edges = geometry.affine_ras[:3, :3]
    normals = [np.cross(edges[:, (axis + 1) % 3], edges[:, (axis + 2) % 3]) for axis in range(3)]
    areas = [float(np.linalg.norm(normal)) for normal in normals]
    towards = [abs(float(normal[2])) / area for normal, area in zip(normals, areas, strict=True)]
    axis = max(range(3), key=towards.__getitem__)
    tilt_deg = math.degrees(math.acos(min(1.0, towards[axis])))
    if tilt_deg > max_tilt_deg + 1e-6:
        raise ImageError(
            f"{case}: its slices are turned {tilt_deg:.1f} degrees out of the axial plane (limit {max_tilt_deg:g}): "
            f"{geometry}; score the axial series, or raise --max-tilt-deg"
        )
    gap_mm = abs(float(normals[axis] @ edges[:, axis])) / areas[axis]
    return AxialSlices(axis, areas[axis], gap_mm, tilt_deg)
