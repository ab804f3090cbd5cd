"""Draw the README's picture from a demo: one held-out phantom with reference, prediction and residual maps.

python tools/phantom_picture.py grcsf-demo docs/images/phantom.png
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib
import numpy as np

from grcsf.io.volume import read_volume

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TITLES = ("phantom", "reference", "prediction", "residual, ratio 0.5", "residual, ratio 0.75")


def main(demo: Path, out: Path) -> None:
    """Draw the held-out phantom of median Dice: of the slices that cut the brain widely, the one with most lesion."""
    fold = demo / "run" / "fold_0"
    with (fold / "scores" / "cases.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if int(row["n_reference"]) > 0]
    case = sorted(rows, key=lambda row: float(row["dice"]))[len(rows) // 2]["case"]
    data = demo / "Dataset900_BrainPhantoms"
    files = (
        data / "imagesTr" / f"{case}_0000.nii.gz",
        data / "labelsTr" / f"{case}.nii.gz",
        fold / "validation" / f"{case}.nii.gz",
        fold / "validation" / f"{case}_residual-r50.nii.gz",
        fold / "validation" / f"{case}_residual-r75.nii.gz",
    )
    volumes = [np.asarray(read_volume(path).array, np.float32) for path in files]
    brain = (volumes[0] > 0).sum(axis=(0, 1))
    index = int(np.where(brain >= 0.6 * brain.max(), volumes[1].sum(axis=(0, 1)), -1).argmax())
    slices = [volume[:, :, index].T[::-1] for volume in volumes]
    figure, axes = plt.subplots(1, 5, figsize=(12, 3.2), facecolor="black")
    for axis, title, part in zip(axes, TITLES, slices, strict=True):
        if title.startswith("residual"):
            axis.imshow(part, cmap="RdBu_r", vmin=-3, vmax=3)
        else:
            axis.imshow(slices[0], cmap="gray")
            if title != "phantom":
                axis.contour(part > 0, [0.5], colors="#ffb000" if title == "prediction" else "#40b0ff", linewidths=1.2)
        axis.set_title(title, color="white", fontsize=10)
        axis.axis("off")
    figure.tight_layout(pad=0.8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=90, facecolor="black")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
