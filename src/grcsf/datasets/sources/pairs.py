"""Plain folders: ``images/`` and ``labels/`` (or ``masks/``) with files of the same stem. Source: own.

Several channels are numbered as in nnU-Net (``images/CASE_0000.nii.gz``, ``labels/CASE.nii.gz``).
"""

from __future__ import annotations

import re
from pathlib import Path

from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.groups import find_groups
from grcsf.datasets.naming import complete_cases, group_files, image_files
from grcsf.datasets.sources.described import commonest_ending, read_description
from grcsf.datasets.sources.source import Draft, Found, Source, check_case_name
from grcsf.errors import DatasetError
from grcsf.io.volume import stem_of

__all__ = ["PAIRS"]

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_MASKS = ("labels", "masks")


def _evidence(path: Path) -> str:
    masks = [name for name in _MASKS if (path / name).is_dir()]
    return f"folders images and {' and '.join(masks)}" if masks and (path / "images").is_dir() else ""


def _read(path: Path) -> Found:
    draft = Draft(path)
    folders = [path / name for name in _MASKS if (path / name).is_dir()]
    if len(folders) > 1:
        draft.error(None, "two-mask-folders", "both folders labels and masks are there; keep one of them")
    described = read_description(path, draft)
    masks: dict[str, Path] = {}
    for file in image_files(folders[0]):
        if stem_of(file) in masks:
            draft.error(stem_of(file), "duplicate-case", f"two masks: {masks[stem_of(file)].name} and {file.name}")
        masks[stem_of(file)] = file
    images = image_files(path / "images")
    channels = len(described.header.channel_names) or _channels(images, masks)
    complete, wrong = complete_cases(group_files(images, channels), channels)
    for name, texts in wrong.items():
        for text in texts:
            draft.error(name, "images", f"images: {text}")
    for name in sorted(masks.keys() - complete.keys() - wrong.keys()):
        draft.error(name, "missing-image", f"mask {folders[0].name}/{masks[name].name} without an image of that name")
    groups = _groups(draft, path, list(complete), described.header.groups)
    for name, files in complete.items():
        check_case_name(name, "images")
        if name in masks:
            draft.training.append(Case(name, files, described.mask(masks[name]), groups[name]))
        else:
            draft.error(
                name, "missing-label", f"no mask {folders[0].name}/{name} for this image; add it, or a mask of zeros"
            )
    training, testing = draft.cases()
    dataset = Dataset(
        name=path.resolve().name,
        root=path,
        cases=training,
        test_cases=testing,
        channel_names=described.header.channel_names or _names(channels),
        labels=described.labels,
        file_ending=commonest_ending(images),
        spacing_mm=described.header.spacing_mm,
        source=PAIRS.title,
        described_by=described.files,
    )
    return Found(dataset, tuple(draft.problems))


def _channels(images: list[Path], masks: dict[str, Path]) -> int:
    """One, unless images are numbered and the masks bear the names without the numbers."""
    numbers = [
        int(match["channel"])
        for file in images
        if (match := _CHANNEL.fullmatch(stem_of(file))) and match["case"] in masks and stem_of(file) not in masks
    ]
    return max(numbers, default=0) + 1


def _names(channels: int) -> tuple[str, ...]:
    return ("image",) if channels == 1 else tuple(f"image {index}" for index in range(channels))


def _groups(draft: Draft, path: Path, names: list[str], declared: dict[str, str] | None) -> dict[str, str]:
    try:
        return find_groups(path, names, declared)
    except DatasetError as error:
        draft.error(None, "patients", str(error))
        return {name: name for name in names}


PAIRS = Source("plain folders", "images/CASE.nii.gz with labels/CASE.nii.gz (or masks/)", _evidence, _read)
