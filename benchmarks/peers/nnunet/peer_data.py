"""A data set in nnU-Net raw layout, as nnU-Net itself wants it: labelled cases only, folds as they are."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer_files import PeerError, read_json, write_json

_CHANNEL = re.compile(r"(?P<case>.+)_\d{4}")
_NAME = re.compile(r"Dataset\d{3}_.+")


@dataclass(frozen=True)
class RawData:
    """A data set on disk.

    Attributes:
        root: its folder.
        description: its ``dataset.json``.
        images: files of the channels of each case, in order.
        labels: reference mask of each labelled case.
        splits: ``splits_final.json``, labelled cases only; empty where there is none.
    """

    root: Path
    description: dict[str, Any]
    images: dict[str, list[Path]]
    labels: dict[str, Path]
    splits: list[dict[str, list[str]]]

    @property
    def ending(self) -> str:
        """Of images and masks, such as ``.png``."""
        return str(self.description["file_ending"])

    def validation(self, fold: int) -> list[str]:
        """Labelled validation cases of a fold.

        Raises:
            PeerError: no such fold (nnU-Net would make a random split of its own), or one that leaks.
        """
        if not 0 <= fold < len(self.splits):
            raise PeerError(f"{self.root.name}: fold {fold} of {len(self.splits)} in splits_final.json; choose another")
        train, val = (self.splits[fold][part] for part in ("train", "val"))
        both = sorted(set(train) & set(val))
        if both or not train or not val:
            why = f"{both[0]} is in both parts" if both else "one part has no labelled case"
            raise PeerError(f"{self.root.name}: fold {fold} of splits_final.json: {why}; correct the split")
        return val

    def digest(self, *, with_times: bool) -> str:
        """Twelve hexadecimal digits that tell data sets apart by names and sizes; with_times: by changes as well."""
        files = [path for case in sorted(self.labels) for path in (*self.images[case], self.labels[case])]
        facts: list[Any] = [self.description, self.splits]
        for path in files:
            found = path.stat()
            facts.append([path.name, found.st_size, *([found.st_mtime_ns] if with_times else [])])
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def read_raw_data(root: Path) -> RawData:
    """Read the names of everything in a data set.

    Raises:
        PeerError: no data set, or one that nnU-Net could not read.
    """
    description = read_json(root / "dataset.json")
    missing = [key for key in ("file_ending", "labels", "channel_names") if key not in description]
    if missing:
        raise PeerError(f"{root / 'dataset.json'}: no {missing[0]!r}; expected nnU-Net's dataset.json, version 2")
    ending = str(description["file_ending"])
    images: dict[str, list[Path]] = {}
    for path in sorted((root / "imagesTr").glob(f"*{ending}")):
        found = _CHANNEL.fullmatch(path.name.removesuffix(ending))
        if found:
            images.setdefault(found["case"], []).append(path)
    channels = len(description["channel_names"])
    for case, paths in images.items():
        if len(paths) != channels:
            raise PeerError(f"{root.name}: case {case} has {len(paths)} images, dataset.json names {channels} channels")
    labels = {case: root / "labelsTr" / f"{case}{ending}" for case in images}
    labels = {case: path for case, path in labels.items() if path.is_file()}
    if not labels:
        raise PeerError(f"{root}: no labelled case (imagesTr/CASE_0000{ending} with labelsTr/CASE{ending})")
    return RawData(root, description, images, labels, _read_splits(root / "splits_final.json", images, labels))


def link_raw_data(data: RawData, raw: Path) -> Path:
    """Make nnU-Net's raw folder of a data set: links (copies where links are refused) to its labelled cases.

    nnU-Net takes every image for a labelled case, and derives batch sizes from ``numTraining``; so cases without a mask
    stay out, and the count is that of the rest.

    Args:
        data: the data set.
        raw: folder that ``nnUNet_raw`` will name; what it held is removed.

    Returns:
        The data set's folder in it, ``Dataset999_NAME`` if its name has no number of its own.
    """
    shutil.rmtree(raw, ignore_errors=True)
    name = data.root.name
    folder = raw / (name if _NAME.fullmatch(name) else f"Dataset999_{re.sub(r'[^A-Za-z0-9]+', '', name) or 'Data'}")
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for case, mask in data.labels.items():
        for image in data.images[case]:
            _link(image, folder / "imagesTr" / image.name)
        _link(mask, folder / "labelsTr" / mask.name)
    write_json(folder / "dataset.json", {**data.description, "numTraining": len(data.labels)})
    return folder


def image_lists(data: RawData, cases: Sequence[str]) -> list[list[str]]:
    """Paths of the channels of some cases.

    Raises:
        PeerError: a case without images.
    """
    missing = [case for case in cases if case not in data.images]
    if missing:
        raise PeerError(f"{data.root.name}: no image of {missing[0]} in imagesTr; it is one of the cases to predict")
    return [[str(path.resolve()) for path in data.images[case]] for case in cases]


def _read_splits(path: Path, images: dict[str, list[Path]], labels: dict[str, Path]) -> list[dict[str, list[str]]]:
    if not path.is_file():
        return []
    splits = read_json(path)
    for number, fold in enumerate(splits):
        unknown = sorted({*fold["train"], *fold["val"]} - images.keys())
        if unknown:
            raise PeerError(f"{path}: fold {number} names {unknown[0]}, which imagesTr has no image of")
    return [{part: [case for case in fold[part] if case in labels] for part in ("train", "val")} for fold in splits]


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # a file system or a system without links
        shutil.copyfile(source, target)
