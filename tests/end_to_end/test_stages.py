"""The verbs one by one: no leak gets through, the seed decides, and options do what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

import grcsf
from chain import TINY, contents, tiny
from grcsf.config import load_settings
from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.errors import LeakageError, ModelError, OutputError, SettingsError
from grcsf.io.files import write_json
from grcsf.mae.bundle import load_mae
from grcsf.training.package import load_model
from grcsf.verbs.run import RunResult

Run = tuple[Path, RunResult]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def store(slice_run: Run) -> Path:
    return slice_run[0] / "preprocessed"


@pytest.fixture
def further(tiny_slices: Path, tmp_path: Path) -> Path:
    """A folder of two unlabelled scans that are nobody's in the data set: its first two images, mirrored."""
    folder = tmp_path / "further"
    folder.mkdir()
    for index in range(2):
        grey = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tiny_slices / "imagesTr" / f"case-0{index}_0000.png"))
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(grey[:, ::-1].copy()), folder / f"further-{index}.png")
    return folder


def pretrain(store: Path, data: Path, out: Path, *pairs: str, **options: object) -> Path:
    grcsf.pretrain(store, data, out, settings=tiny(*pairs), device="cpu", **options)  # type: ignore[arg-type]
    return out


def train(store: Path, data: Path, out: Path, *pairs: str, **options: object) -> Path:
    grcsf.train(store, data, out, settings=tiny(*pairs), device="cpu", **options)  # type: ignore[arg-type]
    return out


def test_the_same_seed_gives_the_same_weights_to_the_last_bit(
    tiny_slices: Path, store: Path, slice_run: Run, tmp_path: Path
) -> None:
    made = slice_run[0] / "fold_0"
    mae = pretrain(store, tiny_slices, tmp_path / "mae")
    assert (mae / WEIGHTS).read_bytes() == (made / "mae" / WEIGHTS).read_bytes()
    model = train(store, tiny_slices, tmp_path / "train", mae=mae)
    assert (model / WEIGHTS).read_bytes() == (made / "train" / WEIGHTS).read_bytes()


def test_another_seed_gives_other_weights(tiny_slices: Path, store: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_slices, data)
    fold = get_fold(read_dataset(tiny_slices), 0)
    write_json(data / "splits_final.json", [{"train": fold.train, "val": fold.val}])
    short = ("network.rcu=false", "training.steps=1")
    first = train(store, data, tmp_path / "first", *short)
    other = train(store, data, tmp_path / "other", *short, "seed=1")
    assert (first / WEIGHTS).read_bytes() != (other / WEIGHTS).read_bytes()


def test_pretraining_takes_further_scans(tiny_slices: Path, store: Path, further: Path, tmp_path: Path) -> None:
    bundle = load_mae(pretrain(store, tiny_slices, tmp_path / "mae", unlabelled=[further]))
    train_cases = get_fold(read_dataset(tiny_slices), 0).train
    assert sorted(bundle.seen) == sorted((*train_cases, "further-0", "further-1"))
    assert json.loads((tmp_path / "mae" / "run.json").read_text())["images"] == len(train_cases) + 2


def test_a_validation_image_under_another_name_is_refused(
    tiny_slices: Path, store: Path, further: Path, tmp_path: Path
) -> None:
    held_out = get_fold(read_dataset(tiny_slices), 0).val[0]
    shutil.copyfile(tiny_slices / "imagesTr" / f"{held_out}_0000.png", further / "innocent.png")
    with pytest.raises(LeakageError, match=f"1 scans are validation images of the fold .innocent is {held_out}"):
        pretrain(store, tiny_slices, tmp_path / "mae", unlabelled=[further])
    assert not (tmp_path / "mae" / WEIGHTS).exists()
    (further / "innocent.png").unlink()
    pretrain(store, tiny_slices, tmp_path / "mae", unlabelled=[further], overwrite=True)
    assert "innocent" not in load_mae(tmp_path / "mae").seen


def test_a_scan_of_a_validation_patient_is_refused(
    tiny_slices: Path, store: Path, further: Path, tmp_path: Path
) -> None:
    held_out = get_fold(read_dataset(tiny_slices), 0).val[0]
    (further / "further-0.png").rename(further / f"{held_out}.png")
    with pytest.raises(LeakageError, match=f"name of a validation case or patient of fold 0 .{held_out}"):
        pretrain(store, tiny_slices, tmp_path / "mae", unlabelled=[further])
    assert not (tmp_path / "mae").exists()


