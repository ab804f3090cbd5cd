"""DICOM segmentation objects: a segment per label, with references to the slices that were segmented.

Source: standard, DICOM PS3.3 A.51 and C.8.20; written with highdicom. The object belongs to the patient and study of
its source, so it carries their modules: it is the one output of the package that names the patient.
"""

from __future__ import annotations

import logging
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from grcsf.arrays import AnyArray
from grcsf.errors import GrcsfError, GridMismatch, ImageError
from grcsf.io.dicom.files import pydicom_quiet
from grcsf.io.dicom.resample import onto_slices
from grcsf.io.dicom.study import DicomImage, DicomStudy
from grcsf.io.dicom.terms import Code, Term, term_of
from grcsf.io.files import atomic_path, hash_array

__all__ = ["SegmentationText", "write_probability_seg", "write_seg"]

_MAKER, _MODEL = "grcsf developers", "grcsf"
_SERIES_NUMBER = 9000
_REQUIRED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


@dataclass(frozen=True)
class SegmentationText:
    """What a segmentation says of its making.

    Attributes:
        labels: value of each label in the mask; 0 is background.
        terms: coded terms by label, from :func:`~grcsf.io.dicom.terms.load_terms`.
        model: hash of the weights, part of what the identifiers are made from.
        series_description: at most 64 characters.
    """

    labels: Mapping[str, int]
    terms: Mapping[str, Term]
    model: str
    series_description: str = "grcsf lesions (research)"


def write_seg(mask: AnyArray, image: DicomImage, study: DicomStudy, text: SegmentationText, path: Path) -> None:
    """Write a label map as a binary segmentation, atomically. The same mask gets the same identifiers.

    Args:
        mask: on the grid of ``image.volume``, whole numbers of ``text.labels``. A resampled image's mask is brought
            back to the slices by the nearest voxel.
        image: what was segmented.
        study: where it came from; still open.
        text: what to say.
        path: output, ``.dcm``.

    Raises:
        GridMismatch: mask and image differ in size.
        GrcsfError: highdicom is not installed.
        ImageError: the headers of the source lack what a segmentation needs.
        OutputError: the file cannot be written.
    """
    values = sorted(value for value in text.labels.values() if value)  # the order in which segments are named
    flat = _on_slices(np.asarray(mask, dtype=np.uint8), image, path)
    stacked = np.stack([flat == value for value in values], axis=-1).astype(np.uint8)
    _write(stacked, image, study, text, path, fractional=False)


def write_probability_seg(
    probabilities: AnyArray, image: DicomImage, study: DicomStudy, text: SegmentationText, path: Path
) -> None:
    """Write probabilities as a fractional segmentation of 255 steps, atomically.

    Args:
        probabilities: (labels, columns, rows, slices) between 0 and 1, in the order of ascending label values.
        image: as in :func:`write_seg`.
        study: as in :func:`write_seg`.
        text: as in :func:`write_seg`.
        path: output, ``.dcm``.

    Raises:
        GrcsfError: as in :func:`write_seg`.
    """
    parts = [_on_slices(np.clip(part, 0, 1).astype(np.float32), image, path) for part in probabilities]
    _write(np.stack(parts, axis=-1), image, study, text, path, fractional=True)


def _on_slices(array: AnyArray, image: DicomImage, path: Path) -> AnyArray:
    """(slices, rows, columns) in the order of the stack."""
    if array.shape != image.volume.geometry.shape:
        raise GridMismatch(f"{path.name}: mask of shape {array.shape}, but the image has {image.volume.geometry}")
    native = array if image.grid is None else onto_slices(array, image.part.stack, image.grid)
    return np.ascontiguousarray(native.transpose(2, 1, 0))


