"""The table of cases and the words of the page: nothing lost, nothing taken for markup, nothing of the machine."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.evaluation.methods.statistics import Interval
from grcsf.evaluation.presets import PRESETS
from grcsf.report.case_table import CaseTable, Column, case_table, json_block
from grcsf.report.collect import collect_run
from grcsf.report.measured import Subjects
from grcsf.report.page import write_report
from grcsf.report.words import (
    interval_text,
    measure_title,
    number_text,
    p_text,
    preset_text,
    score_text,
    size_text,
    without_folders,
)
from pages import Page


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_name_survives_the_block_of_rows_and_none_ends_it(names: list[str]) -> None:
    table = CaseTable((Column("Case", False),), tuple((name,) for name in names), 0)
    block = json_block(table, dict.fromkeys(names, 1))
    assert not set(block) & set("<>&")
    tree = json.loads(block)
    assert tree["rows"] == [[name] for name in names]
    assert tree["places"] == dict.fromkeys(names, 1)


def test_rows_are_worst_first_with_every_case(make_large: Callable[..., Path]) -> None:
    table = case_table(collect_run(make_large(200)), Subjects({}, ""))
    titles = [column.title for column in table.columns]
    assert titles[:4] == ["Case", "Reference, ml", "Prediction, ml", "Dice"]
    assert len(table.rows) == 200
    assert len(table.first_rows) == 50
    scores = [row[3] for row in table.rows if row[3] != "-"]
    assert scores == sorted(scores)
    assert [row[3] for row in table.rows[len(scores) :]] == ["-"] * (200 - len(scores))


def test_columns_that_say_nothing_are_left_out(make_sample: Callable[..., Any]) -> None:
    sample = make_sample()
    run = collect_run(sample.run)
    cases = {f"case-{index}": f"case-{index}" for index in range(8)}
    heads = [column.title for column in case_table(run, Subjects(cases, "")).columns]
    assert heads[:2] == ["Fold", "Case"]  # one label, every subject its case
    assert not {"Subject", "Label", "f1"} & set(heads)
    heads = [column.title for column in case_table(run, Subjects({**cases, "case-1": "p"}, "")).columns]
    assert heads[:3] == ["Fold", "Case", "Subject"]


def test_three_thousand_cases_make_a_small_page(make_large: Callable[..., Path]) -> None:
    folder = make_large(3000)
    path = write_report(folder, None)
    assert path.stat().st_size < 3_000_000
    page = Page(path)
    assert len(page.rows) == 3000
    assert sum(tag == "tr" for tag, _ in page.tags) < 150  # 50 rows, and the small tables
    assert len(page.tags) < 6000  # marks of the figures are one picture each


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (math.nan, "-"), (math.inf, "∞"), (None, "-")],
)
def test_scores_have_three_decimals(value: float | None, text: str) -> None:
    assert score_text(value) == text


def test_sizes_and_numbers_are_never_in_powers_of_ten() -> None:
    assert [size_text(v) for v in (0.0, 0.00001, 0.01234, 9.876, 123456.7)] == [
        "0",
        "0.000",
        "0.0123",
        "9.88",
        "123457",
    ]
    numbers = (-0.0001, -0.5, 123.45, 12345.6, math.inf)
    assert [number_text(v, signed=True) for v in numbers] == ["0.000", "\u22120.500", "+123.5", "+12346", "∞"]
    assert number_text(-math.inf) == "\u2212∞"


def test_an_interval_without_ends_is_its_mean() -> None:
    assert interval_text(Interval(0.5, 0.25, 0.75, 9)) == "0.500 (0.250 to 0.750)"
    assert interval_text(Interval(0.5, math.nan, math.nan, 1)) == "0.500"
    assert interval_text(Interval(math.nan, math.nan, math.nan, 0)) == interval_text(None) == "-"


def test_small_p_values_are_bounds() -> None:
    assert [p_text(p) for p in (0.00099, 0.001, 1.0, math.nan)] == ["< 0.001", "0.001", "1.000", "-"]


def test_measures_have_readable_names() -> None:
    assert measure_title("absolute_relative_volume_difference") == "absolute relative volume difference"
    assert measure_title("fp_area_mm2") == "fp area (mm²)"
    assert measure_title("dice@below 100 mm2") == "Dice (F1), below 100 mm²"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_told_in_words(name: str) -> None:
    preset = PRESETS[name]
    for dims in (2, 3):
        text = preset_text(preset.to_dict(), dims)
        assert text.startswith(f"{name}, version {preset.version}: voxels of one lesion touch by")
        assert "a lesion is found" in text
    assert ("0.5" in preset_text(preset.to_dict(), 3)) is (preset.threshold == 0.5)
    assert preset_text({}, 3) == "not recorded"
    assert preset_text({"name": "old"}, 3) == "old"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("preset: /home/Jane Doe/study one/rules.yaml", "preset: rules.yaml"),
        ("/data/a/b.nii.gz and imagesTr/c.nii.gz differ", "b.nii.gz and imagesTr/c.nii.gz differ"),
        ("~/data/a.nii.gz cannot be read", "a.nii.gz cannot be read"),
        ("C:\\Users\\jane\\a.nii.gz", "a.nii.gz"),
        ("\\\\server\\share\\a.png", "a.png"),
        ("file=/mnt/x/y.json;", "file=y.json;"),
        ("https://example.org/a/b.html stays", "https://example.org/a/b.html stays"),
        ("imagesTr/a.png and 1/2 and </div> stay", "imagesTr/a.png and 1/2 and </div> stay"),
    ],
)
def test_folders_of_a_machine_are_left_out(text: str, kept: str) -> None:
    assert without_folders(text) == kept


def test_no_absolute_path_reaches_the_page(make_sample: Callable[..., Any]) -> None:
    sample = make_sample(folds=1)
    secret = "/home/jane.doe/secret-study"
    settings = sample.run / "settings.yaml"
    settings.write_text(settings.read_text().replace("preset: any-overlap", f"preset: {secret}/rules.yaml"))
    assert secret in settings.read_text()
    scores = sample.run / "fold_0" / "scores"
    summary = json.loads((scores / "summary.json").read_text())
    (scores / "summary.json").write_text(json.dumps({**summary, "failed": {"case-9": f"{secret}/case-9.png: broken"}}))
    record = json.loads((sample.run / "run.json").read_text())
    record |= {"status": "failed", "error": f"DatasetError: {secret}/x", "inputs": {f"{secret}/dataset.json": "ab"}}
    (sample.run / "run.json").write_text(json.dumps(record))
    page = Page(write_report(sample.run, sample.dataset))
    assert "secret-study" not in page.html
    assert "jane" not in page.html
    assert str(sample.run.parent) not in page.html
    for words in ("rules.yaml", "case-9.png: broken", "DatasetError: x", "run: dataset.json"):
        assert words in page.text
