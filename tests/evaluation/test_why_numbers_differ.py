"""docs/concepts/why-numbers-differ.md says what libraries say: its tables are made here, from the masks it shows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from evaluation_libraries import (
    deepmind_scores,
    distances,
    example,
    monai_one_sided,
    monai_scores,
    panoptica_scores,
)
from grcsf.evaluation.lesions import score_lesions
from grcsf.evaluation.surface import score_surface

PAGE = Path(__file__).resolve().parents[2] / "docs" / "concepts" / "why-numbers-differ.md"

PANOPTICA = {  # printed by panoptica 2.1.7 (numpy 2.2.6): HD, HD95, ASSD, NSD at 1 mm
    "outlier": (12.727922061357855, 1.0, 0.7108262424372044, 0.9827586206896552),
    "tail": (12.0, 11.0, 2.270238095238095, 0.6857142857142857),
}


def row(library, *values):
    return f"| {library} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


def rows(name):
    """The table of an example: HD, HD95, ASSD, NSD at 1 mm."""
    pair = example(name)
    ours = score_surface(*pair, tolerances_mm=(1.0,))
    hd, hd95, (one, two), share = deepmind_scores(*pair)
    return [
        "| library | HD | HD95 | ASSD | NSD at 1 mm |",
        "| --- | ---: | ---: | ---: | ---: |",
        row("grcsf", *ours.values()),
        row("MONAI 1.6.1", *monai_scores(*pair)),
        row("panoptica 2.1.7", *PANOPTICA[name]),
        row("surface-distance 0.1", hd, hd95, (one + two) / 2, share),
    ]


@pytest.mark.parametrize("name", ["outlier", "tail"])
def test_the_page_holds_the_table(name):
    assert "\n".join(rows(name)) in PAGE.read_text("utf-8")


@pytest.mark.parametrize("name", ["outlier", "tail"])
def test_the_page_shows_the_masks(name):
    reference, prediction, _ = example(name)
    letters = np.where(reference & prediction, "X", np.where(reference, "R", np.where(prediction, "P", ".")))
    rows_used = np.flatnonzero((reference | prediction).any(axis=1))
    columns = np.flatnonzero((reference | prediction).any(axis=0))
    lines = ["".join(letters[k, columns[0] : columns[-1] + 1]) for k in range(rows_used[0], rows_used[-1] + 1)]
    assert "\n".join(lines) in PAGE.read_text("utf-8")


@pytest.mark.parametrize("name", ["outlier", "tail"])
def test_panoptica_printed_what_its_formulas_give(name):
    assert PANOPTICA[name] == pytest.approx(panoptica_scores(distances(name)))


def test_outlier_by_hand():
    """Rims of 28; 14 voxels of each lie 1 pixel off; the outlier lies 9 diagonals from the corner (11, 11)."""
    far = 9 * math.sqrt(2)
    ours = score_surface(*example("outlier"), tolerances_mm=(1.0,))
    assert tuple(ours.values()) == pytest.approx((far, 1.0, (14 + 14 + far) / 57, 56 / 57))
    assert monai_one_sided(*example("outlier")) == pytest.approx((14 + far) / 29)
    assert PANOPTICA["outlier"] == pytest.approx((far, 1.0, (14 / 28 + (14 + far) / 29) / 2, (28 / 28 + 28 / 29) / 2))
    # the outlier alone is a contour of 4 corners of half a diagonal each, 2.8 of 33.7 mm: more than 5 %
    assert deepmind_scores(*example("outlier"))[1] > 12


def test_tail_by_hand():
    """The prediction's 35 border voxels: 11 at 0 mm, two each at 1 to 12 mm; the reference's 12: one at 1 mm."""
    total, near = 2 * sum(range(1, 13)), 11 + 2
    ours = score_surface(*example("tail"), tolerances_mm=(1.0,))
    hd95 = 11 + (0.95 * 34 - 32) * (12 - 11)  # rank 32.3 of 0 to 34
    assert tuple(ours.values()) == pytest.approx((12, hd95, (total + 1) / (35 + 12), (near + 12) / (35 + 12)))
    pooled = 11  # ranks 43 and 44 of 0 to 46, for 0.95 * 46 = 43.7
    assert PANOPTICA["tail"] == pytest.approx((12, pooled, (total / 35 + 1 / 12) / 2, (near / 35 + 1) / 2))


def test_a_single_slice_volume_is_scored_as_the_slice_here_and_as_all_border_in_monai():
    reference, prediction, spacing = example("outlier")
    flat = reference[..., None], prediction[..., None], (*spacing, 5.0)
    assert score_surface(*flat, tolerances_mm=(1.0,)) == score_surface(
        reference, prediction, spacing, tolerances_mm=(1.0,)
    )
    theirs = monai_scores(*flat)
    # every voxel is border: 64 + 65 of them, 8 of each not shared, 1 mm off, and the outlier
    assert theirs[2] == pytest.approx((8 + 8 + 9 * math.sqrt(2)) / (64 + 65), rel=1e-5)
    line = f"ASSD {score_surface(*flat)['assd_mm']:.3f} mm here and {theirs[2]:.3f} mm in MONAI"
    assert line in PAGE.read_text("utf-8")


def test_one_prediction_over_two_lesions_is_two_detections_or_one_or_none():
    reference, prediction = np.zeros((2, 9, 9), bool)
    reference[1:3, 1:4] = reference[1:3, 5:8] = True
    prediction[1:3, 1:8] = True
    found = {name: score_lesions(reference, prediction, (1.0, 1.0), name) for name in ("isles2022", "panoptica-iou0.5")}
    assert (found["isles2022"].n_detected, found["panoptica-iou0.5"].n_detected) == (2, 0)  # IoU 6 / 14
    assert "finds both lesions under `isles2022` and none under `panoptica-iou0.5`" in PAGE.read_text("utf-8")
