"""A tiny data set with a split, and a benchmark of outside methods that cost nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from grcsf.datasets.nnunet_raw import write_dataset_json


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four flat cases of 24 x 20 voxels: 2 x 2, 4 x 4 and 12 x 12 voxels of lesion, and none. Two folds."""
    root = tmp_path_factory.mktemp("squares") / "Dataset903_Squares"
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True)
    names = [f"case-{index}" for index in range(4)]
    for name, edge in zip(names, (2, 4, 12, 0), strict=True):
        mask = np.zeros((24, 20, 1), np.uint8)
        mask[4 : 4 + edge, 4 : 4 + edge] = 1
        for array, path in ((mask + 1.0, f"imagesTr/{name}_0000.nii.gz"), (mask, f"labelsTr/{name}.nii.gz")):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([10.0, 10.0, 10.0, 1.0])), root / path)
    write_dataset_json(
        root, channel_names=("T1",), labels={"background": 0, "lesion": 1}, num_training=4, file_ending=".nii.gz"
    )
    folds = [{"train": names[:1], "val": names[1:]}, {"train": names[1:], "val": names[:1]}]
    (root / "splits_final.json").write_text(json.dumps(folds), encoding="utf-8")
    return root


@pytest.fixture
def write_spec(tmp_path: Path, squares: Path) -> Callable[..., Path]:
    """A function that writes a benchmark file of the given entries on the squares."""

    def write(*entries: dict[str, object], **more: object) -> Path:
        tree = {
            "data_sets": [{"name": "squares", "path": str(squares)}],
            "entries": list(entries),
            "budget": {"training_multiply_adds": 1e6},
            **more,
        }
        path = tmp_path / "bench.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return path

    return write
