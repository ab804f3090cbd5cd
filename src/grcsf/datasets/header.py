"""The ``dataset.json`` of an nnU-Net raw folder, version 2 or the older version 1, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grcsf.errors import DatasetError
from grcsf.io.files import read_json, write_json
from grcsf.io.volume import IMAGE_ENDINGS

__all__ = ["Header", "parse_header", "read_header", "write_dataset_json"]


@dataclass(frozen=True)
class Header:
    """The entries of ``dataset.json`` that grcsf uses; see :class:`~grcsf.datasets.dataset.Dataset`."""

    channel_names: tuple[str, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)
    file_ending: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    groups: dict[str, str] | None = None
    num_training: int | None = None


def read_header(folder: Path) -> tuple[Header, list[str]]:
    """What ``dataset.json`` in ``folder`` says, and every fault in it.

    Raises:
        DatasetError: the folder or the file is missing, or not JSON.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; expected a data set with dataset.json, imagesTr and labelsTr")
    path = folder / "dataset.json"
    if not path.is_file():
        raise DatasetError(f"{folder}: no dataset.json in it; expected a data set in nnU-Net raw layout")
    raw = read_json(path, DatasetError)
    if not isinstance(raw, dict):
        raise DatasetError(f"{path}: expected a JSON object, found a {type(raw).__name__}")
    return parse_header(raw)


def parse_header(raw: Mapping[str, Any]) -> tuple[Header, list[str]]:
    """The usable entries of a parsed ``dataset.json``, and every fault in it."""
    faults: list[str] = []
    ending = raw.get("file_ending")
    if ending is not None and ending not in IMAGE_ENDINGS:
        faults.append(f"file_ending {ending!r} found; expected one of {', '.join(IMAGE_ENDINGS)}")
        ending = None
    count = raw.get("numTraining")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool)):
        faults.append(f"numTraining {count!r} found; expected a whole number")
        count = None
    header = Header(
        channel_names=_channel_names(raw.get("channel_names", raw.get("modality")), faults),
        labels=_labels(raw.get("labels"), faults),
        file_ending=ending,
        spacing_mm=_spacing(raw.get("spacing_mm"), faults),
        groups=_groups(raw.get("groups"), faults),
        num_training=count,
    )
    return header, faults


def write_dataset_json(
    folder: Path,
    *,
    channel_names: tuple[str, ...],
    labels: Mapping[str, int],
    num_training: int,
    file_ending: str,
    spacing_mm: tuple[float, ...] | None = None,
    groups: Mapping[str, str] | None = None,
    **extra: object,
) -> None:
    """Write ``dataset.json`` in nnU-Net's version 2 form, with the entries grcsf adds.

    Args:
        folder: the data set folder.
        channel_names: in channel order.
        labels: value of each class, ``background`` is 0.
        num_training: cases in ``imagesTr``.
        file_ending: such as ".nii.gz".
        spacing_mm: (rows, columns), for PNG.
        groups: patient of each case, where the names do not tell.
        **extra: further entries, such as ``description`` and ``licence``.

    Raises:
        OutputError: the file cannot be written.
    """
    entries: dict[str, object] = {
        "channel_names": {str(index): name for index, name in enumerate(channel_names)},
        "labels": dict(labels),
        "numTraining": num_training,
        "file_ending": file_ending,
    }
    if spacing_mm is not None:
        entries["spacing_mm"] = spacing_mm
    if groups is not None:
        entries["groups"] = dict(groups)
    write_json(folder / "dataset.json", {**entries, **extra})


def _channel_names(found: object, faults: list[str]) -> tuple[str, ...]:
    expected = 'expected {"0": "FLAIR", "1": "T1", ...}'
    if not isinstance(found, dict) or not found:
        faults.append(f"channel_names {found!r} found; {expected}")
        return ()
    keys = [str(index) for index in range(len(found))]
    if sorted(found, key=str) != sorted(keys):
        faults.append(f"channel_names numbered {', '.join(map(str, found))}; {expected} without gaps")
        return ()
    return tuple(str(found[key]) for key in keys)


def _labels(found: object, faults: list[str]) -> dict[str, int]:
    if not isinstance(found, dict) or not found:
        faults.append(f'labels {found!r} found; expected {{"background": 0, "lesion": 1}}')
        return {}
    values = {str(name): value for name, value in found.items()}
    if all(isinstance(value, str) for value in values.values()) and all(name.isdigit() for name in values):
        values = {value: int(name) for name, value in values.items()}  # version 1: {"0": "background"}
    wrong = {name: value for name, value in values.items() if not _is_label(value)}
    if wrong:
        faults.append(f"labels {wrong} found; expected one whole number from 0 to 255 each (no regions)")
        return {}
    if "ignore" in values:
        faults.append(
            f"labels name an ignore label ({values['ignore']}); grcsf leaves no voxels out of training and scores and "
            "would take these for a lesion: correct the masks, or leave such cases out, and remove the label"
        )
    if 0 not in values.values() or len(values) < 2:
        faults.append(f"labels {values} found; expected 0 for the background and at least one lesion class")
    if len(set(values.values())) < len(values):
        faults.append(f"labels {values} found; expected a different value for each class")
    return values


def _is_label(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _spacing(found: object, faults: list[str]) -> tuple[float, ...] | None:
    if found is None:
        return None
    if (
        isinstance(found, list)
        and len(found) == 2
        and all(isinstance(step, int | float) and step > 0 for step in found)
    ):
        return tuple(float(step) for step in found)
    faults.append(f"spacing_mm {found!r} found; expected two numbers above 0, for the rows and columns of PNG images")
    return None


def _groups(found: object, faults: list[str]) -> dict[str, str] | None:
    if found is None:
        return None
    if isinstance(found, dict):
        return {str(case): str(patient) for case, patient in found.items()}
    faults.append(f'groups {found!r} found; expected {{"case name": "patient", ...}}')
    return None
