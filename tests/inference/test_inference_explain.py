"""Maps of what units did: known by hand, at the right place, blended as probabilities are, and nothing when off."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grcsf.config import InferenceSettings, NetworkSettings
from grcsf.datasets.dataset import Case
from grcsf.errors import ImageError
from grcsf.inference import predict as predict_module
from grcsf.inference.explain import explained_pass, gain, map_names, model_facts, watched
from grcsf.inference.predict import Predictor, case_files, predict_cases
from grcsf.inference.windows import case_probabilities
from grcsf.io.geometry import make_geometry
from grcsf.io.volume import Volume, read_geometry, read_volume, write_volume
from grcsf.nets.network import GrcsfNet
from grcsf.nets.peers import PeerShape, build_peer

QUICK = InferenceSettings(mirroring=False)
RATIOS = ("r50", "r75")
PEER = {"backbone": "segresnet", "gcu": "off", "rcu": False}


def toy(dims: int = 2, **changes: object) -> GrcsfNet:
    """A network of two levels, its RCU on the finest with patches of 4, two maps; fresh, so both units are off."""
    usual = {"features": (4, 6), "rcu_levels": (0,), "rcu_patch": 4, "rcu_dim": 8, "rcu_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = GrcsfNet(NetworkSettings(**{**usual, **changes}), 1, 1, [(2,) * dims], maps=2)
    return net.eval().requires_grad_(False)


def importance_of_bright_patches(net: GrcsfNet) -> None:
    """Rig the RCU: a patch whose mean residual is above 0 has importance near 1, the others have sigmoid(-5)."""
    unit = net.rcu["0"]
    for parameter in (*unit.tokens.parameters(), *unit.score.parameters()):
        parameter.zero_()
    unit.tokens.weight[0] = 1 / unit.tokens.weight[0].numel()  # the token is (mean, 0, ..., 0)
    unit.score[0].weight[0, 0] = 100.0  # so that a small mean counts as a large one does
    unit.score[2].weight[0, 0], unit.score[2].bias[0] = 4.0, -5.0


def watch(net: GrcsfNet, image: torch.Tensor, residual: torch.Tensor | None) -> dict[str, torch.Tensor]:
    with watched(net, RATIOS) as found:
        net(image, residual)
    return found


def test_gain_is_the_norm_of_what_is_added_over_the_norm_of_what_was_there():
    before = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]).T.reshape(1, 2, 3)
    added = torch.tensor([[6.0, 8.0], [0.0, 0.0], [0.0, -0.5]]).T.reshape(1, 2, 3)
    assert gain(before, before + added).flatten().tolist() == [10 / 5, 0.0, 0.5 / 1]


@given(times=st.floats(0.0, 8.0), seed=st.integers(0, 99))
def test_a_unit_that_scales_its_input_by_one_plus_t_has_gain_t(times, seed):
    before = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(gain(before, before * (1 + times)), torch.full((1, 1, 5), times), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_fresh_units_gain_nothing(dims):
    found = watch(toy(dims), torch.randn(2, 1, *[8] * dims), torch.randn(2, 2, *[8] * dims))
    assert set(found) == {"importance-0", "fusion-0-r50", "fusion-0-r75", "rcu-gain-0", "gcu-gain-0"}
    for name in ("rcu-gain-0", "gcu-gain-0"):
        assert found[name].shape == (2, 1, *[8] * dims)
        assert not found[name].any()


def test_fusion_is_weight_times_importance():
    """The score's last layer is a bias of log 3 alone: importance is 3 / (3 + 1) everywhere."""
    net = toy()
    for parameter in net.rcu["0"].score.parameters():
        parameter.zero_()
    net.rcu["0"].score[2].bias.fill_(math.log(3))
    net.rcu["0"].weights.copy_(torch.tensor([0.5, -2.0]))
    found = watch(net, torch.randn(1, 1, 8, 8), torch.randn(1, 2, 8, 8))
    for name, value in (("importance-0", 0.75), ("fusion-0-r50", 0.375), ("fusion-0-r75", -1.5)):
        torch.testing.assert_close(found[name], torch.full((1, 1, 8, 8), value))


