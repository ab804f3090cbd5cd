from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics.panoptic_quality import compute_panoptic_quality
from scipy import ndimage

from grcsf.errors import GridMismatch, SettingsError
from grcsf.evaluation.contrast import image_foreground
from grcsf.evaluation.lesions import LESION_SCORES, score_lesions
from grcsf.evaluation.overlap import dice, precision, recall
from grcsf.evaluation.presets import PRESETS, LesionPreset

flat = hnp.arrays(np.bool_, (6, 7))
solid = hnp.arrays(np.bool_, (3, 4, 5))
presets = st.sampled_from(list(PRESETS))
ONE_MM = (1.0, 1.0)


def boxes(*parts, shape=(20, 20)):
    """A mask of rectangles ``(first row, last row + 1, first column, last column + 1)``."""
    mask = np.zeros(shape, bool)
    for top, bottom, left, right in parts:
        mask[top:bottom, left:right] = True
    return mask


def three_lesions():
    """Reference: 4 x 4, 2 x 2 and 3 x 3 pixels. Prediction: 4 x 2 of the first, none of the second, two false ones."""
    reference = boxes((0, 4, 0, 4), (8, 10, 0, 2), (12, 15, 12, 15))
    prediction = boxes((0, 4, 2, 4), (12, 15, 12, 15), (0, 2, 15, 18), (18, 20, 18, 20))
    return reference, prediction


def test_found_missed_and_false_lesions():
    scores = score_lesions(*three_lesions(), (2.0, 1.5), "any-overlap")
    assert (scores.n_reference, scores.n_prediction) == (3, 4)
    assert (scores.n_detected, scores.n_missed, scores.n_false) == (2, 1, 2)
    assert scores.recall == 2 / 3
    assert scores.precision == 2 / 4
    assert scores.f1 == 2 * 2 / (2 * 2 + 2 + 1)
    assert scores.missed_size == 4 * 2.0 * 1.5  # 4 pixels
    assert scores.false_size == (6 + 4) * 2.0 * 1.5
    assert scores.size_unit == "mm2"
    assert scores.matched_dice == pytest.approx((2 * 8 / (16 + 8) + 1) / 2)
    assert scores.panoptic_quality == pytest.approx((8 / 16 + 1) / (2 + 2 / 2 + 1 / 2))
    assert scores.volume_recall == (8 + 9) / (16 + 4 + 9)
    assert scores.volume_precision == (8 + 9) / (8 + 9 + 6 + 4)


def test_the_table_names_every_lesion():
    scores = score_lesions(*three_lesions(), (2.0, 1.5))
    table = [(x.source, x.number, x.voxels, x.size, x.matched, x.detected, x.overlap) for x in scores.lesions]
    assert table == [
        ("reference", 1, 16, 48.0, (1,), True, 0.5),
        ("reference", 2, 4, 12.0, (), False, 0.0),
        ("reference", 3, 9, 27.0, (3,), True, 1.0),
        ("prediction", 1, 8, 24.0, (1,), True, 1.0),
        ("prediction", 2, 6, 18.0, (), False, 0.0),
        ("prediction", 3, 9, 27.0, (3,), True, 1.0),
        ("prediction", 4, 4, 12.0, (), False, 0.0),
    ]
    assert [x.centroid for x in scores.of("reference")] == [(1.5, 1.5), (8.5, 0.5), (13.0, 13.0)]


def test_sizes_of_volumes_are_ml():
    mask = np.zeros((4, 4, 4), bool)
    mask[1:3, 1:3, 1:3] = True
    scores = score_lesions(mask, np.zeros_like(mask), (5.0, 5.0, 10.0))
    assert scores.size_unit == "ml"
    assert scores.missed_size == 8 * 250 / 1000


@pytest.mark.parametrize(("connectivity", "volume", "plane"), [("face", 3, 3), ("edge", 2, 1), ("full", 1, 1)])
def test_connectivity_decides_what_is_one_lesion(connectivity, volume, plane):
    mask = np.zeros((2, 3, 3), bool)
    mask[0, 0, 0] = mask[0, 1, 1] = mask[1, 2, 2] = True  # first and second share an edge, second and third a corner
    preset = LesionPreset(name="x", connectivity_2d=connectivity, connectivity_3d=connectivity)
    assert score_lesions(mask, mask, (1.0, 1.0, 1.0), preset).n_reference == volume
    assert score_lesions(mask.any(axis=0), mask.any(axis=0), ONE_MM, preset).n_reference == plane


