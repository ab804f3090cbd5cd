"""Bad input through the command line: the exit code, one clear message, no traceback, and nothing half-written."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

import grcsf
from chain import CUBES, LABELS, Done, contents, tiny
from grcsf.datasets.nnunet_raw import write_dataset_json

Cli = Callable[..., Done]
TINY_FLAGS = tuple(part for pair in CUBES for part in ("--set", pair))


@pytest.fixture(scope="module")
def model(tiny_volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with one 3-D fold for two channels, without residual maps. Do not write in it."""
    out = tmp_path_factory.mktemp("cli_errors") / "run"
    grcsf.run(tiny_volumes, out, settings=tiny("network.rcu=false", "training.steps=1", base=CUBES), device="cpu")
    return out


@pytest.fixture
def data(tiny_volumes: Path, tmp_path: Path) -> Path:
    """A copy of the tiny volumes that a test may spoil."""
    shutil.copytree(tiny_volumes, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def scans(tiny_volumes: Path, tmp_path: Path) -> Path:
    """A folder with both channels of case-00, to predict."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for channel in range(2):
        name = f"case-00_{channel:04d}.nii.gz"
        shutil.copyfile(tiny_volumes / "imagesTr" / name, folder / name)
    return folder


def refused(done: Done, code: int, *words: str) -> None:
    """The command ended with ``code`` and one message that has all the words, and no traceback."""
    assert done.code == code, done.err
    assert "Traceback" not in done.out + done.err
    lines = [line for line in done.err.splitlines() if line.startswith(("error: ", "failed: "))]
    assert len(lines) == 1, done.err
    missing = [word for word in words if word not in done.err]
    assert not missing, done.err


def change(path: Path, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(spoil(np.asarray(image.dataobj)), image.affine), path)


def put(value: float, at: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    def spoil(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[at] = value
        return array

    return spoil


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_outputs(out: Path) -> bool:
    """Neither a mask nor a model, and no temporary file; preprocessed cases are complete or absent by themselves."""
    files = [path for path in out.rglob("*") if path.is_file()] if out.exists() else []
    names = [path.name for path in files if "preprocessed" not in path.parts]
    bad = (".partial-", "case-", "model.", "last.ckpt", "report.html")
    return not [name for name in names if name.startswith(bad)]


SPOILT_IMAGES = {
    "truncated": (truncate, ("case-00_0000.nii.gz", "truncated")),
    "four dimensions": (
        lambda path: change(path, lambda a: np.stack([a, a], axis=-1)),
        ("case-00_0000.nii.gz", "4-D"),
    ),
    "not a number": (lambda path: change(path, put(np.nan, (3, 3, 3))), ("case-00_0000.nii.gz", "NaN")),
    "infinite": (lambda path: change(path, put(np.inf, (3, 3, 3))), ("case-00_0000.nii.gz", "1 ")),
    "no image": (lambda path: path.write_text("hello"), ("case-00_0000.nii.gz",)),
    "other grid": (lambda path: change(path, lambda a: a[:, :, :-2]), ("case-00", "grid")),
}
spoilt_images = pytest.mark.parametrize(("spoil", "words"), SPOILT_IMAGES.values(), ids=SPOILT_IMAGES)


@spoilt_images
def test_predicting_a_spoilt_image(
    spoil: Callable[[Path], object], words: tuple[str, ...], scans: Path, model: Path, tmp_path: Path, command_line: Cli
) -> None:
    spoil(scans / "case-00_0000.nii.gz")
    done = command_line("predict", "-i", scans, "-m", model, "-o", tmp_path / "out", "--device", "cpu")
    refused(done, 1, "failed: case-00: ", *words)
    assert no_outputs(tmp_path / "out")


@spoilt_images
def test_running_with_a_spoilt_image(
    spoil: Callable[[Path], object], words: tuple[str, ...], data: Path, tmp_path: Path, command_line: Cli
) -> None:
    spoil(data / "imagesTr" / "case-00_0000.nii.gz")
    done = command_line("run", "-d", data, "-o", tmp_path / "out", "--device", "cpu", *TINY_FLAGS)
    refused(done, 1, "case-00", *words[1:])
    assert no_outputs(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "failed"


SPOILT_LABELS = {
    "other grid": (lambda path: change(path, lambda a: a[:, :, :-2]), ("case-00", "grid", "20", "18")),
    "a label nobody declared": (lambda path: change(path, put(255, (3, 3, 3))), ("case-00", "255")),
    "no label file": (Path.unlink, ("case-00", "label")),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT_LABELS.values(), ids=SPOILT_LABELS)
def test_running_with_a_spoilt_label(
    spoil: Callable[[Path], object], words: tuple[str, ...], data: Path, tmp_path: Path, command_line: Cli
) -> None:
    spoil(data / "labelsTr" / "case-00.nii.gz")
    done = command_line("run", "-d", data, "-o", tmp_path / "out", "--device", "cpu", *TINY_FLAGS)
    refused(done, 1, *words)
    assert no_outputs(tmp_path / "out")
    done = command_line("validate", "-i", data)
    assert done.code == 1
    assert all(word in done.out for word in words)


def test_a_mended_data_set_is_taken_up_by_resuming(data: Path, tmp_path: Path, command_line: Cli) -> None:
    path, out = data / "imagesTr" / "case-00_0000.nii.gz", tmp_path / "out"
    good = path.read_bytes()
    truncate(path)
    flags = (*TINY_FLAGS, "--set", "network.rcu=false", "--set", "training.steps=1", "--device", "cpu")
    assert command_line("run", "-d", data, "-o", out, *flags).code == 1
    path.write_bytes(good)
    refused(command_line("run", "-d", data, "-o", out, *flags), 1, "exists already", "--resume")
    assert command_line("run", "-d", data, "-o", out, *flags, "--resume").code == 0


def test_predicting_an_empty_folder(model: Path, tmp_path: Path, command_line: Cli) -> None:
    (tmp_path / "empty").mkdir()
    done = command_line("predict", "-i", tmp_path / "empty", "-m", model, "-o", tmp_path / "out")
    refused(done, 1, "no image in this folder", ".nii.gz")
    refused(command_line("predict", "-i", tmp_path / "none", "-m", model, "-o", tmp_path / "out"), 1, "no such file")
    assert not (tmp_path / "out").exists()


def test_predicting_with_a_channel_missing(scans: Path, model: Path, tmp_path: Path, command_line: Cli) -> None:
    (scans / "case-00_0001.nii.gz").unlink()
    done = command_line("predict", "-i", scans, "-m", model, "-o", tmp_path / "out")
    refused(done, 1, "missing channel 0001 of 2", "case-00")
    assert not (tmp_path / "out").exists()


def test_running_with_a_channel_missing(data: Path, tmp_path: Path, command_line: Cli) -> None:
    (data / "imagesTr" / "case-02_0001.nii.gz").unlink()
    done = command_line("run", "-d", data, "-o", tmp_path / "out", *TINY_FLAGS)
    refused(done, 1, "missing channel 0001 of 2", "case-02")
    assert no_outputs(tmp_path / "out")


def test_predicting_a_case_that_is_there_twice(scans: Path, model: Path, tmp_path: Path, command_line: Cli) -> None:
    image = SimpleITK.ReadImage(scans / "case-00_0000.nii.gz")
    SimpleITK.WriteImage(image, scans / "case-00_0000.nrrd")
    done = command_line("predict", "-i", scans, "-m", model, "-o", tmp_path / "out")
    refused(done, 1, "duplicate case", "case-00_0000.nii.gz", "case-00_0000.nrrd")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_model_with_a_file_missing(name: str, scans: Path, model: Path, tmp_path: Path, command_line: Cli) -> None:
    shutil.copytree(model / "fold_0" / "train", tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    done = command_line("predict", "-i", scans, "-m", tmp_path / "model", "-o", tmp_path / "out")
    refused(done, 1, f"no {name}")
    assert not (tmp_path / "out").exists()


def test_a_model_whose_weights_were_changed(scans: Path, model: Path, tmp_path: Path, command_line: Cli) -> None:
    shutil.copytree(model / "fold_0" / "train", tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    for command in (
        ("predict", "-i", scans, "-m", tmp_path / "model", "-o", tmp_path / "out"),
        ("info", tmp_path / "model"),
    ):
        refused(command_line(*command), 1, "SHA-256", "changed or damaged")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "other"}', '{"kind": "lesion-model", "weights_sha256": "%s"}'])
def test_a_model_with_a_broken_description(
    text: str, scans: Path, model: Path, tmp_path: Path, command_line: Cli
) -> None:
    shutil.copytree(model / "fold_0" / "train", tmp_path / "model")
    known = json.loads((tmp_path / "model" / "model.json").read_text())["weights_sha256"]
    (tmp_path / "model" / "model.json").write_text(text.replace("%s", known))
    refused(command_line("predict", "-i", scans, "-m", tmp_path / "model", "-o", tmp_path / "out"), 1, "model")
    refused(command_line("info", tmp_path / "model"), 1, "model")
    assert not (tmp_path / "out").exists()


def test_no_model_there(scans: Path, tmp_path: Path, command_line: Cli) -> None:
    done = command_line("predict", "-i", scans, "-m", tmp_path / "none", "-o", tmp_path / "out")
    refused(done, 1, "no trained model", "fold_0/train")
    refused(command_line("info", tmp_path / "none"), 1, "model.json")
    refused(command_line("report", "-i", tmp_path / "none"), 1, "no such folder")


def test_an_output_with_a_file_in_its_place(
    data: Path, scans: Path, model: Path, tmp_path: Path, command_line: Cli
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for command in (
        ("predict", "-i", scans, "-m", model, "-o", taken, "--overwrite"),
        ("preprocess", "-d", data, "-o", taken, "--overwrite"),
        ("run", "-d", data, "-o", taken, "--overwrite", *TINY_FLAGS),
        ("run", "-d", data, "-o", taken / "below", *TINY_FLAGS),
        ("evaluate", "-i", data / "labelsTr", "-r", data / "labelsTr", "-o", taken, "--overwrite"),
    ):
        refused(command_line(*command), 1, "a file is in its place")
    assert taken.read_text() == "mine"


def test_outputs_that_exist_stay_as_they_are(
    data: Path, scans: Path, model: Path, tmp_path: Path, command_line: Cli
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    store, stage = model / "preprocessed", model / "fold_0" / "train"
    before = contents(model, but=())
    for command in (
        ("predict", "-i", scans, "-m", model, "-o", out),
        ("preprocess", "-d", data, "-o", out),
        ("pretrain", "-i", store, "-d", data, "-o", out, *TINY_FLAGS),
        ("train", "-i", store, "-d", data, "-o", out, *TINY_FLAGS, "--set", "network.rcu=false"),
        ("train", "-i", store, "-d", data, "-o", stage, *TINY_FLAGS, "--set", "network.rcu=false"),
        ("run", "-d", data, "-o", out, *TINY_FLAGS),
        ("demo", "-o", out),
        ("evaluate", "-i", data / "labelsTr", "-r", data / "labelsTr", "-o", out),
        ("report", "-i", model),
        ("validate", "-i", data, "-o", out / "notes.txt"),
    ):
        refused(command_line(*command), 1, "exists already", "--overwrite")
    assert contents(out, but=()) == {"notes.txt": b"mine"}
    assert contents(model, but=()) == before


def test_a_split_that_leaks(data: Path, tmp_path: Path, command_line: Cli) -> None:
    names = [f"case-{index:02d}" for index in range(6)]
    (data / "splits_final.json").write_text(json.dumps([{"train": names[:5], "val": names[4:]}]))
    done = command_line("run", "-d", data, "-o", tmp_path / "out", *TINY_FLAGS)
    refused(done, 1, "1 patient(s) in both train and val (case-04)")
    assert not (tmp_path / "out").exists()
    (data / "splits_final.json").write_text(json.dumps([{"train": names[:5], "val": [names[5], "case-77"]}]))
    refused(
        command_line("run", "-d", data, "-o", tmp_path / "out", *TINY_FLAGS), 1, "the data set does not have (case-77)"
    )


def test_a_fold_that_is_not_there(data: Path, tmp_path: Path, command_line: Cli) -> None:
    done = command_line("run", "-d", data, "-o", tmp_path / "out", "-f", "7", *TINY_FLAGS)
    refused(done, 1, "fold 7 asked for; it has 5 folds, 0 to 4")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_data_set(tmp_path: Path, command_line: Cli) -> None:
    refused(command_line("run", "-d", tmp_path / "none", "-o", tmp_path / "out"), 1, "none")
    refused(command_line("pretrain", "-i", tmp_path, "-d", tmp_path, "-o", tmp_path / "out"), 1, "plan.json")
    assert not (tmp_path / "out").exists()


def test_no_lesion_anywhere(data: Path, tmp_path: Path, command_line: Cli) -> None:
    for path in (data / "labelsTr").iterdir():
        change(path, np.zeros_like)
    done = command_line("run", "-d", data, "-o", tmp_path / "out", *TINY_FLAGS, "--set", "network.rcu=false")
    refused(done, 1, "lesion")


def test_residual_maps_without_an_autoencoder(data: Path, model: Path, tmp_path: Path, command_line: Cli) -> None:
    done = command_line("train", "-i", model / "preprocessed", "-d", data, "-o", tmp_path / "out", *TINY_FLAGS)
    refused(done, 2, "network.rcu needs residual maps", "-m", "network.rcu=false")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--set", "training.step=5"), ("unknown setting 'training.step'", "known here: steps, minutes")),
        (("--set", "training.steps"), ("expected KEY=VALUE",)),
        (("--set", "training.steps=few"), ("training.steps", "'few'")),
        (("--seed", "-3"), ("seed", "-3")),
        (("--config", "/none/such.yaml"), ("such.yaml", "cannot be read")),
        (("--minutes", "0"), ("training.minutes",)),
        (("--device", "abacus"), ("--device abacus", "expected auto, cpu")),
        (("--set", "preprocess.dimensions=3d", "--set", "preprocess.context=1"), ("preprocess.context=1",)),
        (("--set", "preprocess.patch_size=[16,16]"), ("preprocess.patch_size=[16, 16]", "3 numbers")),
        (("--set", "mae.window=[16,16]"), ("mae.window", "3 axes")),
        (("--set", "mae.window=[8,8,16]"), ("mae.window", "holds 2 patches", "at least 4")),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("-") else "",
)
def test_wrong_arguments(
    flags: tuple[str, ...], words: tuple[str, ...], data: Path, tmp_path: Path, command_line: Cli
) -> None:
    refused(command_line("run", "-d", data, "-o", tmp_path / "out", *TINY_FLAGS, *flags), 2, *words)
    assert no_outputs(tmp_path / "out")


@pytest.mark.parametrize("text", ["1,x", "0,1", "-1,1", "nan", "inf", ","])
def test_a_spacing_that_is_none(text: str, tmp_path: Path, command_line: Cli) -> None:
    done = command_line("evaluate", "-i", tmp_path, "-r", tmp_path, f"--spacing-mm={text}")
    refused(done, 2, "--spacing-mm", "expected numbers above 0")


def test_phantoms_that_cannot_be_made(tmp_path: Path, command_line: Cli) -> None:
    for flags in (("--contrast", "sepia"), ("--subjects", "99999")):
        refused(command_line("demo", "-o", tmp_path / "out", *flags), 2, flags[0].removeprefix("--"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "batch_size"),
        (OSError(28, "No space left on device", "/somewhere/secret/model.json"), "model.json: No space left"),
    ],
    ids=["numpy", "cuda", "cpu", "disk"],
)
def test_a_machine_that_is_too_small(
    error: Exception, words: str, tmp_path: Path, command_line: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: object) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("grcsf.verbs.info"), "info", fail)
    done = command_line("info", tmp_path)
    refused(done, 1, words)
    assert "secret" not in done.err


def test_a_fault_of_ours_is_not_hidden(tmp_path: Path, command_line: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: object) -> None:
        raise RuntimeError("a size does not fit")

    monkeypatch.setattr(importlib.import_module("grcsf.verbs.info"), "info", fail)
    with pytest.raises(RuntimeError, match="a size does not fit"):
        command_line("info", tmp_path)


def shell(*arguments: object) -> Done:
    command = [sys.executable, "-m", "grcsf", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_shell_sees_exit_code_2_for_an_unknown_yaml_key(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("training:\n  epochs: 5\n")
    done = shell("run", "-d", data, "-o", tmp_path / "out", "--config", tmp_path / "mine.yaml")
    refused(done, 2, "mine.yaml: unknown setting 'training.epochs'; known here: steps")
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_shell_sees_exit_code_2_for_an_unknown_flag_or_verb() -> None:
    for arguments in (("segment",), ("run", "--fast"), ("predict",)):
        done = shell(*arguments)
        assert done.code == 2
        assert "Error" in done.err
        assert "Traceback" not in done.err


def test_the_shell_sees_exit_code_1_for_a_spoilt_image(scans: Path, model: Path, tmp_path: Path) -> None:
    truncate(scans / "case-00_0000.nii.gz")
    done = shell("predict", "-i", scans, "-m", model, "-o", tmp_path / "out", "--device", "cpu")
    refused(done, 1, "failed: case-00: ", "case-00_0000.nii.gz")
    assert no_outputs(tmp_path / "out")


def test_the_shell_sees_exit_code_1_for_a_label_nobody_declared(data: Path, tmp_path: Path) -> None:
    change(data / "labelsTr" / "case-03.nii.gz", put(255, (3, 3, 3)))
    done = shell("validate", "-i", data)
    assert done.code == 1
    assert "case-03" in done.out
    assert "255" in done.out
    assert "Traceback" not in done.err


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_scoring_masks_that_do_not_belong_together(
    ending: str, tiny_volumes: Path, tiny_slices: Path, tmp_path: Path, command_line: Cli
) -> None:
    data = tiny_slices if ending == ".png" else tiny_volumes
    shutil.copytree(data / "labelsTr", tmp_path / "theirs")
    path = tmp_path / "theirs" / f"case-00{ending}"
    if ending == ".png":
        small = SimpleITK.GetImageFromArray(np.zeros((5, 5), np.uint8))
        SimpleITK.WriteImage(small, path)
    else:
        change(path, lambda a: a[:, :, :-2])
    done = command_line("evaluate", "-i", tmp_path / "theirs", "-r", data / "labelsTr", "-o", tmp_path / "scores")
    refused(done, 1, "failed: case-00: ", "grid")
    assert (tmp_path / "scores" / "cases.csv").is_file(), "the others are scored"


def test_a_data_set_without_a_label_name_is_refused(tmp_path: Path, command_line: Cli) -> None:
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / "data" / part).mkdir(parents=True)
    write_dataset_json(tmp_path / "data", channel_names=("T1",), labels=LABELS, num_training=0, file_ending=".nii.gz")
    refused(command_line("run", "-d", tmp_path / "data", "-o", tmp_path / "out"), 1, "no")
    assert not (tmp_path / "out").exists()
