"""A model folder holds all that prediction needs, and refuses to load when it was changed."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from grcsf.config import NetworkSettings
from grcsf.errors import ModelError, SettingsError
from grcsf.fitting.weights import write_model
from grcsf.nets.peers import PEERS
from grcsf.training.package import LesionModel, build_network, load_model, save_model
from grcsf.verbs.info import info


@pytest.fixture
def make_model(make_store, settings, make_bundle):
    def make(with_mae: bool) -> LesionModel:
        bundle = make_bundle(settings) if with_mae else None
        plan = make_store().plan
        network = build_network(plan, settings, bundle).eval()
        facts = {"fold": 0, "training_cases": 2}
        return LesionModel(network, plan, settings, bundle, facts, 0.4 if with_mae else None)

    return make


@pytest.mark.parametrize("with_mae", [False, True])
def test_what_is_saved_comes_back(make_model, tmp_path, with_mae):
    model = make_model(with_mae)
    save_model(tmp_path / "model", model)
    loaded = load_model(tmp_path / "model")
    assert loaded.plan == model.plan
    assert loaded.settings == model.settings
    assert loaded.provenance == model.provenance
    assert loaded.usual_residual == model.usual_residual
    assert (loaded.mae is not None) == with_mae == loaded.network.uses_residual
    assert not loaded.network.training
    image = torch.randn(1, 1, 9, 7)
    residual = torch.randn(1, 2, 9, 7) if with_mae else None
    with torch.no_grad():
        assert torch.equal(loaded.network(image, residual), model.network(image, residual))
    if with_mae:
        assert loaded.mae.description() == model.mae.description()
        assert loaded.mae.weights_hash == model.mae.weights_hash
        state = loaded.mae.networks.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in model.mae.networks.state_dict().items())


def test_a_model_from_before_the_usual_residual_has_none(make_model, tmp_path):
    save_model(tmp_path, make_model(True))
    description = json.loads((tmp_path / "model.json").read_text("utf-8"))
    del description["usual_residual"]
    (tmp_path / "model.json").write_text(json.dumps(description), encoding="utf-8")
    assert load_model(tmp_path).usual_residual is None


@pytest.mark.parametrize("usual", [float("nan"), float("inf"), "large"])
def test_a_usual_residual_that_is_no_number_is_refused(usual, make_model, tmp_path):
    save_model(tmp_path, make_model(True))
    description = json.loads((tmp_path / "model.json").read_text("utf-8"))
    description["usual_residual"] = usual
    (tmp_path / "model.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(ModelError, match="copy the model folder again"):
        load_model(tmp_path)


def test_an_encoder_that_the_network_reads_is_saved_with_it(make_store, settings, make_bundle, tmp_path):
    chosen = settings.model_copy(update={"network": settings.network.model_copy(update={"rcu_tokens": True})})
    bundle, plan = make_bundle(chosen), make_store(context=1).plan
    network = build_network(plan, chosen, bundle).eval()
    assert network.tokens.channels == (1,)  # the slice between its neighbours
    torch.nn.init.normal_(network.rcu["0"].fuse[-1].weight)  # a fresh unit would hide the tokens
    image, residual = torch.randn(1, 3, 9, 7), torch.randn(1, 2, 9, 7)
    save_model(tmp_path / "model", LesionModel(network, plan, chosen, bundle, {}))
    loaded = load_model(tmp_path / "model").network
    with torch.no_grad():
        out = loaded(image, residual)
        assert torch.equal(out, network(image, residual))
        torch.nn.init.normal_(network.tokens.mae.embed.weight)  # the same for all would go in a norm
        assert not torch.equal(out, network(image, residual))


def test_channels_follow_the_plan(make_store, settings, make_bundle):
    plan = make_store(context=2).plan.model_copy(update={"labels": {"background": 0, "core": 1, "penumbra": 2}})
    network = build_network(plan, settings, make_bundle(settings))
    assert (network.in_channels, network.maps, network.map_channels) == (5, 2, 1)
    with torch.no_grad():
        assert network(torch.randn(1, 5, 8, 8), torch.randn(1, 2, 8, 8)).shape == (1, 2, 8, 8)
    assert not build_network(plan, settings, None).uses_residual


def test_changed_weights_are_refused(make_model, tmp_path):
    save_model(tmp_path, make_model(False))
    weights = load_file(tmp_path / "model.safetensors")
    name = sorted(weights)[0]
    save_file({**weights, name: weights[name] + 1e-6}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors: SHA-256 .* but model\.json says .*changed or damaged"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_missing_file_is_named(make_model, tmp_path, name):
    save_model(tmp_path, make_model(False))
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=f"no {name}"):
        load_model(tmp_path)


def test_a_damaged_description_is_refused(make_model, tmp_path):
    save_model(tmp_path, make_model(False))
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ModelError, match=r"model\.json: not valid JSON"):
        load_model(tmp_path)


def test_weights_of_another_network_are_refused(make_model, tmp_path):
    model = make_model(False)
    save_model(tmp_path, model)
    description = json.loads((tmp_path / "model.json").read_text())
    description["settings"]["network"]["features"] = [4, 6, 10]
    write_model(tmp_path, load_file(tmp_path / "model.safetensors"), description)
    with pytest.raises(ModelError, match=r"weights do not fit model\.json"):
        load_model(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path):
    write_model(tmp_path, {"x": torch.zeros(1)}, {"kind": "mae"})
    with pytest.raises(ModelError, match="holds a model of kind 'mae', expected 'lesion-model'"):
        load_model(tmp_path)


def test_thick_slices_decide_the_strides(make_store, settings):
    plan = make_store(3).plan.model_copy(update={"patch_size": (8, 16, 16), "spacing_mm": (4.0, 1.0, 1.0)})
    network = build_network(plan, settings, None)
    assert network.strides == ((1, 2, 2), (2, 2, 2))
    assert network.total_strides[-1] == (2, 4, 4)


def peer_settings(settings, name):
    widths = (24, 8, 8, 8, 8)
    network = NetworkSettings(backbone=name, features=widths, gcu="off", rcu=False, deep_supervision=name == "dynunet")
    return settings.model_copy(update={"network": network})


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_saved_loaded_and_described(make_store, settings, tmp_path, name):
    plan = make_store().plan
    chosen = peer_settings(settings, name)
    network = build_network(plan, chosen, None).eval()
    save_model(tmp_path, LesionModel(network, plan, chosen, None, {"fold": 0}))
    loaded = load_model(tmp_path).network
    image = torch.randn(2, 1, 9, 7)
    with torch.no_grad():
        assert torch.equal(loaded(image), network(image))
    found = info(tmp_path)
    assert found.levels == ()
    assert found.parameters["all"] == found.parameters["backbone"] == sum(p.numel() for p in network.parameters())
    assert found.multiply_adds["network"] > 0
    assert "receptive" not in found.to_text()


@pytest.mark.parametrize("name", ["swin-unetr", "unetr"])
def test_a_transformer_without_einops_names_the_extra(make_store, settings, monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=rf"network\.backbone={name} needs the package einops: .*grcsf\[peers\]"):
        build_network(make_store().plan, peer_settings(settings, name), None)
