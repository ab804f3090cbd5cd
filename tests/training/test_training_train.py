"""Training: resumed equals uninterrupted, the best weights can be kept, and what goes wrong is said."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch

from grcsf.config import NetworkSettings
from grcsf.errors import DatasetError, OutputError, TrainingError
from grcsf.nets.peers import PeerNet
from grcsf.training.data import LabelledPatches
from grcsf.training.package import load_model
from grcsf.training.train import train_network


@pytest.fixture
def train(make_store, settings, make_bundle, tmp_path):
    """A function that trains on two cases and watches the third."""
    store = make_store()

    def maps(name):
        rng = np.random.default_rng(len(name))
        return rng.standard_normal((2, *store.shape(name)[1:])).astype(np.float32)

    def run(name, *, units=True, selection=("case-2",), resume=False, cases=("case-0", "case-1"), **training):
        chosen = settings.model_copy(update={"training": settings.training.model_copy(update=training)})
        given = {"mae": make_bundle(settings), "maps": maps} if units else {}
        return train_network(store, cases, selection, chosen, tmp_path / name, device="cpu", resume=resume, **given)

    return run


def history(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


@pytest.mark.parametrize("name", ["dynunet", "basic-unet-plus-plus", "attention-unet"])
def test_a_peer_trains_in_our_loop(make_store, settings, tmp_path, name):
    network = NetworkSettings(
        backbone=name, features=(4, 4, 4, 4, 4), gcu="off", rcu=False, deep_supervision=name != "attention-unet"
    )
    chosen = settings.model_copy(update={"network": network})
    model, result = train_network(
        make_store(), ("case-0", "case-1"), ("case-2",), chosen, tmp_path / "out", device="cpu"
    )
    assert isinstance(model.network, PeerNet)
    assert result.steps == 6
    state = load_model(tmp_path / "out").network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.network.state_dict().items())


@pytest.mark.parametrize("units", [False, True])
def test_a_training_leaves_a_model_and_its_history(train, tmp_path, units):
    model, result = train("run", units=units)
    assert result.steps == 6
    assert 0 <= result.best_score <= 1
    rows = history(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert list(rows[0]) == ["step", "seconds", "loss", "learning_rate", "selection_dice"]
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    assert max(float(row["selection_dice"]) for row in rows) == pytest.approx(result.best_score)
    loaded = load_model(tmp_path / "run")
    assert loaded.provenance["steps"] == 6
    assert loaded.provenance["training_cases"] == 2
    assert (loaded.mae is not None) == units
    state = loaded.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.network.state_dict().items())


@pytest.mark.parametrize("breaks_at", [1, 3, 4])
def test_a_resumed_training_ends_with_the_same_weights(train, tmp_path, monkeypatch, breaks_at):
    whole, _ = train("whole")
    plain = LabelledPatches.__call__

    def breaks(self, step, rank):
        if step == breaks_at:
            raise RuntimeError("pulled the plug")
        return plain(self, step, rank)

    with monkeypatch.context() as patch:
        patch.setattr(LabelledPatches, "__call__", breaks)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            train("parts")
    assert not (tmp_path / "parts" / "model.json").exists()
    parts, result = train("parts", resume=True)
    assert result.steps == 6
    state = parts.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.network.state_dict().items())
    for one, other in zip(history(tmp_path / "whole"), history(tmp_path / "parts"), strict=True):
        assert {**one, "seconds": ""} == {**other, "seconds": ""}


def test_an_unfinished_training_is_not_overwritten_silently(train, monkeypatch):
    train("run")
    with pytest.raises(OutputError, match="go on with --resume or start anew: --overwrite"):
        train("run")


def test_the_seed_decides_and_the_global_generators_stay(train, settings):
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, _ = train("first", units=False)
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    second, _ = train("second", units=False)
    state = second.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.network.state_dict().items())


def test_the_units_can_learn_at_a_rate_of_their_own(train):
    once = {"steps": 1, "warmup": 0.0, "ema_decay": 0.0, "selection": ()}
    plain = train("plain", **once)[0].network.state_dict()
    fast = train("fast", units_rate_times=4.0, **once)[0].network.state_dict()
    # The first step of AdamW is as long as the rate, and the gates of the GCU start at zero.
    gates = [name for name in plain if name.endswith(".gate")]
    moved = [name for name in plain if not torch.equal(plain[name], fast[name])]
    assert gates and all(name.startswith(("gcu.", "rcu.")) for name in moved)
    assert all(torch.allclose(fast[name], 4 * plain[name]) for name in gates)


def test_the_averaged_weights_are_shipped(train):
    averaged, _ = train("averaged", units=False, selection=())
    plain, result = train("plain", units=False, selection=(), ema_decay=0.0)
    assert math.isnan(result.best_score)
    state = plain.network.state_dict()
    assert any(not torch.equal(value, state[name]) for name, value in averaged.network.state_dict().items())


def test_the_best_weights_can_be_kept(train, tmp_path, monkeypatch):
    scores = iter([0.9, 0.1, 0.2])
    monkeypatch.setattr("grcsf.training.train._SegmentationModule.selection_score", lambda self: next(scores))
    best, _ = train("best", units=False, keep="best")
    kept = torch.load(tmp_path / "best" / "best.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    state = best.network.state_dict()
    assert all(torch.equal(value, kept["state_dict"][f"averaged.module.{name}"]) for name, value in state.items())


def test_patience_ends_a_training_that_does_not_improve(train, monkeypatch):
    monkeypatch.setattr("grcsf.training.train._SegmentationModule.selection_score", lambda self: 0.5)
    _, result = train("patient", units=False, steps=20, patience=2)
    assert result.steps == 6  # the first epoch is the best, two more do not improve


def test_a_loss_that_is_not_finite_is_explained(train, tmp_path):
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) at step \d+; lower the learning rate"):
        train("broken", units=False, learning_rate=1e30, warmup=0.0)
    assert not (tmp_path / "broken" / "model.json").exists()


def test_labels_without_a_lesion_are_refused(make_store, settings, tmp_path):
    store = make_store(lesions=False)
    with pytest.raises(DatasetError, match="none of the 3 training labels holds a lesion"):
        train_network(store, store.names, (), settings, tmp_path / "run", device="cpu")


def test_volumes_train_too(make_store, settings, tmp_path):
    store = make_store(3, shape=(8, 14, 12), cases=2)
    short = settings.model_copy(update={"training": settings.training.model_copy(update={"steps": 1})})
    model, result = train_network(store, store.names, (), short, tmp_path / "run", device="cpu")
    assert result.steps == 1
    assert model.network.dims == 3
