"""nnU-Net raw as one source among others; ``grcsf.datasets.nnunet_raw`` reads it."""

from __future__ import annotations

from pathlib import Path

from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.datasets.sources.msd import MSD
from grcsf.datasets.sources.source import Found, Source

__all__ = ["NNUNET"]


def _evidence(path: Path) -> str:
    if not (path / "imagesTr").is_dir() or MSD.evidence(path):
        return ""
    return "folder imagesTr" + (" and dataset.json" if (path / "dataset.json").is_file() else "")


def _read(path: Path) -> Found:
    return Found(read_dataset(path))


NNUNET = Source("nnU-Net raw", "dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz", _evidence, _read)