def _write(
    stacked: AnyArray, image: DicomImage, study: DicomStudy, text: SegmentationText, path: Path, *, fractional: bool
) -> None:
    try:
        highdicom = import_module("highdicom")
    except ImportError:
        raise GrcsfError(
            "DICOM segmentations need packages that are not installed: pip install 'grcsf[dicom]'"
        ) from None
    sources = _sources(image, study)
    names = sorted((value, name) for name, value in text.labels.items() if value)
    said = repr([(name, term_of(name, text.terms)) for _, name in names])
    seed = (*(str(source.SOPInstanceUID) for source in sources), said, text.model, hash_array(stacked))
    kind = "FRACTIONAL" if fractional else "BINARY"
    version = _version()
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # its messages may hold values of the source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=stacked,
                segmentation_type=kind,
                segment_descriptions=[_segment(i, name, text, version) for i, (_, name) in enumerate(names, 1)],
                series_instance_uid=_uid("series", kind, *seed),
                series_number=_SERIES_NUMBER + fractional,
                sop_instance_uid=_uid("instance", kind, *seed),
                instance_number=1,
                manufacturer=_MAKER,
                manufacturer_model_name=_MODEL,
                software_versions=version,
                device_serial_number="none",
                content_label="LESIONS",
                content_description="Probabilities, research use only" if fractional else "Masks, research use only",
                series_description=text.series_description[:64],
                omit_empty_frames=True,
            )
            _mend_references(made, image)
            _same_dimension_uid(made, _uid("dimensions", kind, *seed))
            with atomic_path(path) as partial:
                made.save_as(partial, enforce_file_format=True)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ImageError(
            f"{path.name}: no DICOM segmentation can be made from this series ({type(error).__name__}: its headers "
            "lack what the standard asks for); choose --output-format nifti"
        ) from None
    finally:
        logger.setLevel(level)


def _sources(image: DicomImage, study: DicomStudy) -> list[Any]:
    """Headers of the source in the order of the stack; of a multi-frame file only the frames of the stack, in order."""
    frames = image.part.stack.frames
    files = list(dict.fromkeys(frame.file for frame in frames))
    with pydicom_quiet() as pydicom:
        datasets = [pydicom.dcmread(study.files.paths[file], stop_before_pixels=True) for file in files]
    if not all(dataset.get("FrameOfReferenceUID") for dataset in datasets):
        raise ImageError(
            f"series {image.part.token} has no frame of reference, so no DICOM segmentation can refer to it; "
            "choose --output-format nifti"
        )
    for dataset in datasets:  # a source may lack them, a segmentation has them, empty if need be
        for keyword in _REQUIRED:
            if keyword not in dataset:
                setattr(dataset, keyword, None)
    if frames[0].number is None and len(files) == len(frames):
        return list(datasets)
    if len(files) > 1:
        raise ImageError(
            f"{study.files.root}: series {image.part.token} spreads over {len(files)} multi-frame files, which a "
            "segmentation cannot refer to; choose --output-format nifti"
        )
    groups = datasets[0].PerFrameFunctionalGroupsSequence
    datasets[0].PerFrameFunctionalGroupsSequence = [groups[frame.number or 0] for frame in frames]
    datasets[0].NumberOfFrames = len(frames)
    return list(datasets)


def _mend_references(made: Any, image: DicomImage) -> None:
    """Let references count the frames of the source file, not those of the stack that was made of it."""
    frames = image.part.stack.frames
    if frames[0].number is None:
        return
    for group in made.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", []):
            for source in derivation.SourceImageSequence:
                source.ReferencedFrameNumber = (frames[int(source.ReferencedFrameNumber) - 1].number or 0) + 1


def _segment(number: int, name: str, text: SegmentationText, version: str) -> Any:
    highdicom = import_module("highdicom")
    term = term_of(name, text.terms)
    family = Code("123110", "DCM", "Artificial Intelligence")
    algorithm = highdicom.AlgorithmIdentificationSequence(name=_MODEL, family=_coded(family), version=version)
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=_coded(term.category),
        segmented_property_type=_coded(term.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=None,
        tracking_id=None,
        anatomic_regions=[_coded(term.region)] if term.region else None,
    )


def _coded(code: Code) -> Any:
    return import_module("highdicom").sr.CodedConcept(code.value, code.scheme, code.meaning)


def _same_dimension_uid(made: Any, uid: str) -> None:
    """Replace the identifier that highdicom draws at random: made from the content, equal masks give equal objects."""
    for item in made.get("DimensionOrganizationSequence", []):
        item.DimensionOrganizationUID = uid
    for item in made.get("DimensionIndexSequence", []):
        item.DimensionOrganizationUID = uid


def _uid(*parts: str) -> str:
    """An identifier under 2.25 (PS3.5 B.2) from a hash of its parts."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(parts)).int}"


def _version() -> str:
    try:
        return metadata.version("grcsf")
    except metadata.PackageNotFoundError:
        return "0"
