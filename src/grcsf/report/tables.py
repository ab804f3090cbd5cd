"""Rows of the page's tables: scores, cases, data, provenance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grcsf.datasets.dataset import Dataset
from grcsf.errors import GrcsfError
from grcsf.evaluation.metrics import METRICS
from grcsf.evaluation.summary import CaseScore, LabelSummary, MeanScores, summarise
from grcsf.io.volume import read_geometry
from grcsf.report.collect import FoldContents, Record, RunContents

__all__ = ["LabelScores", "ScoreRow", "data_facts", "package_versions", "score_tables", "stage_rows"]

_HEADERS_READ = 200


@dataclass(frozen=True)
class ScoreRow:
    """One line of a score table: which fold, which cases, how many entered the means, and the means."""

    fold: str
    cases: str
    n: int
    means: tuple[float, ...]
    is_overall: bool = False


@dataclass(frozen=True)
class LabelScores:
    """The score table of one label and the sentences below it."""

    label: str
    rows: tuple[ScoreRow, ...]
    remarks: tuple[str, ...]


def score_tables(folds: Sequence[FoldContents], *, pooled: bool = True) -> list[LabelScores]:
    """One table per label: each fold, then all folds together with the strata of lesion size.

    The numbers are computed from the cases of ``cases.csv`` by the same functions that wrote ``summary.json``.

    Args:
        folds: folds, or methods.
        pooled: add the rows of all folds together; methods on the same cases have none.
    """
    scored = [(fold.name, fold.scores) for fold in folds if fold.scores is not None]
    if not scored:
        return []
    dims = scored[0][1].spatial_dims
    labels = list(dict.fromkeys(case.label for _, table in scored for case in table.cases))
    tables = []
    for label in labels:
        rows: list[ScoreRow] = []
        everything: list[CaseScore] = []
        for name, table in scored:
            cases = [case for case in table.cases if case.label == label]
            everything += cases
            if (len(scored) > 1 or not pooled) and cases:
                rows += _rows(name, summarise(cases, 0, dims), strata=not pooled)
        if not pooled:
            tables.append(LabelScores(label, tuple(rows), ()))
            continue
        overall = summarise(everything, 0, dims)
        rows += _rows("all folds" if len(scored) > 1 else scored[0][0], overall, strata=True)
        tables.append(LabelScores(label, tuple(rows), tuple(_remarks(overall))))
    return tables


def _rows(fold: str, summary: LabelSummary, strata: bool) -> Iterable[ScoreRow]:
    yield _row(fold, "all cases", summary.all_cases, strata)
    yield _row(fold, "with lesion", summary.lesion_cases, strata)
    if strata:
        for name, means in summary.by_size.items():
            if means.n:
                yield _row(fold, f"lesion {name.replace('mm2', 'mm²')}", means, True)


def _row(fold: str, cases: str, means: MeanScores, is_overall: bool) -> ScoreRow:
    return ScoreRow(fold, cases, means.n_used, tuple(means.mean[name] for name in METRICS), is_overall)


def _remarks(summary: LabelSummary) -> Iterable[str]:
    if math.isfinite(summary.global_dice):
        yield f"Dice of the voxels of all cases added up: {summary.global_dice:.3f}."
    yield f"{summary.n_false_alarms} of {summary.n_lesion_free} lesion-free cases have a false positive."


def data_facts(run: RunContents, dataset: Dataset | None) -> list[tuple[str, str]]:
    """Name, cases, patients, channels, sizes and spacings, from the data set or the fingerprint, if they are there."""
    facts: list[tuple[str, str]] = []
    name = dataset.name if dataset else run.fingerprint.get("dataset")
    if name:
        facts.append(("Data set", str(name)))
    if dataset:
        patients = len({case.group for case in dataset.cases})
        labelled = sum(case.label is not None for case in dataset.cases)
        facts.append(("Cases", f"{len(dataset.cases)} of {patients} patients, {labelled} with a reference mask"))
        if dataset.test_cases:
            facts.append(("Test cases", str(len(dataset.test_cases))))
        facts.append(("Channels", ", ".join(dataset.channel_names)))
        facts.append(("Labels", ", ".join(f"{label} = {value}" for label, value in dataset.labels.items())))
    elif isinstance(run.fingerprint.get("cases"), list):
        facts.append(("Cases the plan was made from", str(len(run.fingerprint["cases"]))))
    if run.is_comparison:
        facts.append(("Methods", ", ".join(fold.name for fold in run.folds)))
    elif any(record.stage == "run" for record in run.records) or len(run.folds) > 1:
        facts.append(("Folds in this run", ", ".join(fold.name for fold in run.folds)))
    scored = {case.case for fold in run.folds if fold.scores for case in fold.scores.cases}
    if scored:
        lesion = {case.case for fold in run.folds if fold.scores for case in fold.scores.cases if case.has_lesion}
        facts.append(("Cases scored", f"{len(scored)}, {len(lesion)} with a lesion"))
    facts += _grids(run, dataset)
    return facts + _plan_facts(run.plan)


def _grids(run: RunContents, dataset: Dataset | None) -> list[tuple[str, str]]:
    grids = [
        (tuple(case["shape"]), tuple(case["spacing_mm"]))
        for case in run.fingerprint.get("cases", [])
        if isinstance(case, dict) and "shape" in case and "spacing_mm" in case
    ]
    source = "right x anterior x superior"
    if run.fingerprint.get("native_2d"):
        grids, source = [(shape[1:], spacing[1:]) for shape, spacing in grids], "rows x columns"
    if not grids and dataset:
        source = "rows x columns" if dataset.file_ending == ".png" else "order of the file"
        for case in dataset.cases[:_HEADERS_READ]:
            try:
                geometry = read_geometry(case.images[0], dataset.spacing_mm)
            except GrcsfError:
                continue
            grids.append((geometry.shape, geometry.spacing_mm))
    if not grids:
        return []
    sizes = _spread([shape for shape, _ in grids], "{:.0f}")
    spacings = _spread([spacing for _, spacing in grids], "{:.3g}")
    origin = "images the plan was made from" if run.fingerprint.get("cases") else "images"
    counted = f"{len(grids)} {origin}, {source}"
    return [("Size in voxels", f"{sizes} ({counted})"), ("Spacing in mm", f"{spacings} ({counted})")]


def _spread(rows: Sequence[tuple[float, ...]], form: str) -> str:
    """Median of each axis, and its range where the images differ."""
    parts = []
    for values in zip(*rows, strict=False):
        ordered = sorted(values)
        low, middle, high = (form.format(value) for value in (ordered[0], ordered[len(ordered) // 2], ordered[-1]))
        parts.append(middle if low == high else f"{middle} [{low} to {high}]")
    return " x ".join(parts)


def _plan_facts(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if plan.get("spatial_dims") in (2, 3):
        network = f"{plan['spatial_dims']}-D"
        if plan["spatial_dims"] == 2 and not plan.get("native_2d"):
            network += ", slices of volumes"
            if plan.get("context"):
                network += f" with {plan['context']} on each side as further channels"
        facts.append(("Network works on", network))
    spacing, patch = plan.get("spacing_mm"), plan.get("patch_size")
    if isinstance(spacing, list):
        words = " x ".join("as it is" if value is None else f"{float(value):.3g}" for value in spacing)
        facts.append(("Preprocessed spacing in mm", f"{words} (slice, row, column)"))
    if isinstance(patch, list):
        facts.append(("Training patch in voxels", " x ".join(str(edge) for edge in patch)))
    return facts


def stage_rows(records: Sequence[Record]) -> list[dict[str, str]]:
    """One row per ``run.json``: stage, state, start, wall-clock and processor time, peak memory, device, seed."""
    return [
        {
            "stage": record.stage,
            "status": str(record.entries.get("status") or "unknown"),
            "error": str(record.entries.get("error") or ""),
            "started": str(record.entries.get("started") or "").removesuffix("+00:00").replace("T", " "),
            "seconds": _duration(record.entries.get("seconds")),
            "cpu": _duration(record.entries.get("cpu_seconds")),
            "memory": _amount(record.entries.get("peak_memory_mb")),
            "device": str(record.entries.get("device") or ""),
            "seed": "" if record.entries.get("seed") is None else str(record.entries["seed"]),
        }
        for record in records
    ]


def package_versions(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Versions of grcsf, Python and the libraries; several where the stages ran with different ones."""
    found: dict[str, list[str]] = {}
    for record in records:
        entries = record.entries
        versions = entries.get("versions")
        named = {
            "grcsf": entries.get("grcsf"),
            "git commit": entries.get("git_commit"),
            "platform": entries.get("platform"),
        }
        named |= versions if isinstance(versions, dict) else {}
        for name, version in named.items():
            if version and str(version) not in found.setdefault(str(name), []):
                found[str(name)].append(str(version))
    return [(name, ", ".join(versions)) for name, versions in found.items() if versions]


def _duration(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s"


def _amount(megabytes: object) -> str:
    return f"{megabytes:,.0f} MB" if isinstance(megabytes, int | float) else ""
