from __future__ import annotations

import dataclasses
import json

import pytest

from grcsf.errors import SettingsError
from grcsf.evaluation.presets import PRESETS, LesionPreset, resolve_preset

# Frozen: a change here is a breaking change and raises the version of the preset.
FROZEN = {
    "any-overlap": (1, "full", "full", "any", 0.0, "many-to-many", 1, 0.0, "lesions", "skip"),
    "atlas2022": (1, "full", "full", "any", 0.0, "many-to-many", 1, 0.0, "lesions", "one"),
    "isles2022": (1, "full", "full", "any", 0.0, "many-to-many", 1, 0.0, "lesions", "one"),
    "orcascore": (1, "face", "face", "any", 0.0, "many-to-many", 1, 0.0, "volume", "skip"),
    "panoptica-iou0.5": (1, "face", "full", "iou", 0.5, "one-to-one", 1, 0.0, "lesions", "skip"),
}


def test_shipped_presets_are_frozen():
    assert {name: dataclasses.astuple(preset)[1:] for name, preset in PRESETS.items()} == FROZEN
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["isles2022"].min_voxels = 2


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name):
    written = json.loads(json.dumps(PRESETS[name].to_dict()))
    assert LesionPreset.from_dict(written) == resolve_preset(written) == resolve_preset(name) == PRESETS[name]


def test_own_rules_may_start_from_a_shipped_preset():
    own = LesionPreset.from_dict({"name": "ours", "base": "panoptica-iou0.5", "threshold": 0.25})
    assert own == dataclasses.replace(PRESETS["panoptica-iou0.5"], name="ours", threshold=0.25)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "no name"),
        ({"name": ""}, "expected a word"),
        ({"name": "isles2022", "min_voxels": 5}, "a shipped preset has this name"),
        ({"name": "x", "base": "isles"}, "isles: unknown; known: any-overlap, atlas2022"),
        ({"name": "x", "min_size": 3}, "unknown field min_size; known: base, name, version"),
        ({"name": "x", "connectivity_3d": 26}, "connectivity_3d 26, expected one of face, edge, full"),
        ({"name": "x", "overlap": "iou"}, "threshold 0.0, expected a share above 0"),
        ({"name": "x", "overlap": "share", "threshold": 25}, "threshold 25, expected a share above 0 and at most 1"),
        ({"name": "x", "overlap": "voxels"}, "at least 1 voxel"),
        ({"name": "x", "min_voxels": 2.5}, "min_voxels 2.5, expected a whole number"),
        ({"name": "x", "min_voxels": True}, "min_voxels True, expected a whole number"),
        ({"name": "x", "min_size_mm": -1}, "min_size_mm -1, expected a number of at least 0"),
        ({"name": "x", "threshold": "a"}, "threshold 'a', expected a number"),
        ({"name": "x", "when_empty": "nan"}, "expected one of skip, one, zero"),
        (["x"], "found a list"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(SettingsError, match=message):
        LesionPreset.from_dict(fields)


def test_a_preset_comes_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nbase: isles2022\nmin_size_mm: 30\n")
    assert resolve_preset(str(path)).min_size_mm == 30
    path.write_text("name: [mine")
    with pytest.raises(SettingsError, match="not valid YAML"):
        resolve_preset(str(path))
    with pytest.raises(SettingsError, match=r"missing\.yaml: cannot be read \(No such file"):
        resolve_preset(str(tmp_path / "missing.yaml"))
    with pytest.raises(SettingsError, match="expected fields"):
        path.write_text("")
        resolve_preset(str(path))
