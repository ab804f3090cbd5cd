"""Masks from probabilities, averages of models, and cases that fail alone."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from grcsf.config import InferenceSettings
from grcsf.datasets.dataset import Case
from grcsf.datasets.inputs import find_inputs
from grcsf.errors import DatasetError, ModelError
from grcsf.inference.predict import Predictor, mask_from_probabilities, predict_cases
from grcsf.io.volume import read_geometry, read_volume

QUICK = InferenceSettings(mirroring=False, min_lesion_peak=0)


def test_the_likeliest_label_above_the_threshold():
    probabilities = np.array([[[0.9, 0.4, 0.5, 0.2]], [[0.1, 0.6, 0.5, 0.3]]], np.float32)
    assert mask_from_probabilities(probabilities, [1, 4], 0.5).tolist() == [[1, 4, 0, 0]]
    assert mask_from_probabilities(probabilities, [1, 4], 0.25).tolist() == [[1, 4, 1, 4]]
    assert mask_from_probabilities(probabilities, [1, 4], 0.5).dtype == np.uint8


def test_small_components_are_removed_by_their_size_in_millimetres():
    probabilities = np.zeros((1, 5, 8), np.float32)
    probabilities[0, 0, 0] = probabilities[0, 1, 1] = 0.9  # two pixels that touch at a corner
    probabilities[0, 3:5, 4:6] = 0.9  # four pixels
    assert mask_from_probabilities(probabilities, [1], 0.5, 0.0, 2.0).sum() == 6
    assert mask_from_probabilities(probabilities, [1], 0.5, 4.0, 2.0).sum() == 6  # 2 pixels of 2 mm2 are 4 mm2
    assert mask_from_probabilities(probabilities, [1], 0.5, 4.1, 2.0).sum() == 4
    assert mask_from_probabilities(probabilities, [1], 0.5, 9.0, 2.0).sum() == 0


def test_a_component_stays_whole_if_it_is_sure_somewhere():
    probabilities = np.array([[[0.6, 0.9, 0.55, 0.0, 0.6, 0.7, 0.4, 0.75]]], np.float32)
    assert mask_from_probabilities(probabilities, [1], 0.5, peak=0.0).tolist() == [[1, 1, 1, 0, 1, 1, 0, 1]]
    assert mask_from_probabilities(probabilities, [1], 0.5, peak=0.7).tolist() == [[1, 1, 1, 0, 0, 0, 0, 1]]
    assert mask_from_probabilities(probabilities, [1], 0.5, peak=0.95).sum() == 0
    assert mask_from_probabilities(probabilities, [1], 0.5, peak=0.3).sum() == 6  # below the threshold it says nothing
    assert mask_from_probabilities(probabilities, [1], 0.5, 2.0, 1.0, peak=0.7).tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]
    assert mask_from_probabilities(0 * probabilities, [1], 0.5, peak=0.7).sum() == 0


def test_the_peak_may_be_that_of_other_probabilities():
    mean, raw = np.full((1, 1, 4), 0.7, np.float32), np.array([[[0.5, 0.95, 0.65, 0.7]]], np.float32)
    assert mask_from_probabilities(mean, [1], 0.5, peak=0.8).sum() == 0
    assert mask_from_probabilities(mean, [1], 0.5, peak=0.8, peaks_of=raw).sum() == 4
    assert mask_from_probabilities(mean, [1], 0.5, peak=0.95, peaks_of=raw).sum() == 0


def test_the_surest_label_of_a_component_keeps_the_others():
    probabilities = np.zeros((2, 1, 6), np.float32)
    probabilities[0, 0, 0], probabilities[1, 0, 1], probabilities[1, 0, 4] = 0.6, 0.9, 0.6
    assert mask_from_probabilities(probabilities, [1, 2], 0.5, peak=0.8).tolist() == [[1, 2, 0, 0, 0, 0]]


def test_labels_of_one_component_are_removed_together():
    probabilities = np.zeros((2, 1, 6), np.float32)
    probabilities[0, 0, 0:2] = probabilities[1, 0, 2] = 0.9  # three voxels of two labels side by side
    probabilities[1, 0, 5] = 0.9
    mask = mask_from_probabilities(probabilities, [1, 2], 0.5, smallest_mm=2.0)
    assert mask.tolist() == [[1, 1, 2, 0, 0, 0]]


@pytest.fixture
def volumes(tiny_volumes):
    return [read_volume(tiny_volumes / "imagesTr" / f"case-00_{channel:04d}.nii.gz") for channel in (0, 1)]


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("with_mae", [False, True])
def test_a_prediction_stands_on_the_native_grid(make_plan, make_model, volumes, spatial_dims, with_mae):
    model = make_model(make_plan(spatial_dims, channels=2), with_mae=with_mae)
    predictor = Predictor([model], QUICK)
    assert predictor.channels == 2
    found = predictor.predict(volumes)
    assert found.mask.shape == volumes[0].array.shape
    assert found.mask.dtype == np.uint8
    assert found.probabilities.shape == (1, *found.mask.shape)
    assert 0 <= found.probabilities.min() <= found.probabilities.max() <= 1
    assert np.array_equal(found.mask, (found.probabilities[0] > 0.5).astype(np.uint8))
    assert set(found.residuals) == ({"r50", "r75"} if with_mae else set())
    assert all(value.shape == found.mask.shape and value.any() for value in found.residuals.values())
    again = predictor.predict(volumes)
    assert np.array_equal(again.probabilities, found.probabilities)


def test_the_size_of_a_component_of_slanted_voxels_is_their_volume(make_plan, make_model, volumes):
    slanted = volumes[0].geometry.affine_ras.copy()
    slanted[:3, 2] += slanted[:3, 1]  # the edges grow, the volume stays
    grid = dataclasses.replace(volumes[0].geometry, affine_ras=slanted)
    on = [dataclasses.replace(one, geometry=grid) for one in volumes]
    whole = volumes[0].array.size * volumes[0].geometry.voxel_size
    for limit, kept in ((0.99 * whole, volumes[0].array.size), (1.01 * whole, 0)):
        settings = QUICK.model_copy(update={"threshold": 0.0, "min_lesion_peak": 0.0, "min_lesion_mm": limit})
        found = Predictor([make_model(make_plan(3, channels=2, crop=False))], settings).predict(on)
        assert np.count_nonzero(found.mask) == kept


def test_several_models_are_averaged(make_plan, make_model, volumes):
    plan = make_plan(2, channels=2)
    models = [
        make_model(plan, with_mae=True, seed=1),
        make_model(plan, seed=2),
        make_model(make_plan(2, channels=2, crop=False), seed=3),  # prepared in its own way
    ]
    alone = [Predictor([model], QUICK).predict(volumes) for model in models]
    together = Predictor(models, QUICK).predict(volumes)
    mean = np.mean([found.probabilities for found in alone], axis=0)
    np.testing.assert_allclose(together.probabilities, mean, atol=1e-6)
    assert np.array_equal(together.mask, (together.probabilities[0] > 0.5).astype(np.uint8))
    for name, value in together.residuals.items():  # of the one model that has them
        np.testing.assert_allclose(value, alone[0].residuals[name], atol=1e-6)


def test_models_that_do_not_fit_together_are_refused(make_plan, make_model):
    with pytest.raises(ModelError, match="no model given"):
        Predictor([], QUICK)
    one = make_model(make_plan())
    others = [make_plan(channels=2), make_plan(labels={"background": 0, "core": 1}), make_plan(labels={"a": 0, "b": 2})]
    for plan in others:
        with pytest.raises(ModelError, match="different labels or channels"):
            Predictor([one, make_model(plan)], QUICK)


@pytest.fixture
def folder(tiny_slices, tmp_path):
    """Three PNG cases of which the second is damaged, and an empty output folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for index in range(3):
        shutil.copy(tiny_slices / "imagesTr" / f"case-0{index}_0000.png", tmp_path / "in")
    (tmp_path / "in" / "case-01_0000.png").write_bytes(b"no picture")
    return tmp_path


