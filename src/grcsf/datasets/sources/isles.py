"""ISLES'22 and sets laid out like it: DWI, ADC and FLAIR in BIDS, lesion masks in ``derivatives``.

Layout: ``sub-*/ses-*/dwi/*_dwi.nii.gz``, ``*_adc.nii.gz``, ``anat/*_FLAIR.nii.gz``,
``derivatives/sub-*/ses-*/*_msk.nii.gz``.
Channels on another grid than the DWI, as the FLAIR of ISLES'22, are put onto it by linear interpolation: own choice,
docs/how-to/data-sources.md. The mask must lie on the grid of the DWI.
Source: second-hand, public readers of the set.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.sources.bids import BidsFile, bids_files
from grcsf.datasets.sources.lazy import LesionMask, OnGridOf
from grcsf.datasets.sources.source import BINARY, Draft, Found, Source, first_match
from grcsf.io.volume import ImageRef

__all__ = ["ISLES"]

CHANNELS = {"dwi": "DWI", "adc": "ADC", "flair": "FLAIR"}
"""Suffix of a file (in small letters) -> channel, in channel order; the first sets the grid."""

_WHERE = ("", "*/", "*/*/")
_MASKS = ("msk", "lesion-msk")
_LESION_WORDS = ("lesion", "stroke", "infarct")


def _evidence(path: Path) -> str:
    if not path.is_dir():
        return ""
    places = [f"{where}sub-*/{visit}{kind}" for where in _WHERE for visit in ("ses-*/", "") for kind in ("", "*/")]
    scan = first_match(path, [f"{place}*_dwi.nii*" for place in places])
    mask = scan and first_match(path, [f"{place}*{suffix}.nii*" for place in places for suffix in ("_msk", "-msk")])
    return f"BIDS files such as {scan.name} and {mask.name}" if scan and mask else ""


def _read(path: Path) -> Found:
    draft = Draft(path)
    visits: dict[str, dict[str, list[BidsFile]]] = defaultdict(lambda: defaultdict(list))
    for file in bids_files(path):
        if _is_mask(file):
            visits[file.visit]["mask"].append(file)
        elif file.suffix in CHANNELS:
            visits[file.visit][file.suffix].append(file)
    kinds = [kind for kind in CHANNELS if any(kind in files for files in visits.values())]
    for visit, files in sorted(visits.items()):
        _add(draft, visit, files, kinds)
    training, testing = draft.cases()
    names = tuple(CHANNELS[kind] for kind in kinds)
    dataset = Dataset(path.resolve().name, path, training, testing, names, BINARY, ".nii.gz", None, ISLES.title)
    return Found(dataset, tuple(draft.problems))


def _is_mask(file: BidsFile) -> bool:
    """Whether it is a lesion mask; ``_mask`` is the suffix of brain masks too, so its name must say lesion."""
    said = f"{file.entity('desc')} {file.entity('label')}".lower()
    return file.suffix in _MASKS or (file.suffix == "mask" and any(word in said for word in _LESION_WORDS))


def _add(draft: Draft, visit: str, files: dict[str, list[BidsFile]], kinds: list[str]) -> None:
    complete = True
    for kind in (*kinds, "mask"):
        found = files.get(kind, [])
        if len(found) > 1 and kind != "mask":
            names = ", ".join(file.path.name for file in found)
            draft.error(visit, "duplicate-case", f"{len(found)} {CHANNELS[kind]} images ({names}); keep one")
        elif not found:
            what = "lesion mask" if kind == "mask" else f"{CHANNELS[kind]} image"
            expected = f"derivatives/.../{visit}_msk.nii.gz" if kind == "mask" else f"{visit}_{kind}.nii.gz"
            missing = "missing-label" if kind == "mask" else "missing-channel"
            draft.error(visit, missing, f"no {what}; expected {expected}, or leave the subject out")
        complete = complete and (len(found) == 1 or (kind == "mask" and bool(found)))
    if not complete:
        return
    grid, *others = (files[kind][0].path for kind in kinds)
    images: tuple[ImageRef, ...] = (grid, *(OnGridOf(grid, other) for other in others))
    label = LesionMask(tuple(file.path for file in files["mask"]))
    draft.training.append(Case(visit, images, label, files[kinds[0]][0].subject))


ISLES = Source(
    "ISLES'22 (BIDS)",
    "sub-*/ses-*/ with *_dwi, *_adc, *_FLAIR and derivatives/sub-*/ses-*/*_msk.nii.gz",
    _evidence,
    _read,
)
