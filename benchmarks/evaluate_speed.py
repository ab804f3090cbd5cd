"""How long scoring takes: pairs of 192 x 224 x 192 masks from files to cases.csv, surfaces and sizes included.

    python benchmarks/evaluate_speed.py --pairs 24 --workers 1

Makes the masks in a temporary folder (a third with many small lesions, a third with large ones, a third whose
prediction is speckle all over the image, the worst for surfaces), scores them, prints seconds a pair and peak memory,
and extrapolates to 1,000 pairs on two cores. Target: 600 s, that is 1.2 s a pair and core.

Processor seconds are printed beside those of the clock: on a machine that others use too, the clock shows their load.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from grcsf.evaluation.extras import ExtraRules
from grcsf.evaluation.score import evaluate_folder

SHAPE = (192, 224, 192)
TARGET_SECONDS = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--workers", type=int, default=1, help="0 and 1: this process")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for index in range(arguments.pairs):
            for name, mask in zip(("truth", "found"), make_pair(index), strict=True):
                (root / name).mkdir(exist_ok=True)
                image = nibabel.Nifti1Image(mask.astype(np.uint8), np.eye(4))
                nibabel.save(image, root / name / f"case-{index:04d}.nii.gz")
        before = peak_mb()
        started, cpu_started = time.perf_counter(), cpu_seconds()
        evaluate_folder(
            root / "truth",
            root / "found",
            root / "scores",
            {"lesion": 1},
            "skip",
            extra=ExtraRules(("surface", "volume"), (1.0, 2.0)),
            workers=arguments.workers if arguments.workers > 1 else 0,
        )
        seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu_started
    clock, core = (value / arguments.pairs for value in (seconds * max(1, arguments.workers), cpu))
    print(f"{arguments.pairs} pairs of {' x '.join(map(str, SHAPE))}, {arguments.workers} workers: {seconds:.1f} s")
    print(f"a pair and core: {clock:.2f} s by the clock, {core:.2f} s of processor")
    print(f"peak memory of this process: {before:.0f} MB before, {peak_mb():.0f} MB after")
    for name, value in (("clock", clock), ("processor", core)):
        print(
            f"extrapolated by {name}: 1,000 pairs on two cores {1000 * value / 2:.0f} s (target {TARGET_SECONDS:.0f} s)"
        )


def make_pair(index: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(index)
    reference, prediction = np.zeros((2, *SHAPE), bool)
    kind = index % 3
    radii = [3, 4, 5, 6] if kind == 0 else [20, 30, 4]
    for _ in range(40 if kind == 0 else 3):
        centre, radius = rng.uniform(40, 150, 3), int(rng.choice(radii))
        put_ball(reference, centre, radius)
        if rng.random() < 0.8:
            put_ball(prediction, centre + rng.normal(0, 1.5, 3), radius * rng.uniform(0.8, 1.2))
    if kind == 2:  # speckle: many components and a long border all over the image
        prediction |= ndimage.binary_dilation(rng.random(SHAPE) < 0.0005)
    return reference, prediction


def put_ball(mask: np.ndarray, centre: np.ndarray, radius: float) -> None:
    low = np.maximum(0, np.floor(centre - radius).astype(int))
    high = np.minimum(mask.shape, np.ceil(centre + radius).astype(int) + 1)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    mask[box] |= ((grid - centre) ** 2).sum(axis=-1) <= radius**2


def cpu_seconds() -> float:
    """Of this process and of those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
