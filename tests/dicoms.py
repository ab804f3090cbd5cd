"""DICOM series written from arrays, for tests: any orientation, order, gaps, tilt, and canaries in every person tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CANARY = "XCANARYX"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
PERSON_TAGS = {
    "PatientName": f"{CANARY}^NAME",
    "PatientID": f"{CANARY}ID",
    "PatientBirthDate": "19331231",
    "PatientBirthTime": "123456.654",
    "PatientAddress": f"{CANARY} ADDRESS",
    "PatientTelephoneNumbers": f"{CANARY}TEL",
    "PatientMotherBirthName": f"{CANARY}^MOTHER",
    "PatientComments": f"{CANARY} PATIENT COMMENT",
    "OtherPatientIDs": f"{CANARY}OTHERID",
    "OtherPatientNames": f"{CANARY}^OTHER",
    "MilitaryRank": f"{CANARY}RANK",
    "EthnicGroup": CANARY,
    "Occupation": f"{CANARY}JOB",
    "AdditionalPatientHistory": f"{CANARY} HISTORY",
    "ReferringPhysicianName": f"{CANARY}^REFERRER",
    "PhysiciansOfRecord": f"{CANARY}^RECORD",
    "PerformingPhysicianName": f"{CANARY}^PERFORMER",
    "NameOfPhysiciansReadingStudy": f"{CANARY}^READER",
    "OperatorsName": f"{CANARY}^OPERATOR",
    "RequestingPhysician": f"{CANARY}^REQUESTER",
    "InstitutionName": f"{CANARY} HOSPITAL",
    "InstitutionAddress": f"{CANARY} STREET",
    "InstitutionalDepartmentName": f"{CANARY} WARD",
    "StationName": f"{CANARY}STN",
    "AccessionNumber": f"{CANARY}ACC",
    "StudyID": f"{CANARY}STUDY",
    "StudyDescription": f"{CANARY} STUDY TEXT",
    "SeriesDescription": f"{CANARY} SERIES TEXT",
    "ProtocolName": f"{CANARY} PROTOCOL",
    "ImageComments": f"{CANARY} IMAGE COMMENT",
    "AdmissionID": f"{CANARY}ADM",
    "CountryOfResidence": CANARY,
    "RegionOfResidence": CANARY,
    "DeviceSerialNumber": f"{CANARY}SERIAL",
}


def asymmetric(shape: tuple[int, int, int] = (20, 24, 9)) -> np.ndarray:
    """(columns, rows, slices) int16 in which no mirror image or swap of axes is equal to the image itself."""
    x, y, z = np.indices(shape)
    image = (7 * x + 31 * y + 173 * z - 900).astype(np.int16)
    image[2:5, 3:9, 1:3] = 1500
    return image


def oblique(degrees: float = 17.0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Directions of rising columns and rows after turns about z and then x."""
    a, b = np.radians(degrees), np.radians(0.7 * degrees)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn = about_x @ about_z
    return tuple(turn[:, 0]), tuple(turn[:, 1])


def uid(*parts: object) -> str:
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[str(part) for part in parts]))


