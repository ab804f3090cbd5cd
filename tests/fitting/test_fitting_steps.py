"""Learning rate, the loader's position, checkpoint files and the history."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grcsf.errors import ModelError
from grcsf.fitting.batches import StepLoader, step_generator
from grcsf.fitting.callbacks import AtomicCheckpoints, write_history
from grcsf.fitting.module import learning_rate_factor
from grcsf.fitting.weights import has_model, read_model, write_model
from grcsf.io.files import hash_file, write_json


@given(progress=st.floats(0, 1.5), warmup=st.floats(0, 0.9))
def test_the_learning_rate_is_a_share_of_its_peak(progress, warmup):
    assert 0 <= learning_rate_factor(progress, warmup) <= 1


@given(warmup=st.floats(0.01, 0.9), early=st.floats(0, 1), late=st.floats(0, 1))
def test_the_learning_rate_rises_then_falls(warmup, early, late):
    first, second = sorted((early, late))
    assert learning_rate_factor(first * warmup, warmup) <= learning_rate_factor(second * warmup, warmup) + 1e-9
    first, second = warmup + first * (1 - warmup), warmup + second * (1 - warmup)
    assert learning_rate_factor(first, warmup) >= learning_rate_factor(second, warmup) - 1e-9


def test_the_learning_rate_by_hand():
    # Half the warm-up, its end, half the cosine, the end, after the end (a budget that ran over).
    found = [learning_rate_factor(progress, 0.2) for progress in (0.1, 0.2, 0.6, 1.0, 1.2)]
    assert found == pytest.approx([0.5, 1.0, 0.5, 0.0, 0.0])
    assert learning_rate_factor(0.0, 0.2) > 0  # the first step is not lost
    assert learning_rate_factor(0.0, 0.0) == 1.0


@pytest.mark.parametrize(("at", "expected"), [(0, [0, 1, 2, 3]), (6, [6, 7]), (8, [8, 9, 10, 11])])
def test_the_loader_goes_on_from_the_step(at, expected):
    made = []
    loader = StepLoader(lambda step, rank: made.append((step, rank)) or {}, 4, lambda: (at, 2))
    list(loader)
    assert made == [(step, 2) for step in expected]
    assert len(loader) == 4
    assert loader.state_dict() == {}


def test_step_generators_differ_by_every_key():
    draws = {
        tuple(step_generator(*keys).integers(2**40, size=2)) for keys in ((0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3))
    }
    assert len(draws) == 4
    assert step_generator(0, 1, 2).integers(2**40) == step_generator(0, 1, 2).integers(2**40)


def test_a_checkpoint_is_complete_or_absent(tmp_path):
    plugin, path = AtomicCheckpoints(), tmp_path / "last.ckpt"
    plugin.save_checkpoint({"step": 1, "weights": torch.ones(2)}, path)
    with pytest.raises(Exception, match=r"pickle|lambda"):
        plugin.save_checkpoint({"step": 2, "bad": lambda: 0}, path)
    assert [found.name for found in tmp_path.iterdir()] == ["last.ckpt"]
    assert plugin.load_checkpoint(path)["step"] == 1  # the one before


def test_a_checkpoint_that_holds_more_than_plain_values_is_not_read(tmp_path):
    torch.save({"callback": print}, tmp_path / "last.ckpt")  # a pickled name, which a full load would look up
    with pytest.raises(Exception, match=r"Weights only load failed|Unsupported"):
        AtomicCheckpoints().load_checkpoint(tmp_path / "last.ckpt")


def test_history_leaves_missing_scores_empty(tmp_path):
    rows = [
        {"step": 2, "seconds": 1.5, "loss": 0.25, "learning_rate": 1e-3, "selection": None},
        {"step": 4, "seconds": 3.0, "loss": 0.125, "learning_rate": 0.0, "selection": 0.5},
    ]
    write_history(tmp_path / "history.csv", rows, "selection_dice")
    assert (tmp_path / "history.csv").read_text().splitlines() == [
        "step,seconds,loss,learning_rate,selection_dice",
        "2,1.5,0.25,0.001,",
        "4,3.0,0.125,0.0,0.5",
    ]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_model_without_its_description_does_not_exist(tmp_path):
    assert not has_model(tmp_path)
    write_model(tmp_path, {"x": torch.ones(2)}, {"kind": "test", "note": 1})
    assert has_model(tmp_path)
    weights, description = read_model(tmp_path, "test")
    assert weights["x"].tolist() == [1, 1]
    assert description["note"] == 1
    (tmp_path / "model.json").unlink()
    assert not has_model(tmp_path)
    with pytest.raises(ModelError, match=r"no model\.json; expected a model folder"):
        read_model(tmp_path, "test")


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    described = {"kind": "test", "weights_sha256": hash_file(tmp_path / "model.safetensors")}
    write_json(tmp_path / "model.json", described)
    with pytest.raises(ModelError, match="not a safetensors file"):
        read_model(tmp_path, "test")
