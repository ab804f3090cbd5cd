"""From the facts of a data set and the settings to a plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grcsf.config import PreprocessSettings
from grcsf.datasets.dataset import Dataset
from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.errors import DatasetError, ModelError, SettingsError
from grcsf.io.files import write_json
from grcsf.preprocess.fingerprint import QUANTILES, CaseMeasures, ChannelIntensities, Fingerprint, make_fingerprint
from grcsf.preprocess.normalise import LOWEST_ZSCORE
from grcsf.preprocess.plan import Plan, make_plan, read_plan

Shape = tuple[int, int, int]


def facts(
    *cases: tuple[Shape, tuple[float, float, float]], native_2d: bool = False, channel: ChannelIntensities | None = None
) -> Fingerprint:
    measures = tuple(
        CaseMeasures(name=str(index), shape=shape, spacing_mm=spacing, content_shape=shape)
        for index, (shape, spacing) in enumerate(cases)
    )
    return Fingerprint(
        dataset="Dataset001_Test",
        native_2d=native_2d,
        requested=tuple(case.name for case in measures),
        cases=measures,
        channels=(channel or intensities("FLAIR", 0, 100),),
    )


def intensities(name: str, low: float, high: float, lesion: tuple[float, float] | None = None) -> ChannelIntensities:
    """Evenly spread grey values: the quantile q is low + q (high - low)."""
    shares = np.array(QUANTILES)
    marked = None if lesion is None else tuple((lesion[0] + shares * (lesion[1] - lesion[0])).tolist())
    return ChannelIntensities(
        name=name, content=tuple((low + shares * (high - low)).tolist()), lesion=marked, lesion_voxels=5000
    )


def dataset_of(names: tuple[str, ...] = ("FLAIR",)) -> Dataset:
    return Dataset("Dataset001_Test", Path(), (), (), names, {"background": 0, "lesion": 1}, ".nii.gz", None)


def plan_of(fingerprint: Fingerprint, **settings: object) -> Plan:
    return make_plan(fingerprint, PreprocessSettings.model_validate(settings), dataset_of())


SLICE = ((1, 157, 189), (1.0, 1.0, 1.0))
VOLUME = ((181, 217, 180), (1.0, 1.0, 1.0))
THICK_SAGITTAL = ((25, 256, 256), (6.0, 0.9, 0.8))


def test_native_2d_images_make_a_2d_plan():
    plan = plan_of(facts(SLICE, native_2d=True), spacing_mm=(2, 2))
    assert (plan.spatial_dims, plan.native_2d, plan.axis_order) == (2, True, (0, 1, 2))
    assert plan.spacing_mm == (None, 2.0, 2.0)
    assert plan.patch_size == (80, 96)  # 157 / 2 -> 79 -> 80; 189 / 2 -> 95 -> 96
    assert plan.mirror_axes == (0,)  # x, y
    assert plan.model_copy(update={"file_ending": ".png"}).mirror_axes == (1,)  # rows, columns


def test_volumes_make_a_3d_plan_by_default():
    plan = plan_of(facts(VOLUME))
    assert (plan.spatial_dims, plan.native_2d) == (3, False)
    assert plan.spacing_mm == (1.0, 1.0, 1.0)
    assert plan.patch_size == (64, 64, 64)


def test_2d_on_volumes_takes_superior_inferior_slices_and_keeps_them():
    plan = plan_of(facts(VOLUME), dimensions="2d")
    assert plan.axis_order == (2, 1, 0)
    assert plan.spacing_mm == (None, 1.0, 1.0)
    assert plan.patch_size == (224, 192)  # rows run along A: 217 -> 224; columns along R: 181 -> 192


def test_clearly_coarsest_axis_is_the_slice_axis():
    plan = plan_of(facts(THICK_SAGITTAL))
    assert plan.axis_order == (0, 2, 1)
    assert plan.spacing_mm == (6.0, 0.8, 0.9)
    assert plan.patch_size == (32, 64, 64)  # 25 slices -> 32


def test_thick_slices_are_a_coarse_axis_of_a_3d_network():
    assert plan_of(facts(THICK_SAGITTAL), dimensions="3d").coarse_axes == (0,)
    assert plan_of(facts(THICK_SAGITTAL), dimensions="2d").coarse_axes == ()
    assert plan_of(facts(VOLUME)).coarse_axes == ()


def test_two_coarse_axes_do_not_make_a_slice_axis():
    assert plan_of(facts(((40, 40, 90), (2.0, 2.0, 1.0)))).axis_order == (2, 1, 0)


def test_volumes_of_one_slice_are_slices():
    plan = plan_of(facts(((157, 1, 189), (1.0, 5.0, 1.0))))
    assert (plan.spatial_dims, plan.native_2d, plan.axis_order) == (2, False, (1, 2, 0))


def test_spacing_defaults_to_the_median():
    cases = [((50, 50, 50), (spacing, 1.0, 1.0)) for spacing in (0.5, 0.7, 1.2)]
    assert plan_of(facts(*cases)).spacing_mm == (1.0, 1.0, 0.7)


def test_patch_of_2d_is_at_most_256():
    assert plan_of(facts(((1, 600, 200), (1.0, 1.0, 1.0)), native_2d=True)).patch_size == (256, 208)


def test_patch_size_can_be_set():
    assert plan_of(facts(VOLUME), patch_size=(32, 40, 48)).patch_size == (32, 40, 48)


@pytest.mark.parametrize(
    ("cases", "settings", "message"),
    [
        (SLICE, {"dimensions": "3d"}, "dimensions=3d"),
        (VOLUME, {"spacing_mm": (2, 2)}, "expected 3 numbers"),
        (SLICE, {"spacing_mm": (2, 2, 2)}, "expected 2 numbers"),
        (SLICE, {"spacing_mm": (0, 2)}, "above 0"),
        (VOLUME, {"patch_size": (64, 64)}, "expected 3 numbers"),
        (SLICE, {"context": 1}, "2-D images have no neighbours"),
        (VOLUME, {"context": 1}, "context=1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(cases, settings, message):
    with pytest.raises(SettingsError, match=message):
        plan_of(facts(cases, native_2d=cases is SLICE), **settings)


def test_context_needs_slices_of_volumes():
    assert plan_of(facts(VOLUME), dimensions="2d", context=2).context == 2


def test_channels_are_z_scored_unless_they_are_ct():
    (channel,) = plan_of(facts(VOLUME)).channels
    assert (channel.scheme, channel.clip_low, channel.clip_high) == ("zscore", LOWEST_ZSCORE, None)
    (channel,) = plan_of(facts(VOLUME), normalisation="none").channels
    assert channel.scheme == "none"


def test_ct_window_is_that_of_the_lesions():
    lesion = intensities("CT", 0, 100, lesion=(10, 90))
    (channel,) = plan_of(facts(VOLUME, channel=lesion)).channels
    assert channel.scheme == "ct"
    # 0.5 % of 10..90 is 10.4, 99.5 % is 89.6
    assert (channel.clip_low, channel.clip_high) == pytest.approx((10.4, 89.6))
    assert channel.mean == pytest.approx(50.0)


def test_ct_window_of_bright_lesions_still_shows_the_tissue():
    calcium = intensities("ct", -100, 100, lesion=(130, 930))
    (channel,) = plan_of(facts(VOLUME, channel=calcium)).channels
    assert channel.clip_low == pytest.approx(-50.0)  # lower quarter of the content, not 134 of the lesions
    assert channel.clip_high == pytest.approx(926.0)


def test_ct_without_lesions_goes_by_the_content():
    (channel,) = plan_of(facts(VOLUME, channel=intensities("T1", 0, 200)), normalisation="ct").channels
    assert (channel.clip_low, channel.clip_high) == pytest.approx((1.0, 199.0))


def test_constant_ct_is_refused():
    with pytest.raises(DatasetError, match="channel CT"):
        plan_of(facts(VOLUME, channel=intensities("CT", 5, 5)))


def test_plan_survives_json_and_its_hash_tells_plans_apart(tmp_path):
    plan = plan_of(facts(VOLUME))
    write_json(tmp_path / "plan.json", plan.model_dump(mode="json"))
    again = read_plan(tmp_path / "plan.json")
    assert again == plan
    assert again.content_hash() == plan.content_hash()
    assert plan.model_copy(update={"crop": False}).content_hash() != plan.content_hash()


def test_file_that_is_no_plan(tmp_path):
    write_json(tmp_path / "plan.json", {"spatial_dims": 4})
    with pytest.raises(ModelError, match=r"plan\.json: not a preprocessing plan"):
        read_plan(tmp_path / "plan.json")


def test_fingerprint_of_volumes(tiny_volumes):
    dataset = read_dataset(tiny_volumes)
    fingerprint = make_fingerprint(dataset, dataset.case_names[:4])
    assert [case.name for case in fingerprint.cases] == list(dataset.case_names[:4])
    assert fingerprint.requested == dataset.case_names[:4]
    assert not fingerprint.native_2d
    assert fingerprint.cases[0].shape == (24, 28, 20)
    assert fingerprint.cases[0].spacing_mm == pytest.approx((1.0, 1.2, 1.5))
    assert fingerprint.cases[0].content_shape < (24, 28, 20)
    flair, _ = fingerprint.channels
    assert flair.lesion is not None
    assert np.median(flair.lesion) > 550 > np.median(flair.content)
    assert Fingerprint.model_validate_json(fingerprint.model_dump_json()) == fingerprint


def test_fingerprint_of_slices(tiny_slices):
    dataset = read_dataset(tiny_slices)
    fingerprint = make_fingerprint(dataset, dataset.case_names)
    assert fingerprint.native_2d
    assert fingerprint.cases[0].shape == (1, 48, 56)


def test_fingerprint_of_no_case(tiny_slices):
    with pytest.raises(DatasetError, match="no case to learn a plan from"):
        make_fingerprint(read_dataset(tiny_slices), ())
