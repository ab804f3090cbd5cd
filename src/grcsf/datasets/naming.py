"""From file names to cases and channels: CASE_0000.nii.gz, CASE_0001.nii.gz, ... as nnU-Net names them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from grcsf.io.files import PARTIAL_PREFIX
from grcsf.io.volume import ending_of, stem_of

__all__ = ["FileGroups", "complete_cases", "group_files", "guess_group", "image_files"]

FileGroups = dict[str, dict[int, list[Path]]]
"""Case name -> channel -> files that claim to be it (one, unless something is wrong)."""

_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")
_BIDS_SUBJECT = re.compile(r"^sub-[A-Za-z0-9]+")


def image_files(folder: Path) -> list[Path]:
    """Files of a folder that have an image ending, sorted; hidden and half-written ones are left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith((".", PARTIAL_PREFIX)) and ending_of(path) is not None and path.is_file()
    )


def group_files(files: Iterable[Path], channels: int) -> FileGroups:
    """Sort image files into cases and channels by their names.

    With one channel, a name without channel suffix is a case of its own, and so is one that ends in four digits
    other than 0000 while no CASE_0000 stands beside it (``slice_0417.png``).

    Args:
        files: image files; their folders are not looked at.
        channels: how many channels a case should have.
    """
    listed = list(files)
    groups: FileGroups = defaultdict(lambda: defaultdict(list))
    first_channels = {stem_of(path)[:-5] for path in listed if stem_of(path).endswith("_0000")}
    for path in listed:
        stem = stem_of(path)
        match = _CHANNEL.match(stem)
        if match and (channels > 1 or match["case"] in first_channels):
            groups[match["case"]][int(match["channel"])].append(path)
        elif channels == 1:
            groups[stem][0].append(path)
        else:
            groups[stem][-1].append(path)  # no channel suffix where one is needed
    return {case: dict(groups[case]) for case in sorted(groups)}


def complete_cases(groups: FileGroups, channels: int) -> tuple[dict[str, tuple[Path, ...]], dict[str, list[str]]]:
    """Cases that have exactly one file per channel, and what is wrong with the others.

    Returns:
        Files of each complete case in channel order, and the messages for each of the rest.
    """
    complete: dict[str, tuple[Path, ...]] = {}
    wrong: dict[str, list[str]] = {}
    for case, files in groups.items():
        messages = _case_messages(case, files, channels)
        if messages:
            wrong[case] = messages
        else:
            complete[case] = tuple(files[channel][0] for channel in range(channels))
    return complete, wrong


def guess_group(case: str) -> str:
    """The patient of a case by its name: the BIDS subject (``sub-01``) it begins with, else the name itself."""
    match = _BIDS_SUBJECT.match(case)
    return match.group() if match else case


def _case_messages(case: str, files: Mapping[int, list[Path]], channels: int) -> list[str]:
    messages = []
    for channel, paths in sorted(files.items()):
        names = ", ".join(path.name for path in paths)
        if channel < 0:
            messages.append(f"{names}: no channel number; expected {case}_0000 to {case}_{channels - 1:04d}")
        elif channel >= channels:
            messages.append(
                f"{names}: channel {channel:04d} found, expected {channels} channel(s), 0000 to {channels - 1:04d}"
            )
        elif len(paths) > 1:
            messages.append(f"duplicate case, {names} are the same channel of one case; keep one of them")
    missing = [f"{channel:04d}" for channel in range(channels) if channel not in files]
    if missing:
        messages.append(
            f"missing channel {', '.join(missing)} of {channels}; expected a file named {case}_{missing[0]} and so on"
        )
    return messages
