"""``grcsf demo`` of heart and lung: their own phantoms, settings and masks; a wrong anatomy is told at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import grcsf
from chain import TINY, Done
from grcsf.config import Settings, load_settings
from grcsf.errors import OutputError, SettingsError
from grcsf.io.volume import read_volume
from grcsf.verbs.demo import ANATOMIES, demo_settings

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["network.rcu=false", "training.steps=2", "preprocess.spacing_mm=[6, 6]"]


def quick(anatomy: str, *pairs: str) -> Settings:
    return demo_settings(None, [*TINY, *QUICK, *pairs], anatomy)


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_a_demo_takes_minutes_on_slices(anatomy: str) -> None:
    own = demo_settings(anatomy=anatomy)
    assert own.preprocess.dimensions == "2d"
    assert own.training.minutes is not None
    assert own.mae.minutes is not None
    assert own.training.minutes + own.mae.minutes <= 7  # of the ten that a demo may take


def test_each_anatomy_has_the_settings_of_its_own_file() -> None:
    assert demo_settings().preprocess.window_hu is None
    assert demo_settings(anatomy="lung").preprocess.window_hu == "lung"
    assert demo_settings(anatomy="heart").preprocess.window_hu == "calcium"
    assert demo_settings("calcium", ["training.steps=7"]).training.model_dump(include={"steps", "dice"}) == {
        "steps": 7,
        "dice": "batch",
    }


def test_the_heart_keeps_to_what_is_bright_and_the_brain_does_not() -> None:
    heart = demo_settings(anatomy="heart")
    assert (heart.preprocess.candidate_hu, heart.inference.candidate_hu) == (130, 130)
    assert demo_settings().inference.candidate_hu is None
    calcium = load_settings(ROOT / "configs" / "calcium.yaml")
    assert calcium.inference == heart.inference.model_copy(update={"mirroring": True, "min_lesion_mm": 3.0})


@pytest.mark.parametrize(
    ("anatomy", "dataset", "maps"),
    [("heart", "Dataset901_HeartPhantoms", "vesselsTr"), ("lung", "Dataset902_LungPhantoms", "texturesTr")],
)
def test_a_demo_makes_its_own_ct_phantoms(anatomy: str, dataset: str, maps: str, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    settings = quick(anatomy)
    result = grcsf.demo(out, anatomy=anatomy, subjects=2, held_out=1, settings=settings, device="cpu")
    assert (out / dataset / "dataset.json").is_file()
    assert len(list((out / dataset / maps).iterdir())) == 3
    assert json.loads((out / "phantoms.json").read_text())["anatomy"] == anatomy
    assert result.report.is_file()
    mask = read_volume(result.masks / "phantom-0003.nii.gz").array
    scan = read_volume(out / dataset / "imagesTr" / "phantom-0003_0000.nii.gz").array
    assert mask.shape == scan.shape
    assert anatomy == "lung" or scan[mask > 0].min(initial=130) >= 130
    with pytest.raises(OutputError, match="phantoms made with other options"):
        grcsf.demo(out, anatomy=anatomy, subjects=3, held_out=1, settings=settings, device="cpu", resume=True)
    again = grcsf.demo(out, anatomy=anatomy, subjects=2, held_out=1, settings=settings, device="cpu", resume=True)
    assert np.array_equal(read_volume(again.masks / "phantom-0003.nii.gz").array, mask)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--anatomy", "liver"), ("anatomy=liver", "expected one of brain, heart, lung")),
        (("--anatomy", "heart", "--contrast", "t1"), ("contrast=t1", "only the brain has contrasts")),
        (("--anatomy", "lung", "--subjects", "99999"), ("subjects", "9000")),
        (("--anatomy", "heart", "--seed", "-1"), ("seed",)),
    ],
    ids=" ".join,
)
def test_demos_that_cannot_be_made(
    flags: tuple[str, ...], words: tuple[str, ...], tmp_path: Path, command_line: Callable[..., Done]
) -> None:
    done = command_line("demo", "-o", tmp_path / "out", *flags)
    assert done.code == 2
    assert all(word in done.err for word in words), done.err
    assert not (tmp_path / "out").exists()


def test_an_unknown_anatomy_is_refused_in_python_too(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="anatomy=knee"):
        grcsf.demo(tmp_path / "out", anatomy="knee")
