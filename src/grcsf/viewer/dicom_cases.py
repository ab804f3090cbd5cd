"""The series of a DICOM study as cases of the viewer; no name, identifier or free text of it is shown."""

from __future__ import annotations

from pathlib import Path

from grcsf.errors import ImageError
from grcsf.io.dicom.series import main_parts
from grcsf.io.dicom.study import open_study
from grcsf.viewer.layers import CaseList, Layer, ViewCase

__all__ = ["dicom_cases"]


def dicom_cases(path: Path) -> CaseList:
    """One case per image series; localizers are left out.

    Args:
        path: DICOM file, folder or zip.

    Raises:
        ImageError: no DICOM there, damaged headers, or no image series.
    """
    with open_study(path) as study:
        parts = main_parts(study.parts)
        notes = [f"{count} x {reason}; left out" for reason, count in study.skipped.items()]
    if not parts:
        raise ImageError(f"{path}: no CT, MR or PET image series in it; grcsf validate -i shows why")
    cases = []
    for part in parts:
        note = f"series {part.token}: resampled to an even grid ({part.stack.fault_text()})"
        notes += [note] if part.stack.faults else []
        cases.append(ViewCase(f"series {part.token}", (Layer("image", "", part.facts(), path, part.token),)))
    modalities = {part.modality for part in parts}
    modality = modalities.pop() if len(modalities) == 1 else None
    return CaseList("DICOM study", tuple(cases), modality=modality, notes=tuple(notes))