def test_the_gain_of_a_rigged_gcu_is_known():
    """SE gates of sigmoid(0) = 1/2; form ``difference`` with nothing from below: f + g f / 2, so the gain is g / 2."""
    net = toy(gcu="difference", rcu=False)
    unit = net.gcu["0"]
    for parameter in unit.parameters():
        parameter.zero_()
    unit.gate.fill_(0.5)
    found = watch(net, torch.randn(1, 1, 8, 8), None)
    torch.testing.assert_close(found["gcu-gain-0"], torch.full((1, 1, 8, 8), 0.25))


@pytest.mark.parametrize("dims", [2, 3])
def test_importance_is_high_where_the_residual_was_put(dims):
    net, size = toy(dims), (12, 16, 12)[:dims]
    importance_of_bright_patches(net)
    for corner in itertools.product(*(range(0, edge, 4) for edge in size)):
        residual = torch.zeros(1, 2, *size)
        patch = tuple(slice(start, start + 4) for start in corner)
        residual[(0, slice(None), *patch)] = 1.0
        seen = watch(net, torch.zeros(1, 1, *size), residual)["importance-0"][0, 0]
        assert tuple(np.unravel_index(int(seen.argmax()), seen.shape)) in set(
            itertools.product(*(range(start, start + 4) for start in corner))
        )
        far = torch.ones(size, dtype=torch.bool)
        far[tuple(slice(max(0, start - 4), start + 8) for start in corner)] = False
        assert seen[patch].max() > 0.5 > 0.01 > seen[far].max()


def test_a_map_at_another_ratio_leaves_the_fusion_of_the_first_low():
    net = toy()
    importance_of_bright_patches(net)
    residual = torch.zeros(1, 2, 12, 12)
    residual[0, 1, 4:8, 4:8] = 1.0
    found = watch(net, torch.zeros(1, 1, 12, 12), residual)
    low = 1 / (1 + math.exp(5))  # each map weighs one half
    torch.testing.assert_close(found["fusion-0-r50"], torch.full((1, 1, 12, 12), low / 2))
    assert 0.25 < found["fusion-0-r75"].max() <= 0.5
    torch.testing.assert_close(found["importance-0"], found["fusion-0-r50"] + found["fusion-0-r75"])


def test_odd_sizes_come_back_on_their_own_grid():
    net = toy(features=(4, 6))
    both = explained_pass(net, RATIOS)(torch.randn(2, 1, 13, 7), torch.randn(2, 2, 13, 7))
    assert both.shape == (2, 1 + len(map_names(net, RATIOS)), 13, 7)


def test_no_hook_stays_even_when_a_pass_fails():
    net = toy()
    units = [*net.rcu.values(), *net.gcu.values()]
    run = explained_pass(net, RATIOS)
    run(torch.randn(1, 1, 8, 8), torch.randn(1, 2, 8, 8))
    with pytest.raises(ValueError, match="expected an image of 1 channels"):
        run(torch.randn(1, 3, 8, 8), torch.randn(1, 2, 8, 8))
    assert units
    assert not any(unit._forward_hooks for unit in units)


def test_passes_of_another_thread_are_not_taken_for_ones_own():
    net, image, residual = toy(), torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 8, 8)
    with watched(net, RATIOS) as found:
        other = threading.Thread(target=lambda: net(image, residual))
        other.start()
        other.join()
        assert not found
        net(image, residual)
    assert found


def test_names_say_which_units_there_are():
    region = ("importance-0", "fusion-0-r50", "fusion-0-r75", "rcu-gain-0")
    assert map_names(toy(), RATIOS) == (*region, "gcu-gain-0")
    assert map_names(toy(gcu="off"), RATIOS) == region
    assert map_names(toy(rcu=False), ()) == ("gcu-gain-0",)
    assert map_names(toy(rcu_importance=False), RATIOS) == ("rcu-gain-0", "gcu-gain-0")
    assert map_names(toy(rcu=False, gcu="off"), ()) == ()
    settings = NetworkSettings(**PEER, features=(8, 8))
    peer = build_peer(settings, PeerShape(1, 1, ((2, 2),), (16, 16)))
    assert map_names(peer, ()) == ()


