"""COCA (Stanford): gated CT as DICOM, calcifications of coronary arteries as OsiriX regions; needs ``grcsf[dicom]``.

Layout: ``patient/ID/SERIES/*.dcm`` and ``calcium_xml/ID.xml``, in the folder or in ``Gated_release_final`` below it.
Source: second-hand, public readers of the set; docs/how-to/data-sources.md says what was not verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from grcsf.arrays import LabelArray
from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.sources.osirix import Region, read_regions
from grcsf.datasets.sources.polygon import fill_polygon
from grcsf.datasets.sources.source import Draft, Found, Source, check_case_name, without_hidden
from grcsf.errors import DatasetError, ImageError
from grcsf.io.geometry import make_geometry
from grcsf.io.volume import Geometry, Volume, VolumeSource, read_geometry, read_volume

__all__ = ["COCA", "LABELS", "CalciumMask", "CtSeries"]

LABELS = {"background": 0, "LAD": 1, "LCX": 2, "RCA": 3, "LCA": 4}
"""Values of the vessels: those of orCaScore, and one more for what is named after the left coronary artery itself."""

VESSELS = {
    "left anterior descending artery": "LAD",
    "left circumflex artery": "LCX",
    "right coronary artery": "RCA",
    "left coronary artery": "LCA",
}
"""Names of regions (in small letters) -> labels."""


@dataclass(frozen=True)
class CtSeries(VolumeSource):
    """The one CT series in a folder, its position rounded as a NIfTI header rounds it.

    So a conversion to NIfTI lies exactly where the series lies for grcsf: less than 0.0001 mm from the DICOM headers.

    Attributes:
        path: the folder.
    """

    path: Path

    def geometry(self) -> Geometry:
        """Axes (columns, rows, slices)."""
        return _rounded(read_geometry(self.path), self.path)

    def read(self) -> Volume:
        """Hounsfield units."""
        volume = read_volume(self.path)
        return Volume(volume.array, _rounded(volume.geometry, self.path), self.path)


@dataclass(frozen=True)
class CalciumMask(VolumeSource):
    """Polygons filled slice by slice, on the grid of a CT series.

    Attributes:
        path: folder of the series.
        regions: XML file.
    """

    path: Path
    regions: Path

    @property
    def name(self) -> str:
        """The XML file."""
        return self.regions.name

    @property
    def files(self) -> tuple[Path, ...]:
        """Regions and series."""
        return (self.regions, self.path)

    def geometry(self) -> Geometry:
        """Grid of the series."""
        return CtSeries(self.path).geometry()

    def read(self) -> Volume:
        """Label map, uint8; where regions overlap the later one counts."""
        geometry = self.geometry()
        array: LabelArray = np.zeros(geometry.shape, np.uint8)
        for region in read_regions(self.regions):
            index = _slice_of(region, geometry, self.regions)
            covered = fill_polygon(region.points_px, (geometry.shape[0], geometry.shape[1]))
            if not covered.any():
                raise ImageError(f"{self.regions}: region {region.name!r} lies outside the image; wrong series?")
            array[:, :, index][covered] = _value(region, self.regions)
        return Volume(array, geometry, self.regions)


def _slice_of(region: Region, geometry: Geometry, path: Path) -> int:
    """The slice whose plane is nearest, at most half a slice away."""
    position = np.append(region.position_lps * [-1, -1, 1], 1.0)
    place = float((np.linalg.inv(geometry.affine_ras) @ position)[2])
    index = round(place)
    if not 0 <= index < geometry.shape[2] or abs(place - index) > 0.5 + 1e-3:
        raise ImageError(
            f"{path}: region {region.name!r} lies at slice {place + 1:.1f} of {geometry.shape[2]}; "
            "the regions are not of this series"
        )
    return index


def _value(region: Region, path: Path) -> int:
    vessel = VESSELS.get(" ".join(region.name.lower().split()))
    if vessel is None:
        known = ", ".join(name.title() for name in VESSELS)
        raise ImageError(f"{path}: region {region.name[:60]!r} names no vessel; expected one of {known}")
    return LABELS[vessel]


def _rounded(geometry: Geometry, path: Path) -> Geometry:
    return make_geometry(geometry.shape, geometry.affine_ras.astype(np.float32).astype(np.float64), path)


def _base(path: Path) -> Path | None:
    for base in (path, path / "Gated_release_final"):
        if (base / "patient").is_dir() and (base / "calcium_xml").is_dir():
            return base
    return None


def _evidence(path: Path) -> str:
    return "folders patient and calcium_xml" if _base(path) else ""


def _read(path: Path) -> Found:
    base, draft = _base(path), Draft(path)
    if base is None:
        raise DatasetError(f"{path}: no folders patient and calcium_xml")
    patients = {folder.name: folder for folder in without_hidden((base / "patient").iterdir(), base) if folder.is_dir()}
    tables = {file.stem: file for file in without_hidden((base / "calcium_xml").glob("*.xml"), base)}
    for name in sorted(tables.keys() - patients.keys()):
        draft.error(name, "missing-image", f"calcium_xml/{name}.xml without a folder patient/{name}")
    for name, folder in patients.items():
        check_case_name(name, "patient")
        series = [item for item in without_hidden(folder.iterdir(), base) if item.is_dir()] or [folder]
        if len(series) > 1:
            draft.error(
                name, "several-series", f"patient/{name} has {len(series)} folders; expected one series, keep one"
            )
            continue
        image, case = CtSeries(series[0]), f"coca-{name}"
        if name in tables:
            draft.training.append(Case(case, (image,), CalciumMask(series[0], tables[name]), case))
        else:
            draft.testing.append(Case(case, (image,), None, case))
    if draft.testing:
        draft.warn(
            None, "without-regions", f"{len(draft.testing)} patients have no XML file and are kept apart, unlabelled"
        )
    training, testing = draft.cases()
    dataset = Dataset(path.resolve().name, path, training, testing, ("CT",), LABELS, ".nii.gz", None, COCA.title)
    return Found(dataset, tuple(draft.problems))


COCA = Source(
    "COCA (DICOM and OsiriX regions)",
    "patient/ID/SERIES/*.dcm with calcium_xml/ID.xml",
    _evidence,
    _read,
)
