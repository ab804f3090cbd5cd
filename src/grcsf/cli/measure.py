"""The command ``grcsf measure``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from grcsf.cli.options import LabelsOption, OutOption, OverwriteOption, ResumeOption, end_with, labels_of, say

__all__ = ["measure"]


def measure(
    input: Annotated[Path, typer.Option("-i", "--input", help="3-D mask, or folder of masks.")],
    output: OutOption,
    labels: LabelsOption = None,
    midline: Annotated[
        str | None, typer.Option("--midline", help="origin (default: x = 0, MNI), centre of the grid, or x in mm RAS.")
    ] = None,
    connectivity: Annotated[
        str | None, typer.Option("--connectivity", help="full (default), edge or face: which voxels touch.")
    ] = None,
    min_lesion_mm3: Annotated[
        float | None, typer.Option("--min-lesion-mm3", help="Leave smaller components out; default 0.")
    ] = None,
    min_side_share: Annotated[
        float | None, typer.Option("--min-side-share", help="Above it the smaller side counts; default 0.05.")
    ] = None,
    atlas: Annotated[Path | None, typer.Option("--atlas", help="Label volume of territories, same space.")] = None,
    atlas_names: Annotated[Path | None, typer.Option("--atlas-names", help="YAML of NAME: VALUE for it.")] = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Stroke measures of masks: lesion load (ml), number of lesions, side, volume by vascular territory."""
    named = labels_of(labels)
    from grcsf.evaluation.clinical.stroke import StrokeRules
    from grcsf.evaluation.clinical.stroke_cases import stroke_table
    from grcsf.verbs.measure import measure as call

    flags: dict[str, Any] = {
        "connectivity": connectivity,
        "min_lesion_mm3": min_lesion_mm3,
        "min_side_share": min_side_share,
        **_midline(midline),
    }
    summary = call(
        input,
        output,
        labels=named,
        rules=StrokeRules.of(flags),
        atlas=atlas,
        atlas_names=atlas_names,
        resume=resume,
        overwrite=overwrite,
    )
    say(stroke_table(summary))
    end_with(summary.failed)


def _midline(text: str | None) -> dict[str, str | float]:
    try:
        return {} if text is None else {"midline": "given", "midline_x_mm": float(text)}
    except ValueError:
        return {"midline": str(text)}
