"""Medical Segmentation Decathlon: ``dataset.json`` that lists pairs of image and label; channels along a fourth axis.

Source: standard, http://medicaldecathlon.com, arXiv 1902.09063.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.groups import find_groups
from grcsf.datasets.header import parse_header
from grcsf.datasets.sources.lazy import ChannelOf
from grcsf.datasets.sources.source import Draft, Found, Source, check_case_name, inside
from grcsf.errors import DatasetError
from grcsf.io.files import read_json
from grcsf.io.volume import ImageRef, ending_of, stem_of

__all__ = ["MSD"]


def _evidence(path: Path) -> str:
    pairs = _pairs(path)
    if not pairs:
        return ""
    try:
        first = inside(path, str(pairs[0]["image"]), "dataset.json")
    except DatasetError:
        return "training pairs in dataset.json"  # reading says what is wrong
    ending = ending_of(first) or ""
    if first.with_name(f"{first.name[: len(first.name) - len(ending)]}_0000{ending}").is_file():
        return ""  # nnU-Net raw, version 1, lists pairs too, but numbers the channels
    return "training pairs in dataset.json"


def _pairs(path: Path) -> list[dict[str, Any]]:
    try:
        raw = read_json(path / "dataset.json", DatasetError)
    except DatasetError:
        return []
    pairs = raw.get("training") if isinstance(raw, dict) and "channel_names" not in raw else None
    if not isinstance(pairs, list) or not pairs or not all(isinstance(pair, dict) for pair in pairs):
        return []
    return pairs if "image" in pairs[0] and "label" in pairs[0] else []


def _read(path: Path) -> Found:
    draft, raw = Draft(path), read_json(path / "dataset.json", DatasetError)
    header, faults = parse_header(raw)
    for fault in faults:
        draft.error(None, "dataset-json", f"dataset.json: {fault}")
    for number, pair in enumerate(raw["training"], 1):
        case = _case(draft, path, f"dataset.json: training pair {number}", pair, len(header.channel_names))
        draft.training += [case] if case else []
    for number, image in enumerate(raw["test"] if isinstance(raw.get("test"), list) else [], 1):
        entry = {"image": image.get("image") if isinstance(image, dict) else image}
        case = _case(draft, path, f"dataset.json: test image {number}", entry, len(header.channel_names))
        draft.testing += [case] if case else []
    if header.num_training not in (None, len(raw["training"])):
        message = f"dataset.json declares numTraining {header.num_training}, and lists {len(raw['training'])} pairs"
        draft.error(None, "case-count", message)
    training, testing = _with_groups(draft, path, header.groups)
    dataset = Dataset(
        name=path.resolve().name,
        root=path,
        cases=training,
        test_cases=testing,
        channel_names=header.channel_names or ("image",),
        labels=header.labels,
        file_ending=".nii.gz",
        spacing_mm=None,
        source=MSD.title,
        described_by=(path / "dataset.json",),
    )
    return Found(dataset, tuple(draft.problems))


def _case(draft: Draft, root: Path, what: str, entry: dict[str, Any], channels: int) -> Case | None:
    files: dict[str, Path] = {}
    for role in ("image", "label") if "label" in entry or "training" in what else ("image",):
        try:
            files[role] = inside(root, str(entry.get(role) or ""), f"{what}, {role}")
        except DatasetError as error:
            draft.error(None, "path", str(error))
            return None
        if not files[role].is_file():
            draft.error(None, f"missing-{role}", f"{what}: no file {entry[role]}; unpack the archive again")
            return None
    image = files["image"]
    name = check_case_name(stem_of(image), what)
    images: tuple[ImageRef, ...] = (image,)
    if channels > 1:
        images = tuple(ChannelOf(image, channel, channels) for channel in range(channels))
    return Case(name, images, files.get("label"), name)


def _with_groups(
    draft: Draft, root: Path, declared: dict[str, str] | None
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Patients by ``groups`` of dataset.json or a CSV file beside it, as in nnU-Net raw; else each case is one."""
    try:
        groups = find_groups(root, [case.name for case in draft.training], declared)
        groups |= find_groups(root, [case.name for case in draft.testing], declared, complete=False)
    except DatasetError as error:
        draft.error(None, "patients", str(error))
        groups = {}
    for side in (draft.training, draft.testing):
        side[:] = [Case(case.name, case.images, case.label, groups.get(case.name, case.name)) for case in side]
    return draft.cases()


MSD = Source(
    "Medical Segmentation Decathlon",
    "dataset.json with training pairs, such as imagesTr/lung_001.nii.gz and labelsTr/lung_001.nii.gz",
    _evidence,
    _read,
)
