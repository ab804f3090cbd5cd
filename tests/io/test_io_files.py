"""Files are written whole or not at all; JSON and hashes hold what they promise."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grcsf.errors import DatasetError, GrcsfError, OutputError
from grcsf.io.files import (
    atomic_path,
    ensure_new,
    hash_array,
    hash_file,
    make_folder,
    read_json,
    to_plain,
    write_json,
)


def test_atomic_path_takes_the_name_at_the_end(tmp_path):
    target = tmp_path / "out.nii.gz"
    with atomic_path(target) as partial:
        assert partial.parent == tmp_path
        assert partial.name.startswith(".partial-")
        assert partial.name.endswith(".nii.gz")
        partial.write_text("whole")
        assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out.nii.gz"]
    assert target.read_text() == "whole"


def test_a_body_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "out.json"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_can_be_written_atomically(tmp_path):
    with atomic_path(tmp_path / "folder") as partial:
        partial.mkdir()
        (partial / "inside").write_text("1")
    assert (tmp_path / "folder" / "inside").read_text() == "1"


def test_a_refusal_of_the_system_becomes_an_output_error(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OutputError, match=r"out\.json: cannot be written \(Permission denied\)"):
        write_json(tmp_path / "out.json", {})
    assert list(tmp_path.iterdir()) == []


@dataclass
class Score:
    case: str
    dice: float


def test_to_plain_converts_what_results_hold(tmp_path):
    tree = {
        "array": np.arange(3, dtype=np.uint8),
        "scalar": np.float32(0.5),
        "path": Path("a") / "b",
        "scores": (Score("x", float("nan")),),
        1: {"b", "a"},
    }
    expected = {
        "array": [0, 1, 2],
        "scalar": 0.5,
        "path": os.path.join("a", "b"),  # noqa: PTH118
        "scores": [{"case": "x", "dice": None}],
        "1": ["a", "b"],
    }
    write_json(tmp_path / "t.json", tree)
    assert read_json(tmp_path / "t.json") == expected


def test_to_plain_refuses_what_json_cannot_hold():
    with pytest.raises(TypeError, match="cannot write a function as JSON"):
        to_plain({"f": to_plain})


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(json_trees)
def test_json_trees_come_through_unchanged(tree):
    assert json.loads(json.dumps(to_plain(tree))) == tree


@pytest.mark.parametrize("content", ["{", "[1, ", "\ufeff{}x"])
def test_read_json_names_the_file_that_is_not_json(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"bad\.json: not valid JSON"):
        read_json(path, DatasetError)


def test_read_json_of_a_missing_file(tmp_path):
    with pytest.raises(GrcsfError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")


def test_hash_file_is_the_known_sha256_of_abc(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert hash_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


small_arrays = hnp.arrays(np.int16, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))


@given(small_arrays)
def test_hash_array_ignores_layout_and_byte_order(array):
    assert hash_array(array) == hash_array(np.asfortranarray(array))
    assert hash_array(array) == hash_array(array.astype(">i2"))


@given(small_arrays)
def test_hash_array_sees_values_shape_and_type(array):
    changed = array.copy()
    changed.reshape(-1)[0] ^= 1
    others = [changed, array[None], array.astype(np.int32)]
    assert hash_array(array) not in {hash_array(other) for other in others}


def test_ensure_new_accepts_what_is_not_there_or_empty(tmp_path):
    ensure_new(tmp_path / "nothing", overwrite=False)
    ensure_new(tmp_path, overwrite=False)


def test_ensure_new_refuses_what_exists_unless_allowed(tmp_path):
    path = tmp_path / "file"
    path.touch()
    for taken in (path, tmp_path):
        with pytest.raises(OutputError, match="exists already; choose another output, --overwrite"):
            ensure_new(taken, overwrite=False)
        ensure_new(taken, overwrite=True)
        ensure_new(taken, overwrite=False, resume=True)
    assert path.exists()


def test_make_folder_makes_parents_and_leaves_nothing_in_it(tmp_path):
    assert make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("inner", ["", "deeper"])
def test_make_folder_says_that_a_file_is_in_the_place(tmp_path, inner):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="cannot be an output folder, a file is in its place"):
        make_folder(tmp_path / "taken" / inner)


def test_make_folder_says_that_it_cannot_write(tmp_path, monkeypatch):
    def refuse(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match=r"folder is not writable \(Permission denied\); choose another"):
        make_folder(tmp_path)
