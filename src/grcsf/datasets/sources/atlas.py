"""ATLAS R2.0: T1-weighted scans of strokes in BIDS, from many sites, with lesion masks.

Layout: ``[Training/SITE/]sub-*/ses-*/anat/*_T1w.nii.gz``, masks ``*_label-L_desc-T1lesion_mask.nii.gz`` beside the
scan or below ``derivatives``; ``Testing`` holds scans without masks.
Source: second-hand, public readers of the set and its description; docs/how-to/data-sources.md.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.sources.bids import BidsFile, bids_files
from grcsf.datasets.sources.lazy import LesionMask
from grcsf.datasets.sources.source import BINARY, Draft, Found, Source, first_match

__all__ = ["ATLAS"]

_WHERE = ("", "*/", "*/*/", "*/*/*/")
_SITE = re.compile(r"sub-r(\d{3})s\d+", re.IGNORECASE)


def _is_mask(file: BidsFile) -> bool:
    return file.suffix == "mask" and "lesion" in file.entity("desc").lower()


def _evidence(path: Path) -> str:
    if not path.is_dir():
        return ""
    places = [f"{where}sub-*/{visit}anat/" for where in _WHERE for visit in ("ses-*/", "")]
    mask = first_match(path, [f"{place}*lesion_mask.nii*" for place in places])
    scan = mask and first_match(path, [f"{place}*_T1w.nii*" for place in places])
    return f"BIDS files such as {scan.name} and {mask.name}" if mask and scan else ""


def _read(path: Path) -> Found:
    draft = Draft(path)
    scans: dict[str, list[BidsFile]] = defaultdict(list)
    masks: dict[str, list[BidsFile]] = defaultdict(list)
    for file in bids_files(path):
        if file.suffix == "t1w":
            scans[file.visit].append(file)
        elif _is_mask(file):
            masks[file.visit].append(file)
    for visit, files in sorted(scans.items()):
        _add(draft, path, visit, files, masks.pop(visit, []))
    for visit, files in sorted(masks.items()):
        draft.error(visit, "missing-image", f"mask {files[0].path.name} without a T1w image")
    training, testing = draft.cases()
    dataset = Dataset(path.resolve().name, path, training, testing, ("T1w",), BINARY, ".nii.gz", None, ATLAS.title)
    return Found(dataset, tuple(draft.problems))


def _add(draft: Draft, root: Path, visit: str, scans: list[BidsFile], masks: list[BidsFile]) -> None:
    scan = _matching(scans, {mask.entity("space") for mask in masks})
    if scan is None:
        names = ", ".join(file.path.name for file in scans)
        draft.error(visit, "duplicate-case", f"{len(scans)} T1w images ({names}); keep the one the mask was drawn on")
        return
    facts = (("site", _site(scan)), ("masks", str(len(masks))))
    if masks:
        label = LesionMask(tuple(mask.path for mask in masks))
        draft.training.append(Case(visit, (scan.path,), label, scan.subject, facts))
    elif "testing" in (part.lower() for part in scan.path.relative_to(root).parts):
        draft.testing.append(Case(visit, (scan.path,), None, scan.subject, facts))
    else:
        expected = scan.path.name.replace("_T1w", "_label-L_desc-T1lesion_mask")
        draft.error(visit, "missing-label", f"no lesion mask for {scan.path.name}; expected {expected}")


def _matching(scans: list[BidsFile], spaces: set[str]) -> BidsFile | None:
    """The only scan, or the only one in the space of the masks."""
    if len(scans) == 1:
        return scans[0]
    fitting = [scan for scan in scans if scan.entity("space") in spaces]
    return fitting[0] if len(fitting) == 1 else None


def _site(scan: BidsFile) -> str:
    """The cohort: the folder above the subject (``R001``), or what its name says."""
    match = _SITE.fullmatch(scan.subject)
    above = next((part.parent.name for part in scan.path.parents if part.name == scan.subject), "")
    return above if re.fullmatch(r"[Rr]\d{3}", above) else f"R{match[1]}" if match else ""


ATLAS = Source(
    "ATLAS R2.0 (BIDS)",
    "sub-*/ses-*/anat/*_T1w.nii.gz with *_label-L_desc-T1lesion_mask.nii.gz beside it or in derivatives",
    _evidence,
    _read,
)