def test_a_case_that_fails_is_reported_and_the_others_go_on(folder, make_plan, make_model):
    predictor = Predictor([make_model(make_plan(native_2d=True), with_mae=True)], QUICK)
    cases = find_inputs(folder / "in", 1)
    failed = predict_cases(
        predictor, cases, folder / "out", spacing_mm=(1.0, 1.0), save_probabilities=True, save_residuals=True
    )
    assert set(failed) == {"case-01"}
    assert "case-01_0000.png" in failed["case-01"]
    expected = {
        f"case-0{index}{ending}"
        for index in (0, 2)
        for ending in (".png", "_prob.mha", "_residual-r50.mha", "_residual-r75.mha")
    }
    assert {path.name for path in (folder / "out").iterdir()} == expected
    size = read_geometry(folder / "in" / "case-00_0000.png", (1.0, 1.0)).shape
    assert all(sorted(read_geometry(path, (1.0, 1.0)).shape) == sorted(size) for path in (folder / "out").iterdir())
    mask = read_volume(folder / "out" / "case-00.png").array
    probability = read_volume(folder / "out" / "case-00_prob.mha").array
    assert set(np.unique(mask).tolist()) <= {0, 1}
    assert (mask > 0).sum() == (probability > 0.5).sum()


def test_resume_skips_what_is_there(folder, make_plan, make_model, monkeypatch):
    predictor = Predictor([make_model(make_plan(native_2d=True))], QUICK)
    cases = [case for case in find_inputs(folder / "in", 1) if case.name != "case-01"]
    assert predict_cases(predictor, cases[:1], folder / "out") == {}
    asked = []
    predict = predictor.predict
    monkeypatch.setattr(predictor, "predict", lambda volumes: asked.append(volumes[0].path.name) or predict(volumes))
    assert predict_cases(predictor, cases, folder / "out", resume=True) == {}
    assert asked == ["case-02_0000.png"]
    assert predict_cases(predictor, cases, folder / "out") == {}
    assert len(asked) == 3


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=["numpy", "cuda", "cpu"],
)
def test_running_out_of_memory_fails_one_case(error, folder, make_plan, make_model, monkeypatch):
    predictor = Predictor([make_model(make_plan(native_2d=True))], QUICK)

    def predict(volumes):
        raise error

    monkeypatch.setattr(predictor, "predict", predict)
    failed = predict_cases(predictor, find_inputs(folder / "in", 1)[:1], folder / "out")
    assert "not enough memory; use a smaller inference.batch_size" in failed["case-00"]


