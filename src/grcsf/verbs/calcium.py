"""``grcsf calcium``: Agatston, volume and mass scores of masks on CT, and what orCaScore asks of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from grcsf.datasets.naming import image_files
from grcsf.errors import DatasetError, ImageError, SettingsError
from grcsf.evaluation.clinical.calcium import CalciumScan, CalciumSummary, check_labels, score_scans
from grcsf.evaluation.clinical.calcium_files import REFERENCE_FILE, SCORES_FILE, write_calcium
from grcsf.evaluation.clinical.calcium_rules import CalciumRules
from grcsf.evaluation.methods.agreement_files import agreement_tree, compare_tables, read_table, write_agreement
from grcsf.io.dicom.files import is_dicom_input
from grcsf.io.files import ensure_new, write_json
from grcsf.io.geometry import Volume
from grcsf.io.private_names import check_case_name
from grcsf.io.record import RunRecord
from grcsf.io.volume import ending_of, read_volume, stem_of
from grcsf.verbs.masks import labels_beside, masks_in, one_mask

__all__ = ["calcium"]

_WITH_REFERENCE = (REFERENCE_FILE, "orcascore.csv", "agreement.csv", "agreement.json")


def calcium(
    image: str | Path,
    mask: str | Path,
    output: str | Path,
    *,
    reference: str | Path | None = None,
    labels: Mapping[str, int] | None = None,
    rules: CalciumRules | None = None,
    series: Sequence[str] = (),
    case: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> CalciumSummary:
    """Score the calcium of masks; anybody's masks will do.

    Args:
        image: CT in HU: a file, a folder (``CASE_0000.nii.gz`` or ``CASE.nii.gz`` ...), or a DICOM file, folder or zip.
        mask: mask file, or folder of masks for a folder of images; label values on the grid of the image.
        output: folder for ``calcium.csv``, ``regions.csv`` and ``calcium.json``.
        reference: mask file or folder of an expert; adds ``reference.csv``, ``orcascore.csv`` and
            ``agreement.csv`` and ``.json`` (prediction - reference).
        labels: name -> value; none: ``dataset.json`` beside the folder of masks, else ``calcium`` of value 1.
        rules: how; none: the Agatston score as published.
        series: DICOM: which series.
        case: name of the case of a single image; none: that of the mask file.
        resume: replace scores that are there.
        overwrite: the same.

    Raises:
        DatasetError: nothing to score.
        ImageError: a DICOM image that is not CT.
        OutputError: an output that exists already.
        SettingsError: labels or flags that do not fit.
    """
    rules = rules or CalciumRules()
    source, masks, truth = Path(image), Path(mask), Path(reference) if reference is not None else None
    named = check_labels(labels or labels_beside(masks, "calcium"))
    record: dict[str, Any] = {}
    scans, inputs = _scans(source, masks, truth, (tuple(series), case), record)
    out = Path(output)
    ensure_new(out, overwrite, resume)
    settings = {"calcium": rules.model_dump(mode="json"), "labels": named}
    with RunRecord(out, verb="calcium", settings=settings, inputs=inputs, device="cpu") as run:
        summary = score_scans(scans, named, rules)
        for name in _WITH_REFERENCE:  # of an earlier run, which may have had one
            (out / name).unlink(missing_ok=True)
        write_calcium(out, summary)
        if truth is not None:
            _write_agreement(out, summary)
        run.add("cases", len(summary.cases))
        run.add("failed", summary.failed)
        if record:
            run.add("dicom", record)
    return summary


def _write_agreement(out: Path, summary: CalciumSummary) -> None:
    """Agreement with the references, prediction - reference; the volumes that orCaScore compares are among them."""
    first, second = read_table(out / SCORES_FILE), read_table(out / REFERENCE_FILE)
    for case in summary.cases:
        for name, detection in case.detection.items():
            first[case.case, name]["orcascore_mm3"] = detection.prediction_mm3
            second[case.case, name]["orcascore_mm3"] = detection.reference_mm3
    found, *alone = compare_tables(first, second)
    write_agreement(out / "agreement.csv", found)
    write_json(out / "agreement.json", agreement_tree(found, *alone))


def _scans(
    image: Path, mask: Path, reference: Path | None, dicom: tuple[tuple[str, ...], str | None], record: dict[str, Any]
) -> tuple[list[CalciumScan], list[Path]]:
    """Scans to score, and the files to hash."""
    series, case = dicom
    others = [path for path in (reference,) if path is not None]
    if is_dicom_input(image):
        name = check_case_name(case) if case is not None else stem_of(one_mask(mask))
        for path in (mask, *others):
            one_mask(path)
        reader: Callable[[], Volume] = partial(_read_ct, image, series, name, record)
        return [CalciumScan(name, reader, mask, reference)], [mask, *others]
    if series:
        raise SettingsError("--series is for DICOM images; -i is none")
    if mask.is_dir():
        if case is not None or not image.is_dir() or (reference is not None and not reference.is_dir()):
            raise SettingsError(f"{mask}: a folder of masks needs folders of images and references, and no --case")
        return _folder_scans(image, mask, reference)
    name = check_case_name(case) if case is not None else stem_of(one_mask(mask))
    if not image.is_file() or ending_of(image) is None:
        raise DatasetError(f"{image}: expected the CT file of the mask {mask.name}, or a DICOM file, folder or zip")
    for path in others:
        one_mask(path)
    return [CalciumScan(name, partial(read_volume, image), mask, reference)], [image, mask, *others]


def _folder_scans(folder: Path, mask: Path, reference: Path | None) -> tuple[list[CalciumScan], list[Path]]:
    """One scan per mask or reference; what one of them lacks is told when its turn comes."""
    masks, truth = masks_in(mask), masks_in(reference) if reference is not None else {}
    if reference is not None and not masks.keys() & truth.keys():
        raise DatasetError(f"{reference}: no reference of any of the masks in {mask}; expected the same file names")
    files = {stem_of(path): path for path in image_files(folder)}
    scans, inputs = [], []
    for name in sorted({*masks, *truth}):
        image = files.get(f"{name}_0000") or files.get(name)
        needed = {"image": image, "mask": masks.get(name)}
        if reference is not None:
            needed["reference"] = truth.get(name)
        scans.append(CalciumScan(name, partial(_read_image, name, needed), masks.get(name, mask), truth.get(name)))
        inputs += [path for path in needed.values() if path is not None]
    return scans, inputs


def _read_image(name: str, needed: Mapping[str, Path | None]) -> Volume:
    missing = [role for role, path in needed.items() if path is None]
    image = needed["image"]
    if missing or image is None:
        raise DatasetError(
            f"{name}: no {' and no '.join(missing)}; expected {name}.nii.gz ({name}_0000.nii.gz for images)"
        )
    return read_volume(image)


def _read_ct(path: Path, series: tuple[str, ...], name: str, record: dict[str, Any]) -> Volume:
    """The CT of a DICOM input; messages name the case, not the folder, which may name the patient."""
    from grcsf.io.dicom.series import choose_parts
    from grcsf.io.dicom.study import open_study, read_part

    try:
        with open_study(path) as study:
            ((part, *_), *_) = choose_parts(study.parts, series, 1, path)
            if part.modality != "CT":
                raise ImageError(f"{path}: series {part.token} is {part.modality}, expected CT; choose with --series")
            image = read_part(study, part)
    except ImageError as error:
        raise ImageError(str(error).replace(str(path), name)) from None
    record |= image.record()
    return Volume(image.volume.array, image.volume.geometry, Path(name))
