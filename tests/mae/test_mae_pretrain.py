"""Pre-training: the loss counts hidden voxels, batches are a pure function, resumed runs end with the same weights."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from torch import nn

from grcsf.errors import LeakageError, ModelError
from grcsf.mae.bundle import load_mae, save_mae
from grcsf.mae.model import ratio_name
from grcsf.mae.pretrain import PretrainingBatches, hidden_patch_loss, mae_window, pretrain_mae


class Zeros(nn.Module):
    """Stands for an autoencoder that rebuilds nothing: its error is the image itself."""

    patch = 2

    def forward(self, image, visible, origin):
        return torch.zeros_like(image)


def loss(image: torch.Tensor, visible: list[int], weight: torch.Tensor | None = None) -> float:
    weight = torch.ones(1, 1, *image.shape[2:]) if weight is None else weight
    unchecked = getattr(hidden_patch_loss, "__wrapped__", hidden_patch_loss)  # the stub is no MaskedAutoencoder
    return float(unchecked(Zeros(), image, torch.tensor([visible]), torch.zeros(1, 2), weight))


def test_the_loss_is_the_mean_square_over_hidden_voxels():
    image = torch.zeros(1, 1, 2, 6)  # three patches of 2 x 2
    image[..., 0:2], image[..., 2:4], image[..., 4:6] = 7.0, 2.0, 3.0
    assert loss(image, [0]) == pytest.approx((4 * 2.0**2 + 4 * 3.0**2) / 8)
    assert loss(image, [0, 1]) == pytest.approx(3.0**2)
    assert loss(image, [0, 1, 2]) == 0.0  # nothing hidden


def test_voxels_of_weight_zero_are_left_out():
    image = torch.full((1, 2, 2, 4), 2.0)
    image[..., 3] = 100.0
    weight = torch.ones(1, 1, 2, 4)
    weight[..., 3] = 0.0
    assert loss(image, [0], weight) == pytest.approx(4.0)
    assert loss(image, [0], torch.zeros_like(weight)) == 0.0


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("normative", [False, True])
def test_batches_are_a_function_of_seed_step_and_rank(make_store, tiny_mae_settings, spatial_dims, normative):
    store = make_store(spatial_dims, shape=(5, 12, 14))
    settings = tiny_mae_settings.model_copy(update={"normative": normative})
    make = PretrainingBatches([(store, store.names)], store.plan, settings, seed=1)
    again = PretrainingBatches([(store, store.names)], store.plan, settings, seed=1)
    make(9, 0)  # earlier calls leave no trace
    first = make(3, 0)
    assert first["image"].shape == (2, 1, *[8] * spatial_dims)
    assert first["origin"].shape == (2, spatial_dims)
    assert first["weight"].shape == (2, 1, *[8] * spatial_dims)
    assert first["visible"].dtype == torch.long
    assert all(torch.equal(value, again(3, 0)[key]) for key, value in first.items())
    for other in (make(4, 0), make(3, 1), PretrainingBatches([(store, store.names)], store.plan, settings, 2)(3, 0)):
        assert not torch.equal(first["image"], other["image"])


def test_normative_weights_are_zero_on_the_lesion_and_only_there(make_store, tiny_mae_settings):
    store = make_store()
    settings = tiny_mae_settings.model_copy(update={"normative": True, "batch_size": 16})
    batch = PretrainingBatches([(store, store.names)], store.plan, settings, seed=0)(0, 0)
    bright = batch["image"] > 20  # lesions are 50, all else about 1; scaled by at most a tenth
    assert bright.any()
    inside = batch["weight"] == 0
    assert torch.equal(inside & bright, inside)
    plain = PretrainingBatches([(store, store.names)], store.plan, tiny_mae_settings, seed=0)(0, 0)
    assert (plain["weight"] == 1).all()


def test_the_origin_is_the_window_centre_from_the_image_centre(make_store, tiny_mae_settings):
    """On a ramp of slope 1 about the image centre (-1 where mirrored), a window's mean is its origin, up to jitter."""
    store = make_store(shape=(1, 8, 40))
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32) - 19.5, (1, 1, 8, 40))
    store.write_case("case-0", ramp, np.ones((1, 8, 40), bool), store.geometry("case-0"), None)
    settings = tiny_mae_settings.model_copy(update={"batch_size": 12})
    batch = PretrainingBatches([(store, ["case-0"])], store.plan, settings, seed=0)(0, 0)
    origin, mean = batch["origin"][:, 1], batch["image"].mean(dim=(1, 2, 3))
    direction = batch["image"][:, 0, 0].diff(dim=1).median(dim=1).values.sign()
    assert set(direction.tolist()) == {-1.0, 1.0}  # both mirrored and not
    whole = origin.abs() <= 16  # the others reach over the rim, where the last column is repeated
    assert whole.sum() > 3
    assert origin[whole].std() > 1
    assert ((mean - direction * origin).abs() <= 0.1 * origin.abs() + 0.1 + 1e-4)[whole].all()


