from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from grcsf.errors import OutputError
from grcsf.io.files import hash_file, read_json
from grcsf.io.volume import read_volume
from grcsf.phantoms.brain import PhantomSettings, make_phantom, write_phantoms
from grcsf.phantoms.brain_lesions import draw_hyperintensities, draw_lesions, grow
from grcsf.phantoms.brain_templates import CHANNELS, load_templates
from grcsf.phantoms.brain_tissue import make_tissue
from grcsf.phantoms.fields import smooth_field

COARSE_MM = 4.0
FLAIR = PhantomSettings(spacing_mm=COARSE_MM, lesion_free_fraction=0)
T1 = FLAIR.model_copy(update={"contrast": "t1"})


@pytest.fixture(scope="module")
def tissue():
    return make_tissue(np.random.default_rng(5), load_templates(2.0))


# fields


def test_a_smooth_field_has_mean_zero_and_variance_one():
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_field(rng, (6, 5, 4), 2.0, 4.0) for _ in range(2000)])
    assert np.abs(fields.mean(axis=0)).max() < 5 / np.sqrt(2000)  # five standard errors
    assert np.abs(fields.var(axis=0) - 1).max() < 5 * np.sqrt(2 / 2000)


def test_a_smooth_field_is_smoother_at_a_larger_scale():
    rough, smooth = (smooth_field(np.random.default_rng(0), (40, 40, 40), 1.0, scale) for scale in (2.0, 10.0))
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.5 * np.abs(np.diff(rough, axis=0)).mean()


# the average brain


def test_templates_lie_on_the_mni_grid_and_are_kept():
    templates = load_templates(2.0)
    assert templates.shape == (99, 117, 95)  # 197 x 233 x 189 mm: (197 - 1) // 2 + 1 = 99, ...
    assert templates.affine_ras.tolist() == [[2, 0, 0, -98], [0, 2, 0, -134], [0, 0, 2, -72], [0, 0, 0, 1]]
    assert templates.maps.shape == (len(CHANNELS), *templates.shape)
    assert load_templates(2.0) is templates


def test_tissue_shares_fill_the_brain(tissue):
    total = tissue.white + tissue.grey + tissue.fluid
    np.testing.assert_allclose(total[tissue.brain], 1, atol=1e-5)
    assert not total[~tissue.brain].any()
    brain_ml = tissue.brain.sum() * 0.008
    assert 1500 < brain_ml < 2400  # the average has 1.9 l with its fluid
    assert 0.4 < tissue.left[tissue.brain].mean() < 0.6


# lesions


def test_growing_takes_the_cheapest_connected_voxels():
    cost = np.ones((3, 3, 7), np.float32)
    cost[1, 1] = [0, 9, 2, 1, 3, 0, 0]  # from voxel 3: 2 to the left before 3 to the right; borders never
    allowed = np.zeros((3, 3, 7), bool)
    allowed[1, 1] = True
    taken = [grow(cost, allowed, (1, 1, 3), n)[1, 1].nonzero()[0].tolist() for n in (1, 2, 3, 4, 9)]
    assert taken == [[3], [2, 3], [2, 3, 4], [2, 3, 4, 5], [1, 2, 3, 4, 5]]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.05, 150.0))
def test_a_lesion_is_one_piece_of_the_size_asked_for(tissue, seed, size_ml):
    (lesion,) = draw_lesions(np.random.default_rng(seed), tissue, [size_ml])
    assert abs(lesion.sum() * 0.008 - size_ml) < 0.004 + 1e-9  # half a voxel of 8 mm3
    assert ndi.label(lesion)[1] == 1
    assert (tissue.white + tissue.grey)[lesion].min() > 0.6
    assert len(np.unique(tissue.left[lesion])) == 1