def test_maps_and_training_refuse_an_autoencoder_that_saw_the_validation_cases(
    tiny_slices: Path, store: Path, slice_run: Run, tmp_path: Path
) -> None:
    other_fold = slice_run[0] / "fold_1" / "mae"
    with pytest.raises(LeakageError, match="pre-trained on 2 of the fold's validation cases"):
        grcsf.residual(store, tiny_slices, other_fold, tmp_path / "maps", fold=0, settings=tiny(), device="cpu")
    with pytest.raises(LeakageError, match="residual maps would leak"):
        train(store, tiny_slices, tmp_path / "train", mae=other_fold)
    assert not list(tmp_path.iterdir())


def test_an_autoencoder_of_another_plan_is_refused(tiny_slices: Path, slice_run: Run, tmp_path: Path) -> None:
    settings = tiny("preprocess.spacing_mm=[2, 2]", "preprocess.patch_size=[16, 16]")
    grcsf.preprocess(tiny_slices, tmp_path / "store", settings=settings)
    mae = slice_run[0] / "fold_0" / "mae"
    with pytest.raises(ModelError, match="under another preprocessing plan"):
        grcsf.residual(tmp_path / "store", tiny_slices, mae, tmp_path / "maps", settings=settings, device="cpu")


def test_a_model_of_another_kind_is_refused(tiny_slices: Path, store: Path, slice_run: Run, tmp_path: Path) -> None:
    fold = slice_run[0] / "fold_0"
    with pytest.raises(ModelError, match="kind 'lesion-model', expected 'mae'"):
        train(store, tiny_slices, tmp_path / "train", mae=fold / "train")
    with pytest.raises(ModelError, match="kind 'mae', expected 'lesion-model'"):
        grcsf.predict(tiny_slices / "imagesTr", fold / "mae", tmp_path / "out", device="cpu")


def test_the_network_with_residual_maps_needs_an_autoencoder(tiny_slices: Path, store: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="give the MAE of this fold"):
        train(store, tiny_slices, tmp_path / "train")
    assert not (tmp_path / "train").exists()
    train(store, tiny_slices, tmp_path / "train", "network.rcu=false")
    assert load_model(tmp_path / "train").mae is None


def test_a_network_for_each_mask_ratio(tiny_slices: Path, store: Path, tmp_path: Path) -> None:
    pairs = ("mae.networks=per-ratio", "residual.ratios=[0.75]")
    mae = pretrain(store, tiny_slices, tmp_path / "mae", *pairs)
    assert sorted(load_mae(mae).networks) == ["r50", "r75"]
    model = train(store, tiny_slices, tmp_path / "train", *pairs, mae=mae)
    out = tmp_path / "out"
    image = tiny_slices / "imagesTr" / "case-00_0000.png"
    assert grcsf.predict(image, model, out, device="cpu", save_residuals=True) == {}
    assert sorted(path.name for path in out.glob("case-*")) == ["case-00.png", "case-00_residual-r75.mha"]


def test_a_share_of_the_labels(tiny_slices: Path, store: Path, tmp_path: Path) -> None:
    share = ("network.rcu=false", "training.label_fraction=0.5", "training.steps=1")
    model = train(store, tiny_slices, tmp_path / "half", *share)
    everyone = len(get_fold(read_dataset(tiny_slices), 0).train)
    assert load_model(model).provenance["training_cases"] == everyone // 2


def test_labels_that_the_network_is_not_to_see_are_not_read_for_its_maps(
    tiny_slices: Path, store: Path, tmp_path: Path
) -> None:
    half = "training.label_fraction=0.5"
    mae = pretrain(store, tiny_slices, tmp_path / "mae")
    with pytest.raises(LeakageError, match=r"read the labels of \d cases that training.label_fraction"):
        train(store, tiny_slices, tmp_path / "train", half, mae=mae)
    assert not (tmp_path / "train").exists()
    with pytest.raises(OutputError, match=r"mae: was made with other settings or data \(labels: "):
        pretrain(store, tiny_slices, mae, half, resume=True)
    plain = pretrain(store, tiny_slices, tmp_path / "plain", "mae.normative=false")
    assert load_mae(plain).labels_read == ()
    train(store, tiny_slices, tmp_path / "train", half, mae=plain)
    claim = json.loads((mae / "stage.json").read_text("utf-8"))
    del claim["labels"], claim["cases"]  # as it was written before
    (mae / "stage.json").write_text(json.dumps(claim), "utf-8")
    pretrain(store, tiny_slices, mae, resume=True)


