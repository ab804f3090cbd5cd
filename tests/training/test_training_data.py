"""Batches are a pure function of seed, step and rank, cut around what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from grcsf.config import TrainingSettings
from grcsf.errors import DatasetError
from grcsf.fitting.cases import ArrayCache
from grcsf.training.data import LabelledPatches


def maps_like(store, channels=2):
    """Maps that tell where they were cut: the lesion itself, and the number of the voxel."""

    def read(name):
        label = store.label(name)
        return np.stack([label, np.arange(label.size).reshape(label.shape)][:channels]).astype(np.float32)

    return read


@pytest.mark.parametrize(("spatial_dims", "context"), [(2, 0), (2, 1), (3, 0)])
@pytest.mark.parametrize("with_maps", [False, True])
def test_batches_are_a_function_of_seed_step_and_rank(make_store, spatial_dims, context, with_maps):
    store = make_store(spatial_dims, shape=(9, 14, 12), context=context)
    maps = maps_like(store) if with_maps else None
    settings = TrainingSettings(batch_size=3)
    make, again = (LabelledPatches(store, store.names, maps, settings, seed=1) for _ in range(2))
    make(9, 0)  # earlier calls leave no trace
    first, space = make(3, 0), (8,) * spatial_dims
    assert first["image"].shape == (3, 2 * context + 1, *space)
    assert first["image"].dtype == torch.float32
    assert first["label"].shape == (3, 1, *space)
    assert first["label"].dtype == torch.int64
    assert set(first["label"].unique().tolist()) <= {0, 1}
    assert set(first) == {"image", "label"} | ({"residual"} if with_maps else set())
    if with_maps:
        assert first["residual"].shape == (3, 2, *space)
    assert all(torch.equal(value, again(3, 0)[key]) for key, value in first.items())
    other_seed = LabelledPatches(store, store.names, maps, settings, seed=2)
    for other in (make(4, 0), make(3, 1), other_seed(3, 0)):
        assert not torch.equal(first["image"], other["image"])


@pytest.mark.parametrize(("spatial_dims", "context"), [(2, 0), (2, 1), (3, 0)])
def test_what_does_not_fit_in_memory_is_cut_on_disk_and_the_same(make_store, monkeypatch, spatial_dims, context):
    store = make_store(spatial_dims, shape=(9, 14, 12), context=context)

    def batches():
        make = LabelledPatches(store, store.names, maps_like(store), TrainingSettings(batch_size=3), seed=1)
        return [make(step, 0) for step in range(4)], make.fixed(2)

    kept, watched = batches()
    monkeypatch.setattr(ArrayCache, "_room", lambda self: 0)
    monkeypatch.setattr(type(store), "image", None)  # no whole image is read
    cut, watched_too = batches()
    for one, two in zip([*kept, *watched], [*cut, *watched_too], strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(("spatial_dims", "patches"), [(2, 16), (3, 2)])
def test_a_batch_that_is_not_set_is_small_in_three_dimensions(make_store, spatial_dims, patches):
    store = make_store(spatial_dims, shape=(9, 14, 12))
    assert len(LabelledPatches(store, store.names, None, TrainingSettings(), seed=0)(0, 0)["image"]) == patches


def test_the_way_of_drawing_is_the_one_that_is_set(make_store):
    store = make_store()
    for way in ("size", "case"):
        assert LabelledPatches(store, store.names, None, TrainingSettings(lesion_sampling=way), 0).index.sampling == way


def test_map_dropout_empties_the_maps_of_a_share_and_nothing_else(make_store):
    store = make_store()
    maps = maps_like(store)
    kept, dropped = (
        LabelledPatches(store, store.names, lambda name: maps(name) + 1, settings, seed=0)
        for settings in (TrainingSettings(map_dropout=share, batch_size=8, augmentation="off") for share in (0.0, 0.3))
    )
    empty = []
    for step in range(25):
        before, after = kept(step, 0), dropped(step, 0)
        assert all(torch.equal(before[key], after[key]) for key in ("image", "label"))
        assert all(maps_of_one.any() for maps_of_one in before["residual"])
        for was, now in zip(before["residual"], after["residual"], strict=True):
            empty.append(not now.any())
            assert empty[-1] or torch.equal(was, now)
    assert 34 <= sum(empty) <= 86  # of 200; four standard deviations either way
    assert "residual" not in LabelledPatches(store, store.names, None, dropped.settings, seed=0)(0, 0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("centre", [(1, 4, 5), (0, 0, 0), (2, 13, 11)])
def test_a_patch_holds_its_centre(make_store, spatial_dims, centre):
    store = make_store(spatial_dims)
    patches = LabelledPatches(store, store.names, maps_like(store), TrainingSettings(), seed=0)
    cut = patches.cut("case-1", centre)
    number = np.ravel_multi_index(centre, (3, 14, 12))
    at = np.argwhere(cut["residual"][1] == number)
    inside = at[-1] if number else None  # zero is also the fill outside the image
    if inside is not None:
        assert cut["image"][(0, *inside)] == store.image("case-1")[(0, *centre)]
        assert cut["label"][(0, *inside)] == store.label("case-1")[centre]
    assert np.array_equal(cut["residual"][0], cut["label"][0])
    assert cut["image"].shape == (1, *[8] * spatial_dims)


def test_outside_the_image_there_is_no_lesion_and_no_residual(make_store):
    store = make_store(shape=(2, 5, 12))  # the patch of 8 reaches over its rows
    everywhere = np.ones((2, 5, 12), np.uint8)
    store.write_case("full", store.image("case-0"), store.foreground("case-0"), store.geometry("case-0"), everywhere)
    cut = LabelledPatches(store, ["full"], maps_like(store), TrainingSettings(), seed=0).cut("full", (1, 2, 6))
    inside = np.zeros((8, 8), bool)
    inside[1:6] = True  # three rows are missing, one before and two after
    assert np.array_equal(cut["label"][0] == 1, inside)
    assert np.array_equal(cut["residual"][0] == 1, inside)
    assert np.array_equal(cut["image"][0, 1:6], store.image("full")[0, 1, :, 2:10])
    assert np.array_equal(cut["image"][0, 0], cut["image"][0, 1])  # the edge is repeated
    assert np.array_equal(cut["image"][0, 7], cut["image"][0, 5])


def test_centres_on_lesions_stay_in_the_patch_after_the_jitter(make_store):
    store = make_store()
    settings = TrainingSettings(batch_size=8, lesion_fraction=1.0, augmentation="off")
    patches = LabelledPatches(store, store.names, None, settings, seed=0)
    for step in range(5):
        assert (patches(step, 0)["label"].flatten(1).sum(1) > 0).all()


def test_neighbouring_slices_are_the_context(make_store):
    store = make_store(context=1)
    patches = LabelledPatches(store, store.names, None, TrainingSettings(), seed=0)
    image = store.image("case-0")[0]
    cut = patches.cut("case-0", (0, 6, 6))["image"]
    for channel, index in enumerate((0, 0, 1)):  # the first slice has no slice before it
        assert np.array_equal(cut[channel], image[index, 2:10, 2:10])


def test_fixed_samples_are_centred_on_the_largest_lesion_of_each_case(make_store):
    store = make_store()
    patches = LabelledPatches(store, store.names, maps_like(store), TrainingSettings(), seed=0)
    samples = patches.fixed(limit=2)
    assert len(samples) == 2
    for batch in samples:
        assert batch["image"].shape == (1, 1, 8, 8)
        assert batch["label"].dtype == torch.int64
        assert int(batch["label"].sum()) == 16  # the whole box of 4 x 4
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(samples, patches.fixed(2), strict=True))


def test_a_case_without_label_is_refused(make_store):
    store = make_store()
    store.write_case("bare", store.image("case-0"), store.foreground("case-0"), store.geometry("case-0"), None)
    with pytest.raises(DatasetError, match="bare: no label"):
        LabelledPatches(store, ["case-0", "bare"], None, TrainingSettings(), seed=0)