def test_lesions_do_not_touch(tissue):
    lesions = draw_lesions(np.random.default_rng(1), tissue, [100.0, 100.0, 5.0, 0.1])
    union = np.any(lesions, axis=0)
    assert ndi.label(union, np.ones((3, 3, 3)))[1] == 4
    assert [round(float(lesion.sum() * 0.008), 1) for lesion in lesions] == [100.0, 100.0, 5.0, 0.1]


def test_no_tissue_left_gives_fewer_lesions(tissue):
    lesions = draw_lesions(np.random.default_rng(1), tissue, [3000.0] * 4)
    assert 1 <= len(lesions) <= 4
    assert all(lesion.any() for lesion in lesions)


def test_lesions_are_irregular(tissue):
    (lesion,) = draw_lesions(np.random.default_rng(2), tissue, [30.0])
    surface = (lesion & ~ndi.binary_erosion(lesion)).sum()
    radius = (3 * lesion.sum() / (4 * np.pi)) ** (1 / 3)
    ball = np.linalg.norm(np.indices((41, 41, 41)) - 20, axis=0) <= radius
    assert surface > 1.2 * (ball & ~ndi.binary_erosion(ball)).sum()


def test_hyperintensities_lie_in_white_matter_beside_the_ventricles(tissue):
    strength = draw_hyperintensities(np.random.default_rng(3), tissue, 4.0)
    assert (strength >= 0.5).sum() * 0.008 == pytest.approx(4.0, abs=0.01)
    assert tissue.white[strength >= 0.5].mean() > 0.8
    assert tissue.near_ventricle[strength >= 0.5].mean() > 3 * tissue.near_ventricle[tissue.brain].mean()


# phantoms


def test_a_phantom_is_the_same_every_time_and_whatever_the_others_are():
    first = make_phantom(FLAIR, 3)
    make_phantom(FLAIR, 0)
    again = make_phantom(FLAIR.model_copy(update={"subjects": 5}), 3)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.label, again.label)
    other = make_phantom(FLAIR.model_copy(update={"seed": 1}), 3)
    assert not np.array_equal(first.image, other.image)
    assert not np.array_equal(first.image, make_phantom(FLAIR, 4).image)


@pytest.mark.parametrize("index", range(6))
def test_a_phantom_is_a_brain_with_its_lesions_inside(index):
    phantom = make_phantom(FLAIR, index)
    assert (phantom.image.dtype, phantom.label.dtype) == (np.float32, np.uint8)
    assert phantom.image.shape == phantom.label.shape == (50, 59, 48)  # 196 // 4 + 1, 232 // 4 + 1, 188 // 4 + 1
    assert np.array_equal(np.diag(phantom.affine_ras), [4, 4, 4, 1])
    assert np.isfinite(phantom.image).all()
    assert phantom.image.min() == 0
    assert phantom.image[phantom.label > 0].min() > 0
    assert set(np.unique(phantom.label)) == {0, 1}
    assert 1 <= len(phantom.lesion_ml) <= 3
    assert phantom.lesion_ml == sorted(phantom.lesion_ml, reverse=True)
    assert sum(phantom.lesion_ml) == pytest.approx(phantom.label.sum() * 0.064)


def test_lesion_sizes_span_the_range():
    volumes = [ml for index in range(40) for ml in make_phantom(FLAIR, index).lesion_ml]
    assert min(volumes) < 0.3
    assert max(volumes) > 50
    assert max(volumes) <= 150.1
    assert 1 < np.median(volumes) < 7.5  # log-uniform: sqrt(0.05 * 150) = 2.7


@pytest.mark.parametrize(("chosen", "sign"), [(FLAIR, 1), (T1, -1)])
def test_lesions_are_bright_in_flair_and_dark_in_t1(chosen, sign):
    steps = []
    for index in range(8):
        phantom = make_phantom(chosen, index)
        inside, brain = phantom.label > 0, phantom.image > 0
        steps.append(phantom.image[inside].mean() / np.median(phantom.image[brain & ~inside]) - 1)
    assert np.mean(steps) * sign > 0.15
    assert np.mean(np.array(steps) * sign > 0.05) >= 0.75  # most are clear, some may not be


