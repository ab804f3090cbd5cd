"""The simplest peer of calcium: everything of at least 130 HU is calcium. For `kind: outside` of `grcsf benchmark`.

    python benchmarks/peers/threshold.py --data DATASET --fold 0 --out FOLDER [--limit-hu 130] [--smallest-mm3 0]

Writes a mask for each validation case of the fold into FOLDER/validation. Nothing is trained.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from grcsf.arrays import AnyArray, LabelArray
from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.io.files import make_folder, write_json
from grcsf.io.volume import read_volume, write_like


def threshold_mask(hu: AnyArray, limit_hu: float, smallest_mm3: float, voxel_mm3: float) -> LabelArray:
    """1 in connected bright voxels (faces touch) of at least ``smallest_mm3``."""
    numbers, count = ndimage.label(hu >= limit_hu)
    large = np.bincount(numbers.ravel(), minlength=count + 1) * voxel_mm3 >= smallest_mm3
    large[0] = False
    mask: LabelArray = large[numbers].astype(np.uint8)
    return mask


def main() -> None:
    """Write the masks and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit-hu", type=float, default=130.0)
    parser.add_argument("--smallest-mm3", type=float, default=0.0)
    args = parser.parse_args()
    data, started = read_dataset(args.data), time.perf_counter()
    folder = make_folder(args.out / "validation")
    for name in get_fold(data, args.fold).val:
        path = data.case(name).images[0]
        volume = read_volume(path)
        voxel_mm3 = float(np.prod(volume.geometry.spacing_mm))
        mask = threshold_mask(volume.array, args.limit_hu, args.smallest_mm3, voxel_mm3)
        write_like(mask, path, folder / f"{name}{data.file_ending}")
    seconds = time.perf_counter() - started
    write_json(args.out / "run.json", {"seconds": 0.0, "prediction_seconds": seconds, "multiply_adds": 0})


if __name__ == "__main__":
    main()
