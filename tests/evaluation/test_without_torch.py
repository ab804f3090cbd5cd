"""Anybody's masks can be scored where torch is not installed: the package and its verbs never ask for it."""

from __future__ import annotations

import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest

BLOCK = """
import importlib, json, pkgutil, sys

BLOCKED = {"torch", "monai", "lightning", "matplotlib", "jaxtyping", "nilearn", "safetensors", "blosc2"}

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"blocked: {name}")

sys.meta_path.insert(0, Block())
"""
SCORE = """
import grcsf
import grcsf.evaluation

modules = [info.name for info in pkgutil.walk_packages(grcsf.evaluation.__path__, "grcsf.evaluation.")]
for name in modules:
    importlib.import_module(name)
settings = grcsf.load_settings(None, ["evaluation.metrics=[surface, volume]"])
truth, a, b, out = sys.argv[1:]
one = grcsf.evaluate(truth, a, settings=settings)
both = grcsf.compare(truth, [a, b], out + "/compared", settings=settings)
grcsf.measure(a, out + "/measures")
grcsf.agreement(out + "/measures/measures.csv", out + "/measures/measures.csv")
assert "Scores of" in one._repr_html_() and "methods on" in both._repr_html_()
assert not BLOCKED & sys.modules.keys()
dice = both.labels["lesion"].methods[1].scores["dice"].mean
sys.stdout.write(json.dumps([len(modules), one.labels["lesion"].lesion_cases.mean["dice"], dice]))
"""


def test_scores_are_made_with_torch_blocked(tmp_path):
    mask = np.zeros((12, 12, 4), np.uint8)
    mask[2:7, 2:7, 1:3] = 1
    for name, found in {"truth": mask, "a": np.roll(mask, 1, axis=0), "b": np.roll(mask, 2, axis=0)}.items():
        (tmp_path / name).mkdir()
        for index in range(3):
            nibabel.save(nibabel.Nifti1Image(found, np.eye(4)), tmp_path / name / f"case-{index}.nii.gz")
    folders = [str(tmp_path / name) for name in ("truth", "a", "b", ".")]
    command = [sys.executable, "-W", "error", "-c", BLOCK + SCORE, *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    modules, one, other = json.loads(done.stdout)
    assert modules > 20
    assert one == pytest.approx(2 * 40 / (50 + 50))  # of 5 rows of 10 voxels 4 are shared
    assert other == pytest.approx(2 * 30 / (50 + 50))


def test_the_block_blocks():
    command = [sys.executable, "-c", BLOCK + "import torch"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ImportError: blocked: torch" in done.stderr
