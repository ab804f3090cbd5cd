"""The page itself: collects, draws, and writes one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from grcsf.datasets.dataset import Dataset
from grcsf.datasets.sources.registry import read_dataset
from grcsf.evaluation.metrics import METRICS
from grcsf.io.files import atomic_path, ensure_new
from grcsf.report.case_table import case_table, json_block
from grcsf.report.collect import RunContents, collect_run
from grcsf.report.gallery import CASES, Gallery, make_gallery
from grcsf.report.measured import Subjects, find_subjects, label_numbers
from grcsf.report.overview import headlines, main_table, rules, sizes_table, strata_table
from grcsf.report.score_figures import calibration, curves, label_figures
from grcsf.report.sources import find_sources
from grcsf.report.tables import data_facts, package_versions, score_tables, stage_rows
from grcsf.report.words import score_text, unit_text, without_folders

__all__ = ["REPORT_FILE", "write_report"]

REPORT_FILE = "report.html"
EAGER = 6
"""Cases whose pictures stand in the page as they are; the others wait until they are scrolled to."""
_SCRIPTS = ("table.js", "pictures.js")


def write_report(
    run: Path,
    dataset: Path | None,
    out: Path | None = None,
    overwrite: bool = False,
    *,
    predictions: Mapping[str, Path] | None = None,
    reference: Path | None = None,
    images: Path | None = None,
    subjects: Mapping[str, str] | None = None,
    cases: int = CASES,
) -> Path:
    """Write one self-contained HTML page about a run, or about the scores of one or several methods.

    Parts that are missing (no scores, no residual maps, no data set) are left out with a sentence that says so.

    Args:
        run: output of ``grcsf run``, a single fold folder, the output of one stage, or of ``grcsf evaluate`` with one
            or several methods.
        dataset: data set of any known source, for images, references and subjects; none: pictures without them.
        out: HTML file, or a folder for ``report.html``; none: ``report.html`` in ``run``.
        overwrite: replace a page that is there.
        predictions: method -> folder of its masks and maps; none: those that the run kept.
        reference: folder of reference masks, where there is no data set.
        images: folder of images, where there is no data set.
        subjects: case -> subject; none: of the data set, of the folder, else guessed from the names of cases.
        cases: most cases that are shown in pictures.

    Returns:
        The file written.

    Raises:
        GrcsfError: nothing in ``run`` that could be reported, or a data set that cannot be read.
        OutputError: the page exists already or cannot be written.
    """
    target = _target(run, out)
    ensure_new(target, overwrite)
    contents = collect_run(run)
    source = read_dataset(dataset) if dataset is not None else None
    found = find_sources(contents, source, predictions or {}, reference, images)
    html = _render(contents, source, find_subjects(contents, source, subjects), make_gallery(contents, found, cases))
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as partial:
        partial.write_text(html, encoding="utf-8")
    return target


def _target(run: Path, out: Path | None) -> Path:
    if out is None:
        return run / REPORT_FILE
    return out if out.suffix.lower() in (".html", ".htm") else out / REPORT_FILE


def _render(run: RunContents, dataset: Dataset | None, subjects: Subjects, gallery: Gallery) -> str:
    style, *scripts = (_read(name) for name in ("page.css", *_SCRIPTS))
    script = "\n".join(scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_read)
    )
    environment.filters |= {"score": score_text, "unit": unit_text}
    context = {
        "style": Markup(style),
        "script": Markup(script),
        "script_hash": digest,
        "run": run,
        "title": _title(run, dataset),
        "dataset": dataset,
        "gallery": gallery,
        "eager": EAGER,
        **_scores(run, subjects, gallery),
        **_origin(run, dataset),
    }
    return environment.get_template("page.html.j2").render(context, parts=_parts(context)).lstrip()


def _title(run: RunContents, dataset: Dataset | None) -> str:
    data = dataset.name if dataset else str(run.fingerprint.get("dataset") or "")
    return f"{data}: {run.name}" if data and data != run.name else run.name


def _read(name: str) -> str:
    return files("grcsf.report").joinpath("templates", name).read_text("utf-8").strip()


def _scores(run: RunContents, subjects: Subjects, gallery: Gallery) -> dict[str, Any]:
    """What the sections about scores show."""
    numbers = label_numbers(run, subjects)
    table = case_table(run, subjects)
    figure, rows = calibration(run)
    scored = [(fold.name, fold.scores) for fold in run.folds if fold.scores]
    return {
        "numbers": numbers,
        "label_index": {label.label: index for index, label in enumerate(numbers)},
        "headlines": headlines(run, numbers, subjects) if numbers else [],
        "main": [main_table(label) for label in numbers],
        "strata": [strata_table(label) for label in numbers],
        "agreement": [sizes_table(label, run.unit) for label in numbers],
        "drawn": [label_figures(run, label, index) for index, label in enumerate(numbers)],
        "rules": rules(run, subjects),
        "scores": score_tables(run.folds, pooled=not run.is_comparison),
        "metrics": tuple(METRICS),
        "failed": {f"{name}: {case}": why for name, scores in scored for case, why in scores.failed.items()},
        "calibration_figure": figure,
        "calibration_rows": rows,
        "table": table,
        "rows_json": json_block(table, gallery.places),
    }


def _origin(run: RunContents, dataset: Dataset | None) -> dict[str, Any]:
    """What the sections about data, training, settings and provenance show; no folder of this machine is named."""
    return {
        "facts": data_facts(run, dataset),
        "curves": curves(run.folds),
        "settings": None if run.settings_yaml is None else without_folders(run.settings_yaml),
        "stages": [{key: without_folders(text) for key, text in row.items()} for row in stage_rows(run.records)],
        "versions": package_versions(run.records),
        "inputs": _inputs(run),
        "weights": {fold.name: fold.weights_sha256 for fold in run.folds if fold.weights_sha256},
    }


def _parts(context: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Ids and titles of the sections that are there."""
    run, scored = context["run"], bool(context["numbers"])
    listed = (
        ("overview", "Overview", True),
        ("comparison", "Case by case", scored and run.is_comparison),
        ("strata", "Strata", scored),
        ("distributions", "Distributions", scored),
        ("sizes", "Sizes", scored),
        ("calibration", "Calibration", context["calibration_figure"] is not None),
        ("pictures", "Cases in pictures", True),
        ("cases", "All cases", True),
        ("data", "Data", True),
        ("curves", "Learning curves", bool(context["curves"]) or not run.is_comparison),
        ("settings", "Settings", True),
        ("origin", "Provenance", True),
    )
    return [(name, title) for name, title, there in listed if there]


def _inputs(run: RunContents) -> list[tuple[str, str, str]]:
    """(stage, name, SHA-256) of every input a record names."""
    rows = []
    for record in run.records:
        inputs: Any = record.entries.get("inputs")
        if isinstance(inputs, dict):
            rows += [
                (record.stage, without_folders(str(name)), str(digest or "not hashed"))
                for name, digest in inputs.items()
            ]
    return rows