def write_series(
    folder: Path,
    image: np.ndarray,
    *,
    axes: tuple[Sequence[float], Sequence[float]] = AXIAL,
    spacing_mm: tuple[float, float] = (0.8, 1.1),
    origin_lps: Sequence[float] = (-13.5, 40.25, -7.125),
    offsets_mm: Sequence[float] | None = None,
    drift_mm_per_mm: tuple[float, float] = (0.0, 0.0),
    slope: float = 1.0,
    intercept: float = -1024.0,
    order: Sequence[int] | None = None,
    number: int = 1,
    sop_class: str = CT,
    change: Callable[[Any, int], None] | None = None,
    study: str = "study",
    prefix: str = "",
) -> list[Path]:
    """Write (columns, rows, slices) as one file per slice; returns the files in the order of the slices.

    Args:
        folder: made if need be.
        image: values after slope and intercept.
        axes: directions of rising columns and rows, LPS.
        spacing_mm: between columns, between rows.
        origin_lps: first pixel of the first slice.
        offsets_mm: of the slices along the normal; default 2.5 mm apart.
        drift_mm_per_mm: shift along x and y per mm of offset (gantry tilt).
        slope, intercept: of the stored values.
        order: position of each slice in the order of file names; default as they are.
        number: of the series.
        sop_class: of the files.
        change: called with each data set and slice before it is written.
        study: another word makes another study.
        prefix: of the file names.
    """
    import pydicom
    from pydicom.dataset import FileMetaDataset

    folder.mkdir(parents=True, exist_ok=True)
    slices = image.shape[2]
    offsets = [2.5 * index for index in range(slices)] if offsets_mm is None else list(offsets_mm)
    places = list(range(slices)) if order is None else list(order)
    along_x, along_y = np.array(axes[0]), np.array(axes[1])
    normal = np.cross(along_x, along_y)
    stored = np.rint((image.astype(np.float64) - intercept) / slope)
    assert stored.min() >= 0
    assert stored.max() < 2**16
    paths = []
    for index in range(slices):
        drift = offsets[index] * (drift_mm_per_mm[0] * along_x + drift_mm_per_mm[1] * along_y)
        position = np.array(origin_lps) + offsets[index] * normal + drift
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.SOPClassUID = sop_class
        dataset.SOPInstanceUID = uid(study, number, index, folder.name)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(study), uid(study, number, folder.name)
        dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = uid(study, "frame"), ""
        dataset.Modality = "CT" if sop_class == CT else "MR"
        dataset.SeriesNumber, dataset.InstanceNumber, dataset.SeriesDescription = number, index + 1, f"series {number}"
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "T^T", "T1", "", "O"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200102", "030405", "1"
        dataset.AccessionNumber, dataset.ReferringPhysicianName, dataset.Manufacturer = "", "", "phantom"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.ImagePositionPatient = [ds(value) for value in position]
        dataset.ImageOrientationPatient = [ds(value) for value in (*along_x, *along_y)]
        dataset.PixelSpacing = [ds(spacing_mm[1]), ds(spacing_mm[0])]
        dataset.SliceThickness = "2.5"
        dataset.Rows, dataset.Columns = image.shape[1], image.shape[0]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.RescaleSlope, dataset.RescaleIntercept = ds(slope), ds(intercept)
        dataset.PixelData = np.ascontiguousarray(stored[:, :, index].T).astype("<u2").tobytes()
        if change is not None:
            change(dataset, index)
        path = folder / f"{prefix}IM{places[index]:04d}"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_enhanced(path: Path, image: np.ndarray, order: Sequence[int], echoes: Sequence[float] = (30.0,)) -> None:
    """An enhanced MR file of (columns, rows, slices), frames in the order given, once per echo (plus 100 x echo)."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    def item(**values: object) -> Any:
        made = pydicom.Dataset()
        for key, value in values.items():
            setattr(made, key, value)
        return made

    dataset = item(
        SOPClassUID=ENHANCED_MR,
        SOPInstanceUID=uid("enhanced", path.name),
        StudyInstanceUID=uid("study"),
        SeriesInstanceUID=uid("study", "enhanced"),
        FrameOfReferenceUID=uid("study", "frame"),
        PositionReferenceIndicator="",
        Modality="MR",
        SeriesNumber=4,
        InstanceNumber=1,
        PatientName="T^T",
        PatientID="T1",
        PatientBirthDate="",
        PatientSex="O",
        StudyDate="20200102",
        StudyTime="030405",
        StudyID="1",
        AccessionNumber="",
        ReferringPhysicianName="",
        Manufacturer="phantom",
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        Rows=image.shape[1],
        Columns=image.shape[0],
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=1,
        NumberOfFrames=len(order) * len(echoes),
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    measures = item(PixelSpacing=["1.1", "0.8"], SliceThickness="2.5")
    turned = item(ImageOrientationPatient=[ds(value) for value in (*AXIAL[0], *AXIAL[1])])
    shared = item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[turned])
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups, pixels = [], []
    for echo, milliseconds in enumerate(echoes):
        for index in order:
            place = item(ImagePositionPatient=["-13.5", "40.25", ds(-7.125 + 2.5 * index)])
            scale = item(RescaleSlope="1", RescaleIntercept=ds(index), RescaleType="US")
            groups.append(
                item(
                    PlanePositionSequence=[place],
                    PixelValueTransformationSequence=[scale],
                    MREchoSequence=[item(EffectiveEchoTime=milliseconds)],
                )
            )
            pixels.append((image[:, :, index].T + 100 * echo - index).astype("<i2"))
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.PixelData = np.stack(pixels).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def with_canaries(dataset: Any, _index: int) -> None:
    """Fill every person tag."""
    for keyword, value in PERSON_TAGS.items():
        setattr(dataset, keyword, value)


def ds(value: float) -> str:
    """A decimal string of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return str(format_number_as_ds(float(value)))