# Whole cases.


@pytest.fixture
def volumes(tiny_volumes):
    return [read_volume(tiny_volumes / "imagesTr" / f"case-00_{channel:04d}.nii.gz") for channel in (0, 1)]


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("context", [0, 1])
@pytest.mark.parametrize("mirroring", [False, True])
def test_masks_and_probabilities_are_bit_for_bit_those_without(
    make_plan, make_model, volumes, spatial_dims, context, mirroring
):
    plan = make_plan(spatial_dims, channels=2, context=context if spatial_dims == 2 else 0)
    model, settings = make_model(plan, with_mae=True), InferenceSettings(mirroring=mirroring)
    plain = Predictor([model], settings).predict(volumes)
    found = Predictor([model], settings, explain=True).predict(volumes)
    assert plain.explanation is None
    assert np.array_equal(found.mask, plain.mask)
    assert np.array_equal(found.probabilities, plain.probabilities)
    assert set(found.explanation.maps) == {"importance-0", "fusion-0-r50", "fusion-0-r75", "rcu-gain-0", "gcu-gain-0"}
    for value in found.explanation.maps.values():
        assert value.shape == volumes[0].array.shape
        assert value.dtype == np.float32
        assert np.isfinite(value).all()
        assert value.any()
    importance = found.explanation.maps["importance-0"]
    assert importance.min() >= 0
    assert importance.max() <= 1 + 1e-6
    assert np.array_equal(Predictor([model], settings).predict(volumes).probabilities, plain.probabilities)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("mirroring", [False, True])
def test_windows_of_maps_are_blended_as_those_of_probabilities(make_plan, make_model, dims, mirroring):
    """A map that is the probability comes out as the probability, although windows disagree where they overlap."""
    plan = make_plan(dims)
    model = make_model(plan)
    image = np.random.default_rng(0).standard_normal((1, 5, 40, 37)).astype(np.float32)
    settings = InferenceSettings(mirroring=mirroring)

    def twice(part, residual):
        probabilities = model.network(part, residual).float().sigmoid()
        return torch.cat([probabilities, probabilities], dim=1)

    one = case_probabilities(model.network, image, None, plan, settings)
    both = case_probabilities(model.network, image, None, plan, settings, run=twice)
    assert np.array_equal(both[:1], one)
    assert np.array_equal(both[1:], one)


def test_importance_in_windows_is_the_importance_of_the_whole_where_it_is_local(make_plan):
    """Windows of 16 in steps of 8 cut no patch of 4, and the rigged importance sees its own patch alone."""
    plan, net = make_plan(2), toy()
    importance_of_bright_patches(net)
    image, residual = np.zeros((1, 1, 48, 48), np.float32), np.zeros((2, 1, 48, 48), np.float32)
    residual[:, 0, 24:28, 36:40] = 1.0
    settings = InferenceSettings(mirroring=False, overlap=0.5)
    run = explained_pass(net, RATIOS)
    windows = case_probabilities(net, image, residual, plan, settings, run=run)[1, 0]
    whole = run(torch.from_numpy(image[:, 0])[None], torch.from_numpy(residual[:, 0])[None])[0, 1].numpy()
    inside = np.zeros((48, 48), bool)
    inside[25:27, 37:39] = True  # off the edges of windows, where interpolation has no neighbour on one side
    np.testing.assert_allclose(windows[inside], whole[inside], atol=0.05)
    assert windows[24:28, 36:40].min() > 0.2
    assert windows[:16].max() < 0.01


