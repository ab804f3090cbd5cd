"""A run that was killed or interrupted at any moment is resumed, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import grcsf
from chain import TINY, contents, tiny
from grcsf.config import Settings
from grcsf.errors import TrainingError
from grcsf.fitting.batches import Batch
from grcsf.fitting.module import FittedModule
from grcsf.fitting.weights import has_model
from grcsf.verbs.run import RunResult

Run = tuple[Path, RunResult]
STEPS = 60
PAIRS = (
    *(f"mae.steps={STEPS}", "mae.steps_per_epoch=5", f"training.steps={STEPS}", "training.steps_per_epoch=5"),
    "training.batch_size=4",
)
LONG = tiny(*PAIRS)
DRIVER = """
import importlib, json, sys, time
import grcsf
given = json.loads(sys.argv[1])
if given["slow"]:
    module, _, path = given["slow"].partition(":")
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real = getattr(owner, name)
    def sleeping(*arguments, **options):
        time.sleep(0.25)
        return real(*arguments, **options)
    setattr(owner, name, sleeping)
options = given["options"]
if "settings" in options:
    options["settings"] = grcsf.Settings.model_validate(options["settings"])
getattr(grcsf, given["verb"])(*given["arguments"], device="cpu", **options)
"""


def start(verb: str, *arguments: Path, slow: str = "", **options: object) -> subprocess.Popen[str]:
    """The verb in a process of its own; the function ``slow`` (``module:name``) takes a quarter of a second longer."""
    plain = {
        key: value.model_dump(mode="json") if isinstance(value, Settings) else value for key, value in options.items()
    }
    given = {"verb": verb, "arguments": arguments, "slow": slow, "options": plain}
    command = [sys.executable, "-c", DRIVER, json.dumps(given, default=str)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def stop(process: subprocess.Popen[str], ready: Callable[[], bool], number: int = signal.SIGKILL) -> str:
    """Send the signal as soon as ``ready``; gives what the process wrote to stderr."""
    deadline = time.monotonic() + 100
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"not there in time to be stopped: {process.communicate()[1]}")
        time.sleep(0.02)
    process.send_signal(number)
    return process.communicate(timeout=100)[1]


def complete(folder: Path, pattern: str) -> dict[Path, int]:
    """Complete files of a folder, and when each was written."""
    found = (path for path in folder.glob(pattern) if not path.name.startswith(".partial-"))
    return {path: path.stat().st_mtime_ns for path in found}


def curve(folder: Path) -> list[list[str]]:
    """The learning curve without its column of seconds."""
    rows = [row.split(",") for row in (folder / "history.csv").read_text().splitlines()]
    return [[*row[:1], *row[2:]] for row in rows]


def saved_step(folder: Path) -> int:
    return int(torch.load(folder / "last.ckpt", map_location="cpu", weights_only=True)["global_step"])


@pytest.fixture(scope="module")
def store(slice_run: Run) -> Path:
    return slice_run[0] / "preprocessed"


@pytest.fixture(scope="module")
def mae(slice_run: Run) -> Path:
    return slice_run[0] / "fold_0" / "mae"


@pytest.fixture(scope="module")
def uninterrupted(tiny_slices: Path, store: Path, mae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing disturbed."""
    out = tmp_path_factory.mktemp("uninterrupted") / "train"
    grcsf.train(store, tiny_slices, out, mae=mae, settings=LONG, device="cpu")
    return out


