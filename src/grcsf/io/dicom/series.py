"""Which stacks of slices a study holds, how they are listed, and which of them is meant.

A DICOM series may hold several: scouts in three planes, echoes, b-values, time points. Each becomes a part of its own.
"""

from __future__ import annotations

import fnmatch
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grcsf.errors import ImageError
from grcsf.io.dicom.headers import SPLITTERS, WITHOUT_PLACE, FileHeader, Frame
from grcsf.io.dicom.stack import Stack, make_stack

__all__ = ["Part", "choose_parts", "list_parts", "main_parts", "skipped_objects"]

_RULES = ("all", "largest", "thinnest")


@dataclass(frozen=True, eq=False)
class Part:
    """A stack of slices of one series.

    Attributes:
        token: what ``--series`` takes: the series number, with ``.2`` for the second part of a series.
        study_uid, series_uid: identifiers; never written but into a DICOM segmentation object.
        modality: such as "MR".
        description: free text of the scanner; for the terminal only.
        detail: what sets the part apart from the others of its series, such as "echo time 30".
        stack: its slices.
        localizer: whether it is a scout.
        lacking: files of its series that do not say where they lie.
    """

    token: str
    study_uid: str
    series_uid: str
    modality: str
    description: str
    detail: str
    stack: Stack
    localizer: bool
    lacking: int = 0

    def text(self) -> str:
        """One line for a terminal; holds the free text of the scanner, so it belongs in no file."""
        return f"--series {self.token}: {self.facts()}" + (f" [{self.description}]" if self.description else "")

    def facts(self) -> str:
        """What it is, without free text or identifiers."""
        columns, rows, slices = self.stack.shape
        steps = (*self.stack.spacing_mm, self.stack.gap_mm)
        grid = f"{columns} x {rows} x {slices}, {' x '.join(f'{step:.4g}' for step in steps)} mm"
        notes = [self.detail, "localizer" if self.localizer else "", self.stack.fault_text()]
        if self.stack.duplicates:
            notes.append(f"{len(self.stack.duplicates)} more slice(s) at positions that are taken")
        if self.lacking:
            notes.append(f"{self.lacking} slice(s) without position")
        return "; ".join([f"{self.modality} {grid}", *(note for note in notes if note)])


def list_parts(headers: Iterable[FileHeader]) -> list[Part]:
    """The stacks among usable files, sorted by series number."""
    series: dict[str, list[FileHeader]] = defaultdict(list)
    lacking = Counter[str]()
    for header in headers:
        lacking[header.series_uid] += header.unusable == WITHOUT_PLACE
        if header.frames:
            series[header.series_uid].append(header)
    numbers = Counter(files[0].series_number for files in series.values())
    ordered = sorted(series.items(), key=lambda item: (item[1][0].series_number, item[0]))
    parts, seen = [], Counter[int]()
    for uid, files in ordered:
        number = files[0].series_number
        seen[number] += 1
        name = (
            str(number) if numbers[number] == 1 else f"{number}{chr(96 + seen[number]) if seen[number] <= 26 else ''}"
        )
        groups = _split([frame for file in files for frame in file.frames])
        for index, (detail, frames) in enumerate(groups, 1):
            token = name if len(groups) == 1 else f"{name}.{index}"
            scout = "LOCALIZER" in {word.upper() for word in frames[0].image_type}
            head = files[0]
            stack = make_stack(frames)
            parts.append(
                Part(token, head.study_uid, uid, head.modality, head.description, detail, stack, scout, lacking[uid])
            )
    return parts


def skipped_objects(headers: Iterable[FileHeader]) -> dict[str, int]:
    """Why files hold no usable slice, with their number."""
    return dict(sorted(Counter(header.unusable for header in headers if header.unusable).items()))


def main_parts(parts: Sequence[Part]) -> list[Part]:
    """Those that could be meant without a word: no localizers, and no single slices beside stacks."""
    images = [part for part in parts if not part.localizer]
    stacks = [part for part in images if part.stack.shape[2] > 1]
    return stacks or images