def oblique_volume(tmp_path):
    """28 x 22 x 16 voxels of 1 x 1.3 x 2.5 mm, axes permuted, flipped and turned by 20 degrees; a bright cube in it."""
    turn = math.radians(20)
    axes = np.array([[0, -math.cos(turn), math.sin(turn)], [-1, 0, 0], [0, math.sin(turn), math.cos(turn)]])
    affine = np.eye(4)
    affine[:3, :3] = axes * [1.0, 1.3, 2.5]
    affine[:3, 3] = [30.0, -12.0, 7.0]
    array = np.zeros((28, 22, 16), np.float32)
    array[3:26, 3:20, 2:15] = 100 + np.random.default_rng(1).standard_normal((23, 17, 13))
    array[16:22, 6:10, 8:11] = 200
    write_volume(array, make_geometry(array.shape, affine, tmp_path), tmp_path / "tilted_0000.nii.gz")
    return tmp_path / "tilted_0000.nii.gz"


@pytest.mark.parametrize("mirroring", [False, True])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_importance_comes_back_to_the_voxels_of_an_oblique_volume(
    make_plan, make_model, tmp_path, monkeypatch, spatial_dims, mirroring
):
    """The residual is put where the image is bright; the map must be high there, in the file's own axes."""
    plan = make_plan(spatial_dims, spacing_mm=(1.8, 1.1, 1.1), crop=True)
    model = make_model(plan, with_mae=True, rcu_patch=2)
    importance_of_bright_patches(model.network)
    monkeypatch.setattr(
        predict_module,
        "case_residual",
        lambda _mae, image, *_rest: np.repeat((image[:1] > 2).astype(np.float32), 2, axis=0),  # z-scores above 2
    )
    path = oblique_volume(tmp_path)
    (tmp_path / "out").mkdir()
    case = Case("tilted", (path,), None, "tilted")
    assert (
        predict_cases(
            Predictor([model], InferenceSettings(mirroring=mirroring), explain=True), [case], tmp_path / "out"
        )
        == {}
    )
    files = case_files(case, tmp_path / "out")
    assert len(files) == 1 + 2 + 5 + 1  # mask, residual maps, maps of units, numbers
    like = read_geometry(path)
    for file in files[:-1]:
        geometry = read_geometry(file)
        assert geometry.shape == like.shape, file.name
        assert np.array_equal(geometry.affine_ras, like.affine_ras), file.name
    array = read_volume(path).array
    importance = read_volume(tmp_path / "out" / "tilted_importance-0.nii.gz").array
    bright = array > 150
    assert np.median(importance[bright]) > 0.8
    assert np.median(importance[(array > 0) & ~bright]) < 0.02
    assert not importance[:2].any()  # outside the content
    assert not importance[:, :, 15:].any()


def test_maps_beside_a_png_have_its_pixels(tiny_slices, make_plan, make_model, tmp_path):
    image = tiny_slices / "imagesTr" / "case-00_0000.png"
    case = Case("case-00", (image,), None, "case-00")
    model = make_model(make_plan(native_2d=True), with_mae=True)
    predictor = Predictor([model], QUICK, explain=True)
    assert predict_cases(predictor, [case], tmp_path, spacing_mm=(0.5, 0.7)) == {}
    found = predictor.predict([read_volume(image, (0.5, 0.7))])
    assert {path.suffix for path in case_files(case, tmp_path)} == {".png", ".mha", ".json"}
    for name, value in found.explanation.maps.items():
        stored = read_volume(tmp_path / f"case-00_{name}.mha")
        assert np.array_equal(stored.array.T, value)
        assert stored.geometry.spacing_mm == (0.7, 0.5)  # columns along x
    numbers = json.loads((tmp_path / "case-00_explain.json").read_text("utf-8"))
    assert numbers["case"] == "case-00"
    assert set(numbers["maps"]) == set(found.explanation.maps)
    assert numbers["maps"]["rcu-gain-0"]["max"] == found.explanation.maps["rcu-gain-0"].max()
    weights = numbers["models"][0]["rcu"]["0"]["weights"]
    assert weights == dict(zip(RATIOS, model.network.rcu["0"].weights.tolist(), strict=True))