def test_a_fold_that_changed_is_not_resumed(tiny_slices: Path, store: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_slices, tmp_path / tiny_slices.name)
    plain = "network.rcu=false"
    for call, folder in ((pretrain, "mae"), (train, "train")):
        call(store, data, tmp_path / folder, plain)
    fold = get_fold(read_dataset(data), 0)
    moved = {"train": list(fold.train[1:]), "val": [*fold.val, fold.train[0]]}
    (data / "splits_final.json").write_text(json.dumps([moved]), "utf-8")
    for call, folder in ((pretrain, "mae"), (train, "train")):
        with pytest.raises(OutputError, match=rf"{folder}: was made with other settings or data \(cases: "):
            call(store, data, tmp_path / folder, plain, resume=True)


def test_residual_ratios_without_a_network_are_refused_before_pretraining(
    tiny_slices: Path, store: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"residual.ratios: 0.8 is none of mae.ratios"):
        pretrain(store, tiny_slices, tmp_path / "mae", "mae.networks=per-ratio", "residual.ratios=[0.8]")
    with pytest.raises(SettingsError, match=r"the ratios of mae and residual .* need at least 50"):
        pretrain(store, tiny_slices, tmp_path / "mae", "residual.ratios=[0.98]")
    assert not (tmp_path / "mae").exists()


def test_slices_come_with_their_neighbours(flat_run: Run) -> None:
    model = load_model(flat_run[0] / "fold_0" / "train")
    assert (model.plan.spatial_dims, model.plan.context, len(model.plan.channels)) == (2, 1, 2)
    assert model.network.in_channels == 2 * 3


def test_the_cache_is_filled_once(tiny_slices: Path, store: Path, slice_run: Run, tmp_path: Path) -> None:
    arguments = (store, tiny_slices, slice_run[0] / "fold_0" / "mae", tmp_path / "maps")
    grcsf.residual(*arguments, settings=tiny(), device="cpu", part="train")
    before = contents(tmp_path / "maps", but=())
    assert contents(tmp_path / "maps") == contents(slice_run[0] / "fold_0" / "residual")
    grcsf.residual(*arguments, settings=tiny(), device="cpu", part="train")
    assert contents(tmp_path / "maps", but=()) == before
    grcsf.residual(*arguments, settings=tiny(), device="cpu")
    assert contents(tmp_path / "maps").items() >= contents(slice_run[0] / "fold_0" / "residual").items()
    assert json.loads((tmp_path / "maps" / "run.json").read_text())["computed"] == 2, "the two validation cases"


@pytest.mark.parametrize("stage", ["mae", "train"])
def test_a_stage_is_not_resumed_with_other_settings(
    stage: str, tiny_slices: Path, store: Path, slice_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(slice_run[0] / "fold_0" / stage, tmp_path / stage)
    before = contents(tmp_path / stage, but=())
    options = {} if stage == "mae" else {"mae": slice_run[0] / "fold_0" / "mae"}
    call = pretrain if stage == "mae" else train
    group = "mae" if stage == "mae" else "training"
    with pytest.raises(OutputError, match=f"settings.{group}.steps: 4 there, 8 now"):
        call(store, tiny_slices, tmp_path / stage, f"{group}.steps=8", resume=True, **options)
    with pytest.raises(OutputError, match="exists already"):
        call(store, tiny_slices, tmp_path / stage, **options)
    assert contents(tmp_path / stage, but=()) == before


def test_anybodys_masks_are_scored(tiny_volumes: Path, tmp_path: Path) -> None:
    """Masks of another program: other names for the ending, signed integers, one of them missing."""
    for path in sorted((tiny_volumes / "labelsTr").iterdir())[:5]:
        label = nibabel.load(path)
        shifted = np.roll(np.asarray(label.dataobj), 1, axis=0).astype(np.int16)
        (tmp_path / "theirs").mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(shifted, label.affine), tmp_path / "theirs" / path.name.removesuffix(".gz"))
    summary = grcsf.evaluate(tiny_volumes / "labelsTr", tmp_path / "theirs", tmp_path / "scores")
    truth = np.asarray(nibabel.load(tiny_volumes / "labelsTr" / "case-00.nii.gz").dataobj) > 0
    moved = np.roll(truth, 1, axis=0)
    expected = 2 * (truth & moved).sum() / (truth.sum() + moved.sum())
    first = next(score for score in summary.cases if score.case == "case-00")
    assert first.scores["dice"] == pytest.approx(expected)
    assert list(summary.failed) == ["case-05"]
    assert (tmp_path / "scores" / "cases.csv").is_file()
    with pytest.raises(OutputError, match="exists already"):
        grcsf.evaluate(tiny_volumes / "labelsTr", tmp_path / "theirs", tmp_path / "scores")


