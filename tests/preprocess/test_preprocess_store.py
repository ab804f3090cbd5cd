"""Cases on disk: whole or absent, and of one plan."""

from __future__ import annotations

import numpy as np
import pytest

from grcsf.errors import DatasetError, OutputError
from grcsf.io.files import hash_array, write_json
from grcsf.preprocess import store as store_module
from grcsf.preprocess.geometry import CaseGeometry
from grcsf.preprocess.normalise import ChannelPlan
from grcsf.preprocess.plan import Plan
from grcsf.preprocess.store import CaseStore

PLAN = Plan(
    spatial_dims=3,
    native_2d=False,
    context=0,
    axis_order=(2, 1, 0),
    spacing_mm=(1.0, 1.0, 1.0),
    patch_size=(16, 16, 16),
    channels=(ChannelPlan(name="T1", scheme="none"), ChannelPlan(name="T2", scheme="none")),
    labels={"background": 0, "lesion": 1},
    crop=True,
    file_ending=".nii.gz",
)
SHAPE = (5, 70, 9)
GEOMETRY = CaseGeometry(
    native_shape=SHAPE[::-1],
    affine_ras=tuple(tuple(row) for row in np.eye(4).tolist()),
    orientation=((0, 1), (1, 1), (2, 1)),
    axis_order=(2, 1, 0),
    spacing_mm=(1.0, 1.0, 1.0),
    crop_start=(0, 0, 0),
    crop_stop=SHAPE,
    resampled_shape=SHAPE,
)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)


@pytest.fixture(params=[2, 3], ids=["slices", "volumes"])
def store(request, tmp_path) -> CaseStore:
    return CaseStore.create(tmp_path / "store", PLAN.model_copy(update={"spatial_dims": request.param}))


def test_what_is_written_is_read(store, image):
    label = (image[0] > 1).astype(np.uint8)
    store.write_case("a", image, image[0] > 0, GEOMETRY, label)
    again = CaseStore(store.folder)
    assert again.names == ("a",)
    assert "a" in again
    assert again.plan == store.plan
    assert np.array_equal(again.image("a"), image)
    assert again.shape("a") == image.shape
    assert np.array_equal(again.label("a"), label)
    assert again.foreground("a").dtype == bool
    assert np.array_equal(again.foreground("a"), image[0] > 0)
    assert again.geometry("a") == GEOMETRY


def test_part_of_an_image(store, image):
    store.write_case("a", image, image[0] > 0, GEOMETRY, None)
    part = (slice(0, 2), slice(1, 3), slice(60, 70), slice(2, 9))
    assert np.array_equal(store.open_image("a")[part], image[part])


def test_case_without_a_label(store, image):
    store.write_case("a", image, image[0] > 0, GEOMETRY, None)
    assert store.label("a") is None


def test_content_hash_is_that_of_the_image(store, image):
    for name, scaled in (("a", image), ("b", image.copy()), ("c", image * 2)):
        store.write_case(name, scaled, image[0] > 0, GEOMETRY, None)
    assert store.content_hash("a") == store.content_hash("b") == hash_array(image)
    assert store.content_hash("a") != store.content_hash("c")


def test_writing_again_replaces(store, image):
    store.write_case("a", image, image[0] > 0, GEOMETRY, None)
    store.write_case("a", image + 1, image[0] > 0, GEOMETRY, None)
    assert np.array_equal(CaseStore(store.folder).image("a"), image + 1)


def test_half_written_case_is_not_listed(store, image, monkeypatch):
    def fail(*_: object) -> None:
        raise OutputError("disk full")

    store.write_case("a", image, image[0] > 0, GEOMETRY, None)
    monkeypatch.setattr(store_module, "write_json", fail)
    with pytest.raises(OutputError, match="disk full"):
        store.write_case("a", image + 1, image[0] > 0, GEOMETRY, None)
    assert store.names == ()
    assert CaseStore(store.folder).names == ()
    assert (store.folder / "cases" / "a_image.b2nd").is_file()


def test_damaged_json_counts_as_missing(store, image, caplog):
    store.write_case("a", image, image[0] > 0, GEOMETRY, None)
    (store.folder / "cases" / "a.json").write_text("{")
    assert CaseStore(store.folder).names == ()
    assert "a.json: unreadable" in caplog.text


def test_damaged_array_is_named(store, image):
    store.write_case("a", image, image[0] > 0, GEOMETRY, None)
    (store.folder / "cases" / "a_image.b2nd").write_bytes(b"no array")
    with pytest.raises(DatasetError, match=r"a_image\.b2nd: damaged or missing"):
        store.image("a")


def test_unknown_case_is_named(store):
    with pytest.raises(DatasetError, match="no preprocessed case b"):
        store.image("b")


def test_cases_of_another_plan_are_refused(store, image):
    store.write_case("a", image, image[0] > 0, GEOMETRY, None)
    other = store.plan.model_copy(update={"crop": False})
    with pytest.raises(OutputError, match="made with another plan"):
        CaseStore.create(store.folder, other)
    assert CaseStore(store.folder).plan == store.plan
    write_json(store.folder / "plan.json", other.model_dump(mode="json"))
    with pytest.raises(OutputError, match="case a was not made with this plan"):
        CaseStore(store.folder)


def test_folder_without_a_plan(tmp_path):
    with pytest.raises(DatasetError, match="not a preprocessed data set"):
        CaseStore(tmp_path)


def test_leftovers_of_a_killed_writer_are_removed(store):
    left = store.folder / "cases" / ".partial-12345678-a_image.b2nd"
    left.write_bytes(b"half")
    CaseStore.create(store.folder, store.plan)
    assert not left.exists()
