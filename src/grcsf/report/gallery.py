"""Which cases are shown in pictures, in which groups, and how much of them a page can hold."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grcsf.errors import GrcsfError
from grcsf.io.progress import track
from grcsf.report.collect import RunContents
from grcsf.report.measured import shared_cases
from grcsf.report.panels import ColourScale, Tile, draw_tiles, window_of_plan
from grcsf.report.sources import PictureSources
from grcsf.report.views import load_view
from grcsf.report.words import score_text, size_text, without_folders

__all__ = ["CASES", "PICTURE_BYTES", "CasePanel", "CaseRank", "Gallery", "choose_cases", "make_gallery", "rank_cases"]

CASES = 60
"""Cases that are shown in pictures unless told otherwise."""
PICTURE_BYTES = 16_000_000
"""Where pictures end, however many cases were asked for: the page stays below about 20 MB."""
_FEW, _WORST = 3, 6
_LOGGER = logging.getLogger("grcsf")


@dataclass(frozen=True)
class CaseRank:
    """What a case is ranked by.

    Attributes:
        case: its name.
        part: fold, or empty in a comparison.
        dice: method (empty: the one) -> mean Dice over the labels that the reference holds; nan if it holds none.
        size: of the lesions of the reference, all labels.
        false_size: largest predicted size of a lesion-free case; else 0.
    """

    case: str
    part: str
    dice: Mapping[str, float]
    size: float
    false_size: float

    @property
    def mean(self) -> float:
        """Mean Dice over the methods that have one; nan if none has."""
        known = [value for value in self.dice.values() if math.isfinite(value)]
        return sum(known) / len(known) if known else math.nan

    @property
    def spread(self) -> float:
        """How far the methods lie apart; 0 for one method."""
        known = [value for value in self.dice.values() if math.isfinite(value)]
        return max(known) - min(known) if len(known) > 1 else 0.0


@dataclass(frozen=True)
class CasePanel:
    """One case of the page: its number on it, what is said of it, and its pictures."""

    number: int
    case: str
    facts: tuple[str, ...]
    tiles: tuple[Tile, ...]
    scales: tuple[ColourScale, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """Pictures by group, and sentences about what they lack."""

    groups: Mapping[str, Sequence[CasePanel]]
    notes: tuple[str, ...]

    @property
    def places(self) -> dict[str, int]:
        """Case -> number of its panel."""
        return {panel.case: panel.number for panels in self.groups.values() for panel in panels}


def rank_cases(run: RunContents) -> list[CaseRank]:
    """Every scored case (of a comparison: that all methods have), lowest mean Dice first, larger lesions before."""
    wanted = shared_cases(run)
    dice: dict[str, dict[str, list[float]]] = {}
    size: dict[str, dict[str, float]] = {}
    false: dict[str, float] = {}
    part: dict[str, str] = {}
    for fold in run.folds:
        for score in fold.scores.cases if fold.scores else ():
            if score.case not in wanted:
                continue
            part[score.case] = "" if run.is_comparison else fold.name
            own = dice.setdefault(score.case, {}).setdefault(fold.name if run.is_comparison else "", [])
            if score.has_lesion and math.isfinite(score.scores["dice"]):
                own.append(score.scores["dice"])
            size.setdefault(score.case, {})[score.label] = score.reference_size
            if score.counts.n_prediction and not score.has_lesion and math.isfinite(score.prediction_size):
                false[score.case] = max(false.get(score.case, 0.0), score.prediction_size)
    ranks = [
        CaseRank(
            case=case,
            part=part[case],
            dice={method: sum(v) / len(v) if v else math.nan for method, v in own.items()},
            size=sum(value for value in size[case].values() if math.isfinite(value)),
            false_size=false.get(case, 0.0),
        )
        for case, own in dice.items()
    ]
    return sorted(ranks, key=lambda r: (math.isnan(r.mean), r.mean if r.mean == r.mean else 0.0, -r.size, r.case))


def choose_cases(ranks: Sequence[CaseRank], most: int = CASES) -> dict[str, list[CaseRank]]:
    """Groups of cases, each case once, ``most`` in all.

    First those that the methods differ most on (several methods only), then the worst; of the others the middle, the
    best, the largest false alarms in lesion-free cases; then all that are left, worst first, while there is room.
    """
    left = [rank for rank in ranks if math.isfinite(rank.mean)]
    free = sorted((r for r in ranks if math.isnan(r.mean) and r.false_size > 0), key=lambda r: (-r.false_size, r.case))
    groups: dict[str, list[CaseRank]] = {}

    def take(name: str, chosen: Iterable[CaseRank], count: int) -> None:
        room = most - sum(map(len, groups.values()))
        found = list(itertools.islice(chosen, max(0, min(count, room))))
        if found:
            groups[name] = found
            names = {rank.case for rank in found}
            left[:] = [rank for rank in left if rank.case not in names]

    differing = sorted((r for r in left if r.spread > 0), key=lambda r: (-r.spread, r.case))
    take("Methods differ most", differing, _WORST)
    take("Worst", list(left), min(_WORST, max(1, len(left) // 3)))
    few = min(_FEW, max(1, len(left) // 3))
    best = left[::-1][:few]
    between = left[: len(left) - len(best)]
    start = max(0, (len(between) - few) // 2)
    take("Median", between[start : start + few], few)
    take("Best", [rank for rank in best if rank in left], few)
    take("Largest false alarms in cases without a lesion", free, _FEW)
    take("Further cases, worst first", list(left), len(left))
    return groups


def make_gallery(run: RunContents, sources: PictureSources, most: int = CASES) -> Gallery:
    """Draw the chosen cases until there are ``most`` or the pictures fill the page."""
    notes = list(sources.notes)
    ranks = rank_cases(run)
    chosen = choose_cases(ranks, most)
    if not sources.any or not most:
        return Gallery({}, (*notes, "No pictures were asked for.") if sources.any else tuple(notes))
    if not chosen:
        scored = any(fold.scores for fold in run.folds)
        notes.append(f"No {'scored case has a lesion' if scored else 'case has been scored'}, so no case is shown.")
        return Gallery({}, tuple(notes))
    groups: dict[str, list[CasePanel]] = {}
    used = shown = maps = 0
    listed = [(group, rank) for group, members in chosen.items() for rank in members]
    for group, rank in track(listed, "Drawing cases"):
        if used > PICTURE_BYTES:
            notes.append(f"Pictures end after {shown} cases: the page would grow beyond 20 MB.")
            break
        panel = _panel(rank, shown + 1, run, sources)
        if panel is not None:
            used += sum(len(tile.uri) for tile in panel.tiles)
            maps += bool(panel.scales)
            shown += 1
            groups.setdefault(group, []).append(panel)
    if not groups:
        notes.append("None of the files of the chosen cases could be read.")
    elif not maps:
        notes.append("No residual maps were found beside the predictions (no RCU, or they were not kept).")
    eligible = sum(math.isfinite(rank.mean) for rank in ranks)
    if groups and eligible > len(listed):
        notes.append(f"{shown} cases are shown, of {eligible} with a score; grcsf report --cases N shows more.")
    return Gallery(groups, tuple(notes))


def _panel(rank: CaseRank, number: int, run: RunContents, sources: PictureSources) -> CasePanel | None:
    image, label, known = sources.of_case(rank.case)
    files = sources.predictions if run.is_comparison else {"": sources.predictions.get(rank.part, {})}
    try:
        view = load_view(rank.case, image, label, files, sources.spacing_mm)
    except GrcsfError as error:
        _LOGGER.warning("%s is not shown: %s", rank.case, error)
        return None
    if view is None:
        return None
    residual = run.settings.get("residual")
    kind = residual.get("kind") if isinstance(residual, dict) else None
    signed = None if kind is None or run.is_comparison else kind == "signed"
    captions = {method: f"Dice {score_text(value)}" for method, value in rank.dice.items() if method}
    tiles, scales = draw_tiles(rank.case, view, signed, window_of_plan(run.plan), captions)
    notes = view.notes if known else (*view.notes, "This case is not in the data set given.")
    dice = [] if captions or math.isnan(rank.mean) else [f"Dice {score_text(rank.mean)}"]
    size = f"lesion of {size_text(rank.size)} {run.unit}" if rank.size else "no lesion in the reference"
    facts = (*dice, size, *([view.place] if view.place else []), *([rank.part] if rank.part else []))
    return CasePanel(number, rank.case, facts, tiles, scales, tuple(without_folders(note) for note in notes))
