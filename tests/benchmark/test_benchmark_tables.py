"""Numbers of the tables by hand on a few made-up scores, and the same bytes when they are made again."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain import contents
from grcsf.benchmark.costs import costs_of
from grcsf.benchmark.figures import entry_label
from grcsf.benchmark.run import benchmark
from grcsf.benchmark.scores import RunScores, read_runs
from grcsf.benchmark.spec import Benchmark, Cell
from grcsf.benchmark.tables import Group, make_groups
from grcsf.benchmark.write import group_tables, write_tables
from grcsf.errors import OutputError
from outside import fake_entry

Cases = Mapping[str, tuple[float, float, int]]
"""Case -> its Dice, area of its lesion in mm2, predicted voxels."""

SPEC = Benchmark.model_validate(
    {
        "data_sets": [{"name": "d", "path": "x"}],
        "entries": [{"name": "base"}, {"name": "ours"}, {"name": "other"}],
        "seeds": [0],
        "folds": [0, 1],
        "extra": [{"entries": ["ours"], "folds": [0], "seeds": [0, 1, 2]}],
        "budget": {"training_multiply_adds": 1e9},
    }
)
FOLDS: dict[int, dict[str, tuple[str, float]]] = {
    0: {"a-1": ("a", 50.0), "a-2": ("a", 50.0), "b-1": ("b", 300.0), "c-1": ("c", 0.0)},
    1: {"d-1": ("d", 900.0), "e-1": ("e", 0.0)},
}


def store(out: Path, cell: Cell, dice: Mapping[str, float], alarms: Mapping[str, int] | None = None) -> None:
    """Write the files of a run that is done: Dice by case, predicted voxels of lesion-free cases."""
    folder = out / "runs" / cell.id
    (folder / "scores").mkdir(parents=True)
    rows = []
    for case, (_, area) in FOLDS[cell.fold].items():
        value = dice.get(case, float("nan"))
        predicted = 5 if area else (alarms or {}).get(case, 0)
        rows.append([case, "lesion", int(area), predicted, area, 1.0, value, value / 2, predicted // 3, predicted])
    with (folder / "scores" / "cases.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        names = ["n_reference", "n_prediction", "reference_area_mm2", "prediction_area_mm2", "dice", "recall"]
        names += ["lesions_false", "false_area_mm2"]
        writer.writerows([["case", "label", *names], *rows])
    lesions = [
        "case,label,source,size,detected,contrast",
        "a-1,lesion,reference,50,1,1.05",
        "b-1,lesion,reference,9,0,0.95",
        "b-1,lesion,reference,200,1,nan",
    ]
    if cell.fold == 0:
        (folder / "scores" / "lesions.csv").write_text(
            "\n".join([*lesions, "b-1,lesion,prediction,9,1,1.0\n"]), "utf-8"
        )
    subjects = {case: subject for case, (subject, _) in FOLDS[cell.fold].items()}
    (folder / "scores" / "subjects.json").write_text(json.dumps(subjects), "utf-8")
    (folder / "scores" / "summary.json").write_text(json.dumps({"spatial_dims": 2, "when_empty": "skip"}), "utf-8")
    steps = {
        "pretrain": {"wall_seconds": 30, "cpu_seconds": 20, "peak_memory_mb": 900, "attempts": 1},
        "train": {"wall_seconds": 100 + 10 * cell.fold, "cpu_seconds": 90, "peak_memory_mb": 700, "attempts": 1},
        "predict": {"wall_seconds": 8, "cpu_seconds": 7, "peak_memory_mb": 300, "attempts": 1 + cell.fold},
    }
    budget = {"parameters": 1000, "training_multiply_adds": 5e8, "steps": 40 + 2 * cell.fold}
    (folder / "result.json").write_text(json.dumps({"steps": steps, "budget": budget}), "utf-8")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    def cell(name: str, fold: int, seed: int = 0) -> Cell:
        return Cell(name, "d", fold, seed, 1.0, 1.0)

    store(tmp_path, cell("base", 0), {"a-1": 0.2, "a-2": 0.4, "b-1": 0.6}, {"c-1": 3})
    store(tmp_path, cell("base", 1), {"d-1": 0.7}, {"e-1": 0})
    store(tmp_path, cell("ours", 0), {"a-1": 0.6, "a-2": 0.6, "b-1": 0.8})
    store(tmp_path, cell("ours", 1), {"d-1": 0.8})
    store(tmp_path, cell("ours", 0, 1), {"a-1": 0.1, "a-2": 0.1, "b-1": 0.3})
    store(tmp_path, cell("ours", 0, 2), {"a-1": 0.5, "a-2": 0.5, "b-1": 0.1})
    store(tmp_path, cell("other", 0), {"a-1": 0.3, "a-2": 0.3, "b-1": 0.6})
    return tmp_path


@pytest.fixture
def group(stored: Path) -> Group:
    (found,) = make_groups(SPEC, read_runs(stored, SPEC.cells()))
    return found


def entry(group: Group, name: str) -> Any:
    return next(item for item in group.entries if item.name == name)


def test_a_subject_counts_once_whatever_its_number_of_cases(group: Group) -> None:
    dice = entry(group, "base").scores["dice"]
    assert dice.n == 3  # a, b, d
    assert dice.mean == pytest.approx((0.3 + 0.6 + 0.7) / 3)
    assert dice.low >= 0.3
    assert dice.high <= 0.7


def test_the_means_are_of_the_grid_without_further_seeds(group: Group) -> None:
    assert entry(group, "ours").scores["dice"].mean == pytest.approx((0.6 + 0.8 + 0.8) / 3)
    assert (entry(group, "ours").runs, entry(group, "ours").planned) == (2, 2)
    assert (entry(group, "other").runs, entry(group, "other").planned) == (1, 2)


def test_strata_and_false_alarms(group: Group) -> None:
    scores = entry(group, "base").scores
    assert group.strata == ("below 100 mm2", "100 to 500 mm2", "above 500 mm2")
    assert [scores[f"dice@{size}"].mean for size in group.strata] == pytest.approx([0.3, 0.6, 0.7])
    assert scores["recall@below 100 mm2"].mean == pytest.approx(0.15)
    assert (scores["false_alarms"].mean, scores["false_alarms"].n) == (0.5, 2)  # c of c and e
    assert scores["lesions_found@low contrast"].mean == 0.5  # that of a, not that of b; the predicted one is not asked
    assert "lesions_found@high contrast" not in scores


def test_lesions_are_found_by_their_own_size_not_that_of_their_case(group: Group) -> None:
    scores = entry(group, "base").scores
    small, middle = (scores[f"lesions_found@{size}"] for size in group.strata[:2])
    assert (small.mean, small.n) == (0.5, 2)  # a's of 50 mm2 is found; b's of 9 mm2, in a case of 300 mm2, is not
    assert (middle.mean, middle.n) == (1.0, 1)  # b's of 200 mm2
    assert "lesions_found@above 500 mm2" not in scores
    assert entry(group, "ours").differences["lesions_found@below 100 mm2"].mean == 0.0


def test_what_was_found_where_nothing_is(group: Group) -> None:
    scores = entry(group, "base").scores  # c-1 has 3 voxels in one lesion, e-1 none; cases with a lesion do not count
    assert (scores["lesions_false@lesion-free"].mean, scores["lesions_false@lesion-free"].n) == (0.5, 2)
    assert scores["false_area_mm2@lesion-free"].mean == 1.5
    assert entry(group, "ours").differences["false_area_mm2@lesion-free"].mean == -1.5


def test_differences_seed_by_seed_and_over_seeds(stored: Path) -> None:
    (group,) = make_groups(SPEC, read_runs(stored, SPEC.cells()))
    assert group.seed_differences == ()  # the reference has one seed
    more = Benchmark.model_validate(
        {**SPEC.model_dump(), "extra": [{"entries": ["base", "ours"], "folds": [0], "seeds": [0, 1, 2]}]}
    )
    store(stored, Cell("base", "d", 0, 1, 1.0, 1.0), {"a-1": 0.2, "a-2": 0.2, "b-1": 0.5})
    (group,) = make_groups(more, read_runs(stored, more.cells()))
    (row,) = [row for row in group.seed_differences if row.key == "dice"]
    assert (row.name, row.seeds, row.folds) == ("ours", (0, 1), (0,))  # the reference has no seed 2
    assert row.by_seed == pytest.approx((0.25, -0.15))  # of a and b: 0.3 and 0.2, then -0.1 and -0.2
    assert (row.over_seeds.mean, row.over_seeds.n) == (pytest.approx(0.05), 2)  # a: 0.35 - 0.25, b: 0.55 - 0.55
    assert (row.over_seeds.low, row.over_seeds.high) == pytest.approx((0.0, 0.1))
    text = "\n".join(table.to_markdown() for table in group_tables(group))
    assert "| ours | dice | 0 1 | 0 | +0.250 -0.150 | +0.050 [+0.000, +0.100] n=2 |" in text


def test_runs_that_were_scored_by_other_rules_are_not_put_in_one_table(stored: Path) -> None:
    path = stored / "runs" / "ours_d_f0_s0_l100" / "scores" / "summary.json"
    rules = {"spatial_dims": 2, "when_empty": "skip", "lesion_preset": {"name": "isles2022", "version": 1}}
    path.write_text(json.dumps(rules), "utf-8")
    with pytest.raises(OutputError, match=r"ours_d_f0_s0_l100: scored with evaluation.preset isles2022 1"):
        write_tables(SPEC, stored)


def test_runs_of_one_fold_on_other_references_are_not_put_in_one_table(stored: Path) -> None:
    path = stored / "runs" / "ours_d_f0_s0_l100" / "scores" / "cases.csv"
    header, first, *rows = path.read_text("utf-8").splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    cells["n_reference"] = str(float(cells["n_reference"]) + 1)
    path.write_text("\n".join([header, ",".join(cells.values()), *rows]), "utf-8")
    with pytest.raises(OutputError, match="was scored on other cases or references than"):
        write_tables(SPEC, stored)


def test_an_entry_that_lacks_a_run_says_so_in_the_figures(group: Group) -> None:
    assert entry_label(entry(group, "ours")) == "ours"
    assert entry_label(entry(group, "other")) == "other (1 of 2 runs)"


def test_differences_pair_subjects_that_both_have(group: Group) -> None:
    ours, other = entry(group, "ours").differences["dice"], entry(group, "other").differences["dice"]
    assert (ours.mean, ours.n) == (pytest.approx((0.3 + 0.2 + 0.1) / 3), 3)
    assert (other.mean, other.n) == (pytest.approx(0.0, abs=1e-12), 2)  # fold 0 only
    assert ours.p_value == pytest.approx(2 / 2**3)  # all three ranks on one side, both sides counted
    assert ours.p_holm == pytest.approx(2 * 2 / 2**3)  # the smaller of two tests
    assert other.p_value == 1.0
    assert entry(group, "base").differences == {}


def test_spread_over_seeds_stands_apart(group: Group) -> None:
    (row,) = [row for row in group.seeds if row.key == "dice"]
    assert (row.name, row.seeds, row.folds) == ("ours", (0, 1, 2), (0,))
    means = (0.7, 0.2, 0.3)  # of subjects a and b
    middle = sum(means) / 3
    assert row.spread.mean == pytest.approx(middle)
    assert row.spread.over_seeds == pytest.approx((sum((m - middle) ** 2 for m in means) / 2) ** 0.5)
    assert row.spread.over_subjects == pytest.approx(0.0, abs=1e-9)  # a and b both have 0.4 over the seeds


def test_a_block_with_a_title_has_tables_of_its_own_and_leaves_the_others_alone(stored: Path, group: Group) -> None:
    block = {"title": "Ours first", "reference": "ours", "entries": ["other", "ours"], "folds": [0]}
    longer = {**block, "title": "Not run yet", "budget_times": 2}
    spec = Benchmark.model_validate({**SPEC.model_dump(), "extra": [*SPEC.model_dump()["extra"], block, longer]})
    main, own = make_groups(spec, read_runs(stored, spec.cells()))
    assert main == group
    assert own.title == "Ours first: d, lesion, 100 % of the labels"
    assert [(item.name, item.runs, item.planned) for item in own.entries] == [("ours", 1, 1), ("other", 1, 1)]
    assert entry(own, "ours").differences == {}
    assert entry(own, "other").differences["dice"].mean == pytest.approx((0.3 + 0.6) / 2 - (0.6 + 0.8) / 2)


def test_costs_charge_pretraining_and_mark_what_was_resumed(group: Group) -> None:
    costs = entry(group, "ours").costs
    assert costs.training_wall_seconds == pytest.approx(30 + 105)
    assert costs.training_cpu_seconds == pytest.approx(20 + 90)
    assert (costs.training_memory_mb, costs.prediction_memory_mb) == (900, 300)
    assert (costs.steps, costs.cases, costs.interrupted) == (41, 6, 1)


def test_an_outside_entry_costs_what_its_commands_do() -> None:
    command = {"wall_seconds": 3749.0, "cpu_seconds": 3472.0, "peak_memory_mb": 4922.2, "attempts": 1}
    predict = {"wall_seconds": 224.0, "cpu_seconds": 201.0, "peak_memory_mb": 789.0, "attempts": 1}
    said = {"seconds": 3466.0, "peak_memory_mb": 4922.0, "prediction_seconds": 211.0}
    cell = Cell("outside", "strokes", 1, 0, 1.0, 1.0)
    trained = costs_of([RunScores(cell, (), (), {}, 2, "skip", {"command": command}, said)])
    steps = {"command": command, "predict": predict}
    moved = costs_of([RunScores(replace(cell, onto="coronal"), (), (), {}, 2, "skip", steps, said)])
    adds_up = {**said, "cpu_seconds": 3300.0, "prediction_memory_mb": 700.0}
    resumed = costs_of([RunScores(cell, (), (), {}, 2, "skip", {"command": {**command, "attempts": 2}}, adds_up)])
    assert (resumed.training_cpu_seconds, resumed.prediction_memory_mb, resumed.interrupted) == (3300, 700, 0)
    for costs in (trained, moved):
        assert (costs.training_wall_seconds, costs.training_cpu_seconds, costs.training_memory_mb) == (3466, 3472, 4922)
    assert (trained.prediction_wall_seconds, trained.prediction_cpu_seconds) == (211, None)
    assert (moved.prediction_wall_seconds, moved.prediction_cpu_seconds, moved.prediction_memory_mb) == (224, 201, 789)


def test_tables_hold_the_numbers(stored: Path) -> None:
    page = write_tables(SPEC, stored)
    text = (stored / "tables" / "tables.md").read_text("utf-8")
    assert "7 of 8 runs are done." in text
    assert "| base | 2/2 | 0.533 [" in text
    assert "| ours | dice | 0 1 2 | 0 | 0.400 | 0.265 | 0.000 |" in text
    html = page.read_text("utf-8")
    assert html.count("<svg") == 3
    assert 'src="http' not in html
    assert ' href="http' not in html
    rows = list(csv.DictReader((stored / "tables" / "tables.csv").read_text("utf-8").splitlines()))
    mean = [row["mean"] for row in rows if (row["entry"], row["kind"], row["measure"]) == ("base", "score", "dice")]
    assert mean == ["0.533333"]
    tree = json.loads((stored / "tables" / "tables.json").read_text("utf-8"))
    assert tree["groups"][0]["entries"][0]["scores"]["dice"]["n"] == 3
    long = list(csv.DictReader((stored / "tables" / "scores.csv").read_text("utf-8").splitlines()))
    assert len(long) == 5 * 4 + 2 * 2  # five runs of fold 0, two of fold 1


def test_an_entry_that_lacks_a_fold_tells_its_own_number_of_subjects(stored: Path) -> None:
    write_tables(SPEC, stored)
    lines = (stored / "tables" / "tables.md").read_text("utf-8").splitlines()
    assert next(line for line in lines if line.startswith("| entry")).startswith("| entry | runs | Dice (n=3)")
    base, other = (next(line for line in lines if line.startswith(f"| {name} |")) for name in ("base", "other"))
    assert "n=" not in base
    assert "] n=2 |" in other
    differences = lines[lines.index("### Differences to base") :]
    assert "dice (n=3)" in next(line for line in differences if line.startswith("| entry"))
    assert " n=2 |" in next(line for line in differences if line.startswith("| other |"))


def test_tables_made_again_are_the_same_bytes(write_spec: Callable[..., Path], tmp_path: Path) -> None:
    path, out = write_spec(fake_entry("exact"), fake_entry("moved", shift=1), folds=[0, 1]), tmp_path / "out"
    first = benchmark(path, out)
    assert (first.failed, first.not_done) == ({}, ())
    before = contents(out / "tables")
    assert {"tables.md", "tables.csv", "tables.json", "index.html", "scores.csv", "figures/group-1-dice.svg"} <= set(
        before
    )
    for name in before:
        (out / "tables" / name).unlink()
    again = benchmark(path, out, tables_only=True)
    assert again.page == first.page
    assert contents(out / "tables") == before
    exact, moved = json.loads(before["tables.json"])["groups"][0]["entries"]
    assert exact["scores"]["dice"]["mean"] == 1.0
    # Squares of 2, 4 and 12 voxels moved by one share 1/2, 3/4 and 11/12 of their area; all three are one case each.
    assert moved["scores"]["dice"]["mean"] == pytest.approx((1 / 2 + 3 / 4 + 11 / 12) / 3, abs=1e-6)
    assert moved["costs"]["training_wall_seconds"] == 2.5  # as the method said of itself


def test_the_command_lists_runs_and_ends_with_1_if_one_failed(
    write_spec: Callable[..., Path], tmp_path: Path, command_line: Callable[..., Any]
) -> None:
    path, out = write_spec(fake_entry("exact"), fake_entry("broken", shift="broken")), tmp_path / "out"
    listed = command_line("benchmark", "-c", path, "-o", out, "--list")
    assert listed.out.split() == ["waiting", "exact_squares_f0_s0_l100", "waiting", "broken_squares_f0_s0_l100"]
    done = command_line("benchmark", "-c", path, "-o", out)
    assert done.code == 1
    assert "failed: broken_squares_f0_s0_l100: command: exit code 1: this method never works" in done.err
    assert "tables:" in done.out
    chosen = command_line("benchmark", "-c", path, "-o", out, "--only", "exact")
    assert chosen.code == 0
    wrong = command_line("benchmark", "-c", path, "-o", out, "--only", "nobody")
    assert (wrong.code, wrong.err) == (2, "error: --only nobody: no such entry; known: exact, broken\n")


def test_no_table_without_a_run_that_is_done(write_spec: Callable[..., Path], tmp_path: Path) -> None:
    found = benchmark(write_spec(fake_entry("exact")), tmp_path / "out", tables_only=True)
    assert (found.page, found.not_done) == (None, ("exact_squares_f0_s0_l100",))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("result.json", '{"steps": NaN}'),
        ("result.json", "[]"),
        ("scores/summary.json", "{}"),
        ("scores/cases.csv", "a\n1\n"),
        ("scores/cases.csv", "a\n" + "9" * 140_000),
    ],
)
def test_scores_that_are_not_whole_are_named_and_can_be_taken_again(
    name: str, text: str, write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    path, out = write_spec(fake_entry("exact")), tmp_path / "out"
    benchmark(path, out)
    tables = (out / "tables" / "tables.json").read_bytes()
    folder = out / "runs" / "exact_squares_f0_s0_l100"
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(OutputError, match=r"exact_squares_f0_s0_l100: its scores are not whole .*steps/score.json"):
        benchmark(path, out)
    (folder / "result.json").unlink()
    (folder / "steps" / "score.json").unlink()
    benchmark(path, out)
    assert (out / "tables" / "tables.json").read_bytes() == tables