def test_hyperintensities_are_not_labelled():
    phantom = make_phantom(FLAIR, 1)
    strong = phantom.hyperintensities >= 0.5
    assert strong.any()
    assert not phantom.label[strong].any()
    brain = (phantom.image > 0) & (phantom.label == 0)
    assert phantom.image[strong].mean() > 1.1 * np.median(phantom.image[brain])


def test_the_share_without_lesions_is_kept():
    chosen = FLAIR.model_copy(update={"lesion_free_fraction": 0.25})
    free = [not make_phantom(chosen, index).label.any() for index in range(8)]
    assert free == [False, False, False, True] * 2
    assert make_phantom(chosen, 3).lesion_ml == []


def test_a_phantom_takes_two_seconds_at_most():
    make_phantom(PhantomSettings(), 0)  # reads the average brain
    before = time.process_time()
    for index in range(3):
        make_phantom(PhantomSettings(), index)
    assert (time.process_time() - before) / 3 < 4  # twice the aim: machines differ


@pytest.mark.parametrize(
    "wrong",
    [{"contrast": "t2"}, {"lesion_ml": (2.0, 1.0)}, {"noise": (0.0, 0.1)}, {"spacing_mm": 0.2}, {"subject": 3}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        PhantomSettings(**wrong)


# on disk


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "Dataset900_BrainPhantoms"
    chosen = FLAIR.model_copy(update={"subjects": 3, "seed": 11})
    return folder, chosen, write_phantoms(folder, chosen, held_out=2)


def test_a_folder_of_phantoms_is_an_nnunet_data_set(written):
    folder, chosen, dataset = written
    assert dataset.name == "Dataset900_BrainPhantoms"
    assert [case.name for case in dataset.cases] == ["phantom-0001", "phantom-0002", "phantom-0003"]
    assert [case.name for case in dataset.test_cases] == ["phantom-0004", "phantom-0005"]
    assert all(case.label is not None for case in (*dataset.cases, *dataset.test_cases))
    assert len({case.group for case in dataset.cases}) == 3
    assert dataset.channel_names == ("FLAIR",)
    assert dataset.labels == {"background": 0, "lesion": 1}
    phantom = make_phantom(chosen, 3)
    image = read_volume(folder / "imagesTs" / "phantom-0004_0000.nii.gz")
    assert np.array_equal(image.array, phantom.image)
    assert np.array_equal(image.geometry.affine_ras, phantom.affine_ras)
    assert image.geometry.spacing_mm == (4, 4, 4)
    label = read_volume(folder / "labelsTs" / "phantom-0004.nii.gz").array
    assert label.dtype == np.uint8
    assert np.array_equal(label, phantom.label)


def test_the_data_set_says_that_it_holds_phantoms(written):
    folder, chosen, _ = written
    said = read_json(folder / "dataset.json")
    assert "phantoms" in said["description"]
    assert said["phantoms"]["seed"] == 11
    assert said["phantoms"]["held_out"] == 2
    assert PhantomSettings.model_validate(said["phantoms"]["settings"]) == chosen


def test_phantoms_are_replaced_only_when_asked_and_none_is_left_over(written, tmp_path):
    folder, chosen, _ = written
    again = tmp_path / "again"
    write_phantoms(again, chosen, held_out=1)
    name = "imagesTr/phantom-0002_0000.nii.gz"
    assert hash_file(again / name) == hash_file(folder / name)
    with pytest.raises(OutputError, match="exists already"):
        write_phantoms(again, chosen)
    dataset = write_phantoms(again, chosen.model_copy(update={"subjects": 1}), overwrite=True)
    assert len(dataset.cases) == 1
    assert not dataset.test_cases
    assert len(list(again.rglob("phantom-*"))) == 2
