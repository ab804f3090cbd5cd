"""Numbers of the tables: checked against arithmetic done by hand and against what evaluation wrote."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import pytest

from grcsf.report.collect import Record, collect_run
from grcsf.report.figures import curve_figure, scatter_figure
from grcsf.report.tables import data_facts, package_versions, score_tables, stage_rows


def test_rows_agree_with_summary_json(make_sample: Callable[..., Any]) -> None:
    sample = make_sample()
    (table,) = score_tables(collect_run(sample.run).folds)
    for fold in ("fold_0", "fold_1"):
        written = json.loads((sample.run / fold / "scores" / "summary.json").read_text())["labels"]["lesion"]
        rows = {row.cases: row for row in table.rows if row.fold == fold}
        assert rows["all cases"].n == written["n_used"]
        assert rows["all cases"].means == pytest.approx(tuple(written["mean"].values()), abs=1e-6)
        assert rows["with lesion"].means == pytest.approx(tuple(written["lesion_cases"].values()), abs=1e-6)


def test_overall_is_the_mean_over_cases_not_over_folds(make_sample: Callable[..., Any]) -> None:
    sample = make_sample(names=tuple(f"case-{index}" for index in range(5)))  # three cases and two
    contents = collect_run(sample.run)
    (table,) = score_tables(contents.folds)
    every = [case.scores["dice"] for fold in contents.folds if fold.scores for case in fold.scores.cases]
    overall = next(row for row in table.rows if (row.fold, row.cases) == ("all folds", "all cases"))
    assert overall.n == len(every) == 5
    assert overall.means[0] == pytest.approx(sum(every) / 5)
    strata = [row for row in table.rows if row.cases.startswith("lesion ")]
    assert sum(row.n for row in strata) == 4  # all but the lesion-free case


def test_one_fold_has_no_overall_rows(make_sample: Callable[..., Any]) -> None:
    (table,) = score_tables(collect_run(make_sample(folds=1).run).folds)
    assert {row.fold for row in table.rows} == {"fold_0"}


def test_folds_are_read_in_the_order_of_their_numbers(make_sample: Callable[..., Any]) -> None:
    sample = make_sample()
    (sample.run / "fold_1").rename(sample.run / "fold_10")
    (sample.run / "fold_2").mkdir()
    (sample.run / "fold_x").mkdir()
    assert [fold.name for fold in collect_run(sample.run).folds] == ["fold_0", "fold_2", "fold_10"]


def test_facts_come_from_fingerprint_and_plan_without_a_dataset(make_sample: Callable[..., Any]) -> None:
    sample = make_sample(folds=1)
    folder = sample.run / "preprocessed"
    folder.mkdir()
    cases = [{"name": str(n), "shape": [90 + n, 100, 20], "spacing_mm": [1.0, 1.0, 3.0]} for n in range(3)]
    (folder / "fingerprint.json").write_text(json.dumps({"dataset": "D7", "native_2d": False, "cases": cases}))
    plan = {"spatial_dims": 2, "native_2d": False, "context": 1, "spacing_mm": [None, 2.0, 2.0], "patch_size": [96, 64]}
    (folder / "plan.json").write_text(json.dumps(plan))
    facts = dict(data_facts(collect_run(sample.run), None))
    assert facts["Data set"] == "D7"
    assert (
        facts["Size in voxels"]
        == "91 [90 to 92] x 100 x 20 (3 images the plan was made from, right x anterior x superior)"
    )
    assert facts["Spacing in mm"] == "1 x 1 x 3 (3 images the plan was made from, right x anterior x superior)"
    assert facts["Preprocessed spacing in mm"] == "as it is x 2 x 2 (slice, row, column)"
    assert facts["Network works on"] == "2-D, slices of volumes with 1 on each side as further channels"
    assert facts["Training patch in voxels"] == "96 x 64"


def test_stages_are_told_in_readable_units() -> None:
    entries = {"status": "done", "seconds": 3725.0, "cpu_seconds": 12.34, "peak_memory_mb": 2048.0, "seed": 0}
    failed = {"status": "failed", "error": "TrainingError: nan", "started": "2026-01-02T03:04:05+00:00"}
    one, two = stage_rows([Record("train", entries), Record("mae", failed)])
    assert (one["seconds"], one["cpu"], one["memory"], one["seed"]) == ("1 h 02 min", "12.3 s", "2,048 MB", "0")
    assert (two["status"], two["error"], two["seconds"]) == ("failed", "TrainingError: nan", "")
    assert two["started"] == "2026-01-02 03:04:05"


def test_versions_that_differ_between_stages_are_all_named() -> None:
    records = [
        Record(stage, {"versions": {"torch": version, "monai": None}})
        for stage, version in (("a", "2.6"), ("b", "2.7"))
    ]
    assert package_versions([*records, records[0]]) == [("torch", "2.6, 2.7")]


def test_figures_are_well_formed_and_take_the_colour_of_the_page() -> None:
    lines = {"fold_0": [(1.0, 2.0), (2.0, 1.0)], "<&$x_{": [(1.0, 3.0)], "empty": []}
    for figure in (curve_figure("a", lines, "loss", True), scatter_figure("b", lines, "size", "Dice")):
        assert figure is not None
        root = ElementTree.fromstring(figure)
        assert root.tag.endswith("svg")
        assert "width" not in root.attrib
        assert "currentColor" in figure
        assert "#010203" not in figure
        assert "empty" not in figure
    assert curve_figure("a", {"fold_0": []}, "loss") is None
    assert scatter_figure("a", {"fold_0": [(0.0, 1.0)]}, "size", "Dice") is None


def test_the_same_points_give_the_same_figure() -> None:
    lines = {"fold_0": [(1.0, 2.0), (2.0, 1.0)]}
    assert curve_figure("a", lines, "loss") == curve_figure("a", lines, "loss")
