"""What a DICOM file, folder or zip holds and whether it can be predicted, for ``grcsf validate``."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from grcsf.datasets.case_check import Problem
from grcsf.datasets.validate import Estimate, ValidationReport
from grcsf.errors import ImageError
from grcsf.io.dicom.series import Part, main_parts
from grcsf.io.dicom.study import DicomStudy, open_study, read_part
from grcsf.io.files import to_plain

__all__ = ["DicomReport", "validate_dicom"]


@dataclass(frozen=True)
class DicomReport(ValidationReport):
    """What was found in DICOM input; ``n_cases`` counts the series that could be predicted.

    Attributes:
        series: each stack of slices, without free text or identifiers.
        listing: the same for a terminal, with the scanner's descriptions, which may hold anything; not in JSON.
    """

    series: dict[str, str] = field(default_factory=dict)
    listing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report in types that JSON knows, without the listing."""
        plain = to_plain(self)
        del plain["listing"]
        return {"ok": self.ok, **plain}


def validate_dicom(path: Path) -> DicomReport:
    """List the series at ``path`` and read the pixels of those that could be meant.

    Args:
        path: DICOM file, folder or zip.

    Returns:
        A report; nothing is raised for what is wrong with the data.

    Raises:
        GrcsfError: pydicom is not installed.
    """
    try:
        with open_study(path) as study:
            return _report(study)
    except ImageError as error:
        return DicomReport(problems=[Problem(None, "error", "unreadable", _without(str(error), path))])


def _report(study: DicomStudy) -> DicomReport:
    images = main_parts(study.parts)
    problems = [
        Problem(None, "warning", "other-object", f"{count} x {reason}; left out")
        for reason, count in study.skipped.items()
    ]
    if study.files.others:
        problems.append(Problem(None, "warning", "other-file", f"{study.files.others} file(s) that are not DICOM"))
    for part in study.parts:
        problems += _part_problems(study, part, part in images)
    if not images:
        problems.append(Problem(None, "error", "no-series", "no CT, MR or PET series that is not a localizer"))
    voxels = [prod(part.stack.shape) for part in images]
    estimate = Estimate(10 * max(voxels, default=0), 6 * sum(voxels))
    return DicomReport(
        n_cases=len(images),
        problems=problems,
        estimate=estimate,
        series={part.token: part.facts() for part in study.parts},
        listing=tuple(part.text() for part in study.parts),
    )


def _part_problems(study: DicomStudy, part: Part, meant: bool) -> list[Problem]:
    name, problems = f"series {part.token}", []
    if part.localizer:
        problems.append(Problem(name, "warning", "localizer", "a localizer; taken only if --series names it"))
    if part.stack.faults:
        message = f"{part.stack.fault_text()}; predict needs --allow-resample for it"
        problems.append(Problem(name, "warning", "uneven-slices", message))
    if part.stack.duplicates:
        message = f"{len(part.stack.duplicates)} more slice(s) at positions that are taken; equal ones are left out"
        problems.append(Problem(name, "warning", "duplicate-slices", message))
    if meant:
        try:
            read_part(study, part, allow_resample=True)
        except ImageError as error:
            problems.append(Problem(name, "error", "unreadable", _without(str(error), study.files.root)))
    return problems


def _without(message: str, path: Path) -> str:
    """A message without the path of the input, whose name may be the patient's."""
    return message.replace(f"{path}: ", "").replace(str(path), "input")
