"""What a data set looks like: grids, spacings and grey values, from the cases the plan may see."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grcsf.arrays import AnyArray, FloatArray
from grcsf.config import Frozen
from grcsf.datasets.dataset import Case, Dataset
from grcsf.errors import DatasetError, GrcsfError, GridMismatch
from grcsf.io.progress import track
from grcsf.io.volume import Volume, read_geometry, read_volume
from grcsf.preprocess.foreground import find_foreground, is_ct, union_foreground
from grcsf.preprocess.geometry import Triple, content_box, orientation_of, oriented_spacing_mm, to_array_axes
from grcsf.preprocess.parallel import map_cases

__all__ = ["QUANTILES", "CaseMeasures", "ChannelIntensities", "Fingerprint", "make_fingerprint"]

log = logging.getLogger(__name__)

QUANTILES = tuple(float(share) for share in np.linspace(0, 1, 201))
_READ_AT_MOST = 200  # cases whose voxels are read; the headers of all are
_VOXELS_PER_CASE = 5000
_ANATOMICAL: Triple = (0, 1, 2)


class CaseMeasures(Frozen):
    """Grid of one case along (R, A, S), or (1, rows, columns) of a native 2-D image.

    Attributes:
        name: of the case.
        shape: voxels.
        spacing_mm: of the voxels.
        content_shape: size of the content box; none where only the header was read.
    """

    name: str
    shape: Triple
    spacing_mm: tuple[float, float, float]
    content_shape: Triple | None = None


class ChannelIntensities(Frozen):
    """Grey values of one channel over the data set, as the values at `QUANTILES`.

    Attributes:
        name: of the channel.
        content: quantiles over the foreground, the same number of voxels from each case.
        lesion: quantiles over the labelled voxels; none if there are too few.
        lesion_voxels: how many labelled voxels were sampled.
    """

    name: str
    content: tuple[float, ...]
    lesion: tuple[float, ...] | None
    lesion_voxels: int


class Fingerprint(Frozen):
    """The facts a plan is made from.

    Attributes:
        dataset: its name.
        native_2d: images have two axes in their files.
        requested: names of the cases that might be looked at (the training cases of a fold, or all).
        cases: grids of those that could be read.
        channels: grey values.
    """

    dataset: str
    native_2d: bool
    requested: tuple[str, ...]
    cases: tuple[CaseMeasures, ...]
    channels: tuple[ChannelIntensities, ...]


def make_fingerprint(dataset: Dataset, case_names: Sequence[str], workers: int = 0) -> Fingerprint:
    """Measure the named cases: every header, and the voxels of at most 200 cases spread evenly over the names.

    A case that cannot be read is left out with a warning: preprocessing reports all of them together.

    Args:
        dataset: where the cases are.
        case_names: the only cases looked at.
        workers: processes; 0 works in this one.

    Raises:
        DatasetError: no readable case, or native 2-D images mixed with volumes.
    """
    if not case_names:
        raise DatasetError(f"{dataset.name}: no case to learn a plan from; expected at least one")
    read = {case_names[index] for index in np.unique(np.linspace(0, len(case_names) - 1, _READ_AT_MOST).astype(int))}
    jobs = [
        (name, _Job(dataset.case(name), dataset.channel_names, dataset.spacing_mm, name in read)) for name in case_names
    ]
    found: dict[str, _Measured] = {}
    for name, result in track(map_cases(_measure, jobs, workers), "fingerprint", total=len(jobs)):
        if isinstance(result, GrcsfError):
            log.warning("%s: left out of the fingerprint (%s)", name, result)
        else:
            found[name] = result
    if not found:
        raise DatasetError(f"{dataset.name}: none of its {len(case_names)} cases can be read; see grcsf validate")
    ordered = [found[name] for name in case_names if name in found]
    dimensions = {measured.dimensions: measured.measures.name for measured in ordered}
    if len(dimensions) > 1:
        raise DatasetError(
            f"{dataset.name}: {dimensions[2]} is a 2-D image and {dimensions[3]} a volume; expected one kind; "
            "split the data set"
        )
    return Fingerprint(
        dataset=dataset.name,
        native_2d=2 in dimensions,
        requested=tuple(case_names),
        cases=tuple(measured.measures for measured in ordered),
        channels=tuple(_summarise(index, name, ordered) for index, name in enumerate(dataset.channel_names)),
    )


@dataclass(frozen=True)
class _Job:
    case: Case
    channel_names: tuple[str, ...]
    png_spacing_mm: tuple[float, ...] | None
    voxels: bool


@dataclass(frozen=True)
class _Measured:
    measures: CaseMeasures
    dimensions: int
    content: tuple[FloatArray, ...] = ()
    lesion: tuple[FloatArray, ...] = ()


def _measure(job: _Job) -> _Measured:
    geometry = read_geometry(job.case.images[0], job.png_spacing_mm)
    orientation = orientation_of(geometry, job.case.name)
    sizes = geometry.shape if len(geometry.shape) == 3 else (1, *geometry.shape)
    by_axis = {axis: size for (axis, _), size in zip(orientation, sizes, strict=True)}
    measures = CaseMeasures(
        name=job.case.name,
        shape=(by_axis[0], by_axis[1], by_axis[2]),
        spacing_mm=oriented_spacing_mm(geometry, orientation),
    )
    if job.voxels:
        return _measure_voxels(job, measures, len(geometry.shape))
    return _Measured(measures, len(geometry.shape))


def _measure_voxels(job: _Job, measures: CaseMeasures, dimensions: int) -> _Measured:
    case = job.case
    volumes = [read_volume(path, job.png_spacing_mm) for path in case.images]
    arrays = [_oriented(volume) for volume in volumes]
    if len({array.shape for array in arrays}) > 1:
        raise GridMismatch(f"{case.name}: channels of different grids {[array.shape for array in arrays]}")
    depth = _coarsest(measures)
    masks = [
        find_foreground(np.moveaxis(array, depth, 0).astype(np.float32), is_ct(channel))
        for array, channel in zip(arrays, job.channel_names, strict=True)
    ]
    foreground = np.moveaxis(union_foreground(masks), 0, depth)
    start, stop = content_box(foreground)
    box = (stop[0] - start[0], stop[1] - start[1], stop[2] - start[2])
    lesion: tuple[FloatArray, ...] = ()
    if case.label is not None:
        marked = _oriented(read_volume(case.label, job.png_spacing_mm)) > 0
        if marked.shape != foreground.shape:
            raise GridMismatch(f"{case.name}: image grid {foreground.shape} but label grid {marked.shape}")
        lesion = tuple(_sample(array[marked]) for array in arrays)
    return _Measured(
        measures.model_copy(update={"content_shape": box}),
        dimensions,
        tuple(_sample(array[foreground]) for array in arrays),
        lesion,
    )


def _coarsest(measures: CaseMeasures) -> int:
    """Through-plane axis of a case for the background search; superior-inferior unless another is coarser."""
    if 1 in measures.shape:
        return measures.shape.index(1)
    spacing = measures.spacing_mm
    return int(np.argmax(spacing)) if max(spacing) > 1.5 * min(spacing) else 2


def _oriented(volume: Volume) -> AnyArray:
    return to_array_axes(volume.array, orientation_of(volume.geometry, volume.path.name), _ANATOMICAL)


def _sample(values: AnyArray) -> FloatArray:
    """Evenly spaced voxels: the same ones in every run, and no random numbers."""
    step = max(1, -(-values.size // _VOXELS_PER_CASE))
    return values[::step].astype(np.float32)


def _summarise(channel: int, name: str, measured: Sequence[_Measured]) -> ChannelIntensities:
    content = [case.content[channel] for case in measured if case.content]
    lesion = [case.lesion[channel] for case in measured if case.lesion]
    marked = np.concatenate(lesion) if lesion else np.empty(0, np.float32)
    return ChannelIntensities(
        name=name,
        content=_quantiles(np.concatenate(content)),
        lesion=_quantiles(marked) if marked.size else None,
        lesion_voxels=int(marked.size),
    )


def _quantiles(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values.astype(np.float64), QUANTILES))
