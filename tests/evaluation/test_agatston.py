"""Calcium scores against sums done by hand, and against a second implementation written from the definition."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from grcsf.errors import GridMismatch, ImageError, SettingsError
from grcsf.evaluation.clinical.agatston import TOTAL, score_calcium
from grcsf.evaluation.clinical.calcium_rules import RISK_CATEGORIES, CalciumRules, risk_category, weight_of
from grcsf.io.geometry import make_geometry
from grcsf.io.volume import read_volume

CALCIUM = {"background": 0, "calcium": 1}
VESSELS = {"LAD": 1, "RCA": 2}
HU = [-100.0, 0.0, 129.0, 129.9, 130.0, 131.0, 199.0, 199.6, 200.0, 299.0, 300.0, 399.0, 400.0, 1200.0]


def grid(shape, spacing_mm=(0.5, 0.5, 3.0)):
    return make_geometry(shape, np.diag([*spacing_mm, 1.0]), Path("ct.nii.gz"))


def scan(*lesions, shape=(12, 12, 3)):
    """Fat with lesions ``(x, y, z, wide, high, peak)``: 135 HU throughout, the peak in one pixel; and their mask."""
    image, mask = np.full(shape, -100.0), np.zeros(shape, np.uint8)
    for x, y, z, wide, high, peak in lesions:
        image[x : x + wide, y : y + high, z] = 135
        image[x, y, z] = peak
        mask[x : x + wide, y : y + high, z] = 1
    return image, mask


def score(image, mask, spacing_mm=(0.5, 0.5, 3.0), labels=CALCIUM, **rules):
    return score_calcium(image, mask, grid(image.shape, spacing_mm), labels, CalciumRules(**rules))


FOUR_WEIGHTS = (
    (0, 0, 0, 2, 2, 150),  # 4 pixels of 0.25 mm2: 1.00 mm2 x 1
    (5, 5, 0, 2, 3, 250),  # 6 pixels:             1.50 mm2 x 2
    (0, 0, 1, 2, 4, 350),  # 8 pixels:             2.00 mm2 x 3
    (5, 5, 1, 3, 4, 450),  # 12 pixels:            3.00 mm2 x 4
    (10, 0, 1, 1, 3, 500),  # 3 pixels:            0.75 mm2, too small
)


@pytest.mark.parametrize("gap_mm", [1.5, 2.5, 3.0])
def test_two_slices_and_four_weights_by_hand(gap_mm):
    found = score(*scan(*FOUR_WEIGHTS), spacing_mm=(0.5, 0.5, gap_mm))[TOTAL]
    assert found.agatston == pytest.approx((1.0 * 1 + 1.5 * 2 + 2.0 * 3 + 3.0 * 4) * gap_mm / 3)  # 22 at 3 mm
    assert [region.weight for region in found.regions] == [1, 2, 3, 4]
    assert [region.area_mm2 for region in found.regions] == pytest.approx([1.0, 1.5, 2.0, 3.0])
    assert [region.slice for region in found.regions] == [0, 0, 1, 1]
    assert found.volume_mm3 == pytest.approx((4 + 6 + 8 + 12) * 0.25 * gap_mm)
    assert found.too_small_mm3 == pytest.approx(3 * 0.25 * gap_mm)
    assert found.lesions == 2  # 3-D: 150 with 350 above it, 250 with 450 above it
    assert found.peak_hu == 450


def test_the_smallest_lesion_is_one_square_millimetre_of_any_pixels():
    long = score(*scan((0, 0, 0, 3, 1, 250), (6, 6, 0, 4, 1, 250)), spacing_mm=(0.4, 0.8, 3.0))[TOTAL]
    assert long.agatston == pytest.approx(4 * 0.4 * 0.8 * 2)  # 3 x 0.32 = 0.96 mm2 is left out, 4 x 0.32 = 1.28 is not
    edge = score(*scan((0, 0, 0, 10, 10, 150)), spacing_mm=(0.1, 0.1, 3.0))[TOTAL]
    assert edge.agatston == pytest.approx(1.0)  # 100 x 0.01 mm2 is 1 mm2, whatever rounding says
    all_sizes = score(*scan((0, 0, 0, 1, 1, 150)), spacing_mm=(0.4, 0.8, 3.0), min_area_mm2=0)[TOTAL]
    assert all_sizes.agatston == pytest.approx(0.32)


def test_modes_differ_where_a_peak_or_a_small_tip_is_in_another_slice():
    image, mask = scan((0, 0, 0, 4, 4, 450), (0, 0, 1, 4, 4, 150), (0, 0, 2, 1, 3, 140))
    sliced, solid = (score(image, mask, mode=mode)[TOTAL] for mode in ("slice2d", "object3d"))
    # 16 pixels are 4 mm2, 3 pixels 0.75 mm2
    assert sliced.agatston == pytest.approx(4 * 4 + 4 * 1)  # each slice its own peak, the tip too small
    assert solid.agatston == pytest.approx((4 + 4 + 0.75) * 4)  # one peak for all slices, the tip is part of it
    assert (len(sliced.regions), len(solid.regions), sliced.lesions, solid.lesions) == (2, 1, 1, 1)
    assert (solid.regions[0].slice, solid.regions[0].slices, solid.regions[0].area_mm2) == (0, 3, 4.0)
    assert (sliced.volume_mm3, solid.volume_mm3) == pytest.approx((32 * 0.25 * 3, 35 * 0.25 * 3))


def test_connectivity_decides_whether_corners_join():
    image, mask = scan((0, 0, 0, 2, 2, 450), (2, 2, 0, 2, 2, 150))  # two squares of 1 mm2 that share a corner
    assert score(image, mask)[TOTAL].agatston == pytest.approx(1 * 4 + 1 * 1)
    for both in ("edge", "full"):
        assert score(image, mask, connectivity=both)[TOTAL].agatston == pytest.approx(2 * 4)


def test_threshold_counts_130_itself_unless_asked_otherwise():
    image, mask = np.full((4, 4, 1), -50.0), np.ones((4, 4, 1), np.uint8)
    image[:2], image[2] = 130, 129.9  # 8 pixels at the threshold, 4 just below, 4 of fat
    assert score(image, mask)[TOTAL].agatston == pytest.approx(8 * 0.25)
    assert score(image, mask)[TOTAL].below_threshold_mm3 == pytest.approx(8 * 0.25 * 3)
    assert score(image, mask, threshold="above")[TOTAL].agatston == 0
    assert score(image, mask, threshold_hu=129.5)[TOTAL].agatston == pytest.approx(12 * 0.25)  # weight 1 below 130 too


def test_calcium_outside_of_the_mask_is_not_scored():
    image, mask = scan(*FOUR_WEIGHTS)
    assert score(image, np.zeros_like(mask))[TOTAL].agatston == 0
    half = mask.copy()
    half[:, :, 1] = 0
    assert score(image, half)[TOTAL].agatston == pytest.approx(1.0 * 1 + 1.5 * 2)


def test_an_empty_mask_scores_zero_and_has_no_peak():
    image, mask = scan()
    found = score(image, mask, mass_factor=0.001)[TOTAL]
    assert (found.agatston, found.volume_mm3, found.mass_mg, found.lesions, found.risk) == (0, 0, 0, 0, "0")
    assert math.isnan(found.peak_hu)


def test_mass_is_factor_times_mean_times_volume_and_missing_without_a_factor():
    image, mask = scan((0, 0, 0, 2, 2, 195))  # 4 voxels of 0.75 mm3: 195 and three times 135, mean 150
    assert score(image, mask, mass_factor=0.0008)[TOTAL].mass_mg == pytest.approx(0.0008 * 150 * 3.0)
    assert math.isnan(score(image, mask)[TOTAL].mass_mg)


def test_vessels_are_scored_apart_and_the_total_is_their_sum_or_their_union():
    image, mask = scan((0, 0, 0, 4, 2, 450))  # 8 pixels, the peak in the first half
    mask[2:4, :2, 0] = 2
    found = score(image, mask, labels=VESSELS)
    assert (found["LAD"].agatston, found["RCA"].agatston) == pytest.approx((1 * 4, 1 * 1))
    assert list(found) == ["LAD", "RCA", TOTAL]
    assert (found[TOTAL].agatston, found[TOTAL].lesions) == (pytest.approx(5), 2)
    union = score(image, mask, labels=VESSELS, total="union")
    assert (union[TOTAL].agatston, union[TOTAL].lesions) == (pytest.approx(2 * 4), 1)
    assert score(image, mask, labels={"LAD": 1})[TOTAL].agatston == pytest.approx(4)  # label 2 is not asked for


def agatston_by_the_book(image, mask, spacing_mm, smallest_mm2=1.0):
    """Plain loops along the third axis: threshold, flood fill over four neighbours, area, peak, weight, sum."""
    pixel_mm2, total = spacing_mm[0] * spacing_mm[1], 0.0
    wide, high, slices = image.shape
    for z in range(slices):
        todo = {(x, y) for x in range(wide) for y in range(high) if mask[x, y, z] and image[x, y, z] >= 130}
        while todo:
            front, lesion = [todo.pop()], []
            while front:
                x, y = front.pop()
                lesion.append(image[x, y, z])
                for near in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                    if near in todo:
                        todo.remove(near)
                        front.append(near)
            if len(lesion) * pixel_mm2 >= smallest_mm2 - 1e-9:
                peak = max(lesion)
                weight = 4 if peak >= 400 else 3 if peak >= 300 else 2 if peak >= 200 else 1
                total += len(lesion) * pixel_mm2 * weight * spacing_mm[2] / 3
    return total


shapes = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 4))
spacings = st.tuples(*[st.sampled_from([0.4, 0.5, 0.8, 1.5, 2.5, 3.0])] * 3)


@st.composite
def scans(draw):
    shape = draw(shapes)
    image = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from(HU)))
    image[0, 0, 0] = -1000  # air
    return image, draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2))), draw(spacings)


@given(scans())
def test_scores_are_those_of_the_definition(case):
    image, mask, spacing_mm = case
    found = score(image, mask, spacing_mm, VESSELS)
    for name, value in VESSELS.items():
        assert found[name].agatston == pytest.approx(agatston_by_the_book(image, mask == value, spacing_mm))
    union = score(image, mask, spacing_mm, VESSELS, total="union")
    assert union[TOTAL].agatston == pytest.approx(agatston_by_the_book(image, mask > 0, spacing_mm))


def neighbours_of(place, connectivity):
    """Places that touch: differ by one along 1 (face), 1 or 2 (edge) or 1 to 3 (full) axes."""
    reach = {"face": 1, "edge": 2, "full": 3}[connectivity]
    for step in itertools.product((-1, 0, 1), repeat=3):
        if 0 < sum(abs(part) for part in step) <= reach:
            yield tuple(here + there for here, there in zip(place, step, strict=True))


def objects_by_the_book(image, mask, connectivity):
    """Lists of places: 3-D objects of calcium by flood fill."""
    todo = {tuple(place) for place in np.argwhere((mask > 0) & (image >= 130)).tolist()}
    objects = []
    while todo:
        front, found = [todo.pop()], []
        while front:
            found.append(front.pop())
            near = todo.intersection(neighbours_of(found[-1], connectivity))
            todo -= near
            front += near
        objects.append(found)
    return objects


@given(scans(), st.sampled_from(["face", "edge", "full"]))
def test_the_object_variant_is_that_of_its_definition(case, connectivity):
    image, mask, spacing_mm = case
    pixel_mm2, total, voxels, count = spacing_mm[0] * spacing_mm[1], 0.0, 0, 0
    for places in objects_by_the_book(image, mask == 1, connectivity):
        by_slice = [sum(place[2] == z for place in places) for z in range(image.shape[2])]
        if max(by_slice) * pixel_mm2 >= 1 - 1e-9:
            peak = max(image[place] for place in places)
            weight = 4 if peak >= 400 else 3 if peak >= 300 else 2 if peak >= 200 else 1
            total += len(places) * pixel_mm2 * weight * spacing_mm[2] / 3
            voxels, count = voxels + len(places), count + 1
    found = score(image, mask, spacing_mm, mode="object3d", connectivity=connectivity)[TOTAL]
    assert found.agatston == pytest.approx(total)
    assert found.volume_mm3 == pytest.approx(voxels * math.prod(spacing_mm))
    assert (found.lesions, len(found.regions)) == (count, count)


@given(scans(), st.sampled_from(["face", "edge", "full"]))
def test_without_a_smallest_area_all_calcium_counts_in_both_modes(case, connectivity):
    image, mask, spacing_mm = case
    objects = objects_by_the_book(image, mask == 1, connectivity)
    for mode in ("slice2d", "object3d"):
        found = score(image, mask, spacing_mm, mode=mode, connectivity=connectivity, min_area_mm2=0)[TOTAL]
        assert found.lesions == len(objects)
        assert found.volume_mm3 == pytest.approx(sum(map(len, objects)) * math.prod(spacing_mm))
        assert found.too_small_mm3 == pytest.approx(0)


@given(scans(), st.sampled_from(["slice2d", "object3d"]), st.floats(0.3, 4))
def test_scores_grow_with_the_slice_spacing_and_mass_with_the_factor(case, mode, times):
    image, mask, (wide, high, gap_mm) = case
    before = score(image, mask, (wide, high, gap_mm), mode=mode, mass_factor=0.001)[TOTAL]
    after = score(image, mask, (wide, high, times * gap_mm), mode=mode, mass_factor=0.002)[TOTAL]
    assert after.agatston == pytest.approx(times * before.agatston)
    assert after.volume_mm3 == pytest.approx(times * before.volume_mm3)
    assert after.mass_mg == pytest.approx(2 * times * before.mass_mg)
    assert after.lesions == before.lesions


@given(scans(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), st.sampled_from(["slice2d", "object3d"]))
def test_scores_do_not_depend_on_the_order_and_direction_of_the_axes(case, order, flips, mode):
    image, mask, spacing_mm = case
    affine = np.diag([*spacing_mm, 1.0])
    before = score_calcium(image, mask, make_geometry(image.shape, affine, Path("a")), VESSELS, CalciumRules(mode=mode))
    turned = affine[:, [*order, 3]]
    for axis, flip in enumerate(flips):
        if flip:
            turned[:3, 3] += turned[:3, axis] * (image.shape[order[axis]] - 1)
            turned[:3, axis] *= -1
    flipped = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    arrays = [array.transpose(order)[flipped] for array in (image, mask)]
    grid_after = make_geometry(arrays[0].shape, turned, Path("b"))
    after = score_calcium(*arrays, grid_after, VESSELS, CalciumRules(mode=mode))
    for name in before:
        for value in ("agatston", "volume_mm3", "lesions"):
            assert getattr(after[name], value) == pytest.approx(getattr(before[name], value))


@given(scans())
def test_the_object_variant_never_scores_less(case):
    image, mask, spacing_mm = case
    sliced, solid = (score(image, mask, spacing_mm, VESSELS, mode=mode) for mode in ("slice2d", "object3d"))
    assert all(solid[name].agatston >= sliced[name].agatston - 1e-9 for name in sliced)


@given(scans(), st.sampled_from(["slice2d", "object3d"]))
def test_a_larger_mask_never_scores_less(case, mode):
    image, mask, spacing_mm = case
    part, whole = (score(image, chosen.astype(np.uint8), spacing_mm, mode=mode) for chosen in (mask == 1, mask > 0))
    assert whole[TOTAL].agatston >= part[TOTAL].agatston - 1e-9


@given(scans())
def test_volumes_of_the_mask_add_up(case):
    image, mask, spacing_mm = case
    for found in score(image, mask, spacing_mm, VESSELS).values():
        parts = found.volume_mm3 + found.below_threshold_mm3 + found.too_small_mm3
        assert parts == pytest.approx(found.masked_mm3)


@pytest.mark.parametrize(("hu", "weight"), [(130, 1), (199, 1), (199.9, 1), (200, 2), (299, 2), (300, 3), (400, 4)])
def test_weights_step_at_whole_hundreds(hu, weight):
    assert weight_of(hu) == weight


@pytest.mark.parametrize(
    ("agatston", "name"),
    [
        *((0, "0"), (0.17, "1-10"), (10, "1-10"), (10.5, "11-100"), (100, "11-100"), (100.00000000000001, "11-100")),
        *((100.4, "101-400"), (400, "101-400"), (401, ">400"), (5000, ">400")),
    ],
)
def test_risk_categories_end_at_their_upper_limits(agatston, name):
    assert RISK_CATEGORIES[risk_category(agatston)] == name


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf])
def test_no_category_for_what_is_no_score(wrong):
    with pytest.raises(ValueError, match="expected a finite number"):
        risk_category(wrong)


def test_what_is_not_ct_is_refused():
    image, mask = scan(*FOUR_WEIGHTS)
    with pytest.raises(ImageError, match=r"scan-7: no value of the image is below 0 \(lowest 924\).*--assume-hu"):
        score_calcium(image + 1024, mask, grid(image.shape), CALCIUM, case="scan-7")
    assert score(np.maximum(image, 0), mask, assume_hu=True)[TOTAL].agatston == pytest.approx(22)
    image[3, 3, 0] = np.nan
    with pytest.raises(ImageError, match="NaN or infinite HU"):
        score(image, mask)


def test_arrays_on_different_grids_are_refused():
    image, mask = scan()
    with pytest.raises(GridMismatch, match=r"image \(12, 12, 3\), mask \(12, 12, 2\)"):
        score(image, mask[:, :, :2])
    with pytest.raises(ImageError, match="a 2-D image"):
        score_calcium(image[:, :, 0], mask[:, :, 0], make_geometry((12, 12), np.eye(4), Path("a.png")), CALCIUM)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "3d"}, "--mode: .*slice2d.*found '3d'"),
        ({"min_area_mm2": -1}, "--min-area-mm2: .*greater than or equal to 0"),
        ({"threshold_hu": 0}, "--threshold-hu"),
        ({"mass_factor": 0}, "--mass-factor"),
        ({"threshold_hu": math.nan}, "--threshold-hu"),
        ({"min_area_mm2": math.inf}, "--min-area-mm2: .*finite"),
        ({"area": 1}, "--area: Extra inputs"),
    ],
)
def test_wrong_rules_are_told_in_the_words_of_the_flag(fields, message):
    with pytest.raises(SettingsError, match=message):
        CalciumRules.of(fields)


def test_rules_that_are_not_given_keep_their_defaults():
    assert CalciumRules.of({"mode": None, "threshold_hu": None}) == CalciumRules()
    assert CalciumRules().model_dump() == {
        "mode": "slice2d",
        "threshold_hu": 130.0,
        "threshold": "at-least",
        "min_area_mm2": 1.0,
        "connectivity": "face",
        "reference_mm": 3.0,
        "mass_factor": None,
        "total": "sum",
        "max_tilt_deg": 20.0,
        "assume_hu": False,
    }  # frozen: a change here changes every score


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["lung1", "lung2"])
def test_bone_and_calcified_tumour_of_a_real_ct_score_as_by_the_book(real_data, name):
    volume = read_volume(real_data(f"pyradiomics/{name}_image.nrrd"))
    tumour = read_volume(real_data(f"pyradiomics/{name}_label.nrrd")).array
    spacing_mm = volume.geometry.spacing_mm
    middle = (slice(200, 300), slice(280, 380), slice(20, 26))  # the spine and lung beside it
    box = ndimage.find_objects(tumour)[0]
    assert volume.array[middle].min() < 0
    for part, mask in ((middle, np.ones((100, 100, 6), np.uint8)), (box, tumour[box])):
        image = volume.array[part]
        found = score(image, mask, spacing_mm, assume_hu=True)[TOTAL]
        assert found.agatston == pytest.approx(agatston_by_the_book(image, mask, spacing_mm))
        assert found.agatston > 1000 or part is box
