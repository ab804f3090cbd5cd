"""The benchmark files that are shipped, and the smallest of them from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from grcsf.benchmark.spec import Benchmark, load_benchmark
from grcsf.config import read_yaml

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
FILES = sorted(FOLDER.glob("*.yaml"))
PEERS = {"basic-unet", "attention-unet", "basic-unet-plus-plus", "dynunet", "segresnet", "swin-unetr", "unetr"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_benchmark_loads(path: Path) -> None:
    assert load_benchmark(path) == Benchmark.model_validate(read_yaml(path))


def test_the_files_name_every_peer_control_and_fraction() -> None:
    strokes, ablation = (
        Benchmark.model_validate(read_yaml(FOLDER / f"{name}.yaml")) for name in ("strokes", "ablation")
    )
    assert PEERS | {"grcsf", "backbone", "nnunet", "nnunet-narrow"} <= {entry.name for entry in strokes.entries}
    assert strokes.folds == (0, 1)
    assert not {cell.fold for cell in ablation.cells()} & set(strokes.folds)  # chosen there, reported here
    for fraction in (1.0, 0.25, 0.1):
        ran = {cell.entry for cell in ablation.cells() if cell.fraction == fraction}
        assert ran == {entry.name for entry in ablation.entries}
    assert {"backbone", "gcu", "rcu", "both", "control-concat", "control-shuffled"} <= {
        e.name for e in ablation.entries
    }


@pytest.mark.slow
def test_two_entries_on_phantoms_end_to_end(tmp_path: Path, command_line: Callable[..., Any]) -> None:
    tree = read_yaml(FOLDER / "phantoms.yaml")
    tree["settings"] |= {"mae.steps": 4, "network.rcu_levels": [1]}
    tree["budget"] = {"training_multiply_adds": 4e9}
    path, out = tmp_path / "bench.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    done = command_line("benchmark", "-c", path, "-o", out)
    assert (done.code, done.err) == (0, "")
    results = [json.loads(file.read_text("utf-8")) for file in sorted(out.glob("runs/*/result.json"))]
    backbone, ours = (result["budget"] for result in results)
    for budget in (backbone, ours):
        assert 4e9 - budget["step_multiply_adds"] < budget["training_multiply_adds"] <= 4e9
        assert budget["steps"] >= 2
    assert ours["pretraining_multiply_adds"] > 0 == backbone["pretraining_multiply_adds"]
    assert ours["steps"] < backbone["steps"]
    model = json.loads((out / "runs" / "grcsf_phantoms_f0_s0_l100" / "train" / "model.json").read_text("utf-8"))
    assert model["provenance"]["steps"] == ours["steps"]
    assert [result["training"]["precision"] in ("32-true", "bf16-mixed") for result in results] == [True, True]
    assert {"pretrain", "maps", "train", "predict", "score"} <= set(results[1]["steps"])
    assert len(list(out.glob("shared/preprocessed-*"))) == 1  # both entries stand on the same arrays
    text = (out / "tables" / "tables.md").read_text("utf-8")
    assert "2 of 2 runs are done." in text
    assert "| backbone | 1/1 |" in text
    again = command_line("benchmark", "-c", path, "-o", out)
    assert again.code == 0
    assert "[1/2]" not in again.out  # nothing is run again
    assert (out / "tables" / "tables.md").read_text("utf-8") == text