@pytest.mark.parametrize(
    ("rule", "threshold", "n_detected"),
    [("any", 0, 1), ("voxels", 4, 1), ("voxels", 5, 0), ("share", 0.25, 1), ("share", 0.26, 0), ("iou", 0.2, 1)],
)
def test_overlap_rules(rule, threshold, n_detected):
    reference, prediction = boxes((0, 4, 0, 4)), boxes((2, 6, 2, 4))  # 16 and 8 pixels, 4 shared, 20 together
    preset = LesionPreset(name="x", overlap=rule, threshold=threshold)
    scores = score_lesions(reference, prediction, ONE_MM, preset)
    assert (scores.n_detected, scores.n_false) == (n_detected, 1 - n_detected)


def test_an_iou_of_exactly_the_threshold_is_a_match():
    preset = PRESETS["panoptica-iou0.5"]
    assert score_lesions(boxes((0, 4, 0, 4)), boxes((0, 4, 0, 2)), ONE_MM, preset).n_detected == 1  # 8 / 16
    assert score_lesions(boxes((0, 4, 0, 4)), boxes((0, 7, 0, 1)), ONE_MM, preset).n_detected == 0


@pytest.mark.parametrize(
    ("matching", "matched", "n_detected", "n_false"),
    [
        ("many-to-many", [(1, 2), (2,)], 2, 0),
        ("many-to-one", [(1,), (2,)], 2, 0),
        ("one-to-one", [(1,), (2,)], 2, 0),
    ],
)
def test_matching_of_a_prediction_that_bridges_two_lesions(matching, matched, n_detected, n_false):
    reference = boxes((0, 2, 0, 6), (0, 2, 8, 20))  # 12 and 24 pixels
    prediction = boxes((0, 2, 0, 2), (0, 2, 4, 20))  # 4 pixels; 2 x 2 of the first, the gap and all of the second
    preset = LesionPreset(name="x", matching=matching)
    scores = score_lesions(reference, prediction, ONE_MM, preset)
    assert [lesion.matched for lesion in scores.of("reference")] == matched
    assert (scores.n_detected, scores.n_false) == (n_detected, n_false)


def test_matching_of_two_predictions_in_one_lesion():
    reference, prediction = boxes((0, 2, 0, 10)), boxes((0, 2, 0, 4), (0, 2, 7, 10))  # 8 and 6 of 20 pixels

    def score(matching):
        return score_lesions(reference, prediction, ONE_MM, LesionPreset(name="x", matching=matching))

    assert score("many-to-one").matched_dice == 2 * 14 / (20 + 14)
    assert score("many-to-one").precision == 1
    assert score("one-to-one").matched_dice == 2 * 8 / (20 + 8)
    assert (score("one-to-one").n_false, score("one-to-one").precision) == (1, 0.5)


def test_small_components_are_left_out_of_both_masks():
    reference, prediction = boxes((0, 4, 0, 4), (10, 11, 10, 12)), boxes((0, 4, 0, 4), (18, 20, 0, 1))
    assert score_lesions(reference, prediction, ONE_MM).n_false == 1
    for preset in (LesionPreset(name="x", min_voxels=3), LesionPreset(name="x", min_size_mm=2.5)):
        scores = score_lesions(reference, prediction, ONE_MM, preset)
        assert (scores.n_reference, scores.n_prediction, scores.f1) == (1, 1, 1)
    exactly = LesionPreset(name="x", min_size_mm=2 * 0.3 * 0.1)
    assert score_lesions(reference, prediction, (0.3, 0.1), exactly).n_reference == 2


# Frozen: docs/reference/lesion-scores.md shows the same table.
@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize("prediction", [True, False])
@pytest.mark.parametrize(("policy", "value"), [("skip", math.nan), ("one", 1.0), ("zero", 0.0)])
def test_empty_table_is_frozen(reference, prediction, policy, value):
    scores = score_lesions(
        np.array([[reference, False]]), np.array([[prediction, False]]), ONE_MM, LesionPreset("x", when_empty=policy)
    )
    expected = 1.0 if reference and prediction else value if not reference and not prediction else 0.0
    for name in set(LESION_SCORES.values()) - {"matched_dice"}:
        np.testing.assert_equal(getattr(scores, name), expected, name)
    np.testing.assert_equal(scores.matched_dice, 1.0 if reference and prediction else math.nan)


