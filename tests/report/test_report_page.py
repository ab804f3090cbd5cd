"""The page as a whole: complete, self-contained, safe, and patient with what is missing."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grcsf.errors import DatasetError, GrcsfError, OutputError
from grcsf.io.volume import read_volume, write_like
from grcsf.report.page import write_report
from pages import Page

MakeSample = Callable[..., Any]


@pytest.mark.parametrize("volumes", [False, True], ids=["png", "nifti"])
def test_page_has_every_part(make_sample: MakeSample, volumes: bool) -> None:
    sample = make_sample(volumes=volumes)
    path = write_report(sample.run, sample.dataset)
    assert path == sample.run / "report.html"
    page = Page(path)
    for heading in (
        "Overview",
        "Strata",
        "Distributions",
        "Sizes",
        "Cases in pictures",
        "All cases",
        "Data",
        "Learning curves",
        "Settings",
        "Provenance",
    ):
        assert heading in page.text
    for words in ("Dataset900_Sample", "8 of 8 patients", "FLAIR", "when_empty = skip", "all folds", "fold_1/train"):
        assert words in page.text
    for words in ("2.13.0", "1 min 15 s", "812 MB", "selection_fraction", "lesion below", "Best", "Median", "Worst"):
        assert words in page.text
    assert "ab" * 32 in page.text
    assert f"{1:064d}" in page.text
    assert len(page.all("img")) == 8 * 5  # 7 lesion cases and a false alarm; image, reference, prediction, two maps
    assert len(page.waiting) == 2 * 5  # the first six cases stand in the page
    assert (
        len(page.all("svg")) == 3 + 3 + 3
    )  # curves; cases, sizes, Bland-Altman; Dice and found by size, found by contrast
    assert ("slice 4 of 5" in page.text) is volumes


def test_page_asks_for_nothing_from_outside(make_sample: MakeSample) -> None:
    page = Page(write_report(*_folders(make_sample())))
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed")
        for name in ("src", "srcset", "data", "background"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/jpeg;base64,")
        if tag == "script":
            assert "src" not in attributes
        for name in ("href", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or tag == "a"
    assert "@import" not in page.html
    assert not re.search(r"url\((?!#)", page.html)


def test_ids_of_the_page_are_unique_and_references_resolve(make_sample: MakeSample) -> None:
    page = Page(write_report(*_folders(make_sample())))
    assert len(page.ids) == len(set(page.ids))
    wanted = re.findall(r'(?:href="#|url\(#)([^")]+)', page.html)
    assert set(wanted) <= set(page.ids)


def test_the_page_allows_its_own_script_and_nothing_else(make_sample: MakeSample) -> None:
    page = Page(write_report(*_folders(make_sample())))
    (policy,) = [m["content"] or "" for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:"
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


@pytest.mark.parametrize("compared", [False, True], ids=["run", "comparison"])
def test_headings_landmarks_and_figures_serve_those_who_listen(
    make_sample: MakeSample, make_comparison: Callable[..., Any], compared: bool
) -> None:
    if compared:
        made = make_comparison(3)
        page = Page(write_report(made.folder, made.dataset, predictions=made.methods))
    else:
        page = Page(write_report(*_folders(make_sample())))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for landmark in ("main", "nav"):
        assert len(page.all(landmark)) == 1
    assert page.all("a")[0] == {"class": "skip", "href": "#main"}
    for svg in page.all("svg"):
        assert svg["role"] == "img"
        assert len(svg["aria-label"] or "") > 40
    for image in page.all("img"):
        assert image["alt"]
    for section in page.all("section"):
        assert section["aria-labelledby"] in page.ids
    for head in page.all("th"):
        assert head.get("scope") in ("col", "row")
    linked = [a["href"] for a in page.all("a")]
    sections = [f"#{section['aria-labelledby']}" for section in page.all("section")]
    assert [link for link in linked if link in sections][: len(sections)] == sections


def test_case_names_are_data_not_markup(make_sample: MakeSample) -> None:
    evil = "a<img src=x onerror=alert(1)>&quot;$x_{"
    names = (evil, *(f"case-{index}" for index in range(1, 5)))
    sample = make_sample(names=names[1:], folds=1)
    cases = sample.run / "fold_0" / "scores" / "cases.csv"
    cases.write_text(cases.read_text().replace("case-3", evil))
    page = Page(write_report(sample.run, sample.dataset))
    assert "onerror" not in {name for _, attributes in page.tags for name in attributes}
    assert "<img src=x" not in page.html
    assert "a<img src=x onerror=alert(1)>&quot;$x_{" in page.text
    assert any(evil in row for row in page.rows)


def test_a_case_name_never_leads_out_of_the_folders(make_sample: MakeSample, tmp_path: Path) -> None:
    sample = make_sample(folds=1)
    validation = sample.run / "fold_0" / "validation"
    shutil.copy(validation / "case-1.png", tmp_path / "outside.png")
    cases = sample.run / "fold_0" / "scores" / "cases.csv"
    cases.write_text(cases.read_text().replace("case-1,", "../../../outside,"))
    page = Page(write_report(sample.run, None))
    assert not any("outside" in (attributes.get("alt") or "") for _, attributes in page.tags)


def test_without_dataset_predictions_are_shown_alone(make_sample: MakeSample) -> None:
    sample = make_sample()
    page = Page(write_report(sample.run, None))
    assert "No data set folder was given, so images and reference masks are not shown." in page.text
    titles = re.findall(r"<figcaption>([^<]*)</figcaption><img", page.html)
    assert set(titles) == {"Prediction", "Residual, 50 % hidden", "Residual, 75 % hidden"}


def test_what_the_units_did_is_shown_where_it_was_kept(make_sample: MakeSample) -> None:
    sample = make_sample(folds=1)
    masks = sample.run / "fold_0" / "validation"
    rng = np.random.default_rng(0)
    for kind in ("importance-1", "fusion-1-r50", "rcu-gain-1", "gcu-gain-0"):
        values = rng.uniform(size=(48, 40)).astype(np.float32)
        write_like(values, sample.dataset / "imagesTr" / "case-1_0000.png", masks / f"case-1_{kind}.mha", (1.0, 1.5))
    (masks / "case-1_fusion-2-r50.mha").write_bytes(b"no image")
    page = Page(write_report(sample.run, sample.dataset))
    titles = re.findall(r"<figcaption>([^<]*)</figcaption><img", page.html)
    for title in ("Importance, level 1", "Fusion, level 1, 50 % hidden", "RCU gain, level 1", "GCU gain, level 0"):
        assert titles.count(title) == 1
    assert "case-1_fusion-2-r50.mha is not shown" in page.text


def test_labels_have_numbers_and_figures_of_their_own(make_sample: MakeSample) -> None:
    sample = make_sample(folds=1)
    cases = sample.run / "fold_0" / "scores" / "cases.csv"
    head, *rows = cases.read_text().splitlines()
    cases.write_text("\n".join([head, *rows, *(row.replace(",lesion,", ",edema & <more>,") for row in rows)]))
    page = Page(write_report(sample.run, sample.dataset))
    assert page.text.count("Label: lesion") == page.text.count("Label: edema & <more>") == 4
    assert len(page.rows) == 2 * 8
    assert len(page.ids) == len(set(page.ids))
    assert "Dice of lesion, 7 subjects with lesion" in page.text


def test_scores_without_lesions_make_a_page(make_sample: MakeSample) -> None:
    sample = make_sample(folds=1)
    scores = sample.run / "fold_0" / "scores"
    lines = (scores / "cases.csv").read_text().splitlines()
    kept = lines[0].split(",").index("fn") + 1
    (scores / "cases.csv").write_text("\n".join(",".join(line.split(",")[:kept]) for line in lines))
    (scores / "lesions.csv").unlink()
    page = Page(write_report(sample.run, None))
    assert "Lesion F1" not in page.text
    assert "Precision" in page.text


@pytest.mark.parametrize(
    "row", ["case-9,lesion", "case-9,lesion,1,1,1,1,0.5,0.5,0.5,0.5,0.5,1,1,1,extra,,,,,,,,,,,,,,,,,,,"]
)
def test_rows_that_are_cut_or_too_long_are_told_or_read(make_sample: MakeSample, row: str) -> None:
    sample = make_sample(folds=1)
    cases = sample.run / "fold_0" / "scores" / "cases.csv"
    cases.write_text(cases.read_text() + row + "\n")
    page = Page(write_report(sample.run, None))
    assert "cases.csv holds a value that is no number" in page.text or any("case-9" in one for one in page.rows)


def test_without_residual_maps_a_sentence_says_so(make_sample: MakeSample) -> None:
    sample = make_sample()
    for path in sample.run.rglob("*_residual-*"):
        path.unlink()
    page = Page(write_report(sample.run, sample.dataset))
    assert "No residual maps were found" in page.text
    assert "Residual, 50" not in page.html


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("scores", "no scores yet"),
        ("validation", "There is no validation folder"),
        ("train", "Masked autoencoder, reconstruction loss"),
        ("mae", "Segmentation network, training loss"),
    ],
)
def test_a_missing_part_is_left_out_with_a_sentence(make_sample: MakeSample, part: str, sentence: str) -> None:
    sample = make_sample(folds=1)
    shutil.rmtree(sample.run / "fold_0" / part)
    assert sentence in Page(write_report(sample.run, sample.dataset)).text


@pytest.mark.parametrize("keep", ["mae", "train", "scores", "validation"])
def test_one_part_alone_makes_a_page(make_sample: MakeSample, keep: str) -> None:
    sample = make_sample(folds=1)
    for part in {"mae", "train", "scores", "validation"} - {keep}:
        shutil.rmtree(sample.run / "fold_0" / part)
    for name in ("run.json", "settings.yaml"):
        (sample.run / name).unlink()
    Page(write_report(sample.run, None))


@pytest.mark.parametrize("part", ["mae", "train", "scores"])
def test_the_folder_of_one_stage_makes_a_page(make_sample: MakeSample, part: str, tmp_path: Path) -> None:
    sample = make_sample(folds=1)
    page = Page(write_report(sample.run / "fold_0" / part, None, tmp_path / "page.html"))
    expected = {
        "mae": "Masked autoencoder, reconstruction loss",
        "train": "Dice on the selection set",
        "scores": "Cases scored",
    }
    assert expected[part] in page.text


def test_a_fold_folder_makes_a_page(make_sample: MakeSample, tmp_path: Path) -> None:
    sample = make_sample()
    page = Page(write_report(sample.run / "fold_1", sample.dataset, tmp_path))
    assert (tmp_path / "report.html").is_file()
    assert "all folds" not in page.text
    assert "4 cases of 4 subjects" in page.text


def test_unreadable_files_become_notes(make_sample: MakeSample) -> None:
    sample = make_sample()
    fold = sample.run / "fold_0"
    (fold / "train" / "run.json").write_text("{")
    (fold / "scores" / "cases.csv").write_text("case,dice\na,1\n")
    (fold / "mae" / "history.csv").write_bytes(b"\xff\xfe step")
    (sample.run / "fold_1" / "validation" / "case-1_residual-r50.mha").write_bytes(b"no image")
    (sample.run / "settings.yaml").write_text("a: [")
    text = Page(write_report(sample.run, sample.dataset)).text
    for note in ("train/run.json cannot be read", "cases.csv has no column", "mae/history.csv cannot be read"):
        assert note in text
    assert "settings.yaml cannot be read" in text
    assert "case-1_residual-r50.mha is not shown" in text
    assert str(sample.run.parent) not in text


def test_policies_that_differ_between_folds_are_named(make_sample: MakeSample) -> None:
    sample = make_sample()
    path = sample.run / "fold_1" / "scores" / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "when_empty": "one"}))
    assert "treated differently in different folds (one, skip)" in Page(write_report(sample.run, None)).text


def test_cases_that_were_not_scored_are_listed(make_sample: MakeSample) -> None:
    sample = make_sample()
    path = sample.run / "fold_1" / "scores" / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "failed": {"case-99": "no prediction <mask>"}}))
    page = Page(write_report(sample.run, None))
    assert "fold_1: case-99: no prediction <mask>" in page.text


def test_an_existing_page_is_kept_unless_told_otherwise(make_sample: MakeSample) -> None:
    sample = make_sample(folds=1)
    path = write_report(sample.run, None)
    first = path.read_text()
    with pytest.raises(OutputError, match="exists already"):
        write_report(sample.run, None)
    assert write_report(sample.run, None, overwrite=True).read_text() == first  # the same run gives the same page


def test_nothing_to_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GrcsfError, match="no such folder"):
        write_report(tmp_path / "absent", None)
    with pytest.raises(GrcsfError, match="nothing to report"):
        write_report(tmp_path, None)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_dataset_is_an_error(make_sample: MakeSample, tmp_path: Path) -> None:
    sample = make_sample(folds=1)
    with pytest.raises(DatasetError, match="no such folder"):
        write_report(sample.run, tmp_path / "absent")


def test_size_is_bounded_for_large_images(make_sample: MakeSample) -> None:
    sample = make_sample(names=tuple(f"case-{index}" for index in range(10)), folds=1, shape=(512, 512))
    path = write_report(sample.run, sample.dataset)
    assert path.stat().st_size < 10 * 5 * 2**16 + 2**19  # ten cases, five pictures, 64 KiB each even for noise


def test_pictures_of_empty_predictions_need_no_outline(make_sample: MakeSample) -> None:
    sample = make_sample(folds=1)
    for path in (sample.run / "fold_0" / "validation").glob("case-?.png"):
        write_like(np.zeros_like(read_volume(path).array), path, path)
    page = Page(write_report(sample.run, sample.dataset))
    assert "empty in this slice" in page.html


def _folders(sample: Any) -> tuple[Path, Path]:
    return sample.run, sample.dataset
