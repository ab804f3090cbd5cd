"""``grcsf convert``: a data set of any known source as nnU-Net raw."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.nnunet_raw import read_dataset as read_raw
from grcsf.datasets.nnunet_raw import write_dataset_json
from grcsf.datasets.sources.check import remarks
from grcsf.datasets.sources.registry import read_dataset
from grcsf.datasets.splits import SPLITS_FILE, check_folds, read_folds
from grcsf.datasets.tables import CASES_FILE, write_cases_table
from grcsf.errors import DatasetError, GrcsfError, ImageError, OutputError, SettingsError
from grcsf.io.files import PARTIAL_PREFIX, atomic_path, ensure_new, make_folder, read_json, write_json
from grcsf.io.progress import track
from grcsf.io.record import RECORD_FILE, RunRecord
from grcsf.io.volume import ImageRef, Volume, check_same_grid, ending_of, name_of, path_of, read_volume, write_like
from grcsf.preprocess.parallel import map_cases

__all__ = ["convert"]

_NAME = re.compile(r"Dataset\d{3}_\w[\w-]*")
_NIFTI, _ITK = (".nii.gz", ".nii"), (".nrrd", ".mha", ".mhd")
_TOLERANCE_MM = 1e-3


def convert(dataset: str | Path, output: str | Path, *, workers: int = 0, overwrite: bool = False) -> Dataset:
    """Write every case as nnU-Net raw: the same voxels on the same grid, so that both give the same arrays.

    NIfTI stays NIfTI, MetaImage becomes ``.mha``, PNG stays PNG, DICOM and whatever is put together from several files
    becomes NIfTI. The folder appears whole or not at all.

    Args:
        dataset: folder or table of any known source.
        output: a new folder named as nnU-Net wants it, such as ``Dataset501_Stroke``.
        workers: processes; 0 converts in this one.
        overwrite: replace an earlier conversion.

    Returns:
        The data set that was written.

    Raises:
        SettingsError: a name that nnU-Net would not find.
        OutputError: the folder exists already; with ``overwrite``: and is no conversion.
        DatasetError: nothing recognised, or cases that cannot be converted; all are named.
    """
    path, out = Path(dataset), Path(output)
    if not _NAME.fullmatch(out.name):
        raise SettingsError(f"-o {out.name}: expected a name as nnU-Net needs it, such as Dataset501_Stroke")
    ensure_new(out, overwrite)
    _refuse_others(out)
    data = read_dataset(path)
    folds = read_folds(data)
    check_folds(data, folds or [])
    ending = _ending(data)
    _refuse_nested(path.resolve(), out.resolve())
    make_folder(out.parent)
    with atomic_path(out) as partial:
        with RunRecord(partial, verb="convert", inputs=data.described_by) as record:
            _write(data, partial, ending, workers)
            write_dataset_json(
                partial,
                channel_names=data.channel_names,
                labels=data.labels,
                num_training=len(data.cases),
                file_ending=ending,
                spacing_mm=data.spacing_mm,
                converted_from=data.source,
            )
            write_cases_table(data, partial / CASES_FILE)
            if folds is not None:
                write_json(partial / SPLITS_FILE, folds)
            record.add("source", data.source)
            record.add("cases", len(data.cases))
            record.add("test_cases", len(data.test_cases))
            record.add("changed_on_reading", remarks(data))
        _make_room(out)
    return read_raw(out)


def _refuse_nested(path: Path, out: Path) -> None:
    """A conversion in its own source would be read as part of it the next time; one around it would replace it."""
    if out in (path, *path.parents) or path in out.parents:
        raise OutputError(f"{out.name}: lies in the data set it comes from, or around it; choose another output")


def _refuse_others(out: Path) -> None:
    """Only a folder that this command wrote may be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    record = read_json(out / RECORD_FILE) if (out / RECORD_FILE).is_file() else None
    if not isinstance(record, dict) or record.get("verb") != "convert":
        raise OutputError(f"{out}: was not written by grcsf convert, so it is not replaced; choose another output")


def _make_room(out: Path) -> None:
    """Take away what is to be replaced, now that everything new is complete."""
    if out.is_dir():
        old = out.with_name(f"{PARTIAL_PREFIX}old-{out.name}")
        out.replace(old)
        shutil.rmtree(old)


def _ending(data: Dataset) -> str:
    """The one format of the conversion, which holds what all files hold.

    Raises:
        DatasetError: PNG and other formats together.
    """
    images: list[ImageRef] = [image for case in (*data.cases, *data.test_cases) for image in case.images]
    masks: list[ImageRef] = [case.label for case in data.cases if case.label is not None]
    endings = {ending_of(path_of(image)) for image in (*images, *masks)}
    if endings == {".png"}:
        return ".png"
    if ".png" in endings:
        raise DatasetError(f"{data.name}: PNG and other formats together; nnU-Net raw holds one, convert the PNG first")
    if endings <= set(_ITK):
        return ".nrrd" if endings == {".nrrd"} else ".mha"
    return ".nii.gz"


@dataclass(frozen=True)
class _Job:
    case: Case
    part: str
    out: Path
    ending: str
    labels: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None


def _write(data: Dataset, out: Path, ending: str, workers: int) -> None:
    sides = (("Tr", data.cases), ("Ts", data.test_cases))
    values = tuple(sorted(data.labels.values()))
    jobs = [
        (case.name, _Job(case, part, out, ending, values, data.spacing_mm)) for part, side in sides for case in side
    ]
    for part, side in sides:
        if side:
            (out / f"images{part}").mkdir()
        if any(case.label is not None for case in side):
            (out / f"labels{part}").mkdir()
    failed: dict[str, str] = {}
    for name, result in track(map_cases(_write_case, jobs, workers), "convert", total=len(jobs)):
        if isinstance(result, OutputError):
            raise result
        if isinstance(result, GrcsfError):
            failed[name] = str(result)
    if failed:
        reasons = "\n".join(f"  {name}: {message}" for name, message in sorted(failed.items())[:20])
        raise DatasetError(f"{data.name}: {len(failed)} of {len(jobs)} cases cannot be converted:\n{reasons}")


def _write_case(job: _Job) -> None:
    case, volumes = job.case, [read_volume(image, job.spacing_mm) for image in job.case.images]
    for channel, volume in enumerate(volumes):
        _same_grid(case.images, volumes[0], volume, channel)
        path = job.out / f"images{job.part}" / f"{case.name}_{channel:04d}{job.ending}"
        write_like(volume.array, case.images[channel], path, job.spacing_mm)
    if case.label is not None:
        mask = read_volume(case.label, job.spacing_mm)
        names = f"{name_of(case.images[0])} and {name_of(case.label)}"
        check_same_grid(volumes[0], mask, names, _TOLERANCE_MM)
        path = job.out / f"labels{job.part}" / f"{case.name}{job.ending}"
        write_like(_label_array(mask, name_of(case.label), job.labels), case.label, path, job.spacing_mm)


def _same_grid(images: Sequence[ImageRef], first: Volume, volume: Volume, channel: int) -> None:
    check_same_grid(first, volume, f"{name_of(images[0])} and {name_of(images[channel])}", _TOLERANCE_MM)


def _label_array(mask: Volume, name: str, labels: Sequence[int]) -> AnyArray:
    found = np.unique(mask.array)
    unknown = [float(value) for value in found if value not in labels]
    if unknown:
        values = ", ".join(f"{value:g}" for value in unknown[:5])
        raise ImageError(f"{name}: values {values} found; the data set declares {list(labels)}; correct the mask")
    return mask.array.astype(np.uint8)
