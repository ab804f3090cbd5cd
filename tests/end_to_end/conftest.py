"""Runs of the whole chain on tiny data, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import grcsf
from chain import CUBES, tiny
from grcsf.datasets.nnunet_raw import write_dataset_json
from grcsf.verbs.run import RunResult


@pytest.fixture(scope="session")
def slice_run(tiny_slices: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """Two folds of the chain on the tiny PNG slices. Do not write in it."""
    out = tmp_path_factory.mktemp("slice_run") / "run"
    return out, grcsf.run(tiny_slices, out, folds=[0, 1], settings=tiny(), device="cpu", save_probabilities=True)


@pytest.fixture(scope="session")
def volume_run(tiny_volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """One fold of the 3-D chain on the tiny two-channel volumes. Do not write in it."""
    out = tmp_path_factory.mktemp("volume_run") / "run"
    return out, grcsf.run(tiny_volumes, out, settings=tiny(base=CUBES), device="cpu")


@pytest.fixture(scope="session")
def flat_run(tiny_volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """One fold of the chain on slices of the tiny volumes, each with its two neighbours. Do not write in it."""
    out = tmp_path_factory.mktemp("flat_run") / "run"
    settings = tiny("preprocess.dimensions=2d", "preprocess.context=1", "preprocess.patch_size=[16, 16]")
    return out, grcsf.run(tiny_volumes, out, settings=settings, device="cpu")


@pytest.fixture(scope="session")
def one_channel(tiny_volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the first channel of the tiny volumes. Do not write in it."""
    root = tmp_path_factory.mktemp("one_channel") / "Dataset903_OneChannel"
    shutil.copytree(tiny_volumes, root, ignore=shutil.ignore_patterns("*_0001.nii.gz", "dataset.json"))
    labels = {"background": 0, "lesion": 1}
    write_dataset_json(root, channel_names=("FLAIR",), labels=labels, num_training=6, file_ending=".nii.gz")
    return root


@pytest.fixture(scope="session")
def one_channel_model(one_channel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 3-D model folder for one channel at 2 mm, with residual maps. Do not write in it."""
    out = tmp_path_factory.mktemp("one_channel_run") / "run"
    settings = tiny("preprocess.spacing_mm=[2, 2, 2]", "preprocess.patch_size=[16, 16, 16]", base=CUBES)
    grcsf.run(one_channel, out, settings=settings, device="cpu")
    return out / "fold_0" / "train"