def choose_parts(parts: Sequence[Part], wanted: Sequence[str], channels: int, root: Path) -> list[tuple[Part, ...]]:
    """The cases meant: for each, one part per channel.

    Args:
        parts: all there are.
        wanted: ``--series``: one word per channel, each a token, a series UID, a word or pattern of the description,
            ``modality=MR``, ``largest`` (most slices) or ``thinnest`` (closest slices); ``all`` (one channel) takes
            every one as a case of its own. Empty: the only one that is no localizer.
        channels: that the model takes.
        root: for messages.

    Raises:
        ImageError: none or several fit; all are listed.
    """
    images = main_parts(parts)
    if not wanted and channels == 1 and len(images) == 1:
        return [(images[0],)]
    if not images and not wanted:
        raise ImageError(
            f"{root}: no CT, MR or PET image series in it; grcsf validate -i shows what was left out and why"
            f"{_listing(parts)}"
        )
    if not wanted or (channels > 1 and len(wanted) != channels):
        need = "--series once" if channels == 1 else f"--series {channels} times, one for each channel of the model"
        raise ImageError(f"{root}: {len(images)} image series; give {need}{_listing(parts)}")
    if channels == 1 and list(wanted) == ["all"] and images:
        return [(part,) for part in images]
    chosen = [_one(parts, images, word, root) for word in wanted]
    return [tuple(chosen)] if channels > 1 else [(part,) for part in chosen]


def _one(parts: Sequence[Part], images: Sequence[Part], word: str, root: Path) -> Part:
    if word in ("largest", "thinnest") and images:
        ranks = [part.stack.shape[2] if word == "largest" else -part.stack.gap_mm for part in images]
        best = [part for part, rank in zip(images, ranks, strict=True) if rank == max(ranks)]
    else:
        best = _matching(parts, images, word)
    if len(best) != 1:
        found = f"{len(best)} series fit" if best else "no series fits"
        raise ImageError(
            f"{root}: {found} --series {word!r}; expected a number, UID, description, modality=.. or one of "
            f"{', '.join(_RULES)}{_listing(best or parts)}"
        )
    return best[0]


def _matching(parts: Sequence[Part], images: Sequence[Part], word: str) -> list[Part]:
    exact = [part for part in parts if word in (part.token, part.series_uid)]
    if exact:
        return exact
    if "=" in word:
        key, value = word.split("=", 1)
        return [part for part in images if key == "modality" and part.modality.lower() == value.lower()]
    pattern = word.lower() if any(sign in word for sign in "*?[") else f"*{word.lower()}*"
    return [part for part in images if fnmatch.fnmatchcase(part.description.lower(), pattern)] if word else []


def _listing(parts: Sequence[Part]) -> str:
    return "".join(f"\n  {part.text()}" for part in parts) or ""


def _split(frames: Sequence[Frame]) -> list[tuple[str, list[Frame]]]:
    """Frames that belong to one stack, with what sets them apart."""
    groups: list[list[Frame]] = []
    for frame in frames:
        home = next((group for group in groups if _alike(group[0], frame)), None)
        if home is None:
            groups.append([frame])
        else:
            home.append(frame)
    several = len(groups) > 1
    return [(detail or (_kind(group) if several else ""), part) for group in groups for detail, part in _by_mark(group)]


def _kind(frames: Sequence[Frame]) -> str:
    return "\\".join(frames[0].image_type[2:4]).lower()


def _alike(one: Frame, two: Frame) -> bool:
    return (
        one.size == two.size
        and one.image_type == two.image_type
        and np.allclose(one.orientation, two.orientation, atol=1e-3)
        and np.allclose(one.spacing_mm, two.spacing_mm, rtol=1e-3)
    )


def _by_mark(frames: list[Frame]) -> list[tuple[str, list[Frame]]]:
    """Frames at one position told apart by the first mark that can; all together where none does."""
    if not make_stack(frames).duplicates:
        return [("", frames)]
    for name in SPLITTERS:
        groups: dict[str, list[Frame]] = defaultdict(list)
        for frame in frames:
            groups[dict(frame.marks).get(name, "")].append(frame)
        if len(groups) > 1 and not any(make_stack(group).duplicates for group in groups.values()):
            ordered = sorted(groups.items(), key=lambda item: float(item[0] or 0))
            return [(f"{name} {value}".strip(), group) for value, group in ordered]
    return [("", frames)]
