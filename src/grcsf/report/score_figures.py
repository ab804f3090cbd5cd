"""The figures of a label, drawn from the cases: distributions, strata, sizes, pairs of methods, calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from markupsafe import Markup

from grcsf.evaluation.summary import CaseScore
from grcsf.evaluation.volumes import agreement
from grcsf.report.collect import FoldContents, RunContents
from grcsf.report.figures import curve_figure, scatter_figure
from grcsf.report.figures_scores import (
    bland_altman_figure,
    box_figure,
    calibration_figure,
    difference_figure,
    interval_figure,
    paired_figure,
)
from grcsf.report.measured import LabelNumbers, shared_cases

__all__ = ["LabelFigures", "calibration", "curves", "label_figures"]

Titled = tuple[str, Markup]
_MOST_PAIRS = 6
"""Pairs that are drawn; the table has all."""


@dataclass(frozen=True)
class LabelFigures:
    """Titles and figures of one label by the section they stand in."""

    strata: tuple[Titled, ...]
    distributions: tuple[Titled, ...]
    sizes: tuple[Titled, ...]
    pairs: tuple[Titled, ...]


def label_figures(run: RunContents, numbers: LabelNumbers, index: int) -> LabelFigures:
    """Figures of a label; ``index`` keeps the ids of several labels apart."""
    cases = _cases(run, numbers.label)
    return LabelFigures(
        strata=tuple(_strata(numbers, index)),
        distributions=tuple(_distributions(run, cases, index)),
        sizes=tuple(_sizes(run, cases, index)),
        pairs=tuple(_pairs(numbers, cases, index)),
    )


def _cases(run: RunContents, label: str) -> dict[str, list[CaseScore]]:
    """Fold or method -> its cases; of a comparison those that all methods have."""
    wanted = shared_cases(run)
    found = {
        fold.name: [score for score in fold.scores.cases if score.label == label and score.case in wanted]
        for fold in run.folds
        if fold.scores
    }
    return {name: scores for name, scores in found.items() if scores}


def _strata(numbers: LabelNumbers, index: int) -> Iterator[Titled]:
    for name, start, end, title, what in (
        ("dice-size", "dice@", ("mm2", "ml"), "Dice by size of the lesion of a case", "Dice"),
        ("found-size", "lesions_found@", ("mm2", "ml"), "Share of lesions found by size", "share found"),
        ("found-contrast", "lesions_found@", " contrast", "Share of lesions found by contrast", "share found"),
    ):
        rows = {
            key.removeprefix(start).replace("mm2", "mm²"): {
                method.name: method.scores[key] for method in numbers.methods if key in method.scores
            }
            for key in numbers.keys
            if key.startswith(start) and key.endswith(end)
        }
        figure = interval_figure(f"{name}-{index}", rows, what)
        if figure is not None:
            yield title, figure


def _distributions(run: RunContents, cases: dict[str, list[CaseScore]], index: int) -> Iterator[Titled]:
    dice = {name: [s.scores["dice"] for s in scores if s.has_lesion] for name, scores in cases.items()}
    box = box_figure(f"box-{index}", dice, "Dice")
    if box is not None:
        yield "Dice of every case with a lesion", box
    points = {
        name: [(s.reference_size, s.scores["dice"]) for s in scores if s.has_lesion and math.isfinite(s.reference_size)]
        for name, scores in cases.items()
    }
    scatter = scatter_figure(f"size-{index}", points, f"lesion in the reference, {run.unit}", "Dice")
    if scatter is not None:
        yield "Dice of each case with a lesion against the size of its lesion", scatter


def _sizes(run: RunContents, cases: dict[str, list[CaseScore]], index: int) -> Iterator[Titled]:
    groups = cases if run.is_comparison else {run.name: [score for scores in cases.values() for score in scores]}
    for number, (name, scores) in enumerate(groups.items()):
        points = [(s.reference_size, s.prediction_size) for s in scores]
        points = [pair for pair in points if all(map(math.isfinite, pair))]
        sizes = agreement([a for a, _ in points], [b for _, b in points])
        figure = bland_altman_figure(f"sizes-{index}-{number}", points, sizes, run.unit)
        if figure is not None:
            yield (f"{name}: predicted against reference sizes" if run.is_comparison else "Bland-Altman plot"), figure


def _pairs(numbers: LabelNumbers, cases: dict[str, list[CaseScore]], index: int) -> Iterator[Titled]:
    by_case = {name: {s.case: s.scores["dice"] for s in scores if s.has_lesion} for name, scores in cases.items()}
    for number, pair in enumerate(numbers.pairs[:_MOST_PAIRS]):
        one, two = by_case.get(pair.a, {}), by_case.get(pair.b, {})
        points = [(one[case], two[case]) for case in one if case in two]
        figure = paired_figure(f"pair-{index}-{number}", points, pair.a, pair.b, "Dice")
        if figure is not None:
            yield f"{pair.a} against {pair.b}, case by case", figure
        sorted_ones = difference_figure(f"differences-{index}-{number}", points, pair.a, pair.b, "Dice")
        if sorted_ones is not None:
            yield f"Differences, {pair.a} \u2212 {pair.b}", sorted_ones


def calibration(run: RunContents) -> tuple[Markup | None, list[tuple[str, ...]]]:
    """The reliability curve where it was stored, and a row of numbers per fold or method."""
    curves, errors, rows = {}, {}, []
    for fold in run.folds:
        tree = fold.scores.calibration if fold.scores else {}
        bins = tree.get("bins")
        if not isinstance(bins, list):
            continue
        pairs = [(one.get("mean_probability"), one.get("share_positive")) for one in bins if isinstance(one, dict)]
        curves[fold.name] = [(float(p), float(q)) for p, q in pairs if _is_number(p) and _is_number(q)]
        ece = tree.get("ece")
        errors[fold.name] = float(ece) if _is_number(ece) else math.nan
        numbers = (tree.get(key) for key in ("ece", "ece_candidates", "brier"))
        rows.append(
            (fold.name, str(tree.get("n_cases", "-")), *(f"{v:.4f}" if _is_number(v) else "-" for v in numbers))
        )
    return calibration_figure("calibration", curves, errors), rows


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def curves(folds: Sequence[FoldContents]) -> list[Titled]:
    """Titles and figures of the learning curves that are there."""
    wanted = (
        ("mae-loss", "Masked autoencoder, reconstruction loss", "mae", "loss", "mean squared error", True),
        ("train-loss", "Segmentation network, training loss", "train", "loss", "Dice + focal loss", False),
        ("dice", "Segmentation network, Dice on the selection set", "train", "selection_dice", "Dice", False),
    )
    figures = []
    for name, title, stage, column, label, log_y in wanted:
        lines = {fold.name: history.points(column) for fold in folds if (history := getattr(fold, stage)) is not None}
        figure = curve_figure(name, lines, label, log_y)
        if figure is not None:
            figures.append((title, figure))
    return figures