@pytest.mark.slow
def test_pretraining_after_a_kill(tiny_slices: Path, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    stop(start("pretrain", store, tiny_slices, out, settings=LONG), (out / "history.csv").is_file)
    assert not has_model(out)
    assert not (out / "run.json").exists()
    resumed = grcsf.pretrain(store, tiny_slices, out, settings=LONG, device="cpu", resume=True)
    straight = grcsf.pretrain(store, tiny_slices, tmp_path / "straight", settings=LONG, device="cpu")
    assert resumed.weights_hash == straight.weights_hash
    assert curve(out) == curve(tmp_path / "straight")
    assert len(curve(out)) == 1 + STEPS / 5
    assert not list(out.glob(".partial-*"))


@pytest.mark.slow
def test_training_after_a_kill(tiny_slices: Path, store: Path, mae: Path, uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"
    stop(start("train", store, tiny_slices, out, mae=mae, settings=LONG), (out / "history.csv").is_file)
    assert not has_model(out)
    grcsf.train(store, tiny_slices, out, mae=mae, settings=LONG, device="cpu", resume=True)
    assert (out / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()
    assert curve(out) == curve(uninterrupted)
    assert not list(out.glob(".partial-*"))


@pytest.mark.slow
def test_training_after_sigterm(tiny_slices: Path, store: Path, mae: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """What a cluster sends before it takes the machine away: the state of that very step is saved."""
    out = tmp_path / "train"
    flags = [part for pair in (*TINY, *PAIRS) for part in ("--set", pair)]
    command = ["train", "-i", store, "-d", tiny_slices, "-m", mae, "-o", out, "--device", "cpu", *flags]
    process = subprocess.Popen([sys.executable, "-m", "grcsf", *map(str, command)], stderr=subprocess.PIPE, text=True)
    message = stop(process, (out / "history.csv").is_file, signal.SIGTERM)
    assert process.returncode == 1
    assert "Traceback" not in message
    found = re.search(r"error: interrupted at step (\d+); the state is saved, go on with --resume", message)
    assert found, message
    assert saved_step(out) == int(found.group(1))
    assert not has_model(out)
    assert json.loads((out / "run.json").read_text())["status"] == "failed"
    grcsf.train(store, tiny_slices, out, mae=mae, settings=LONG, device="cpu", resume=True)
    assert (out / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()
    assert curve(out) == curve(uninterrupted)


@pytest.mark.parametrize("steps", [(1,), (4,), (5,), (8, 10, 11), (12,)], ids=str)
def test_a_signal_in_any_step_of_an_epoch(
    steps: tuple[int, ...], tiny_slices: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve steps, five to an epoch: in the first step, within an epoch, at its end, several times, at the last."""
    settings = tiny("network.rcu=false", "training.steps=12", "training.steps_per_epoch=5", "network.dropout=0.1")
    straight, out = tmp_path / "straight", tmp_path / "stopped"
    grcsf.train(store, tiny_slices, straight, settings=settings, device="cpu")
    real, waiting = FittedModule.training_step, list(steps)

    def signalling(self: FittedModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        if waiting and self.global_step + 1 == waiting[0]:
            waiting.pop(0)
            os.kill(os.getpid(), signal.SIGINT if len(waiting) % 2 else signal.SIGTERM)
        return real(self, batch, batch_idx)

    monkeypatch.setattr(FittedModule, "training_step", signalling)
    for step in steps:
        with pytest.raises(TrainingError, match=f"interrupted at step {step};"):
            grcsf.train(store, tiny_slices, out, settings=settings, device="cpu", resume=True)
        assert saved_step(out) == step
        assert not has_model(out)
    grcsf.train(store, tiny_slices, out, settings=settings, device="cpu", resume=True)
    assert (out / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()
    assert curve(out) == curve(straight)


@pytest.mark.slow
def test_residual_maps_after_a_kill(tiny_slices: Path, store: Path, slice_run: Run, mae: Path, tmp_path: Path) -> None:
    out, slow = tmp_path / "maps", "grcsf.verbs.residual:case_residual"
    process = start("residual", store, tiny_slices, mae, out, settings=tiny(), part="train", slow=slow)
    stop(process, lambda: len(complete(out, "case-*.json")) >= 2)
    kept = complete(out, "case-*.json")
    assert 2 <= len(kept) < 6
    grcsf.residual(store, tiny_slices, mae, out, settings=tiny(), device="cpu", part="train")
    assert contents(out) == contents(slice_run[0] / "fold_0" / "residual")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert json.loads((out / "run.json").read_text())["cached"] == len(kept)


@pytest.mark.slow
def test_prediction_after_a_kill(tiny_slices: Path, slice_run: Run, tmp_path: Path) -> None:
    out, images = tmp_path / "killed", tiny_slices / "imagesTr"
    process = start("predict", images, slice_run[0], out, slow="grcsf.inference.predict:Predictor.predict")
    stop(process, lambda: len(complete(out, "case-*.png")) >= 2)
    kept = complete(out, "case-*.png")
    assert 2 <= len(kept) < 8
    assert grcsf.predict(images, slice_run[0], out, device="cpu", resume=True) == {}
    assert grcsf.predict(images, slice_run[0], tmp_path / "straight", device="cpu") == {}
    assert contents(out) == contents(tmp_path / "straight")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.slow
def test_a_whole_run_after_three_kills(tiny_slices: Path, tmp_path: Path) -> None:
    """Killed while preprocessing, pre-training and training; then resumed to the end."""
    out, straight = tmp_path / "killed", tmp_path / "straight"
    slow_pairs = ("mae.steps=40", "training.steps=40", "mae.steps_per_epoch=2", "training.steps_per_epoch=2")
    settings = tiny(*slow_pairs)
    fold = out / "fold_0"
    moments: list[tuple[str, Callable[[], bool]]] = [
        ("grcsf.preprocess.run:preprocess_case", lambda: len(complete(out, "preprocessed/cases/*.json")) >= 2),
        ("grcsf.mae.pretrain:hidden_patch_loss", (fold / "mae" / "history.csv").is_file),
        ("grcsf.training.data:LabelledPatches.__call__", (fold / "train" / "history.csv").is_file),
    ]
    for slow, ready in moments:
        stop(start("run", tiny_slices, out, settings=settings, resume=True, slow=slow), ready)
    result = grcsf.run(tiny_slices, out, settings=settings, device="cpu", resume=True)
    expected = grcsf.run(tiny_slices, straight, settings=settings, device="cpu")
    assert result.failed == {}
    skip = ("run.json", "grcsf.log", "report.html", "history.csv", "last.ckpt")
    assert contents(out, but=skip) == contents(straight, but=skip)
    assert result.scores[0].cases == expected.scores[0].cases
    assert not list(out.rglob(".partial-*"))
