"""Reports of what grcsf evaluate wrote: the same numbers as in its files, one method or several."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grcsf.errors import DatasetError, GrcsfError, SettingsError
from grcsf.evaluation.methods.statistics import bootstrap_mean
from grcsf.report.collect import collect_run
from grcsf.report.measured import find_subjects, label_numbers, main_keys, shared_cases
from grcsf.report.page import write_report
from grcsf.report.words import interval_text, threshold_text
from grcsf.verbs.evaluate import evaluate
from grcsf.verbs.report import report
from pages import Page

MakeSample = Callable[..., Any]


def numbers_of(folder: Path, subjects: dict[str, str] | None = None) -> Any:
    run = collect_run(folder)
    (label,) = label_numbers(run, find_subjects(run, None, subjects))
    return label


def test_the_interval_of_a_run_is_that_of_its_cases(make_sample: MakeSample) -> None:
    sample = make_sample()
    run = collect_run(sample.run)
    dice = [
        score.scores["dice"]
        for fold in run.folds
        if fold.scores
        for score in sorted(fold.scores.cases, key=lambda s: s.case)
        if score.has_lesion
    ]
    (method,) = numbers_of(sample.run).methods
    found = method.scores["dice"]
    assert found.n == len(dice) == 7  # eight cases, one without a lesion
    assert found.mean == pytest.approx(sum(dice) / 7)
    assert found.low < found.mean < found.high
    page = Page(write_report(sample.run, None))
    assert interval_text(found) in page.text


def test_a_subject_with_several_cases_counts_once(make_sample: MakeSample) -> None:
    sample = make_sample(folds=1)
    one, two, *rest = [s for s in collect_run(sample.run).folds[0].scores.cases if s.has_lesion]
    subjects = {one.case: "same", two.case: "same"}
    (method,) = numbers_of(sample.run, subjects).methods
    both = (one.scores["dice"] + two.scores["dice"]) / 2
    values = [*(case.scores["dice"] for case in rest), both]  # sorted by subject: case-..., then same
    assert method.scores["dice"] == bootstrap_mean(values)


def test_where_subjects_come_from_is_said(make_sample: MakeSample, tmp_path: Path) -> None:
    sample = make_sample(folds=1)
    assert "from the names of the cases" in Page(write_report(sample.run, None)).text
    (sample.run / "data_cases.csv").write_text("case,subject\ncase-1,p1\ncase-2,p1\n")
    assert "from the folder's own list" in Page(write_report(sample.run, None, overwrite=True)).text
    assert "from the data set" in Page(write_report(sample.run, sample.dataset, overwrite=True)).text
    given = tmp_path / "who.json"
    given.write_text(json.dumps({f"case-{index}": "p" for index in range(8)}))
    page = Page(report(sample.run, subjects=given, overwrite=True))
    assert "from the file given" in page.text
    assert "8 cases of 1 subject " in page.text


def test_scores_of_one_method_make_a_page_with_and_without_pictures(make_sample: MakeSample, tmp_path: Path) -> None:
    sample = make_sample(folds=1)
    masks = sample.run / "fold_0" / "validation"
    scores = tmp_path / "evaluated"
    evaluate(sample.dataset, masks, scores, images=sample.dataset)
    bare = Page(write_report(scores, None))
    assert bare.all("img") == []
    assert len(bare.rows) == 8
    assert "any-overlap, version 1: voxels of one lesion touch by any corner" in bare.text
    assert "Lesions found, high contrast" in bare.text
    shown = Page(report(scores, sample.dataset, predictions=[masks], overwrite=True))
    assert len(shown.all("img")) == 8 * 5
    folders = {"reference": sample.dataset / "labelsTr", "images": sample.dataset / "imagesTr"}
    plain = Page(report(scores, predictions=[masks], **folders, overwrite=True))
    assert len(plain.all("img")) == 8 * 5


def test_a_comparison_shows_the_numbers_of_its_file(make_comparison: Callable[..., Any]) -> None:
    made = make_comparison(3)
    stored = json.loads((made.folder / "comparison.json").read_text())["labels"]["lesion"]
    label = numbers_of(made.folder)
    assert [method.name for method in label.methods] == ["ours", "moved", "far"]
    page = Page(write_report(made.folder, made.dataset, predictions=made.methods))
    for method in label.methods:
        dice = stored["methods"][method.name]["scores"]["dice"]
        found = method.scores["dice"]
        assert (found.mean, found.low, found.high, found.n) == (dice["mean"], dice["low"], dice["high"], dice["n"])
        assert interval_text(found) in page.text
    assert len(stored["pairs"]) == len(label.pairs) == 3
    for pair, (tree, found) in enumerate(zip(stored["pairs"], label.pairs, strict=True)):
        assert (tree["a"], tree["b"]) == (found.a, found.b), pair
        assert tree["differences"]["dice"]["p_holm"] == found.differences["dice"].p_holm
        assert f"{found.a} \u2212 {found.b}" in page.text
    for words in ("p (Holm)", "rank-biserial", "Methods differ most", "Case by case", "as the comparison counted them"):
        assert words in page.text


def test_methods_stand_side_by_side_in_pictures(make_comparison: Callable[..., Any]) -> None:
    made = make_comparison(2)
    page = Page(write_report(made.folder, made.dataset, predictions=made.methods))
    alts = [attributes["alt"] or "" for attributes in page.all("img")]
    for name in ("ours", "moved"):
        assert sum(f"Prediction by {name} of" in alt for alt in alts) == 8
    assert sum("Residual" in alt for alt in alts) == 8 * 2  # beside the masks of ours alone
    assert {row[0] for row in page.rows} == {"ours", "moved"}
    assert len(page.rows) == 2 * 8


def test_two_methods_have_their_differences_in_the_table(make_comparison: Callable[..., Any]) -> None:
    made = make_comparison(2)
    page = Page(write_report(made.folder, None))
    assert "difference, moved \u2212 ours" in page.text
    assert page.all("img") == []
    assert "No folder of predictions was given" in page.text


def test_a_comparison_knows_its_subjects_again(make_comparison: Callable[..., Any]) -> None:
    made = make_comparison(2)
    run = collect_run(made.folder)
    assert run.subjects == {f"case-{index}": f"case-{index}" for index in range(8)}
    assert find_subjects(run, None, None).source == "the folder's own list"


def test_cases_that_one_method_lacks_are_not_ranked(make_comparison: Callable[..., Any]) -> None:
    made = make_comparison(2)
    path = made.folder / "moved" / "cases.csv"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("case-3,")]
    path.write_text("\n".join(lines))
    assert shared_cases(collect_run(made.folder)) == {f"case-{index}" for index in range(8)} - {"case-3"}


def test_infinite_distances_are_said_and_do_not_fail(make_comparison: Callable[..., Any], tmp_path: Path) -> None:
    made = make_comparison(2)
    path = made.folder / "comparison.json"
    tree = json.loads(path.read_text())
    one = tree["labels"]["lesion"]["methods"]["ours"]
    one["scores"]["hd95_mm"] = {"mean": None, "low": None, "high": None, "n": 5, "n_missing": 2, "level": 0.95}
    one["n_infinite"] = {"hd95_mm": 1}
    path.write_text(json.dumps(tree))
    label = numbers_of(made.folder)
    assert math.isinf(label.methods[0].scores["hd95_mm"].mean)
    assert "hd95_mm" in main_keys(label)
    page = Page(write_report(made.folder, None))
    assert "hd95 (mm) ∞ 2 without a value, 1 infinite 5" in page.text


def test_further_scores_are_in_the_table_and_the_overview(make_sample: MakeSample, tmp_path: Path) -> None:
    from grcsf.config import load_settings

    sample = make_sample(folds=1)
    settings = load_settings(None, ["evaluation.metrics=[surface,volume]"])
    scores = tmp_path / "evaluated"
    evaluate(sample.dataset, sample.run / "fold_0" / "validation", scores, settings=settings)
    page = Page(write_report(scores, None))
    for words in ("hd95 (mm)", "nsd 2mm", "area difference (mm²)", "specificity"):
        assert page.text.count(words) >= 3  # overview, head of the table, choice of the column to filter by


def test_a_stored_calibration_is_drawn(make_sample: MakeSample) -> None:
    sample = make_sample(folds=1)
    bins = [
        {"low": 0.0, "high": 0.5, "n": 90, "mean_probability": 0.1, "share_positive": 0.05},
        {"low": 0.5, "high": 1.0, "n": 0, "mean_probability": None, "share_positive": None},
    ]
    tree = {"n_cases": 8, "ece": 0.0123, "ece_candidates": None, "brier": 0.2, "bins": bins}
    (sample.run / "fold_0" / "scores" / "calibration.json").write_text(json.dumps(tree))
    page = Page(write_report(sample.run, None))
    assert "Reliability curve" in page.text
    assert "0.0123 - 0.2000" in page.text
    assert any("calibration error 0.0123" in (svg.get("aria-label") or "") for svg in page.all("svg"))


def test_the_threshold_is_that_of_the_predictions(make_sample: MakeSample) -> None:
    sample = make_sample(folds=1)
    assert "probability above 0.5" in Page(write_report(sample.run, None)).text
    prediction = sample.run / "fold_0" / "validation" / "prediction.json"
    prediction.write_text(json.dumps({"inference": {"threshold": 0.35}}))
    assert "probability above 0.35" in Page(write_report(sample.run, None, overwrite=True)).text


@pytest.mark.parametrize(
    ("inference", "text"),
    [
        ({}, "not recorded here"),
        ({"threshold": 0.5, "min_lesion_peak": 0.0, "min_lesion_mm": 0.0}, "probability above 0.5"),
        ({"threshold": 0.9, "min_lesion_peak": 0.8}, "probability above 0.9"),
        (
            {"threshold": 0.5, "min_lesion_peak": 0.8, "min_lesion_mm": 4.0},
            "probability above 0.5; and above 0.8 somewhere in each component; "
            "components below 4 mm² or mm³ are left out",
        ),
    ],
)
def test_what_made_a_mask_of_probabilities_is_told(inference: dict[str, float], text: str) -> None:
    assert threshold_text(inference) == text


def test_a_comparison_without_its_methods_is_an_error(make_comparison: Callable[..., Any]) -> None:
    made = make_comparison(2)
    for name in made.methods:
        shutil.rmtree(made.folder / name)
    with pytest.raises(GrcsfError, match="without the folders of its methods"):
        write_report(made.folder, None)


@pytest.mark.parametrize("label", [[], {"methods": []}, {"methods": {"ours": 7}}, {"methods": {}, "pairs": [{}]}])
def test_a_comparison_of_another_shape_is_an_error_of_the_user(
    make_comparison: Callable[..., Any], label: object
) -> None:
    made = make_comparison(2)
    path = made.folder / "comparison.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": {"lesion": label}}))
    try:
        Page(write_report(made.folder, None))
    except GrcsfError as error:
        assert "compare again" in str(error)


def test_names_of_methods_never_lead_out_of_the_folder(make_comparison: Callable[..., Any], tmp_path: Path) -> None:
    made = make_comparison(2)
    (tmp_path / "elsewhere").mkdir()
    path = made.folder / "comparison.json"
    tree = {**json.loads(path.read_text()), "methods": ["ours", "../elsewhere", str(tmp_path / "elsewhere"), "..", 3]}
    path.write_text(json.dumps(tree))
    assert [fold.name for fold in collect_run(made.folder).folds] == ["ours"]


def test_wrong_folders_are_told(make_comparison: Callable[..., Any], tmp_path: Path) -> None:
    made = make_comparison(2)
    with pytest.raises(SettingsError, match="predictions of nobody"):
        report(made.folder, predictions={"nobody": made.methods["ours"]})
    with pytest.raises(DatasetError, match="no such folder"):
        report(made.folder, predictions={"ours": tmp_path / "absent"})
    with pytest.raises(DatasetError, match="no such folder"):
        report(made.folder, reference=tmp_path / "absent")
    with pytest.raises(SettingsError, match="at least 0"):
        report(made.folder, cases=-1)
    assert not (made.folder / "report.html").exists()