def test_orcascore_f1_is_by_volume():
    reference, prediction = three_lesions()
    scores = score_lesions(reference, prediction, ONE_MM, "orcascore")
    assert scores.f1 == dice(reference, prediction) == pytest.approx(2 * 17 / (29 + 27))
    assert (scores.recall, scores.precision) == (2 / 3, 2 / 4)


def test_contrast_is_the_ratio_to_the_tissue_around():
    reference = np.zeros((40, 40), bool)
    reference[18:22, 18:22] = True
    reference[18:22, 25:27] = True  # 4 mm from the first, so inside its ring
    image = np.full((40, 40), 100.0)
    image[:, :10] = 0  # air, beyond the rings
    image[18:22, 18:22] = 150
    image[18:22, 25:27] = 50
    scores = score_lesions(reference, np.zeros_like(reference), ONE_MM, image=image)
    assert [lesion.contrast for lesion in scores.lesions] == [1.5, 0.5]


def test_the_ring_has_a_radius_in_mm_and_stays_in_the_foreground():
    reference = np.zeros((1, 41), bool)
    reference[0, 20] = True
    image = np.full((1, 41), 1000.0)
    image[0, 17:24] = 100  # with 2 mm pixels the ring of 6 mm is three pixels on each side
    image[0, 20] = 120
    scores = score_lesions(reference, ~reference & False, (2.0, 2.0), image=image)
    assert scores.lesions[0].contrast == 1.2
    image[0, 21:24] = 7
    left = np.arange(41)[None] <= 20
    assert score_lesions(reference, reference, (2.0, 2.0), image=image, foreground=left).lesions[0].contrast == 1.2
    nothing = score_lesions(reference, reference, (2.0, 2.0), image=image, foreground=left & False)
    assert math.isnan(nothing.lesions[0].contrast)


def test_contrast_of_a_reference_lesion_does_not_depend_on_the_prediction():
    rng = np.random.default_rng(0)
    image = rng.uniform(50, 100, (20, 20))
    reference, prediction = three_lesions()
    with_it = score_lesions(reference, prediction, ONE_MM, image=image).of("reference")
    without = score_lesions(reference, np.zeros_like(prediction), ONE_MM, image=image).of("reference")
    assert [lesion.contrast for lesion in with_it] == [lesion.contrast for lesion in without]


def test_lesions_of_other_labels_are_in_no_ring():
    labels = np.zeros((30, 30), np.uint8)
    labels[10:20, 10:20], labels[13:17, 13:17] = 1, 2  # a core in a rim
    image = np.choose(labels, (100.0, 150.0, 200.0))
    core, empty = labels == 2, np.zeros(labels.shape, bool)
    found = score_lesions(core, empty, ONE_MM, image=image, every_label=(labels > 0, empty))
    assert [lesion.contrast for lesion in found.lesions] == [2.0]


def test_contrast_without_meaning_is_nan():
    reference = boxes((8, 10, 8, 10))
    image = np.where(reference, -100.0, 50.0)  # Hounsfield units have no true zero
    assert math.isnan(score_lesions(reference, reference, ONE_MM, image=image).lesions[0].contrast)


def test_foreground_of_a_volume_with_slices_along_the_last_axis():
    image = np.zeros((20, 20, 3), np.int16)
    image[5:15, 5:15] = 400
    np.testing.assert_array_equal(image_foreground(image, (1.0, 1.0, 5.0)), image > 0)
    np.testing.assert_array_equal(image_foreground(image[..., 0], ONE_MM), image[..., 0] > 0)


def twin(reference, prediction, empty_value):
    """Lesion-wise F1 as the code of ISLES 2022 describes it, lesion by lesion."""
    shape = np.ones((3,) * reference.ndim)
    truth, n_truth = ndimage.label(reference, shape)
    made, n_made = ndimage.label(prediction, shape)
    tp = sum(bool((prediction & (truth == number)).any()) for number in range(1, n_truth + 1))
    fp = sum(not (reference & (made == number)).any() for number in range(1, n_made + 1))
    fn = n_truth - tp
    return tp / (tp + (fp + fn) / 2) if tp + fp + fn else empty_value


