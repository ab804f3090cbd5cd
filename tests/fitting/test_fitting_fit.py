"""A fit can be interrupted anywhere and ends as if it had not been; budgets and signals are kept."""

from __future__ import annotations

import csv
import math
import signal

import pytest
import torch

from grcsf.errors import OutputError, SettingsError, TrainingError
from grcsf.fitting.fit import (
    Budget,
    automatic_precision,
    check_device,
    fit,
    frozen_weights,
    parse_device,
    torch_device,
)


def budget(steps: int, steps_per_epoch: int, **options) -> Budget:
    return Budget(steps, steps_per_epoch=steps_per_epoch, device="cpu", precision="32-true", **options)


def history(folder) -> list[dict[str, str]]:
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    return [{**row, "seconds": ""} for row in rows]


@pytest.mark.parametrize("how", ["error", "sigterm", "sigint"])
@pytest.mark.parametrize(("steps", "steps_per_epoch"), [(6, 2), (7, 3), (3, 1), (4, 4), (3, 50)])
def test_a_resumed_fit_ends_as_an_uninterrupted_one(make_module, make_batches, tmp_path, how, steps, steps_per_epoch):
    limits, whole = budget(steps, steps_per_epoch), make_module()
    assert fit(whole, make_batches(), tmp_path / "whole", limits, resume=False, score_name="s").steps == steps
    assert whole.seen == list(range(steps))
    for breaks_at in range(steps):
        folder, first = tmp_path / f"parts-{breaks_at}", make_module()
        expected = RuntimeError if how == "error" else TrainingError
        with pytest.raises(expected, match=r"pulled the plug|interrupted at step .*go on with --resume"):
            fit(first, make_batches(breaks_at, how), folder, limits, resume=False, score_name="s")
        second = make_module()
        result = fit(second, make_batches(), folder, limits, resume=True, score_name="s")
        assert result.steps == steps
        saved = breaks_at + 1 if how != "error" else breaks_at // steps_per_epoch * steps_per_epoch
        assert second.seen == list(range(saved, steps))  # nothing twice, nothing left out
        state = second.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())
        assert history(folder) == history(tmp_path / "whole")


def test_the_global_generator_neither_decides_nor_changes(make_module, make_batches, tmp_path):
    states = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            before, module = torch.random.get_rng_state(), make_module()
            fit(module, make_batches(), tmp_path / str(seed), budget(3, 2), resume=False, score_name="s")
            assert torch.equal(torch.random.get_rng_state(), before)
        states.append(module.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    other = make_module(seed=1)  # the module's own seed decides its dropout
    fit(other, make_batches(), tmp_path / "other", budget(3, 2), resume=False, score_name="s")
    assert any(not torch.equal(value, states[0][name]) for name, value in other.state_dict().items())


def test_signals_are_given_back(make_module, make_batches, tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    fit(make_module(), make_batches(), tmp_path / "a", budget(2, 2), resume=False, score_name="s")
    with pytest.raises(RuntimeError):
        fit(make_module(), make_batches(1), tmp_path / "b", budget(2, 2), resume=False, score_name="s")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_budget_ends_a_fit_early(make_module, make_batches, tmp_path):
    module = make_module()
    result = fit(module, make_batches(), tmp_path, budget(1000, 2, minutes=1e-7), resume=False, score_name="s")
    assert result.steps == 1  # the step that was under way
    assert result.seconds > 0
    assert history(tmp_path)[-1]["step"] == "1"


def test_a_finished_checkpoint_is_not_started_over(make_module, make_batches, tmp_path):
    fit(make_module(), make_batches(), tmp_path, budget(2, 2), resume=False, score_name="s")
    with pytest.raises(OutputError, match="go on with --resume or start anew: --overwrite"):
        fit(make_module(), make_batches(), tmp_path, budget(2, 2), resume=False, score_name="s")
    again = make_module()
    assert fit(again, make_batches(), tmp_path, budget(2, 2), resume=True, score_name="s").steps == 2
    assert again.seen == []


def test_worker_processes_make_the_same_batches(make_module, make_batches, tmp_path):
    alone, helped = make_module(), make_module()
    fit(alone, make_batches(), tmp_path / "alone", budget(3, 2), resume=False, score_name="s")
    fit(helped, make_batches(), tmp_path / "helped", budget(3, 2, workers=1), resume=False, score_name="s")
    assert helped.seen == alone.seen
    state = helped.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in alone.state_dict().items())


def test_scores_are_kept_and_the_best_returned(make_module, make_batches, tmp_path, monkeypatch):
    module, scores = make_module(), iter([0.25, 0.75, 0.5])
    monkeypatch.setattr(module, "selection_score", lambda: next(scores))
    result = fit(module, make_batches(), tmp_path, budget(6, 2), resume=False, score_name="selection_dice")
    assert result.best_score == 0.75
    assert [row["selection_dice"] for row in history(tmp_path)] == ["0.25", "0.75", "0.5"]
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == 4


def test_without_a_score_there_is_none(make_module, make_batches, tmp_path):
    result = fit(make_module(), make_batches(), tmp_path, budget(1, 1), resume=False, score_name="s")
    assert math.isnan(result.best_score)
    assert not (tmp_path / "best.ckpt").exists()


def test_a_loss_that_is_not_finite_is_explained(make_module, make_batches, tmp_path, monkeypatch):
    module = make_module()
    monkeypatch.setattr(module, "loss", lambda batch: module.network(batch["x"]).sum() * math.nan)
    with pytest.raises(TrainingError, match=r"the loss became nan at step 0; lower the learning rate"):
        fit(module, make_batches(), tmp_path, budget(2, 2), resume=False, score_name="s")


@pytest.mark.parametrize(
    ("device", "expected", "torch_name"),
    [
        ("cpu", ("cpu", 1), "cpu"),
        ("cuda", ("cuda", 1), "cuda"),
        ("cuda:1", ("cuda", [1]), "cuda:1"),
        ("gpu", ("gpu", 1), "cuda"),
        ("gpu:4", ("gpu", 4), "cuda"),
        ("mps", ("mps", 1), "mps"),
    ],
)
def test_devices(device, expected, torch_name):
    assert parse_device(device) == expected
    assert torch_device(device) == torch_name


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, there, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert parse_device("auto") == (expected, 1)


@pytest.mark.parametrize("device", ["", "tpu", "cuda:", "cuda:x", "gpu:0", "cpu:1", "CPU"])
def test_an_unknown_device_lists_the_known_ones(device):
    with pytest.raises(SettingsError, match="expected auto, cpu, cuda, cuda:1, gpu:4"):
        parse_device(device)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("cuda:1", "gpu:2", "cpu"):
        check_device(device)
    for device in ("cuda:2", "gpu:3"):
        with pytest.raises(SettingsError, match="this machine has 2 usable GPUs"):
            check_device(device)


def test_automatic_precision(monkeypatch):
    assert automatic_precision("cuda") == automatic_precision("gpu") == "16-mixed"
    assert automatic_precision("mps") == "32-true"
    for has, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        assert automatic_precision("cpu") == expected


def test_frozen_weights_are_copies():
    layer = torch.nn.Linear(2, 2)
    weights = frozen_weights(layer)
    assert all(value.is_contiguous() and not value.requires_grad for value in weights.values())
    weights["weight"].zero_()
    assert layer.weight.abs().sum() > 0
