"""The plan: every number that turns a scan into an array, fixed once for a data set and kept with the model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np

from grcsf.config import WINDOWS_HU, Frozen, PreprocessSettings
from grcsf.datasets.dataset import Dataset
from grcsf.errors import DatasetError, ModelError, SettingsError
from grcsf.io.files import read_json
from grcsf.preprocess.fingerprint import ChannelIntensities, Fingerprint
from grcsf.preprocess.foreground import is_ct
from grcsf.preprocess.geometry import Triple
from grcsf.preprocess.normalise import LOWEST_ZSCORE, ChannelPlan, Scheme
from grcsf.preprocess.resample import coarse_axes, resampled_shape

__all__ = ["Plan", "make_plan", "read_plan"]

_SLICE_RATIO = 1.5
_LESION_VOXELS = 1000  # fewer labelled voxels than this do not set the CT window
_LARGEST_2D, _LARGEST_3D, _MULTIPLE = 256, 64, 16


class Plan(Frozen):
    """How every case of a data set, and every later image for its model, becomes an array ``(C, D, H, W)``.

    Attributes:
        spatial_dims: 2 for slices, 3 for volumes.
        native_2d: the files hold 2-D images; D is 1.
        context: neighbouring slices on each side that a 2-D network sees.
        axis_order: transposition after orienting to (R, A, S): the slice axis first; identity for native 2-D.
        spacing_mm: (D, H, W) of the preprocessed grid; none keeps that axis as it is in each file.
        patch_size: training patch in voxels, `spatial_dims` numbers.
        channels: name and normalisation of each channel of the array; those of the files first.
        labels: name to value, background included.
        crop: to the box around the content.
        file_ending: of the images of the data set.
    """

    spatial_dims: Literal[2, 3]
    native_2d: bool
    context: int
    axis_order: Triple
    spacing_mm: tuple[float | None, float | None, float | None]
    patch_size: tuple[int, ...]
    channels: tuple[ChannelPlan, ...]
    labels: dict[str, int]
    crop: bool
    file_ending: str

    @property
    def file_channels(self) -> tuple[ChannelPlan, ...]:
        """The channels that are read from files, without those made from them."""
        return tuple(channel for channel in self.channels if channel.scheme != "candidates")

    @property
    def ct_channel(self) -> int | None:
        """Which file holds Hounsfield units: the first of several; none if there is none."""
        return next((i for i, channel in enumerate(self.file_channels) if channel.scheme == "ct"), None)

    @property
    def mirror_axes(self) -> tuple[int, ...]:
        """Axis of the network input (0 is the first spatial one) along which left and right lie.

        Known from the orientation for volumes. Of native 2-D images the columns of a PNG, and the first axis, x, of the
        other formats. Empty where left-right is the slice axis of a 2-D network.
        """
        if self.native_2d:
            return (1,) if self.file_ending == ".png" else (0,)
        axis = self.axis_order.index(0) - (3 - self.spatial_dims)
        return (axis,) if axis >= 0 else ()

    @property
    def coarse_axes(self) -> tuple[int, ...]:
        """Axes of a 3-D network's input that are more than three times as coarse as the finest, as thick slices are."""
        known = [spacing for spacing in self.spacing_mm if spacing is not None]
        return coarse_axes(known) if self.spatial_dims == 3 and len(known) == 3 else ()

    def content_hash(self) -> str:
        """SHA-256 over all fields: arrays made with another plan must not be mixed with these."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_plan(path: Path) -> Plan:
    """A plan from its JSON file.

    Raises:
        ModelError: a file that does not hold a plan.
    """
    try:
        return Plan.model_validate(read_json(path, ModelError))
    except ValueError as error:
        raise ModelError(
            f"{path}: not a preprocessing plan ({' '.join(str(error).split())}); preprocess again"
        ) from None


def make_plan(fingerprint: Fingerprint, settings: PreprocessSettings, dataset: Dataset) -> Plan:
    """The plan that settings and fingerprint call for.

    Raises:
        SettingsError: settings that do not fit the data (3-D for 2-D images, wrong number of spacings, ...).
    """
    flat = all(1 in case.shape for case in fingerprint.cases)
    dims = _spatial_dims(settings, fingerprint, flat)
    order = _axis_order(fingerprint)
    spacing = _target_spacing(settings, fingerprint, dims, order)
    return Plan(
        spatial_dims=dims,
        native_2d=fingerprint.native_2d,
        context=settings.context,
        axis_order=order,
        spacing_mm=spacing,
        patch_size=_patch_size(settings, fingerprint, dims, order, spacing),
        channels=_plan_channels(fingerprint, settings),
        labels=dict(dataset.labels),
        crop=settings.crop,
        file_ending=dataset.file_ending,
    )


def _spatial_dims(settings: PreprocessSettings, fingerprint: Fingerprint, flat: bool) -> Literal[2, 3]:
    if settings.dimensions == "3d" and flat:
        raise SettingsError(
            f"preprocess.dimensions=3d: {fingerprint.dataset} holds 2-D images; use 2d or auto, or give it volumes"
        )
    dims: Literal[2, 3] = 2 if flat or settings.dimensions == "2d" else 3
    if settings.context and (dims == 3 or flat):
        why = "a 3-D network sees its neighbours anyway" if dims == 3 else "2-D images have no neighbours"
        raise SettingsError(f"preprocess.context={settings.context}: {why}; use 0, or slices of volumes (2d)")
    return dims


def _axis_order(fingerprint: Fingerprint) -> Triple:
    """Slice axis first: a singleton axis, else the clearly coarsest, else superior-inferior; then rows, columns."""
    if fingerprint.native_2d:
        return (0, 1, 2)
    shape = np.median([case.shape for case in fingerprint.cases], axis=0)
    spacing = np.median([case.spacing_mm for case in fingerprint.cases], axis=0)
    first = 2
    second_largest = float(np.sort(spacing)[1])
    if shape.min() == 1:
        first = int(shape.argmin())
    elif float(spacing.max()) > _SLICE_RATIO * second_largest:
        first = int(spacing.argmax())
    row, column = (axis for axis in (2, 1, 0) if axis != first)
    return first, row, column


def _target_spacing(
    settings: PreprocessSettings, fingerprint: Fingerprint, dims: int, order: Triple
) -> tuple[float | None, float | None, float | None]:
    median = np.median([case.spacing_mm for case in fingerprint.cases], axis=0)[list(order)]
    wanted = settings.spacing_mm
    if wanted is None:
        depth, height, width = (float(value) for value in median)
        return (None if dims == 2 else depth), height, width
    if len(wanted) != dims or min(wanted) <= 0:
        raise SettingsError(f"preprocess.spacing_mm={list(wanted)}: expected {dims} numbers above 0 for {dims}-D data")
    return (None, wanted[0], wanted[1]) if dims == 2 else (wanted[0], wanted[1], wanted[2])


def _patch_size(
    settings: PreprocessSettings,
    fingerprint: Fingerprint,
    dims: int,
    order: Triple,
    spacing: tuple[float | None, float | None, float | None],
) -> tuple[int, ...]:
    if settings.patch_size is not None:
        if len(settings.patch_size) != dims or min(settings.patch_size) < 1:
            raise SettingsError(
                f"preprocess.patch_size={list(settings.patch_size)}: expected {dims} numbers above 0 for {dims}-D data"
            )
        return settings.patch_size
    sizes = []
    for case in fingerprint.cases:
        content = case.content_shape if settings.crop else case.shape
        if content is not None:
            ordered = (content[order[0]], content[order[1]], content[order[2]])
            sizes.append(resampled_shape(ordered, [case.spacing_mm[axis] for axis in order], spacing))
    median = np.median(sizes, axis=0)[-dims:]
    largest = _LARGEST_2D if dims == 2 else _LARGEST_3D
    return tuple(min(largest, _MULTIPLE * int(np.ceil(size / _MULTIPLE))) for size in median)


def _plan_channels(fingerprint: Fingerprint, settings: PreprocessSettings) -> tuple[ChannelPlan, ...]:
    channels = tuple(_plan_channel(channel, settings) for channel in fingerprint.channels)
    for name in ("window_hu", "candidate_hu"):
        if getattr(settings, name) is not None and all(channel.scheme != "ct" for channel in channels):
            names = [channel.name for channel in channels]
            raise SettingsError(
                f"preprocess.{name}: {fingerprint.dataset} has no CT channel but {names}; name it CT in dataset.json, "
                "or set preprocess.normalisation=ct"
            )
    if settings.candidate_hu is None:
        return channels
    name = f"CT >= {settings.candidate_hu:g} HU"
    return (*channels, ChannelPlan(name=name, scheme="candidates", clip_low=settings.candidate_hu))


def _plan_channel(channel: ChannelIntensities, settings: PreprocessSettings) -> ChannelPlan:
    scheme: Scheme = "zscore"
    if settings.normalisation != "auto":
        scheme = settings.normalisation
    elif is_ct(channel.name):
        scheme = "ct"
    if scheme == "none":
        return ChannelPlan(name=channel.name, scheme="none")
    if scheme == "zscore":
        return ChannelPlan(name=channel.name, scheme="zscore", clip_low=LOWEST_ZSCORE)
    return _plan_ct(channel, settings)


def _plan_ct(channel: ChannelIntensities, settings: PreprocessSettings) -> ChannelPlan:
    """Clip to the window of the settings, or else to the 0.5 and 99.5 percentile of the lesions.

    Those percentiles (nnU-Net's window) are widened to the middle half of the content.
    The widening is ours: a lesion that is brighter than all other tissue, such as calcium, would otherwise blank out
    everything around it. Mean and standard deviation are those of the content inside the window.
    """
    content = np.array(channel.content)
    if settings.window_hu is None:
        window = content
        if channel.lesion is not None and channel.lesion_voxels >= _LESION_VOXELS:
            window = np.array(channel.lesion)
        low = min(float(window[1]), float(content[50]))
        high = max(float(window[-2]), float(content[-51]))
    else:
        wanted = settings.window_hu
        low, high = WINDOWS_HU[wanted] if isinstance(wanted, str) else wanted
    inside = np.clip(content, low, high)
    if not inside.std() > 0:
        raise DatasetError(
            f"channel {channel.name}: every voxel is {inside[0]:g} after clipping to {low:g}...{high:g}; "
            "expected Hounsfield units with contrast"
        )
    return ChannelPlan(
        name=channel.name, scheme="ct", clip_low=low, clip_high=high, mean=float(inside.mean()), std=float(inside.std())
    )
