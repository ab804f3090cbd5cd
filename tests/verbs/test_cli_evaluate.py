"""``grcsf evaluate`` with images and rules of one's own, and a wrong preset that is told at once."""

from __future__ import annotations

import csv
import json
import sys

import nibabel as nib
import numpy as np
import pytest

import grcsf
from grcsf.cli import main
from grcsf.errors import SettingsError


@pytest.fixture
def folders(tmp_path):
    mask = np.zeros((30, 30, 6), np.uint8)
    mask[10:14, 10:14, 2:4] = 1
    image = np.where(mask > 0, 150, 100).astype(np.float32)
    image[:2] = image[-2:] = image[:, :2] = image[:, -2:] = 0
    for folder, name, array in (("truth", "a", mask), ("found", "a", mask), ("images", "a_0000", image)):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / folder / f"{name}.nii.gz")
    return tmp_path


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["grcsf", "evaluate", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_images_and_own_rules_reach_the_files(folders, monkeypatch, capsys):
    rules = folders / "mine.yaml"
    rules.write_text("name: mine\noverlap: iou\nthreshold: 0.3\n")
    words = ["-i", folders / "found", "-r", folders / "truth", "-o", folders / "out", "--images", folders / "images"]
    assert command(monkeypatch, *words, "--set", f"evaluation.preset={rules}") == 0
    assert "1 of 1 lesions detected" in capsys.readouterr().out
    with (folders / "out" / "lesions.csv").open(newline="") as stream:
        assert [float(row["contrast"]) for row in csv.DictReader(stream)] == [1.5, 1.5]
    written = [json.loads((folders / "out" / name).read_text()) for name in ("summary.json", "run.json")]
    assert all(tree["lesion_preset"]["name"] == "mine" for tree in written)
    assert written[0]["lesion_preset"]["threshold"] == 0.3


def test_an_unknown_preset_is_a_wrong_argument(folders, monkeypatch, capsys):
    words = ["-i", folders / "found", "-r", folders / "truth", "--set", "evaluation.preset=isles"]
    assert command(monkeypatch, *words) == 2
    assert "isles: unknown; known: any-overlap, atlas2022" in capsys.readouterr().err


def test_run_refuses_an_unknown_preset_before_it_starts(tmp_path):
    settings = grcsf.load_settings(None, ["evaluation.preset=isles"])
    with pytest.raises(SettingsError, match="isles: unknown"):
        grcsf.run(tmp_path / "no-such-data", tmp_path / "run", settings=settings)
