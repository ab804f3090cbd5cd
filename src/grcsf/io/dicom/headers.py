"""What the header of a DICOM file says of its frames: where they lie, how they are scaled, what they are.

Only technical tags are read, so that names, dates and IDs of people never enter memory here.
Source: standard, DICOM PS3.3 C.7.6.2 (image plane), C.7.6.16 (functional groups), C.11.1 (modality LUT).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from grcsf.errors import ImageError
from grcsf.io.dicom.files import DicomFiles, pydicom_quiet

__all__ = ["FileHeader", "Frame", "read_headers"]

Numbers = tuple[float, ...]

_IMAGE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced MR",
    "1.2.840.10008.5.1.4.1.1.4.4": "legacy converted enhanced MR",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
    "1.2.840.10008.5.1.4.1.1.130": "enhanced PET",
    "1.2.840.10008.5.1.4.1.1.128.1": "legacy converted enhanced PET",
}
_REQUIRED = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")
_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("Modality", "ImageType", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "EchoTime", "DiffusionBValue", "TriggerTime"),
    *("TemporalPositionIdentifier", "AcquisitionNumber", "InversionTime"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
WITHOUT_PLACE = "image without position, orientation or pixel spacing"
SPLITTERS = {
    "echo time": "EchoTime",
    "b-value": "DiffusionBValue",
    "inversion time": "InversionTime",
    "time point": "TemporalPositionIdentifier",
    "trigger time": "TriggerTime",
    "acquisition": "AcquisitionNumber",
}


@dataclass(frozen=True)
class Frame:
    """One slice.

    Attributes:
        file: index of its file.
        number: index inside a multi-frame file; none for a file of one frame.
        size: rows, columns.
        position_lps: centre of the first pixel, mm.
        orientation: direction of rising columns, then of rising rows, six cosines.
        spacing_mm: between rows, between columns.
        thickness_mm: of the slice, 0 if not said.
        slope, intercept: stored value -> value.
        image_type: such as ("ORIGINAL", "PRIMARY", "AXIAL").
        marks: what may tell slices at one position apart (echo time, b-value, ...), by name.
    """

    file: int
    number: int | None
    size: tuple[int, int]
    position_lps: Numbers
    orientation: Numbers
    spacing_mm: Numbers
    thickness_mm: float
    slope: float
    intercept: float
    image_type: tuple[str, ...]
    marks: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FileHeader:
    """A file, and its frames or why it has none that can be used.

    Attributes:
        index: in the list of files.
        study_uid, series_uid, sop_class: identifiers.
        series_number: 0 if not said.
        description: of the series; free text, for the terminal only.
        modality: such as "CT".
        frames: usable slices.
        unusable: reason why there are none, empty otherwise.
    """

    index: int
    study_uid: str
    series_uid: str
    sop_class: str
    series_number: int
    description: str
    modality: str
    frames: tuple[Frame, ...]
    unusable: str = ""


def read_headers(files: DicomFiles) -> list[FileHeader]:
    """Headers of all files, in order; pixels are not read.

    Raises:
        ImageError: a file is marked as DICOM but damaged: a slice could be missing without notice.
        GrcsfError: pydicom is not installed.
    """
    headers = []
    with pydicom_quiet() as pydicom:
        for index, path in enumerate(files.paths):
            try:
                dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
                headers.append(_header(index, dataset))
            except Exception as error:  # a parser of foreign bytes: any exception means a damaged file
                raise ImageError(
                    f"{files.name(index)}: truncated or damaged ({type(error).__name__} in its header); "
                    "copy it again, or remove it"
                ) from None
    return headers


def _header(index: int, dataset: Any) -> FileHeader:
    sop_class = str(dataset.get("SOPClassUID") or dataset.file_meta.MediaStorageSOPClassUID)
    missing = [word for word in _REQUIRED if not dataset.get(word)] if sop_class in _IMAGE_CLASSES else []
    if missing:  # every whole image has them: this one ends early, and pydicom does not say so
        raise ValueError(f"no {missing[0]}")
    unusable = _unusable(dataset, sop_class)
    frames: tuple[Frame, ...] = ()
    if not unusable:
        frames = _frames(index, dataset)
        if not frames:
            unusable = WITHOUT_PLACE
    return FileHeader(
        index=index,
        study_uid=str(dataset.get("StudyInstanceUID", "")),
        series_uid=str(dataset.get("SeriesInstanceUID", "")),
        sop_class=sop_class,
        series_number=int(dataset.get("SeriesNumber", None) or 0),
        description=str(dataset.get("SeriesDescription", "") or ""),
        modality=str(dataset.get("Modality", "") or "?"),
        frames=frames,
        unusable=unusable,
    )


def _unusable(dataset: Any, sop_class: str) -> str:
    if sop_class not in _IMAGE_CLASSES:
        name = import_module("pydicom.uid").UID(sop_class).name  # the identifier itself where it is not a standard one
        kind = "unknown" if name == sop_class else name.removesuffix(" Storage")
        return f"{kind} object, not a CT, MR or PET image"
    if int(dataset.get("SamplesPerPixel", 1) or 1) != 1:
        return "colour image"
    if "ModalityLUTSequence" in dataset:
        return "image scaled by a look-up table (Modality LUT)"
    return ""


def _frames(index: int, dataset: Any) -> tuple[Frame, ...]:
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if groups is None:
        frame = _frame(index, None, dataset, [dataset]) if int(dataset.get("NumberOfFrames", 1) or 1) == 1 else None
        return (frame,) if frame else ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    places = [_flat([group, *shared]) for group in groups]
    found = [_frame(index, number, dataset, [*place, dataset]) for number, place in enumerate(places)]
    return tuple(frame for frame in found if frame) if all(found) else ()


def _flat(groups: Sequence[Any]) -> list[Any]:
    """The items of every functional group, those of the frame before those that all frames share."""
    return [item for group in groups for element in group if element.VR == "SQ" for item in element.value]


def _frame(index: int, number: int | None, dataset: Any, places: Sequence[Any]) -> Frame | None:
    position = _numbers(places, "ImagePositionPatient", 3)
    orientation = _numbers(places, "ImageOrientationPatient", 6)
    spacing = _numbers(places, "PixelSpacing", 2)
    if position is None or orientation is None or spacing is None or min(spacing) <= 0:
        return None
    thickness = _numbers(places, "SpacingBetweenSlices", 1) or _numbers(places, "SliceThickness", 1) or (0.0,)
    slope = _numbers(places, "RescaleSlope", 1) or (1.0,)
    intercept = _numbers(places, "RescaleIntercept", 1) or (0.0,)
    kind = _first(places, "FrameType") or _first(places, "ImageType") or ()
    marks = {name: _mark(places, keyword) for name, keyword in SPLITTERS.items()}
    return Frame(
        file=index,
        number=number,
        size=(int(dataset.Rows), int(dataset.Columns)),
        position_lps=position,
        orientation=orientation,
        spacing_mm=spacing,
        thickness_mm=abs(thickness[0]),
        slope=slope[0] or 1.0,
        intercept=intercept[0],
        image_type=(kind,) if isinstance(kind, str) else tuple(str(word) for word in kind),
        marks=tuple((name, value) for name, value in marks.items() if value),
    )


_ENHANCED = {
    "EchoTime": "EffectiveEchoTime",
    "TemporalPositionIdentifier": "TemporalPositionIndex",
    "TriggerTime": "NominalCardiacTriggerDelayTime",
    "AcquisitionNumber": "FrameAcquisitionNumber",
}


def _mark(places: Sequence[Any], keyword: str) -> str:
    value = _first(places, _ENHANCED.get(keyword, keyword))
    value = _first(places, keyword) if value is None else value
    return "" if value is None else f"{float(value):g}"


def _first(places: Sequence[Any], keyword: str) -> Any:
    return next((value for place in places if (value := place.get(keyword)) not in (None, "")), None)


def _numbers(places: Sequence[Any], keyword: str, count: int) -> Numbers | None:
    value = _first(places, keyword)
    if value is None:
        return None
    numbers = tuple(float(number) for number in (value if count > 1 else [value]))
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
