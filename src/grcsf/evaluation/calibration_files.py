"""Calibration of a folder of probability maps, and the files it leaves: ``calibration.json``, ``calibration.csv``."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from grcsf.errors import DatasetError, GrcsfError
from grcsf.evaluation.calibration import Reliability, reliability
from grcsf.evaluation.pairs import TOLERANCE_MM, find_masks, reference_masks
from grcsf.io.files import atomic_path, write_json
from grcsf.io.progress import track
from grcsf.io.volume import ImageRef, check_same_grid, read_volume

__all__ = ["CALIBRATION_FILES", "FolderCalibration", "calibrate_folder", "calibration_text", "write_calibration"]

CALIBRATION_FILES = ("calibration.json", "calibration.csv")
_log = logging.getLogger("grcsf")


@dataclass(frozen=True)
class FolderCalibration:
    """Calibration over the cases of a folder.

    Attributes:
        counts: of all voxels of all cases together.
        cases: cases that were counted.
        failed: case -> why it could not be.
    """

    counts: Reliability
    cases: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)


def calibrate_folder(
    reference: Path | Mapping[str, ImageRef],
    probabilities: Path,
    cases: Sequence[str],
    spacing_mm: tuple[float, ...] | None = None,
) -> FolderCalibration:
    """Compare ``CASE_prob`` maps with reference masks; any label of the reference counts as lesion.

    A map that is missing or cannot be used does not stop the others; it is named with its reason.

    Args:
        reference: folder of reference masks, or the masks by case.
        probabilities: folder of maps, any image ending.
        cases: which cases.
        spacing_mm: pixel size of PNG files.

    Raises:
        DatasetError: a folder without images, or not one map that could be used.
    """
    truth, maps = reference_masks(reference), find_masks(probabilities)
    counts: Reliability | None = None
    used, failed = [], {}
    for case in track(cases, "Calibrating"):
        try:
            found = _one_case(case, truth.get(case, ()), maps.get(f"{case}_prob", ()), spacing_mm)
        except GrcsfError as error:
            failed[case] = str(error)
            _log.warning("not calibrated: %s", error)
            continue
        counts = found if counts is None else counts + found
        used.append(case)
    if counts is None:
        reasons = "; ".join(list(failed.values())[:3])
        raise DatasetError(f"{probabilities}: not one of {len(cases)} probability maps could be used ({reasons})")
    return FolderCalibration(counts, tuple(used), failed)


def write_calibration(folder: Path, found: FolderCalibration) -> None:
    """Write both files; each atomic."""
    counts, bins = found.counts, found.counts.bins()
    tree = {
        "version": 1,
        "n_cases": len(found.cases),
        "failed": dict(found.failed),
        "n_voxels": int(counts.n.sum()),
        "ece": counts.ece(),
        "ece_candidates": counts.ece(candidates=True),
        "candidates_from": bins[1].low,
        "brier": counts.brier(),
        "bins": [asdict(one) for one in bins],
    }
    write_json(folder / CALIBRATION_FILES[0], tree)
    table = folder / CALIBRATION_FILES[1]
    with atomic_path(table) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["low", "high", "n", "mean_probability", "share_positive"])
        for one in bins:
            writer.writerow(
                [f"{one.low:g}", f"{one.high:g}", one.n, f"{one.mean_probability:.6f}", f"{one.share_positive:.6f}"]
            )


def calibration_text(found: FolderCalibration) -> str:
    """One line for the terminal."""
    counts = found.counts
    return (
        f"Calibration of {len(found.cases)} cases: ECE {counts.ece():.4f} over all voxels, "
        f"{counts.ece(candidates=True):.4f} over those of probability {counts.bins()[1].low:g} and above, "
        f"Brier score {counts.brier():.4f}."
    )


def _one_case(
    case: str, masks: tuple[ImageRef, ...], maps: tuple[Path, ...], spacing_mm: tuple[float, ...] | None
) -> Reliability:
    for role, files, name in (("reference", masks, case), ("probability map", maps, f"{case}_prob")):
        if len(files) != 1:
            raise DatasetError(f"{case}: {len(files)} files for its {role}, expected one {name}.nii.gz or the like")
    truth, prob = read_volume(masks[0], spacing_mm), read_volume(maps[0], spacing_mm)
    check_same_grid(truth, prob, f"{case}: reference and probabilities", TOLERANCE_MM)
    return reliability(np.asarray(truth.array > 0), prob.array)
