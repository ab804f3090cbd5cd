"""Benchmark files: what is refused, in words that name the entry, and the runs that a file asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from grcsf.benchmark.spec import Benchmark, Cell, load_benchmark
from grcsf.errors import SettingsError

GOOD: dict[str, Any] = {
    "data_sets": [{"name": "strokes", "path": "Dataset501"}],
    "entries": [{"name": "ours"}, {"name": "plain", "settings": {"network.gcu": "off", "network.rcu": False}}],
    "budget": {"training_multiply_adds": 1e12},
}
OUTSIDE = {"name": "theirs", "kind": "outside", "command": ["{python}", "x.py"]}
MORE = {"name": "more", "path": "Dataset502"}
CORONAL: dict[str, Any] = {"name": "coronal", "path": "Dataset502", "entries": ["ours"]}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Benchmark]:
    def from_tree(**changes: Any) -> Benchmark:
        path = tmp_path / "bench.yaml"
        path.write_text(yaml.safe_dump({**GOOD, **changes}), encoding="utf-8")
        return load_benchmark(path)

    return from_tree


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"entries": [{"name": "a"}, {"name": "a"}]}, "two entry names are the same: a, a"),
        ({"entries": [{"name": "a/b"}]}, "entry 'a/b': expected letters, digits, dots and hyphens"),
        ({"entries": [{"name": "a", "settings": {"network.nonsense": 1}}]}, "entry a: .*unknown setting"),
        ({"entries": [{"name": "a", "settings": {"training.steps": 5}}]}, "training.steps is set by the benchmark"),
        ({"entries": [{"name": "a", "settings": {"evaluation.preset": "x"}}]}, "evaluation.preset is set by the bench"),
        ({"entries": [{"name": "a", "settings": {"evaluation": {"preset": "x"}}}]}, "evaluation.preset is set by"),
        (
            {"entries": [{"name": "a", "settings": {"mae": {"minutes": 5}}}]},
            "mae.minutes is set by the benchmark",
        ),
        ({"entries": [{"name": "a", "settings": {"mae": {"dim": 8}, "mae.dim": 9}}]}, "mae.dim is there twice"),
        ({"settings": {"training": {"minutes": 5}}}, "settings: training.minutes is set by the benchmark"),
        ({"settings": {"training.patience": 3}}, "entry ours: training.patience may stop before the budget"),
        ({"entries": [{"name": "a", "label_fraction": 0.3}]}, "entry a: label_fraction 0.3 is in no fractions"),
        (
            {"extra": [{"entries": ["ours"], "folds": [0, 1]}]},
            r"extra: folds \[1\] are not those of the b",
        ),
        ({"extra": [{"entries": ["ours"], "folds": []}]}, "extra.0.folds: .*at least 1 item"),
        ({"transfer": [{**CORONAL, "data_sets": []}]}, "transfer.0.data_sets: .*at least 1 item"),
        (
            {"extra": [{"entries": ["ours"], "title": "T", "folds": [fold]} for fold in (0, 1)]},
            "two blocks have the title 'T', both for strokes, fraction 1, budget_times 1",
        ),
        ({"entries": [{"name": "a", "command": ["x"]}]}, "entry a: a command needs kind: outside"),
        ({"entries": [{"name": "a", "kind": "outside"}]}, "entry a: kind outside needs a command"),
        ({"entries": [{**OUTSIDE, "command": ["{gpu}"]}]}, "unknown placeholder 'gpu'; known: python, dataset"),
        ({"entries": [{"name": "a", "speed": 3}]}, "entries.0.speed: Extra inputs are not permitted"),
        (
            {"budget": {"training_multiply_adds": float("inf")}},
            "training_multiply_adds: Input should be a finite number",
        ),
        ({"settings": {"training.learning_rate": float("inf")}}, "training.learning_rate: Input should be a finite"),
        ({"budget": {}}, "budget: expected either training_multiply_adds or steps"),
        ({"budget": {"steps": 5}}, "mode equal-compute takes training_multiply_adds, not steps"),
        ({"budget": {"mode": "equal-steps", "training_multiply_adds": 5}}, "mode equal-steps needs steps"),
        ({"budget": {"mode": "equal-steps", "steps": 5, "reference": "ours"}}, "mode equal-steps takes no reference"),
        ({"budget": {"mode": "equal-parameters", "steps": 5}}, "equal-parameters needs a reference"),
        ({"budget": {"mode": "equal-parameters", "steps": 5, "reference": "b"}}, "unknown b; known: ours, plain"),
        (
            {"entries": [OUTSIDE], "budget": {"mode": "equal-parameters", "steps": 5, "reference": "theirs"}},
            "budget.reference theirs: expected an entry inside the package",
        ),
        ({"reference": "nobody"}, "reference: unknown nobody; known: ours, plain"),
        ({"fractions": [0.5, 1.5]}, "fractions: 1.5 is not above 0 and at most 1"),
        ({"folds": [-1]}, "folds and seeds go from 0"),
        ({"extra": [{"entries": ["ours", "them"]}]}, "extra: unknown them; known: ours, plain"),
        ({"extra": [{"entries": ["ours"], "reference": "ours"}]}, "extra: reference ours needs a title"),
        ({"extra": [{"entries": ["ours"], "title": "x", "reference": "plain"}]}, "must be one of its entries"),
        ({"transfer": [{**CORONAL, "entries": ["them"]}]}, "transfer coronal: unknown them; known: ours, plain"),
        ({"transfer": [{**CORONAL, "data_sets": ["x"]}]}, "transfer coronal: unknown x; known: strokes"),
        ({"transfer": [CORONAL, CORONAL]}, "two transfer names are the same: coronal, coronal"),
        ({"transfer": [{**CORONAL, "name": "a_b"}]}, "transfer 'a_b': expected letters"),
        (
            {"entries": [OUTSIDE], "transfer": [{**CORONAL, "entries": ["theirs"]}]},
            "transfer coronal: entry theirs has no predict_command",
        ),
        ({"entries": [{"name": "a", "predict_command": ["x"]}]}, "entry a: a command needs kind: outside"),
        ({"entries": [{**OUTSIDE, "predict_command": ["{gpu}"]}]}, "unknown placeholder 'gpu'; .*, model, cases"),
        ({"entries": [{**OUTSIDE, "command": ["{cases}"]}]}, "unknown placeholder 'cases'"),
        ({"data_sets": [{"name": "x"}]}, "data set x: expected either path or phantoms"),
        ({"data_sets": []}, "data_sets: .*at least 1 item"),
        ({"settings": {"seed": 3}}, "settings: seed is set by the benchmark"),
        ({"entries": [{"name": "a", "unlabelled": ["b"]}]}, "entry a: unlabelled: unknown b; known: "),
        ({"unlabelled": [MORE, MORE]}, "two unlabelled names are the same: more, more"),
        ({"entries": [{**OUTSIDE, "unlabelled": ["more"]}], "unlabelled": [MORE]}, "no settings and no unlabelled"),
        (
            {"entries": [{**GOOD["entries"][1], "unlabelled": ["more"]}], "unlabelled": [MORE]},
            "entry plain: unlabelled scans are for pre-training, which it does without",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(load: Callable[..., Benchmark], changes: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(**changes)


def test_a_wrong_file_is_a_usage_error(command_line: Callable[..., Any], tmp_path: Path) -> None:
    done = command_line("benchmark", "-c", tmp_path / "none.yaml", "-o", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert "none.yaml: cannot be read" in done.err


def test_settings_of_an_entry_go_over_those_of_all(load: Callable[..., Benchmark]) -> None:
    spec = load(settings={"network.gcu": "kept", "training.batch_size": 4})
    ours, plain = spec.entry_settings("ours", seed=2, fraction=0.25), spec.entry_settings("plain")
    assert (ours.network.gcu, ours.training.batch_size, ours.seed, ours.training.label_fraction) == ("kept", 4, 2, 0.25)
    assert (plain.network.gcu, plain.network.rcu, plain.training.batch_size) == ("off", False, 4)


def test_a_group_of_settings_may_be_nested_and_keeps_what_all_entries_have(load: Callable[..., Benchmark]) -> None:
    entries = [{"name": "ours", "settings": {"training": {"carve_mix": 0.25}}}, {"name": "plain"}]
    spec = load(settings={"training": {"batch_size": 4, "map_dropout": 0.5}}, entries=entries)
    ours, plain = spec.entry_settings("ours").training, spec.entry_settings("plain").training
    assert (ours.batch_size, ours.map_dropout, ours.carve_mix) == (4, 0.5, 0.25)
    assert (plain.batch_size, plain.map_dropout, plain.carve_mix) == (4, 0.5, 0.5)


def test_one_title_may_head_other_fractions_and_budgets(load: Callable[..., Benchmark]) -> None:
    block = {"entries": ["ours"], "title": "T"}
    spec = load(extra=[block, {**block, "fractions": [0.1]}, {**block, "budget_times": 2}])
    assert len(spec.titled()) == 3


def test_runs_are_the_grid_then_the_extra_ones_each_once(load: Callable[..., Benchmark]) -> None:
    more = [
        {"entries": ["ours"], "folds": [0], "seeds": [0, 1]},
        {"entries": ["ours"], "folds": [0], "budget_times": 4},
    ]
    spec = load(folds=[0, 1], extra=more)
    assert [cell.id for cell in spec.cells()] == [
        "ours_strokes_f0_s0_l100",
        "plain_strokes_f0_s0_l100",
        "ours_strokes_f1_s0_l100",
        "plain_strokes_f1_s0_l100",
        "ours_strokes_f0_s1_l100",
        "ours_strokes_f0_s0_l100_x4",
    ]
    assert Cell("ours", "strokes", 0, 1, 1.0, 1.0) not in spec.main_cells()


def test_an_entry_may_be_run_at_one_label_fraction_only(load: Callable[..., Benchmark]) -> None:
    spec = load(entries=[{"name": "ours"}, {"name": "few", "label_fraction": 0.1}], fractions=[1.0, 0.1])
    assert [cell.id for cell in spec.cells()] == [
        "ours_strokes_f0_s0_l100",
        "ours_strokes_f0_s0_l10",
        "few_strokes_f0_s0_l10",
    ]


def test_transfers_follow_the_runs_they_use_at_all_labels(load: Callable[..., Benchmark]) -> None:
    spec = load(folds=[0, 1], fractions=[1.0, 0.5], transfer=[{**CORONAL, "folds": [1]}])
    assert [cell.id for cell in spec.cells() if cell.onto] == ["ours_strokes_f1_s0_l100_onto-coronal"]
    assert not any(cell.onto for cell in spec.main_cells())