def test_a_report_of_a_run_is_one_page(tiny_slices: Path, slice_run: Run, tmp_path: Path) -> None:
    page = grcsf.report(slice_run[0], tiny_slices, tmp_path / "page.html")
    text = page.read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith("<!doctype html>")
    assert 'src="http' not in text
    assert "<link" not in text


@pytest.mark.parametrize("stage", ["mae", "train"])
def test_a_model_tells_what_it_is_made_of(stage: str, slice_run: Run) -> None:
    folder = slice_run[0] / "fold_0" / stage
    found = grcsf.info(folder)
    network = load_mae(folder).networks if stage == "mae" else load_model(folder).network
    own = found.parameters["masked autoencoder" if stage == "mae" else "backbone"]
    units = 0 if stage == "mae" else found.parameters["GCU"] + found.parameters["RCU"]
    assert own + units == sum(p.numel() for p in network.parameters())
    assert all(count > 0 for count in found.multiply_adds.values())
    assert json.loads(json.dumps(found.to_json()))["kind"] == ("mae" if stage == "mae" else "lesion-model")
    assert "parameters" in found.to_text()


def test_the_controls_train_on_the_maps_that_are_there(tiny_slices: Path, slice_run: Run, tmp_path: Path) -> None:
    """Maps as channels, and those of another case: no map is made for them, and the weights are others."""
    made = slice_run[0] / "fold_0"
    cache = tmp_path / "residual"
    shutil.copytree(made / "residual", cache)
    before = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    beside, weights = ("network.rcu=false", "network.residual_input=concat"), {}
    for name, pairs in {"own": beside, "shuffled": (*beside, "residual.source=shuffled")}.items():
        out = train(slice_run[0] / "preprocessed", tiny_slices, tmp_path / name, *pairs, mae=made / "mae", cache=cache)
        weights[name] = (out / WEIGHTS).read_bytes()
    assert weights["own"] != weights["shuffled"]
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == before
    assert grcsf.predict(tiny_slices / "imagesTr", tmp_path / "shuffled", tmp_path / "masks", device="cpu") == {}
    with pytest.raises(SettingsError, match=r"network\.residual_input needs residual maps: give the MAE"):
        train(slice_run[0] / "preprocessed", tiny_slices, tmp_path / "none", *beside)


def test_a_budget_of_minutes_is_shared_out() -> None:
    from grcsf.verbs.run import budget_settings

    with_maps = budget_settings(load_settings(None, TINY), 8.0)
    assert (with_maps.mae.minutes, with_maps.training.minutes) == (2.0, 6.0)
    without = budget_settings(tiny("network.rcu=false"), 8.0)
    assert (without.mae.minutes, without.training.minutes) == (None, 8.0)
    beside = budget_settings(tiny("network.rcu=false", "network.residual_input=concat"), 8.0)
    assert (beside.mae.minutes, beside.training.minutes) == (2.0, 6.0)
    with pytest.raises(SettingsError, match=r"training\.minutes"):
        budget_settings(tiny(), -1.0)


def test_a_budget_ends_the_training(tiny_slices: Path, store: Path, tmp_path: Path) -> None:
    settings = tiny("network.rcu=false", "training.minutes=0.05", "training.steps=100000")
    grcsf.train(store, tiny_slices, tmp_path / "train", settings=settings, device="cpu")
    steps = load_model(tmp_path / "train").provenance["steps"]
    assert 1 <= steps < 10000
    rows = (tmp_path / "train" / "history.csv").read_text().splitlines()
    assert float(rows[-1].split(",")[3]) < 0.1 * 2e-3, "the learning rate has come down at the end of the budget"
