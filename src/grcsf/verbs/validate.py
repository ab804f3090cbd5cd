"""``grcsf validate``: every problem of a data set at once."""

from __future__ import annotations

from pathlib import Path

from grcsf.datasets.dicom import DicomReport, validate_dicom
from grcsf.datasets.sources.check import validate_source
from grcsf.datasets.sources.coca import COCA
from grcsf.datasets.validate import ValidationReport
from grcsf.io.dicom.files import is_dicom_input
from grcsf.io.files import ensure_new, write_json

__all__ = ["findings_text", "validate"]


def validate(
    dataset: str | Path,
    output: str | Path | None = None,
    *,
    tolerance_mm: float = 1e-3,
    workers: int = 0,
    overwrite: bool = False,
) -> ValidationReport:
    """Check a data set before anything is computed from it, or list the series of a DICOM study.

    Args:
        dataset: a data set of any known source, or a DICOM file, folder or zip.
        output: JSON file for the findings; none writes nothing.
        tolerance_mm: how far the corners of image and mask grids may lie apart.
        workers: threads that read files.
        overwrite: replace ``output``.

    Returns:
        All problems, what the chain will need in memory and on disk.
    """
    if output is not None:
        ensure_new(Path(output), overwrite)
    path = Path(dataset)
    dicom = not COCA.evidence(path) and is_dicom_input(path)
    report = validate_dicom(path) if dicom else validate_source(path, tolerance_mm, workers)
    if output is not None:
        write_json(Path(output), report.to_json())
    return report


def findings_text(report: ValidationReport, name: str) -> str:
    """One line per problem, then what the data set (called ``name``) holds and needs."""
    lines = [f"{problem.severity}: {problem.case or name}: {problem.message}" for problem in report.problems]
    what = f"{report.n_cases} cases, {report.n_with_lesion} with a lesion"
    if isinstance(report, DicomReport):
        lines += report.listing
        what = f"{report.n_cases} image series"
    memory, disk = report.estimate.memory_bytes / 1024**3, report.estimate.disk_bytes / 1024**3
    lines.append(
        f"{what}; about {memory:.2f} GB of memory for the largest case and {disk:.2f} GB on disk when preprocessed"
    )
    if report.source:
        lines.append(f"source: {report.source}")
    errors = sum(problem.severity == "error" for problem in report.problems)
    lines.append(f"{errors} error(s)" if errors else "no errors")
    return "\n".join(lines)