@pytest.mark.parametrize(("window", "expected"), [(None, (8, 8)), ((9, 4), (12, 4))])
def test_windows_hold_whole_patches(make_store, tiny_mae_settings, window, expected):
    plan = make_store().plan
    assert mae_window(plan, tiny_mae_settings.model_copy(update={"window": window})) == expected


def test_a_window_of_the_wrong_dimension_is_refused(make_store, tiny_mae_settings):
    plan = make_store().plan
    with pytest.raises(ValueError, match=r"has 3 numbers, the plan has 2 axes"):
        mae_window(plan, tiny_mae_settings.model_copy(update={"window": (8, 8, 8)}))


@pytest.mark.parametrize("networks", ["one", "per-ratio"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_short_pre_training_writes_its_files(make_store, tiny_mae_settings, tmp_path, networks, spatial_dims):
    store = make_store(spatial_dims, shape=(8, 12, 12), channels=2, cases=2)
    settings = tiny_mae_settings.model_copy(update={"networks": networks, "steps": 5})
    bundle, result = pretrain_mae(
        [(store, store.names)], store.plan, settings, tmp_path / "mae", device="cpu", steps_per_epoch=2
    )
    assert result.steps == 5
    assert all(value.isfinite().all() for value in bundle.networks.state_dict().values())
    rows = list(csv.DictReader((tmp_path / "mae" / "history.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [2, 4, 5]
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert list(rows[0]) == ["step", "seconds", "loss", "learning_rate", "selection_loss"]
    assert set(bundle.seen) == set(store.names)
    loaded = load_mae(tmp_path / "mae")
    assert loaded.description() == bundle.description()
    assert loaded.window == bundle.window
    assert len(loaded.weights_hash) == 64
    assert list(loaded.networks) == (["all"] if networks == "one" else [ratio_name(r) for r in settings.ratios])
    state = loaded.networks.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in bundle.networks.state_dict().items())
    assert not any(p.requires_grad for p in loaded.networks.parameters())


def test_a_resumed_pre_training_ends_with_the_same_weights(make_store, tiny_mae_settings, tmp_path, monkeypatch):
    store = make_store()
    settings = tiny_mae_settings.model_copy(update={"steps": 6})

    def run(name: str, resume: bool = False):
        stores = [(store, store.names)]
        return pretrain_mae(
            stores, store.plan, settings, tmp_path / name, device="cpu", steps_per_epoch=2, resume=resume
        )

    whole, _ = run("whole")
    plain = PretrainingBatches.__call__

    def breaks_at_step_3(self, step, rank):
        if step == 3:
            raise RuntimeError("pulled the plug")
        return plain(self, step, rank)

    monkeypatch.setattr(PretrainingBatches, "__call__", breaks_at_step_3)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        run("parts")
    assert not (tmp_path / "parts" / "model.json").exists()
    monkeypatch.setattr(PretrainingBatches, "__call__", plain)
    parts, result = run("parts", resume=True)
    assert result.steps == 6
    state = parts.networks.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.networks.state_dict().items())


def test_seen_images_are_refused_by_name_and_by_content(make_store, tiny_mae_settings, tmp_path):
    store = make_store()
    settings = tiny_mae_settings.model_copy(update={"steps": 1})
    bundle, _ = pretrain_mae([(store, ["case-0", "case-1"])], store.plan, settings, tmp_path / "mae", device="cpu")
    bundle.refuse_if_seen([("case-2", store.content_hash("case-2"))])
    with pytest.raises(LeakageError, match=r"1 of the fold's validation cases \(case-0\)"):
        bundle.refuse_if_seen([("case-0", "another content"), ("case-2", "of case-2")])
    with pytest.raises(LeakageError, match=r"\(renamed\).*Pre-train one for this fold"):
        bundle.refuse_if_seen([("renamed", store.content_hash("case-1"))])


def test_another_kind_of_folder_is_no_mae(make_store, tiny_mae_settings, tmp_path):
    with pytest.raises(ModelError, match=r"no model\.json"):
        load_mae(tmp_path)
    store = make_store()
    settings = tiny_mae_settings.model_copy(update={"steps": 1})
    bundle, _ = pretrain_mae([(store, store.names)], store.plan, settings, tmp_path / "mae", device="cpu")
    save_mae(tmp_path / "copy", bundle)
    (tmp_path / "copy" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="changed or damaged"):
        load_mae(tmp_path / "copy")
