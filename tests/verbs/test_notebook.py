"""What results show in Jupyter, and ``grcsf.show``."""

from __future__ import annotations

import builtins
import dataclasses
import gzip
import importlib
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import grcsf
from grcsf.benchmark.run import BenchmarkResult
from grcsf.datasets.case_check import Problem
from grcsf.datasets.validate import ValidationReport
from grcsf.errors import ImageError, SettingsError
from grcsf.evaluation.html import failed_html
from grcsf.evaluation.methods.comparison import Comparison
from grcsf.evaluation.summary import Summary
from grcsf.io.geometry import Volume, make_geometry
from grcsf.io.volume import read_volume
from grcsf.verbs.demo import DemoResult
from grcsf.verbs.info import ModelInfo
from grcsf.verbs.run import RunResult
from notebook_html import read, texts

AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)
    return path


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of four masks: the truth, a method that is right, one that is a voxel off."""
    root = tmp_path_factory.mktemp("SMITH_JOHN")
    mask = np.zeros((16, 16, 4), np.uint8)
    mask[4:9, 4:9, 1:3] = 1
    for name, found in {"truth": mask, "right": mask, "off": np.roll(mask, 1, axis=1)}.items():
        for index in range(4):
            save(root / name / f"case-{index}.nii.gz", found)
    return root


@pytest.fixture(scope="module")
def summary(masks: Path) -> Summary:
    return grcsf.evaluate(masks / "truth", masks / "off")


@pytest.fixture(scope="module")
def comparison(masks: Path) -> Comparison:
    return grcsf.compare(masks / "truth", [masks / "right", masks / "off"])


def test_a_summary_shows_its_means(summary: Summary) -> None:
    text = read(summary._repr_html_())
    assert text.startswith("Scores of 4 cases")
    assert "lesionwith lesion40.800" in text  # 4 of 5 columns are shared: Dice 2 * 40 / (50 + 50)
    assert "4 of 4 lesions detected, 0 of 4 predicted ones false" in text
    assert "when_empty=" in text


@given(label=texts, size=texts, case=texts, reason=texts)
def test_names_of_labels_and_cases_stay_text(summary: Summary, label: str, size: str, case: str, reason: str) -> None:
    one = dataclasses.replace(summary.labels["lesion"], by_size={size: summary.labels["lesion"].lesion_cases})
    changed = dataclasses.replace(summary, labels={label: one}, failed={case: reason})
    assert ".failed says why" in read(changed._repr_html_()) or len(case) > 300


@given(st.lists(texts, min_size=1, max_size=5, unique=True), texts)
def test_names_of_methods_stay_text(comparison: Comparison, names: list[str], label: str) -> None:
    (one,) = comparison.labels.values()
    methods = tuple(dataclasses.replace(one.methods[0], name=name) for name in names)
    changed = dataclasses.replace(one, label=label, methods=methods)
    assert "Wilcoxon" in read(dataclasses.replace(comparison, labels={"x": changed})._repr_html_()) or len(label) > 300


def test_a_comparison_shows_methods_and_their_difference(comparison: Comparison) -> None:
    text = read(comparison._repr_html_())
    assert text.startswith("2 methods on 4 cases of 4 subjects")
    assert "dice1.000 (1.000 to 1.000) n=40.800 (0.800 to 0.800) n=4" in text
    assert "diceoff - right-0.2004" in text


def test_hundreds_of_labels_stay_small(summary: Summary) -> None:
    labels = {f"label {index} {'&' * 200}": summary.labels["lesion"] for index in range(500)}
    assert "more rows" in read(dataclasses.replace(summary, labels=labels)._repr_html_())


def test_reasons_of_failures_are_not_shown_for_they_may_name_folders(masks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "off"
    for path in (masks / "off").iterdir():
        (folder / path.name).parent.mkdir(exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes()[: 60 if "case-2" in path.name else None])
    found = grcsf.evaluate(masks / "truth", folder)
    text = read(found._repr_html_())
    assert "Not scored: 1 (case-2); .failed says why." in text
    assert "SMITH" not in text
    assert str(tmp_path) not in text
    assert failed_html({}, "scored") == ""


def test_results_of_verbs_show_numbers_and_no_folder(summary: Summary, masks: Path, tmp_path: Path) -> None:
    run = RunResult({0: summary, 1: summary}, {"case-9": f"{masks}/case-9.nii: bad"}, masks / "report.html")
    shown = {
        "Fold 1": run,
        "Report: report.html": DemoResult(summary, masks, masks / "report.html"),
        "Page: tables.html": BenchmarkResult({"a": str(masks)}, ("b",), masks / "tables.html"),
        "error: grid-mismatch1": ValidationReport(
            3, 2, [Problem("a", "error", "grid-mismatch", f"{masks}/a: differs")]
        ),
        "No errors": ValidationReport(),
        "GCU1,2345,678": ModelInfo("lesion-model", {"GCU": 1234}, {"GCU": 5678}, (8, 8), (), {"cases": masks}),
        "lesion": grcsf.measure(masks / "truth", tmp_path / "measures"),
        "Agreement": grcsf.agreement(tmp_path / "measures" / "measures.csv", tmp_path / "measures" / "measures.csv"),
    }
    for expected, result in shown.items():
        text = read(result._repr_html_())
        assert expected in text, type(result).__name__
        assert "SMITH" not in text, type(result).__name__
        assert str(masks.parent) not in text


def test_calcium_shows_its_scores(tmp_path: Path) -> None:
    ct, mask = np.full((12, 12, 3), -50, np.int16), np.zeros((12, 12, 3), np.uint8)
    ct[3:7, 3:7, 1], mask[3:7, 3:7, 1] = 250, 1
    found = grcsf.calcium(save(tmp_path / "a.nii.gz", ct), save(tmp_path / "m.nii.gz", mask), tmp_path / "out")
    text = read(found._repr_html_())
    assert "Calcium of 1 scans" in text
    assert "32.0" in text  # 16 mm2 times 2, for a peak of 200 to 299 HU, in a slice of 3 mm


# The viewer.


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return save(
        tmp_path / "SMITH_JOHN" / "scan.nii.gz", np.random.default_rng(0).standard_normal((5, 6, 7)).astype("f4")
    )


def test_show_gives_a_viewer_with_the_images_in_it(scan: Path, tmp_path: Path) -> None:
    ipyniivue = pytest.importorskip("ipyniivue")
    values = read_volume(scan).array
    mask = save(tmp_path / "mask.nii.gz", (values > 1).astype(np.uint8))
    importance = Volume(np.abs(values), read_volume(scan).geometry, tmp_path / "scan_importance-1.mha")
    widget = grcsf.show(scan, mask, importance, height=300)
    assert isinstance(widget, ipyniivue.NiiVue)
    base, first, second = widget.volumes
    assert [one.name for one in widget.volumes] == ["scan.nii.gz", "mask.nii.gz", "scan_importance-1.nii.gz"]
    assert (base.opacity, first.opacity, second.opacity) == (1.0, 0.5, 0.5)
    assert (first.colormap, second.colormap) == ("red", "warm")
    for one, expected in ((base, values), (first, values > 1), (second, np.abs(values))):
        assert one.url is one.path is None  # nothing to fetch, no folder told to the page
        read_back = nibabel.Nifti1Image.from_bytes(gzip.decompress(one.data))
        np.testing.assert_array_equal(read_back.get_fdata(), expected.astype(np.float64))
        np.testing.assert_allclose(read_back.affine, AFFINE)


def test_show_takes_pictures_and_flags(tmp_path: Path) -> None:
    pytest.importorskip("ipyniivue")
    geometry = make_geometry((5, 6), np.diag([2.0, 3.0, 1.0, 1.0]), tmp_path)
    picture = Volume(np.arange(30, dtype=np.int64).reshape(5, 6), geometry, Path("SMITH_JOHN"))
    flags = Volume(np.eye(5, 6, dtype=bool), geometry, Path("mask.png"))
    widget = grcsf.show(picture, flags)
    assert [one.name for one in widget.volumes] == ["image-0.nii.gz", "mask.nii.gz"]
    shapes = [nibabel.Nifti1Image.from_bytes(gzip.decompress(one.data)).shape for one in widget.volumes]
    assert shapes == [(5, 6, 1), (5, 6, 1)]


def test_show_names_the_extra_where_it_is_missing(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(SettingsError, match=r"pip install 'grcsf\[notebook\]'"):
        grcsf.show(scan)


def test_show_refuses_what_cannot_be_shown(scan: Path, tmp_path: Path) -> None:
    pytest.importorskip("ipyniivue")
    with pytest.raises(SettingsError, match="expected 50 pixels or more"):
        grcsf.show(scan, height=0)
    with pytest.raises(ImageError, match="no such file"):
        grcsf.show(scan, tmp_path / "absent.nii.gz")
    (tmp_path / "bad.nii.gz").write_bytes(scan.read_bytes()[:100])
    with pytest.raises(ImageError, match=r"bad\.nii\.gz"):
        grcsf.show(tmp_path / "bad.nii.gz")
    broken = Volume(np.full((2, 2, 2), np.nan), make_geometry((2, 2, 2), AFFINE, tmp_path), Path("x.nii"))
    with pytest.raises(ImageError, match="NaN or infinite"):
        grcsf.show(scan, broken)


def test_the_package_does_not_import_the_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def guard(name: str, *rest: object, **more: object) -> object:
        assert not name.startswith(("ipyniivue", "anywidget", "IPython"))
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", guard)
    importlib.reload(importlib.import_module("grcsf.verbs.show"))
