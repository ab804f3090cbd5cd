"""Where the phantoms' lesions are: irregular, connected, of a drawn size; and hyperintensities that are no lesions."""

from __future__ import annotations

import heapq

import numpy as np
import scipy.ndimage as ndi

from grcsf.arrays import BoolArray, FloatArray
from grcsf.phantoms.brain_tissue import Tissue
from grcsf.phantoms.fields import smooth_field

__all__ = ["draw_hyperintensities", "draw_lesions", "grow"]


def draw_lesions(rng: np.random.Generator, tissue: Tissue, sizes_ml: list[float]) -> list[BoolArray]:
    """Lesions of the given sizes, in grey and white matter, each in one half of the brain, none touching another.

    A lesion is the set of voxels that can be reached from its centre with the lowest roughness: the distance from the
    centre of a turned ellipsoid plus a smooth random field, so that its border is irregular and stops at fluid.

    Args:
        rng: the subject's random numbers.
        tissue: the brain.
        sizes_ml: one per lesion; met to half a voxel (but at least one voxel) as long as tissue is left.

    Returns:
        One mask (x, y, z) per size, largest first, none empty; fewer if no tissue is left.
    """
    solid = tissue.brain & (tissue.white + tissue.grey > 0.6)
    voxel_ml = tissue.spacing_mm**3 / 1000.0
    free = solid.copy()
    lesions = []
    for size_ml in sorted(sizes_ml, reverse=True):
        candidates = np.flatnonzero(ndi.binary_erosion(free) if size_ml > 0.5 else free)
        if not candidates.size:
            break
        start = np.unravel_index(int(rng.choice(candidates)), free.shape)
        centre = (int(start[0]), int(start[1]), int(start[2]))
        half = free & (tissue.left == tissue.left[centre])
        lesion = _one_lesion(rng, half, centre, max(1, round(size_ml / voxel_ml)), tissue.spacing_mm)
        lesions.append(lesion)
        free &= ~ndi.binary_dilation(lesion, np.ones((3, 3, 3)))
    return lesions


def draw_hyperintensities(rng: np.random.Generator, tissue: Tissue, size_ml: float) -> FloatArray:
    """White-matter hyperintensities beside the ventricles, which many healthy old people have and nobody labels.

    Args:
        rng: the subject's random numbers.
        tissue: the brain.
        size_ml: volume of all of them together.

    Returns:
        Strength 0 to 1, (x, y, z).
    """
    where = np.nonzero(tissue.near_ventricle > 0.05)
    rough = smooth_field(rng, tissue.brain.shape, tissue.spacing_mm, 3.5)[where]
    score = 4.0 * tissue.near_ventricle[where] + rough
    voxels = min(max(1, round(size_ml * 1000.0 / tissue.spacing_mm**3)), score.size)
    limit = np.partition(score, score.size - voxels)[score.size - voxels]
    strength = np.zeros(tissue.brain.shape, np.float32)
    strength[where] = np.clip((score - limit) / 0.5 + 0.5, 0.0, 1.0)  # a soft border
    return strength


def grow(cost: FloatArray, allowed: BoolArray, start: tuple[int, int, int], voxels: int) -> BoolArray:
    """The connected region of exactly ``voxels`` voxels that always takes its cheapest neighbour next.

    Args:
        cost: of each voxel, (x, y, z).
        allowed: voxels that may be taken; the outermost layer of the array never is.
        start: the first voxel, allowed.
        voxels: size of the region; less if the allowed voxels around ``start`` are fewer.
    """
    inner = np.zeros_like(allowed)
    inner[1:-1, 1:-1, 1:-1] = allowed[1:-1, 1:-1, 1:-1]
    closed = ~inner.ravel()
    flat = cost.ravel().tolist()
    _, rows, columns = allowed.shape
    steps = (rows * columns, -rows * columns, columns, -columns, 1, -1)
    first = int(np.ravel_multi_index(start, allowed.shape))
    closed_list = closed.tolist()
    taken: list[int] = []
    queue = [] if closed_list[first] else [(flat[first], first)]
    closed_list[first] = True
    while queue and len(taken) < voxels:
        _, voxel = heapq.heappop(queue)
        taken.append(voxel)
        for step in steps:
            neighbour = voxel + step
            if not closed_list[neighbour]:
                closed_list[neighbour] = True
                heapq.heappush(queue, (flat[neighbour], neighbour))
    region = np.zeros(allowed.size, np.bool_)
    region[taken] = True
    return region.reshape(allowed.shape)


def _one_lesion(
    rng: np.random.Generator, allowed: BoolArray, centre: tuple[int, int, int], voxels: int, spacing_mm: float
) -> BoolArray:
    radius = (voxels * 3.0 / (4.0 * np.pi)) ** (1.0 / 3.0)  # of a ball of that size, in voxels
    reach = int(np.ceil(3.0 * radius)) + 3
    box = tuple(
        slice(max(0, middle - reach), min(size, middle + reach + 1))
        for middle, size in zip(centre, allowed.shape, strict=True)
    )
    start = tuple(middle - part.start for middle, part in zip(centre, box, strict=True))
    inside = np.pad(allowed[box], 1)
    first = (start[0] + 1, start[1] + 1, start[2] + 1)
    shape = (inside.shape[0], inside.shape[1], inside.shape[2])
    cost = _ellipsoid_distance(rng, shape, first, radius)
    for scale, height in ((0.55, 0.45), (0.20, 0.20)):
        scale_mm = max(scale * radius, 0.9) * spacing_mm
        cost += np.float32(height) * smooth_field(rng, shape, spacing_mm, scale_mm)
    lesion = np.zeros_like(allowed)
    lesion[box] = grow(cost, inside, first, voxels)[1:-1, 1:-1, 1:-1]
    return lesion


def _ellipsoid_distance(
    rng: np.random.Generator, shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float
) -> FloatArray:
    """Distance from ``centre`` in a turned ellipsoid; 1 on the surface of one with the volume of the ball."""
    axes = np.exp(rng.normal(0.0, 0.25, 3))
    axes *= radius / np.prod(axes) ** (1.0 / 3.0)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    offsets = np.indices(shape, dtype=np.float32) - np.array(centre, np.float32).reshape(3, 1, 1, 1)
    turned = np.tensordot((turn / axes[:, None]).astype(np.float32), offsets, axes=1)
    distance: FloatArray = np.sqrt((turned**2).sum(axis=0))
    return distance
