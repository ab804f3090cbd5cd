"""Data sets in nnU-Net's raw layout: dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz, imagesTs.

Source: standard, https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.groups import find_groups
from grcsf.datasets.header import Header, read_header, write_dataset_json
from grcsf.datasets.naming import complete_cases, group_files, image_files
from grcsf.errors import DatasetError
from grcsf.io.volume import IMAGE_ENDINGS, ending_of

__all__ = ["find_ending", "read_dataset", "write_dataset_json"]


def read_dataset(folder: Path) -> Dataset:
    """What lies in a folder in nnU-Net raw layout; images are not opened.

    A case whose mask is missing has the label none. Files with another ending than ``dataset.json`` declares are
    left out; ``grcsf validate`` names them.

    Args:
        folder: holds ``dataset.json``, ``imagesTr``, ``labelsTr`` and optionally ``imagesTs``, ``labelsTs``.

    Raises:
        DatasetError: ``dataset.json`` is missing or wrong, a case lacks a channel or has one twice, no case at all,
            or patients are given for some cases only.
    """
    header, faults = read_header(folder)
    if faults:
        raise DatasetError(f"{folder / 'dataset.json'}: {'; '.join(faults)}")
    ending = find_ending(folder, header)
    channels = len(header.channel_names)
    training = _find_images(folder, "imagesTr", ending, channels)
    if not training:
        raise DatasetError(f"{folder}: no case in imagesTr; expected files named CASE_0000{ending}")
    testing = _find_images(folder, "imagesTs", ending, channels) if (folder / "imagesTs").is_dir() else {}
    groups = find_groups(folder, list(training), header.groups)
    test_groups = find_groups(folder, list(testing), header.groups, complete=False)
    return Dataset(
        name=folder.resolve().name,
        root=folder,
        cases=_make_cases(folder / "labelsTr", training, groups, ending),
        test_cases=_make_cases(folder / "labelsTs", testing, test_groups, ending),
        channel_names=header.channel_names,
        labels=header.labels,
        file_ending=ending,
        spacing_mm=header.spacing_mm,
        described_by=(folder / "dataset.json",),
    )


def find_ending(folder: Path, header: Header) -> str:
    """The ending ``dataset.json`` declares, or else the most frequent one in ``imagesTr``."""
    if header.file_ending is not None:
        return header.file_ending
    images = folder / "imagesTr"
    counts = Counter(ending_of(path) for path in image_files(images)) if images.is_dir() else Counter()
    return counts.most_common(1)[0][0] or IMAGE_ENDINGS[0] if counts else IMAGE_ENDINGS[0]


def _find_images(folder: Path, part: str, ending: str, channels: int) -> dict[str, tuple[Path, ...]]:
    images = folder / part
    if not images.is_dir():
        raise DatasetError(f"{folder}: no folder {part} in it; expected files named {part}/CASE_0000{ending}")
    files = [path for path in image_files(images) if ending_of(path) == ending]
    complete, wrong = complete_cases(group_files(files, channels), channels)
    if wrong:
        first = "; ".join(f"{case}: {message}" for case, messages in list(wrong.items())[:3] for message in messages)
        raise DatasetError(f"{images}: {len(wrong)} case(s) do not fit dataset.json: {first}; grcsf validate lists all")
    return complete


def _make_cases(
    labels: Path, images: dict[str, tuple[Path, ...]], groups: dict[str, str], ending: str
) -> tuple[Case, ...]:
    cases = []
    for name, files in images.items():
        label = labels / f"{name}{ending}"
        cases.append(Case(name, files, label if label.is_file() else None, groups[name]))
    return tuple(cases)
