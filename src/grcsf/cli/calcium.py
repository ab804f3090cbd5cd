"""The command ``grcsf calcium``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grcsf.cli.options import (
    CaseOption,
    LabelsOption,
    OutOption,
    OverwriteOption,
    ResumeOption,
    SeriesOption,
    end_with,
    labels_of,
    say,
)

__all__ = ["calcium"]

ReferenceOption = Annotated[
    Path | None, typer.Option("-r", "--reference", help="Mask file or folder of an expert, to compare with.")
]
ModeOption = Annotated[
    str | None, typer.Option("--mode", help="slice2d (default): Agatston as published; object3d: 3-D objects.")
]


def calcium(
    input: Annotated[Path, typer.Option("-i", "--input", help="CT in HU: file, folder, or DICOM file, folder, zip.")],
    mask: Annotated[Path, typer.Option("-m", "--mask", help="Mask file, or folder of masks for a folder of images.")],
    output: OutOption,
    reference: ReferenceOption = None,
    labels: LabelsOption = None,
    mode: ModeOption = None,
    threshold_hu: Annotated[
        float | None, typer.Option("--threshold-hu", help="Calcium from here on; default 130.")
    ] = None,
    threshold: Annotated[
        str | None, typer.Option("--threshold", help="at-least (default) or above the threshold.")
    ] = None,
    min_area_mm2: Annotated[float | None, typer.Option("--min-area-mm2", help="Smallest lesion; default 1.")] = None,
    connectivity: Annotated[
        str | None, typer.Option("--connectivity", help="face (default), edge or full: which voxels touch.")
    ] = None,
    mass_factor: Annotated[
        float | None, typer.Option("--mass-factor", help="Calibration, mg / (mm3 HU); default: no mass score.")
    ] = None,
    total: Annotated[str | None, typer.Option("--total", help="sum of the labels (default), or their union.")] = None,
    max_tilt_deg: Annotated[
        float | None, typer.Option("--max-tilt-deg", help="How far slices may be from axial; default 20.")
    ] = None,
    assume_hu: Annotated[bool, typer.Option("--assume-hu", help="Accept an image without a value below 0.")] = False,
    series: SeriesOption = None,
    case: CaseOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Agatston, volume and mass scores of masks on CT, by label; with a reference also what orCaScore asks for."""
    named = labels_of(labels)
    from grcsf.evaluation.clinical.calcium_files import calcium_table
    from grcsf.evaluation.clinical.calcium_rules import CalciumRules
    from grcsf.verbs.calcium import calcium as call

    flags = {
        "mode": mode,
        "threshold_hu": threshold_hu,
        "threshold": threshold,
        "min_area_mm2": min_area_mm2,
        "connectivity": connectivity,
        "mass_factor": mass_factor,
        "total": total,
        "max_tilt_deg": max_tilt_deg,
        "assume_hu": assume_hu,
    }
    summary = call(
        input,
        mask,
        output,
        reference=reference,
        labels=named,
        rules=CalciumRules.of(flags),
        series=series or (),
        case=case,
        resume=resume,
        overwrite=overwrite,
    )
    say(calcium_table(summary))
    end_with(summary.failed)
