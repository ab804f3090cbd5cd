"""The commands one after the other, as in the tutorial: what they say and write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import grcsf
from chain import LABELS, TINY, Done, tiny
from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.errors import OutputError

Cli = Callable[..., Done]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny().model_dump(mode="json")))
    return path


def test_stage_by_stage(tiny_slices: Path, config: Path, tmp_path: Path, command_line: Cli) -> None:
    store, mae, model = tmp_path / "store", tmp_path / "mae", tmp_path / "train"
    data, flags = ("-d", tiny_slices), ("--config", config, "--device", "cpu")
    steps: list[tuple[tuple[object, ...], str]] = [
        (("validate", "-i", tiny_slices), "no errors"),
        (("preprocess", *data, "-o", store, "-f", "0", "--config", config), f"8 cases in {store}"),
        (("pretrain", "-i", store, *data, "-o", mae, *flags), f"masked autoencoder of 6 images in {mae}"),
        (("residual", "-i", store, *data, "-m", mae, "-o", tmp_path / "residual", *flags), "residual maps in"),
        (("train", "-i", store, *data, "-m", mae, "-o", model, *flags), f"model in {model}"),
        (("predict", "-i", tiny_slices / "imagesTr", "-m", model, "-o", tmp_path / "masks"), "masks in"),
        (("evaluate", "-i", tmp_path / "masks", "-r", tiny_slices / "labelsTr", "-o", tmp_path / "scores"), "dice"),
        (("info", model), "parameters"),
    ]
    for arguments, words in steps:
        done = command_line(*arguments)
        assert (done.code, done.err) == (0, ""), done.err
        assert words in done.out
    maps = list((tmp_path / "residual").glob("*.b2nd"))
    assert len(maps) == 8, "training found its maps beside its output, and made no other cache"
    described = json.loads(command_line("info", model, "--json").out)
    assert described["kind"] == "lesion-model"
    assert described["parameters"]["all"] > described["parameters"]["backbone"] > 0


def test_one_command_for_all(tiny_slices: Path, config: Path, tmp_path: Path, command_line: Cli) -> None:
    out = tmp_path / "run"
    flags = ("--config", config, "--set", "network.rcu=false", "--minutes", "5", "--workers", "0", "--device", "cpu")
    done = command_line("run", "-d", tiny_slices, "-o", out, "-f", "1", "-f", "0", *flags)
    assert (done.code, done.err) == (0, "")
    assert done.out.index("fold 1\n") < done.out.index("fold 0\n")
    assert done.out.rstrip().endswith(f"report: {out / 'report.html'}")
    assert grcsf.load_settings(out / "settings.yaml").training.minutes == 5
    done = command_line("report", "-i", out, "-d", tiny_slices, "-o", tmp_path / "page.html")
    assert (done.code, done.out) == (0, f"report: {tmp_path / 'page.html'}\n")


def test_findings_are_written_as_json(tiny_slices: Path, tmp_path: Path, command_line: Cli) -> None:
    path = tmp_path / "findings.json"
    done = command_line("validate", "-i", tiny_slices, "-o", path)
    assert done.code == 0
    assert "8 cases, 8 with a lesion" in done.out
    assert json.loads(path.read_text())["n_cases"] == 8


def test_the_demo_makes_its_own_data(tmp_path: Path) -> None:
    pairs = ("preprocess.dimensions=2d", "preprocess.spacing_mm=[6, 6]", "network.rcu=false", "training.steps=2")
    settings = tiny(*pairs)
    out = tmp_path / "demo"
    result = grcsf.demo(out, subjects=2, held_out=1, settings=settings, device="cpu")
    data = read_dataset(out / "Dataset900_BrainPhantoms")
    assert data.labels == LABELS
    split = json.loads((data.root / "splits_final.json").read_text())
    assert [sorted(fold["train"] + fold["val"]) for fold in split] == [sorted(data.case_names)]
    assert [path.name for path in result.masks.glob("*.nii.gz")] == [f"{split[0]['val'][0]}.nii.gz"]
    assert result.report.is_file()
    with pytest.raises(OutputError, match="phantoms made with other options"):
        grcsf.demo(out, subjects=3, held_out=1, settings=settings, device="cpu", resume=True)


def test_the_demo_has_settings_of_its_own() -> None:
    from grcsf.verbs.demo import demo_settings

    own = demo_settings()
    assert own.preprocess.dimensions == "2d"
    assert own.training.minutes is not None
    assert own.mae.minutes is not None
    assert own.training.minutes + own.mae.minutes <= 6  # of the ten that the demo may take
    assert demo_settings(None, list(TINY)).training.steps == 4