def test_another_fault_of_the_network_is_not_hidden(folder, make_plan, make_model, monkeypatch):
    predictor = Predictor([make_model(make_plan(native_2d=True))], QUICK)

    def predict(volumes):
        raise RuntimeError("a size does not fit")

    monkeypatch.setattr(predictor, "predict", predict)
    with pytest.raises(RuntimeError, match="a size does not fit"):
        predict_cases(predictor, find_inputs(folder / "in", 1)[:1], folder / "out")


def test_volumes_keep_their_ending(tiny_volumes, make_plan, make_model, tmp_path):
    images = tuple(tiny_volumes / "imagesTr" / f"case-00_{channel:04d}.nii.gz" for channel in (0, 1))
    case = Case("case-00", images, None, "case-00")
    predictor = Predictor([make_model(make_plan(2, channels=2), with_mae=True)], QUICK)
    assert predict_cases(predictor, [case], tmp_path, save_residuals=True) == {}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"case-00.nii.gz", "case-00_residual-r50.nii.gz", "case-00_residual-r75.nii.gz"}
    like, mask = read_geometry(images[0]), read_geometry(tmp_path / "case-00.nii.gz")
    assert like.shape == mask.shape
    assert np.array_equal(like.affine_ras, mask.affine_ras)


def knows_up_to(model, usual, map_dropout):
    training = model.settings.training.model_copy(update={"map_dropout": map_dropout})
    settings = model.settings.model_copy(update={"training": training})
    return dataclasses.replace(model, settings=settings, usual_residual=usual)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_anatomy_that_the_autoencoder_does_not_know_is_predicted_without_its_maps(
    make_plan, make_model, volumes, spatial_dims, monkeypatch
):
    model = make_model(make_plan(spatial_dims, channels=2), with_mae=True)
    with_maps = Predictor([model], QUICK).predict(volumes)
    as_is = QUICK.model_copy(update={"unknown_anatomy": "as-is"})
    for known, settings in ((knows_up_to(model, 1e6, 0.3), QUICK), (knows_up_to(model, 1e-6, 0.3), as_is)):
        same = Predictor([known], settings).predict(volumes)
        assert np.array_equal(same.probabilities, with_maps.probabilities)
        assert same.notes == ()
    strange = Predictor([knows_up_to(model, 1e-6, 0.3)], QUICK).predict(volumes)
    (note,) = strange.notes
    assert note.endswith("the autoencoder does not know this anatomy or image; predicted without its maps")
    for name, value in with_maps.residuals.items():  # they show why
        assert np.array_equal(strange.residuals[name], value)
    untaught = Predictor([knows_up_to(model, 1e-6, 0.0)], QUICK).predict(volumes)
    assert np.array_equal(untaught.probabilities, with_maps.probabilities)
    assert untaught.notes[0].endswith("look at the mask before it is used")
    monkeypatch.setattr("grcsf.inference.predict.case_residual", lambda _, image, *__: np.zeros((4, *image.shape[1:])))
    without = Predictor([model], QUICK).predict(volumes)
    assert np.array_equal(strange.probabilities, without.probabilities)
    assert not np.array_equal(strange.probabilities, with_maps.probabilities)


