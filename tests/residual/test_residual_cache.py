"""The cache: one key for everything that maps depend on, complete entries or none."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from grcsf.config import ResidualSettings
from grcsf.residual.cache import ResidualCache, residual_key

MAPS = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float16).astype(np.float32)


def never() -> np.ndarray:
    raise AssertionError("computed again")


def test_the_key_changes_with_everything_the_maps_depend_on(make_bundle):
    bundle, settings = make_bundle(), ResidualSettings()
    keys = [
        residual_key("image", bundle, settings, 0),
        residual_key("another image", bundle, settings, 0),
        residual_key("image", dataclasses.replace(bundle, plan_hash="another plan"), settings, 0),
        residual_key("image", dataclasses.replace(bundle, weights_hash="1" * 64), settings, 0),
        residual_key("image", bundle, ResidualSettings(kind="absolute"), 0),
        residual_key("image", bundle, ResidualSettings(ratios=(0.5,)), 0),
        residual_key("image", bundle, ResidualSettings(smoothing_voxels=1.0), 0),
        residual_key("image", bundle, ResidualSettings(smoothing_voxels=2.0), 0),
        residual_key("image", bundle, settings, 1),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == residual_key("image", make_bundle(), ResidualSettings(), 0)
    assert all(len(key) == 24 for key in keys)


def test_whose_maps_are_read_changes_none_of_them(make_bundle):
    keys = [residual_key("image", make_bundle(), ResidualSettings(source=source), 0) for source in ("own", "shuffled")]
    assert keys[0] == keys[1]


def test_maps_made_before_there_was_smoothing_keep_their_key(make_bundle):
    bundle = make_bundle()
    before = {"kind": "signed", "ratios": None, "cosine_window": 5, "overlap": 0.25}
    text = json.dumps(["image", bundle.plan_hash, bundle.weights_hash, before, 0], sort_keys=True)
    assert residual_key("image", bundle, ResidualSettings(), 0) == hashlib.sha256(text.encode()).hexdigest()[:24]


def test_the_second_time_nothing_is_computed(make_bundle, tmp_path):
    cache = ResidualCache(tmp_path / "maps", make_bundle(), ResidualSettings())
    assert not cache.has("case", "hash")
    assert np.array_equal(cache.get("case", "hash", lambda: MAPS), MAPS)
    assert cache.has("case", "hash")
    again = ResidualCache(tmp_path / "maps", make_bundle(), ResidualSettings())
    found = again.get("case", "hash", never)
    assert np.array_equal(found, MAPS)
    assert found.dtype == np.float32
    assert not cache.has("case", "another image")


def test_maps_are_kept_in_half_precision(make_bundle, tmp_path):
    cache = ResidualCache(tmp_path, make_bundle(), ResidualSettings())
    fine = np.full((1, 1, 2, 2), 1 / 3, np.float32)
    assert np.array_equal(cache.get("case", "hash", lambda: fine), fine.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("lost", [".json", ".b2nd"])
def test_half_an_entry_is_computed_again(make_bundle, tmp_path, lost):
    cache = ResidualCache(tmp_path, make_bundle(), ResidualSettings())
    cache.get("case", "hash", lambda: MAPS)
    cache.path("case", "hash").with_suffix(lost).unlink()
    assert not cache.has("case", "hash")
    assert np.array_equal(cache.get("case", "hash", lambda: MAPS + 1), (MAPS + 1).astype(np.float16))


def test_a_failed_computation_leaves_nothing(make_bundle, tmp_path):
    cache = ResidualCache(tmp_path, make_bundle(), ResidualSettings())
    with pytest.raises(AssertionError, match="computed again"):
        cache.get("case", "hash", never)
    assert list(tmp_path.iterdir()) == []


def test_an_array_that_is_not_the_described_one_is_refused(make_bundle, tmp_path):
    cache = ResidualCache(tmp_path, make_bundle(), ResidualSettings())
    cache.get("case", "hash", lambda: MAPS)
    cache.get("other", "hash", lambda: MAPS[:1])
    cache.path("other", "hash").replace(cache.path("case", "hash"))
    with pytest.raises(ValueError, match=r"shape \(1, 3, 4, 5\), its JSON says \[2, 3, 4, 5\]; delete both files"):
        cache.get("case", "hash", never)


def test_an_mae_that_is_not_on_disk_has_no_key(make_bundle, tmp_path):
    with pytest.raises(ValueError, match="must be saved and loaded"):
        ResidualCache(tmp_path, make_bundle(weights_hash=""), ResidualSettings())