def test_maps_of_several_models_are_means_over_those_that_have_them(make_plan, make_model, volumes):
    plan = make_plan(2, channels=2)
    models = [
        make_model(plan, with_mae=True, seed=1),
        make_model(plan, with_mae=True, seed=2),
        make_model(plan, seed=3),
    ]
    alone = [Predictor([model], QUICK, explain=True).predict(volumes).explanation for model in models]
    together = Predictor(models, QUICK, explain=True).predict(volumes).explanation
    assert set(alone[2].maps) == {"gcu-gain-0"}
    for name, value in together.maps.items():
        parts = [one.maps[name] for one in alone if name in one.maps]
        assert len(parts) == (3 if name == "gcu-gain-0" else 2)
        np.testing.assert_allclose(value, np.mean(parts, axis=0), atol=1e-5)
    assert together.models == [one.models[0] for one in alone]


@pytest.mark.parametrize("network", [{"gcu": "off", "rcu": False}, {**PEER, "features": (8, 8)}])
def test_a_network_without_units_says_so(make_plan, make_model, tiny_slices, tmp_path, network, caplog):
    image = tiny_slices / "imagesTr" / "case-00_0000.png"
    model = make_model(make_plan(native_2d=True), **network)
    with caplog.at_level("WARNING", logger="grcsf"):
        predictor = Predictor([model], QUICK, explain=True)
    note = "segresnet has no units" if "backbone" in network else "GCU and RCU are off"
    assert f"{note}: no maps of units" in caplog.text
    case = Case("case-00", (image,), None, "case-00")
    assert predict_cases(predictor, [case], tmp_path, spacing_mm=(1.0, 1.0)) == {}
    assert {path.name for path in tmp_path.iterdir()} == {"case-00.png", "case-00_explain.json"}
    numbers = json.loads((tmp_path / "case-00_explain.json").read_text("utf-8"))
    assert numbers["maps"] == {}
    assert numbers["models"][0]["note"] == f"{note}: no maps of units"


def test_facts_say_what_the_units_are(make_plan, make_model):
    model = make_model(make_plan(), with_mae=True, gcu="kept", rcu_importance=False, rcu_pixel_path=False)
    model.network.gcu["0"].gate.copy_(torch.tensor([1.0, -3.0, 0.0, 0.0]).reshape(1, 4, 1, 1))
    facts = json.loads(json.dumps(model_facts(model)))
    assert facts["gcu"] == {"0": {"form": "kept", "stride": [1, 1], "mean_gate": (1 + 3) / 4}}
    assert facts["rcu"]["0"]["importance"] is facts["rcu"]["0"]["pixel_path"] is False
    assert facts["rcu"]["0"]["patch_voxels"] == [4, 4]
    assert facts["residual"]["maps"] == ["r50", "r75"]
    assert "note" not in facts


def test_maps_of_shuffled_residuals_say_whose_they_are(make_plan, make_model):
    model = make_model(make_plan(), with_mae=True)
    residual = model.settings.residual.model_copy(update={"source": "shuffled"})
    changed = dataclasses.replace(model, settings=model.settings.model_copy(update={"residual": residual}))
    assert model_facts(model)["residual"]["source"] != model_facts(changed)["residual"]["source"] == "shuffled"


def test_weights_that_are_not_finite_are_written_as_such(make_plan, make_model, tiny_slices, tmp_path):
    """A damaged network is no reason to stop before its mask: JSON holds null, the map NaN."""
    model = make_model(make_plan(native_2d=True))
    model.network.gcu["0"].gate.fill_(math.nan)
    image = tiny_slices / "imagesTr" / "case-00_0000.png"
    case = Case("case-00", (image,), None, "case-00")
    assert predict_cases(Predictor([model], QUICK, explain=True), [case], tmp_path, spacing_mm=(1.0, 1.0)) == {}
    numbers = json.loads((tmp_path / "case-00_explain.json").read_text("utf-8"))
    assert numbers["maps"]["gcu-gain-0"]["max"] is None


def test_a_volume_that_is_no_image_fails_alone(make_plan, make_model):
    volume = Volume(
        np.full((8, 8, 8), 3.0, np.float32),
        make_geometry((8, 8, 8), np.eye(4), Path("flat.nii.gz")),
        Path("flat.nii.gz"),
    )
    with pytest.raises(ImageError, match="flat: "):
        Predictor([make_model(make_plan())], QUICK, explain=True).predict([volume])