def test_what_a_reader_should_know_is_said_by_case(make_plan, make_model, tiny_volumes, tmp_path, caplog):
    model = knows_up_to(make_model(make_plan(2, channels=2), with_mae=True), 1e-6, 0.3)
    images = tuple(tiny_volumes / "imagesTr" / f"case-00_{channel:04d}.nii.gz" for channel in (0, 1))
    case, notes = Case("study-7", images, None, "study-7"), dict[str, list[str]]()
    assert predict_cases(Predictor([model], QUICK, explain=True), [case], tmp_path, notes=notes) == {}
    assert list(notes) == ["study-7"]
    assert json.loads((tmp_path / "study-7_explain.json").read_text("utf-8"))["notes"] == notes["study-7"]
    assert [message.partition(":")[0] for message in caplog.messages] == ["study-7"]
    assert "predicted without its maps" in caplog.text


def shuffled(model):
    residual = model.settings.residual.model_copy(update={"source": "shuffled"})
    return dataclasses.replace(model, settings=model.settings.model_copy(update={"residual": residual}))


def test_a_model_of_shuffled_maps_takes_those_of_the_other_case(make_plan, make_model, tiny_volumes):
    model = make_model(make_plan(2, channels=2), with_mae=True)
    one, other = (
        [read_volume(tiny_volumes / "imagesTr" / f"case-0{case}_000{channel}.nii.gz") for channel in (0, 1)]
        for case in (0, 1)
    )
    own, predictor = Predictor([model], QUICK).predict(one), Predictor([shuffled(model)], QUICK)
    assert np.array_equal(predictor.predict(one, one).probabilities, own.probabilities)
    strange = predictor.predict(one, other)
    assert strange.probabilities.shape == own.probabilities.shape
    assert not np.array_equal(strange.probabilities, own.probabilities)
    cut = [
        dataclasses.replace(
            volume,
            array=volume.array[2:-5],
            geometry=dataclasses.replace(volume.geometry, shape=volume.array[2:-5].shape),
        )
        for volume in other
    ]
    assert predictor.predict(one, cut).mask.shape == one[0].array.shape  # maps of another grid
    with pytest.raises(ModelError, match="needs another case"):
        predictor.predict(one)


def test_cases_predicted_together_lend_each_other_their_maps(folder, make_plan, make_model):
    predictor = Predictor([shuffled(make_model(make_plan(native_2d=True), with_mae=True))], QUICK)
    cases = [case for case in find_inputs(folder / "in", 1) if case.name != "case-01"]
    assert predict_cases(predictor, cases, folder / "out", spacing_mm=(1.0, 1.0), save_probabilities=True) == {}
    first, second = ([read_volume(path, (1.0, 1.0)) for path in case.images] for case in cases)
    expected = predictor.predict(first, second).probabilities[0]
    np.testing.assert_allclose(read_volume(folder / "out" / "case-00_prob.mha").array.T, expected, atol=1e-6)
    with pytest.raises(DatasetError, match="two cases or more, found case-00"):
        predict_cases(predictor, cases[:1], folder / "out")
