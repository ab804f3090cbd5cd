"""The page itself: collects, draws, and writes one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from grcsf.datasets.dataset import Dataset
from grcsf.datasets.sources.registry import read_dataset
from grcsf.evaluation.metrics import METRICS
from grcsf.evaluation.summary import CaseScore
from grcsf.io.files import atomic_path, ensure_new
from grcsf.report.collect import RunContents, collect_run
from grcsf.report.figures import curve_figure, scatter_figure
from grcsf.report.panels import CasePanel, choose_cases, draw_tiles, window_of_plan
from grcsf.report.tables import data_facts, package_versions, score_tables, stage_rows
from grcsf.report.views import load_view

__all__ = ["REPORT_FILE", "write_report"]

REPORT_FILE = "report.html"
_POLICIES = {
    "skip": "left out of the means (when_empty = skip)",
    "one": "scored 1 (when_empty = one)",
    "zero": "scored 0 (when_empty = zero)",
}


def write_report(run: Path, dataset: Path | None, out: Path | None = None, overwrite: bool = False) -> Path:
    """Write one self-contained HTML page about a run.

    Parts that are missing (no scores, no residual maps, no data set) are left out with a sentence that says so.

    Args:
        run: output of ``grcsf run``, a single fold folder, or the output of one stage.
        dataset: data set in nnU-Net raw layout, for images and references; none: pictures without them.
        out: HTML file, or a folder for ``report.html``; none: ``report.html`` in ``run``.
        overwrite: replace a page that is there.

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
    html = _render(contents, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as partial:
        partial.write_text(html, encoding="utf-8")
    return target


def _target(run: Path, out: Path | None) -> Path:
    if out is None:
        return run / REPORT_FILE
    return out if out.suffix.lower() in (".html", ".htm") else out / REPORT_FILE


def _render(run: RunContents, dataset: Dataset | None) -> str:
    package = files("grcsf.report")
    style, script = (package.joinpath(name).read_text("utf-8").strip() for name in ("page.css", "sort.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"score": _score, "size": _size}
    template = environment.from_string(package.joinpath("template.html.j2").read_text("utf-8"))
    panels, panel_notes = _panels(run, dataset)
    return template.render(
        style=Markup(style),
        script=Markup(script),
        script_hash=digest,
        run=run,
        dataset=dataset,
        metrics=tuple(METRICS),
        facts=data_facts(run, dataset),
        curves=_curves(run),
        scatter=_scatter(run),
        scores=score_tables(run.folds),
        policy=_policy(run),
        cases=[(fold.name, case) for fold in run.folds if fold.scores for case in fold.scores.cases],
        failed={
            f"{fold.name}: {case}": why for fold in run.folds if fold.scores for case, why in fold.scores.failed.items()
        },
        unit=_unit(run),
        panels=panels,
        panel_notes=panel_notes,
        settings=run.settings_yaml,
        stages=stage_rows(run.records),
        versions=package_versions(run.records),
        inputs=_inputs(run),
        weights={fold.name: fold.weights_sha256 for fold in run.folds if fold.weights_sha256},
    )


def _score(value: float | None) -> str:
    """A score with three decimals; a dash for nan."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _size(value: float) -> str:
    """A lesion size with three figures, never in powers of ten; a dash for nan."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _unit(run: RunContents) -> str:
    dims = next((fold.scores.spatial_dims for fold in run.folds if fold.scores), 3)
    return "ml" if dims == 3 else "mm²"


def _policy(run: RunContents) -> str:
    names = {fold.scores.when_empty for fold in run.folds if fold.scores}
    if len(names) > 1:
        return "treated differently in different folds (" + ", ".join(sorted(str(name) for name in names)) + ")"
    name = next(iter(names), None)
    return _POLICIES.get(name, name) if name else "treated in a way that summary.json does not record"


def _curves(run: RunContents) -> list[tuple[str, Markup]]:
    """Titles and figures of the learning curves that are there."""
    wanted = (
        ("mae-loss", "Masked autoencoder, reconstruction loss", "mae", "loss", "mean squared error", True),
        ("train-loss", "Segmentation network, training loss", "train", "loss", "Dice + focal loss", False),
        ("dice", "Segmentation network, Dice on the selection set", "train", "selection_dice", "Dice", False),
    )
    figures = []
    for name, title, stage, column, label, log_y in wanted:
        lines = {
            fold.name: history.points(column) for fold in run.folds if (history := getattr(fold, stage)) is not None
        }
        figure = curve_figure(name, lines, label, log_y)
        if figure is not None:
            figures.append((title, figure))
    return figures


def _scatter(run: RunContents) -> Markup | None:
    groups = {
        fold.name: [
            (case.reference_size, case.scores["dice"])
            for case in fold.scores.cases
            if case.has_lesion and math.isfinite(case.reference_size)
        ]
        for fold in run.folds
        if fold.scores
    }
    return scatter_figure("size", groups, f"lesion in the reference, {_unit(run)}", "Dice")


def _panels(run: RunContents, dataset: Dataset | None) -> tuple[dict[str, list[CasePanel]], list[str]]:
    """Pictures by group, and sentences about what they lack."""
    notes = []
    if dataset is None:
        notes.append("No data set folder was given, so images and reference masks are not shown.")
    if not any(fold.predictions for fold in run.folds):
        notes.append("There is no validation folder, so predictions and residual maps are not shown.")
        if dataset is None:
            return {}, notes
    fold_of = {id(case): fold for fold in run.folds if fold.scores for case in fold.scores.cases}
    chosen = choose_cases([case for fold in run.folds if fold.scores for case in fold.scores.cases])
    if not chosen:
        scored = any(fold.scores for fold in run.folds)
        notes.append(f"No {'scored case has a lesion' if scored else 'case has been scored'}, so no case is shown.")
    groups: dict[str, list[CasePanel]] = {}
    residuals = 0
    for group, scores in chosen.items():
        for score in scores:
            fold = fold_of[id(score)]
            panel = _panel(score, fold.name, fold.predictions, run, dataset)
            if panel is not None:
                residuals += panel.scale is not None
                groups.setdefault(group, []).append(panel)
    if groups and not residuals:
        notes.append("No residual maps were found beside the predictions (no RCU, or they were not kept).")
    if chosen and not groups:
        notes.append("None of the files of the chosen cases could be read.")
    return groups, notes


def _panel(
    score: CaseScore, fold: str, predictions: Mapping[str, Path], run: RunContents, dataset: Dataset | None
) -> CasePanel | None:
    case = (
        next((item for item in (*dataset.cases, *dataset.test_cases) if item.name == score.case), None)
        if dataset
        else None
    )
    view = load_view(
        score.case,
        case.images[0] if case else None,
        case.label if case else None,
        predictions,
        dataset.spacing_mm if dataset else None,
    )
    if view is None:
        return None
    kind = run.settings.get("residual", {}).get("kind") if isinstance(run.settings.get("residual"), dict) else None
    signed = None if kind is None else kind == "signed"
    tiles, scale = draw_tiles(score.case, view, signed, window_of_plan(run.plan))
    notes = view.notes
    if dataset is not None and case is None:
        notes = (*notes, "This case is not in the data set given.")
    size = f"{_size(score.reference_size)} {_unit(run)}"
    return CasePanel(score.case, fold, score.scores["dice"], size, view.place, tiles, scale, notes)


def _inputs(run: RunContents) -> list[tuple[str, str, str]]:
    """(stage, name, SHA-256) of every input a record names."""
    rows = []
    for record in run.records:
        inputs: Any = record.entries.get("inputs")
        if isinstance(inputs, dict):
            rows += [(record.stage, str(name), str(digest or "not hashed")) for name, digest in inputs.items()]
    return rows