@given(solid, solid)
def test_isles_and_atlas_agree_with_their_description(reference, prediction):
    expected = twin(reference, prediction, 1.0)
    for name in ("isles2022", "atlas2022"):
        assert score_lesions(reference, prediction, (1.0, 1.0, 1.0), name).f1 == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(flat, flat)
def test_panoptic_quality_agrees_with_monai(reference, prediction):
    assume(reference.any() and prediction.any())
    scores = score_lesions(reference, prediction, ONE_MM, "panoptica-iou0.5")
    maps = [ndimage.label(mask)[0] for mask in (prediction, reference)]
    pairs = {(p, r) for p, r in zip(maps[0].ravel(), maps[1].ravel(), strict=True) if p and r}
    ious = [((maps[0] == p) & (maps[1] == r)).sum() / ((maps[0] == p) | (maps[1] == r)).sum() for p, r in pairs]
    assume(0.5 not in ious)  # MONAI wants more than the threshold, panoptica and we at least the threshold
    tensors = [torch.from_numpy(array.astype(np.int64)) for array in maps]
    for name, ours in (("pq", scores.panoptic_quality), ("rq", scores.f1)):
        assert ours == pytest.approx(float(compute_panoptic_quality(*tensors, metric_name=name)), abs=1e-5)


@given(flat, flat, presets)
def test_laws(reference, prediction, preset):
    scores = score_lesions(reference, prediction, ONE_MM, preset)
    mirrored = score_lesions(prediction, reference, ONE_MM, preset)
    assert scores.n_detected + scores.n_missed == scores.n_reference
    assert 0 <= scores.n_false <= scores.n_prediction
    assert math.fsum(lesion.voxels for lesion in scores.of("reference")) == reference.sum()
    np.testing.assert_equal(scores.volume_recall, mirrored.volume_precision)
    if PRESETS[preset].matching == "one-to-one" or PRESETS[preset].overlap == "any":
        np.testing.assert_equal(scores.recall, mirrored.precision)
    for name in LESION_SCORES.values():
        assert math.isnan(getattr(scores, name)) or 0 <= getattr(scores, name) <= 1 + 1e-12
    if reference.any():
        assert scores.volume_recall == recall(reference, prediction)
        assert scores.volume_precision == precision(reference, prediction)


@given(flat, presets)
def test_a_perfect_prediction_scores_one(mask, preset):
    assume(mask.any())
    scores = score_lesions(mask, mask, ONE_MM, preset)
    assert {getattr(scores, name) for name in LESION_SCORES.values()} == {1.0}


@given(flat, flat, presets, st.integers(0, 3))
def test_position_in_the_image_does_not_matter(reference, prediction, preset, shift):
    padded = [np.pad(mask, ((shift, 9), (2, shift))) for mask in (reference, prediction)]
    before = score_lesions(reference, prediction, ONE_MM, preset)
    after = score_lesions(*padded, ONE_MM, preset)
    for name in LESION_SCORES.values():
        np.testing.assert_equal(getattr(before, name), getattr(after, name))
    for old, new in zip(before.lesions, after.lesions, strict=True):
        assert new.centroid == pytest.approx((old.centroid[0] + shift, old.centroid[1] + 2))


def test_wrong_input_is_refused():
    mask = np.zeros((4, 4), bool)
    with pytest.raises(TypeError, match="uint8, expected bool"):
        score_lesions(mask.astype(np.uint8), mask, ONE_MM)
    with pytest.raises(GridMismatch, match=r"prediction \(4, 5\)"):
        score_lesions(mask, np.zeros((4, 5), bool), ONE_MM)
    with pytest.raises(GridMismatch, match=r"image \(5, 4\)"):
        score_lesions(mask, mask, ONE_MM, image=np.zeros((5, 4)))
    with pytest.raises(GridMismatch, match="expected 2 or 3"):
        score_lesions(mask, mask, (1.0, 1.0, 1.0))
    with pytest.raises(SettingsError, match="unknown; known: any-overlap"):
        score_lesions(mask, mask, ONE_MM, "panoptica")
