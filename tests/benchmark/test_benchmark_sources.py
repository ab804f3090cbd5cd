"""A data set as it was downloaded is benchmarked like any other, once it has a file of folds."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from grcsf.benchmark.queue import run_queue
from grcsf.benchmark.spec import load_benchmark
from mimics import msd_lung
from outside import fake_entry


def test_masks_are_scored_against_the_labels_of_the_source(write_spec: Callable[..., Path], tmp_path: Path) -> None:
    data, out = msd_lung(tmp_path), tmp_path / "out"
    names = [f"lung_{index:03d}" for index in range(1, 5)]
    (data / "splits_final.json").write_text(json.dumps([{"train": names[:2], "val": names[2:]}]))
    spec = load_benchmark(write_spec(fake_entry("exact"), data_sets=[{"name": "lung", "path": str(data)}]))
    assert run_queue(spec, spec.cells(), out, tmp_path) == {}
    (scores,) = out.glob("runs/*/scores")
    with (scores / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["label"], float(row["dice"])) for row in rows] == [
        ("lung_003", "cancer", 1.0),
        ("lung_004", "cancer", 1.0),
    ]
    assert json.loads((scores / "subjects.json").read_text()) == {name: name for name in names[2:]}
