"""Tiny data sets with the layout, names, types and headers of those that may not be passed on: one function per source.

Voxels are synthetic. Each function writes below ``root`` and returns what ``-d`` takes.
"""

from __future__ import annotations

import csv
import json
import plistlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK

from dicoms import write_series

SHAPE = (22, 24, 18)
MNI = np.array([[1.0, 0, 0, -9], [0, 1, 0, -12], [0, 0, 1, -8], [0, 0, 0, 1]])
# A DWI as scanners write it: first axis to the left, planes turned about x, numbers that no float32 holds exactly.
OBLIQUE = np.array([[-1.1, 0.02, 0.01, 11.3], [0.02, 1.09, -0.21, -12.7], [0.01, 0.17, 1.43, -9.1], [0, 0, 0, 1]])
VESSELS = {
    1: "Left Anterior Descending Artery",
    2: "Left Circumflex Artery",
    3: "Right Coronary Artery",
    4: "Left Coronary Artery",
}


def scan(seed: int, shape: tuple[int, ...] = SHAPE, ct: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid of noisy tissue in air with one brighter ball (int16), and the ball (uint8)."""
    rng = np.random.default_rng(seed)
    grid, sizes = np.indices(shape, dtype=np.float32), np.array(shape).reshape(-1, *[1] * len(shape))
    inside = (((grid - (sizes - 1) / 2) / (0.46 * sizes)) ** 2).sum(axis=0) < 1
    centre = (np.array(shape) * rng.uniform(0.4, 0.6, size=len(shape))).reshape(sizes.shape)
    ball = (((grid - centre) ** 2).sum(axis=0) < 3.5**2) & inside
    tissue, air, lesion = (40, -1000, 400) if ct else (500, 0, 300)
    image = np.where(inside, tissue + 25 * rng.standard_normal(shape) + lesion * ball, air)
    return np.rint(image).astype(np.int16), ball.astype(np.uint8)


def save(array: np.ndarray, path: Path, affine: np.ndarray = MNI) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=4 if affine is MNI else 1)
    nibabel.save(image, path)
    return path


def save_itk(array: np.ndarray, path: Path, spacing: tuple[float, ...], origin: tuple[float, ...]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    SimpleITK.WriteImage(image, str(path))
    return path


def atlas(root: Path, cases: int = 4) -> Path:
    """ATLAS R2.0: two sites, a subject with two sessions, one with two masks, test scans, a stray file of macOS."""
    base = root / "ATLAS_2"
    space = "space-MNI152NLin2009aSym"
    visits = [("R001", f"sub-r001s{index:03d}", "ses-1") for index in range(1, cases)]
    visits += [("R009", "sub-r009s001", "ses-1"), ("R009", "sub-r009s001", "ses-2")]
    for index, (site, subject, session) in enumerate(visits):
        image, mask = scan(index)
        folder, stem = base / "Training" / site / subject / session / "anat", f"{subject}_{session}_{space}"
        save(image.astype(np.float32), folder / f"{stem}_T1w.nii.gz")
        save(mask, folder / f"{stem}_label-L_desc-T1lesion_mask.nii.gz")
        if index == 0:
            second = np.zeros_like(mask)
            second[10:12, 11:13, 8:10] = 255  # 8 voxels, as 0/255
            save(second, folder / f"{stem}_label-R_desc-T1lesion_mask.nii.gz")
            (folder / f"._{stem}_T1w.nii.gz").write_bytes(b"\0\5\26\7")
    image, _ = scan(99)
    save(
        image, base / "Testing" / "R010" / "sub-r010s001" / "ses-1" / "anat" / f"sub-r010s001_ses-1_{space}_T1w.nii.gz"
    )
    (base / "20211112_ATLAS_2.0_SupplementaryInfo.csv").write_text("subject,site\n")
    return base


def atlas_derivatives(root: Path, cases: int = 4) -> Path:
    """The same kind of set with its subjects at the top and the masks below ``derivatives``."""
    for index in range(cases):
        image, mask = scan(index)
        subject = f"sub-{index:02d}"
        save(image, root / subject / "ses-1" / "anat" / f"{subject}_ses-1_T1w.nii.gz")
        derived = root / "derivatives" / "masks" / subject / "ses-1" / "anat"
        save(mask, derived / f"{subject}_ses-1_label-L_desc-T1lesion_mask.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "mimic", "BIDSVersion": "1.6.0"}')
    return root


def isles(root: Path, cases: int = 4) -> Path:
    """ISLES'22: DWI and ADC on one oblique grid, FLAIR on another of its own, masks in derivatives."""
    base = root / "ISLES-2022"
    for index in range(cases):
        subject = f"sub-strokecase{index + 1:04d}"
        visit, stem = base / subject / "ses-0001", f"{subject}_ses-0001"
        image, mask = scan(index)
        save(image, visit / "dwi" / f"{stem}_dwi.nii.gz", OBLIQUE)
        save((1500 - image).astype(np.float32), visit / "dwi" / f"{stem}_adc.nii.gz", OBLIQUE)
        finer = np.diag([0.8, 0.8, 1.9, 1.0])
        finer[:3, 3] = [-10.4, -13.2, -12.3]
        save(scan(50 + index, (30, 34, 15))[0], visit / "anat" / f"{stem}_FLAIR.nii.gz", finer)
        save(mask, base / "derivatives" / subject / "ses-0001" / f"{stem}_msk.nii.gz", OBLIQUE)
    (base / "dataset_description.json").write_text('{"Name": "mimic", "BIDSVersion": "1.6.0"}')
    return base


def orcascore(root: Path, cases: int = 4) -> Path:
    """orCaScore: MHD and RAW, CT without and with contrast, vessels 1 to 3, a test scan."""
    grid = {"spacing": (0.43164063, 0.43164063, 3.0), "origin": (-110.28418, -250.7842, -1034.5)}
    for index in range(cases):
        image, mask = scan(index, ct=True)
        name = f"TRV{index % 4 + 1}P{index // 4 + 1}"
        save_itk(image, root / "Training Set" / "Images" / f"{name}CTI.mhd", **grid)
        save_itk(image[::2], root / "Training Set" / "Images" / f"{name}CTAI.mhd", **grid)
        vessels = mask * (1 + (np.indices(mask.shape)[0] // 4 + index) % 3).astype(np.uint8)
        save_itk(vessels, root / "Training Set" / "Reference standard" / f"{name}R.mhd", **grid)
    save_itk(scan(99, ct=True)[0], root / "Test Set" / "Images" / "TEV1P1CTI.mhd", **grid)
    return root


def msd(root: Path, cases: int = 4) -> Path:
    """Task01_BrainTumour: four channels along the fourth axis, labels 0 to 3 as float64, test images."""
    base = root / "Task01_BrainTumour"
    for index in range(cases + 1):
        channels = np.stack([scan(10 * index + channel)[0] for channel in range(4)], axis=-1).astype(np.float32)
        part = "imagesTr" if index < cases else "imagesTs"
        save(channels, base / part / f"BRATS_{index + 1:03d}.nii.gz")
        if index < cases:
            mask = scan(10 * index)[1] * (1 + np.indices(SHAPE)[2] % 3)
            save(mask.astype(np.float64), base / "labelsTr" / f"BRATS_{index + 1:03d}.nii.gz")
    (base / "imagesTr" / "._BRATS_001.nii.gz").write_bytes(b"\0\5\26\7")
    pairs = [f"BRATS_{index + 1:03d}.nii.gz" for index in range(cases)]
    header = {
        "name": "BRATS",
        "tensorImageSize": "4D",
        "licence": "CC-BY-SA 4.0",
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "numTraining": cases,
        "numTest": 1,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in pairs],
        "test": [f"./imagesTs/BRATS_{cases + 1:03d}.nii.gz"],
    }
    (base / "dataset.json").write_text(json.dumps(header))
    return base


def msd_lung(root: Path, cases: int = 4) -> Path:
    """Task06_Lung: one CT channel in 3-D files."""
    base = root / "Task06_Lung"
    names = [f"lung_{index + 1:03d}.nii.gz" for index in range(cases)]
    for index, name in enumerate(names):
        image, mask = scan(index, ct=True)
        save(image, base / "imagesTr" / name)
        save(mask, base / "labelsTr" / name)
    header = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "cancer"}, "numTraining": cases}
    header |= {
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
    (base / "dataset.json").write_text(json.dumps(header))
    return base


def square(column: int, row: int, half: float) -> list[tuple[float, float]]:
    """Corners of a square about a pixel."""
    return [(column + x * half, row + y * half) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def region(name: str, corners: list[tuple[float, float]], z_mm: float, index: int) -> dict[str, object]:
    """A region as OsiriX exports it; x and y of Point_mm are not used."""
    return {
        "Area": 1.5,
        "IndexInImage": index,
        "Name": name,
        "NumberOfPoints": len(corners),
        "Point_mm": [f"({x:.5f}, {y:.5f}, {z_mm:.5f})" for x, y in corners],
        "Point_px": [f"({x:.5f}, {y:.5f})" for x, y in corners],
        "Type": 15,
    }


def coca(root: Path, cases: int = 4) -> Path:
    """COCA: one gated series per patient, file order against slice order, regions of four vessels; one has none."""
    base = root / "Gated_release_final"
    (base / "calcium_xml").mkdir(parents=True)
    for index in range(cases + 1):
        image, _ = scan(index, ct=True)
        places = [10 + index % 3, 12]
        for vessel in (1, 2, 3, 4):
            image[places[0] - 1 : places[0] + 2, places[1] - 1 : places[1] + 2, 2 + vessel] = 600
        order = list(range(SHAPE[2]))[::-1]
        files = write_series(
            base / "patient" / str(index) / "Pro_Gated_CS_3.0_I30f_3_70%",
            image,
            spacing_mm=(0.37109375, 0.37109375),
            origin_lps=(-84.3, -190.7, 1711.9),
            offsets_mm=[3.0 * place for place in range(SHAPE[2])],
            order=order,
            study=f"study {index}",
        )
        for file in files:
            file.rename(file.with_name(f"IM-{index:04d}-{file.name[2:]}.dcm"))
        if index == cases:
            break  # no calcium_xml for the last
        images = [
            {
                "ImageIndex": SHAPE[2] - 1 - (2 + vessel),
                "NumberOfROIs": 1,
                "ROIs": [region(name, square(places[0], places[1], 1.2), 1711.9 + 3.0 * (2 + vessel), 0)],
            }
            for vessel, name in VESSELS.items()
        ]
        (base / "calcium_xml" / f"{index}.xml").write_bytes(plistlib.dumps({"Images": images}))
    return root


def pairs(root: Path, cases: int = 4) -> Path:
    """Plain folders of images and masks, in NRRD."""
    for index in range(cases):
        image, mask = scan(index)
        grid = {"spacing": (1.1, 0.9, 1.37), "origin": (-3.3, 7.1, 0.2)}
        save_itk(image, root / "images" / f"scan {index}.nrrd", **grid)
        save_itk(mask * 255, root / "masks" / f"scan {index}.nrrd", **grid)
    return root


def table(root: Path, cases: int = 4) -> Path:
    """A CSV table with two channels, subjects, sites and folds; its files lie anywhere below it."""
    rows = []
    for index in range(cases):
        image, mask = scan(index)
        files = {
            "image_FLAIR": save(image, root / f"visit{index % 2}" / f"{index}" / "flair.nii.gz", OBLIQUE),
            "image_T1": save(scan(70 + index)[0], root / f"visit{index % 2}" / f"{index}" / "t1.nii", OBLIQUE),
            "mask": save(mask, root / "drawn" / f"{index}.nii.gz", OBLIQUE),
        }
        named = {key: path.relative_to(root).as_posix() for key, path in files.items()}
        rows.append(
            {"case": f"c{index}", "subject": f"p{index // 2}", "site": "north", "fold": index // 2 % 2, **named}
        )
    with (root / "study.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root / "study.csv"


MIMICS: dict[str, Callable[..., Path]] = {
    "atlas": atlas,
    "atlas_derivatives": atlas_derivatives,
    "isles": isles,
    "orcascore": orcascore,
    "msd": msd,
    "msd_lung": msd_lung,
    "coca": coca,
    "pairs": pairs,
    "table": table,
}
