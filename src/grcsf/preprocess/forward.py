"""From volumes as read to normalised arrays, and labels onto the same grid."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from grcsf.arrays import AnyArray, BoolArray, FloatArray, LabelArray
from grcsf.errors import GridMismatch, ImageError
from grcsf.io.volume import Geometry, Volume, corner_distance_mm, ending_of, stem_of
from grcsf.preprocess.foreground import find_foreground, union_foreground
from grcsf.preprocess.geometry import CaseGeometry, content_box, orientation_of, oriented_spacing_mm, to_array_axes
from grcsf.preprocess.normalise import normalise_channel
from grcsf.preprocess.plan import Plan
from grcsf.preprocess.resample import resample_image, resample_label, resample_mask, resampled_shape

__all__ = ["preprocess_case", "preprocess_label"]

log = logging.getLogger(__name__)

_SAME_GRID_VOXELS = 0.1  # corners of two grids may lie this share of a voxel apart


def preprocess_case(volumes: Sequence[Volume], plan: Plan) -> tuple[FloatArray, BoolArray, CaseGeometry]:
    """Orient, transpose, crop to the content, normalise and resample the channels of one case.

    Args:
        volumes: one for each channel of the plan that is read from files, in its order, all on one grid.
        plan: of the data set.

    Returns:
        Image ``(C, D, H, W)`` float32, foreground ``(D, H, W)``, and the way back.

    Raises:
        ImageError: a wrong number of channels or of axes, or a constant image.
        GridMismatch: channels on different grids.
    """
    case = _check_channels(volumes, plan)
    geometry = volumes[0].geometry
    orientation = orientation_of(geometry, case)
    arrays = [to_array_axes(volume.array, orientation, plan.axis_order).astype(np.float32) for volume in volumes]
    masks = [find_foreground(array, plan.channels[index].scheme == "ct") for index, array in enumerate(arrays)]
    foreground = union_foreground(masks)
    start, stop = content_box(foreground) if plan.crop else content_box(np.ones_like(foreground))
    box = tuple(slice(*pair) for pair in zip(start, stop, strict=True))
    foreground = np.ascontiguousarray(foreground[box])
    oriented = oriented_spacing_mm(geometry, orientation)
    spacing = oriented[plan.axis_order[0]], oriented[plan.axis_order[1]], oriented[plan.axis_order[2]]
    cropped = foreground.shape[0], foreground.shape[1], foreground.shape[2]
    shape = resampled_shape(cropped, spacing, plan.spacing_mm)
    image = np.empty((len(plan.channels), *shape), np.float32)
    for index, channel in enumerate(plan.channels):
        source = index if index < len(arrays) else plan.ct_channel or 0
        normalised = normalise_channel(arrays[source][box], foreground, channel, case)
        image[index] = resample_image(normalised, shape, spacing)
    resampled = resample_mask(foreground, shape)
    way = CaseGeometry(
        native_shape=tuple(geometry.shape),
        affine_ras=_rows(geometry.affine_ras),
        orientation=orientation,
        axis_order=plan.axis_order,
        spacing_mm=spacing,
        crop_start=start,
        crop_stop=stop,
        resampled_shape=shape,
    )
    return image, resampled if resampled.any() else np.ones(shape, bool), way


def preprocess_label(volume: Volume, plan: Plan, case_geometry: CaseGeometry) -> LabelArray:
    """A label map on the grid of its preprocessed image; labelled voxels outside the content box are lost (warning).

    Returns:
        ``(D, H, W)`` uint8 with the values of ``plan.labels``.

    Raises:
        GridMismatch: a label on another grid than its image.
        ImageError: values that ``dataset.json`` does not name.
    """
    case = stem_of(volume.path)
    if tuple(volume.array.shape) != case_geometry.native_shape:
        raise GridMismatch(
            f"{case}: image grid {case_geometry.native_shape} but label grid {tuple(volume.array.shape)}; "
            "resample the label first (grcsf validate lists all such cases)"
        )
    image_grid = Geometry(case_geometry.native_shape, np.array(case_geometry.affine_ras))
    _check_same_place(case, image_grid, volume.geometry, "image and label")
    whole = to_array_axes(_as_label(volume.array, plan, case), case_geometry.orientation, case_geometry.axis_order)
    label = np.ascontiguousarray(whole[case_geometry.crop])
    lost = int(np.count_nonzero(whole)) - int(np.count_nonzero(label))
    if lost:
        log.warning("%s: %d labelled voxels lie outside the image content and are lost in training", case, lost)
    return resample_label(label, case_geometry.resampled_shape, case_geometry.spacing_mm)


def _check_channels(volumes: Sequence[Volume], plan: Plan) -> str:
    expected = [channel.name for channel in plan.file_channels]
    if len(volumes) != len(expected):
        raise ImageError(f"{len(volumes)} images given, but the plan has {len(expected)} channels: {expected}")
    case = stem_of(volumes[0].path)
    axes = 2 if plan.native_2d else 3
    for volume in volumes:
        if volume.array.ndim != axes:
            raise ImageError(
                f"{stem_of(volume.path)}: has {volume.array.ndim} axes, but the plan was made for "
                f"{'2-D images' if plan.native_2d else 'volumes'}; use a model made for such files"
            )
        ending = ending_of(volume.path)
        if plan.native_2d and ending is not None and (ending == ".png") != (plan.file_ending == ".png"):
            raise ImageError(
                f"{stem_of(volume.path)}: a {ending} image, but the plan was made for {plan.file_ending} images; "
                "convert it: 2-D images are (rows, columns) in PNG and (x, y) in others, so it would be turned over"
            )
        if volume.array.shape != volumes[0].array.shape:
            raise GridMismatch(
                f"{case}: grid {volumes[0].array.shape} but {stem_of(volume.path)} has {volume.array.shape}; "
                "resample the channels to one grid first"
            )
        _check_same_place(case, volumes[0].geometry, volume.geometry, f"first channel and {stem_of(volume.path)}")
    return case


def _check_same_place(case: str, first: Geometry, second: Geometry, names: str) -> None:
    apart_mm = corner_distance_mm(first, second)
    if apart_mm > _SAME_GRID_VOXELS * min(second.spacing_mm):
        raise GridMismatch(
            f"{case}: {names} have the same size but lie up to {apart_mm:.3g} mm apart; "
            "resample one onto the other, or mend the header if it is wrong"
        )


def _as_label(array: AnyArray, plan: Plan, case: str) -> LabelArray:
    known = sorted(plan.labels.values())
    found = np.unique(array)
    unknown = found[~np.isin(found, known)]
    if unknown.size:
        raise ImageError(
            f"{case}: label values {[float(value) for value in unknown[:5]]} are not in dataset.json {plan.labels}; "
            "add them there or correct the mask"
        )
    return array.astype(np.uint8)


def _rows(affine: AnyArray) -> tuple[tuple[float, float, float, float], ...]:
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in affine)
