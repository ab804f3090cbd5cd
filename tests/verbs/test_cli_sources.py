"""Hostile and broken data sets of every source: one clear message, no traceback, nothing half-written or replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

import grcsf
from chain import CUBES, Done, contents
from grcsf.datasets.sources.registry import SOURCES
from grcsf.errors import DatasetError
from mimics import MIMICS, SHAPE, save, scan

Cli = Callable[..., Done]
Spoil = Callable[[Path], object]
QUICK = (*CUBES, "network.rcu=false", "training.steps=1")
FLAGS = ("--device", "cpu", *(part for pair in QUICK for part in ("--set", pair)))


def refused(done: Done, code: int, *words: str) -> None:
    """The command ended with ``code`` and one message that has all the words, and no traceback."""
    assert done.code == code, done.out + done.err
    assert "Traceback" not in done.out + done.err
    assert len([line for line in done.err.splitlines() if line.startswith(("error: ", "failed: "))]) == 1, done.err
    missing = [word for word in words if word not in done.err]
    assert not missing, done.err


def first(root: Path, pattern: str) -> Path:
    return sorted(path for path in root.rglob(pattern) if not path.name.startswith("."))[0]


def remove(pattern: str) -> Spoil:
    return lambda root: first(root, pattern).unlink()


def crop(pattern: str) -> Spoil:
    """Two slices fewer, on the same affine."""

    def spoil(root: Path) -> None:
        path = first(root, pattern)
        image = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[:, :, :-2], image.affine), path)

    return spoil


def edit(name: str, old: str, new: str) -> Spoil:
    def spoil(root: Path) -> None:
        path = first(root, name)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def put(pattern: str, value: int) -> Spoil:
    def spoil(root: Path) -> None:
        path = first(root, pattern)
        image = nibabel.load(path)
        array = np.asarray(image.dataobj).copy()
        array[3, 3, 3] = value
        nibabel.save(nibabel.Nifti1Image(array, image.affine), path)

    return spoil


BOMB = '1.0.dtd" [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
CASES: dict[str, tuple[str, Spoil, tuple[str, ...]]] = {
    "atlas: missing mask": ("atlas", remove("sub-r001s002*mask.nii.gz"), ("sub-r001s002_ses-1", "no lesion mask")),
    "atlas: mask on another grid": ("atlas", crop("sub-r001s002*mask.nii.gz"), ("sub-r001s002_ses-1", "grid", "16")),
    "atlas: merged masks on two grids": ("atlas", crop("*label-R*"), ("sub-r001s001_ses-1", "label-R", "size")),
    "atlas: mask without image": ("atlas", remove("sub-r001s002*T1w.nii.gz"), ("sub-r001s002_ses-1", "without a T1w")),
    "atlas: probabilities": ("atlas", put("sub-r001s002*mask.nii.gz", 7), ("sub-r001s002", "binary mask", "7")),
    "isles: missing mask": ("isles", remove("*0002*_msk.nii.gz"), ("sub-strokecase0002_ses-0001", "no lesion mask")),
    "isles: missing channel": ("isles", remove("*0002*_adc.nii.gz"), ("sub-strokecase0002_ses-0001", "no ADC image")),
    "isles: mask on another grid": ("isles", crop("*0002*_msk.nii.gz"), ("sub-strokecase0002", "grid")),
    "orcascore: missing reference": ("orcascore", remove("TRV2P1R.mhd"), ("TRV2P1", "no TRV2P1R.mhd")),
    "orcascore: missing voxels": ("orcascore", remove("TRV2P1R.raw"), ("TRV2P1", "TRV2P1R.mhd")),
    "msd: path that leads out": (
        "msd_lung",
        edit("dataset.json", "./labelsTr/lung_002.nii.gz", "../../labelsTr/lung_002.nii.gz"),
        ("training pair 2", "leads out"),
    ),
    "msd: absolute path": (
        "msd_lung",
        edit("dataset.json", "./imagesTr/lung_001.nii.gz", "/etc/passwd"),
        ("training pair 1", "leads out"),
    ),
    "msd: a pair without label": (
        "msd_lung",
        edit("dataset.json", '"label": "./labelsTr/lung_002.nii.gz"', '"note": "none"'),
        ("training pair 2, label", "no path given"),
    ),
    "msd: nested too deeply": (
        "msd_lung",
        lambda root: first(root, "dataset.json").write_text("[" * 200_000),
        ("dataset.json", "JSON"),
    ),
    "msd: missing file": ("msd_lung", remove("labelsTr/lung_003.nii.gz"), ("training pair 3", "no file")),
    "msd: label on another grid": ("msd_lung", crop("labelsTr/lung_003.nii.gz"), ("lung_003", "grid")),
    "msd: value nobody declared": ("msd_lung", put("labelsTr/lung_003.nii.gz", 5), ("lung_003", "5")),
    "msd: other number of channels": (
        "msd",
        edit("dataset.json", '"3": "T2w"', '"3": "T2w", "4": "DWI"'),
        ("BRATS_001", "5 channel(s)"),
    ),
    "msd: half a file": (
        "msd",
        lambda root: first(root, "imagesTr/*").write_bytes(first(root, "imagesTr/*").read_bytes()[:9000]),
        ("BRATS_001", "truncated"),
    ),
    "coca: entity bomb": ("coca", edit("1.xml", '1.0.dtd">', BOMB), ("1.xml", "declares entities")),
    "coca: broken XML": ("coca", edit("1.xml", "</plist>", ""), ("1.xml", "broken XML")),
    "coca: unknown vessel": ("coca", edit("1.xml", "Right Coronary Artery", "Aorta"), ("Aorta", "names no vessel")),
    "coca: XML of nobody": (
        "coca",
        lambda root: shutil.copy(first(root, "1.xml"), first(root, "1.xml").with_name("99.xml")),
        ("99", "without a folder"),
    ),
    "coca: half a slice": (
        "coca",
        lambda root: first(root, "*0001-*.dcm").write_bytes(first(root, "*0001-*.dcm").read_bytes()[:900]),
        ("coca-1", "file 1 of 18", "truncated"),
    ),
    "pairs: missing mask": ("pairs", remove("masks/scan 2.nrrd"), ("scan 2", "no mask")),
    "pairs: missing image": ("pairs", remove("images/scan 2.nrrd"), ("scan 2", "without an image")),
    "pairs: two folders of masks": ("pairs", lambda root: (root / "labels").mkdir(), ("labels and masks",)),
    "table: path that leads out": (
        "table",
        edit("study.csv", "drawn/1", "../drawn/1"),
        ("line 3", "mask", "leads out"),
    ),
    "table: absolute path": ("table", edit("study.csv", "drawn/1.nii.gz", "/etc/passwd"), ("line 3", "leads out")),
    "table: drive letter": ("table", edit("study.csv", "drawn/1.nii.gz", r"C:\scan.nii.gz"), ("line 3", "leads out")),
    "table: missing file": ("table", edit("study.csv", "drawn/1.nii.gz", "drawn/9.nii.gz"), ("line 3", "no file")),
    "table: mask on another grid": ("table", crop("drawn/1.nii.gz"), ("c1", "grid")),
    "table: name that leads out": ("table", edit("study.csv", "c1,", "../../c1,"), ("line 3", "case name")),
    "table: two of a name": ("table", edit("study.csv", "c1,", "c0,"), ("c0", "2 cases of this name")),
    "table: a patient in two folds": ("table", edit("study.csv", "c1,p0,north,0", "c1,p0,north,1"), ("p0", "both")),
    "table: gap in the folds": ("table", edit("study.csv", "c1,p0,north,0", "c1,p0,north,7"), ("column fold", "'7'")),
    "table: no subject": ("table", edit("study.csv", "c1,p0,", "c1,,"), ("c1", "no subject")),
    "table: no mask column": ("table", edit("study.csv", ",mask", ",outline"), ("columns", "mask")),
    "table: not text": (
        "table",
        lambda root: (root / "study.csv").write_bytes(b"\xff\xfe\0c"),
        ("cannot be read as CSV",),
    ),
}


@pytest.fixture(params=CASES, ids=list(CASES))
def spoilt(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """A data set with one fault, and what the message must say."""
    name, spoil, words = CASES[request.param]
    path = MIMICS[name](tmp_path / "data")
    spoil(tmp_path / "data")
    return path, words


def test_a_fault_is_told_once_by_every_command_and_nothing_is_left(
    spoilt: tuple[Path, tuple[str, ...]], tmp_path: Path, command_line: Cli
) -> None:
    data, words = spoilt
    raw = tmp_path / "Dataset001_Raw"
    refused(command_line("convert", "-d", data, "-o", raw), 1, *words)
    refused(command_line("run", "-d", data, "-o", tmp_path / "run", *FLAGS), 1, *words)
    assert not raw.exists()
    assert not list(tmp_path.rglob(".partial-*"))
    assert not list(tmp_path.glob("run/**/model.*"))
    told = command_line("validate", "-d", data)
    assert told.code == 1
    assert told.err == ""
    assert not [word for word in words if word not in told.out], told.out


@pytest.mark.parametrize("verb", ["validate", "run", "convert"])
def test_a_folder_without_anything_lists_what_is_known(verb: str, tmp_path: Path, command_line: Cli) -> None:
    (tmp_path / "empty").mkdir()
    outputs = {"validate": (), "run": ("-o", tmp_path / "run", *FLAGS), "convert": ("-o", tmp_path / "Dataset001_A")}
    done = command_line(verb, "-d", tmp_path / "empty", *outputs[verb])
    assert done.code == 1
    text = done.out + done.err
    assert "no data set recognised" in text
    assert all(source.title in text for source in SOURCES.values())
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "Dataset001_A").exists()


def test_a_path_that_is_not_there(tmp_path: Path, command_line: Cli) -> None:
    refused(command_line("convert", "-d", tmp_path / "none", "-o", tmp_path / "Dataset001_A"), 1, "no such folder")
    refused(command_line("run", "-d", tmp_path / "none.csv", "-o", tmp_path / "run"), 1, "no such folder")


TWO: dict[str, Callable[[Path], object]] = {
    "MSD and plain folders": lambda root: [
        MIMICS["msd_lung"](root),
        [(root / "Task06_Lung" / name).mkdir() for name in ("images", "labels")],
    ],
    "ATLAS and ISLES'22": lambda root: [
        MIMICS["isles"](root),
        MIMICS["atlas_derivatives"](root / "ISLES-2022"),
    ],
    "nnU-Net raw and orCaScore": lambda root: [
        MIMICS["orcascore"](root / "x"),
        (root / "x" / "imagesTr").mkdir(),
    ],
}


@pytest.mark.parametrize("make", TWO.values(), ids=TWO)
def test_two_sources_in_one_folder_are_not_guessed_between(
    make: Callable[[Path], object], tmp_path: Path, command_line: Cli
) -> None:
    make(tmp_path / "data")
    data = next(path for path in (tmp_path / "data").iterdir() if path.is_dir())
    refused(command_line("run", "-d", data, "-o", tmp_path / "run", *FLAGS), 1, "could be 2 data sets at once")
    refused(command_line("convert", "-d", data, "-o", tmp_path / "Dataset001_A"), 1, "could be 2 data sets at once")
    done = command_line("validate", "-d", data)
    assert (done.code, "could be 2 data sets at once" in done.out) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_conversion_is_never_written_over_unless_asked(tmp_path: Path, command_line: Cli) -> None:
    data, raw = MIMICS["msd_lung"](tmp_path / "data"), tmp_path / "Dataset001_Lung"
    assert command_line("convert", "-d", data, "-o", raw).code == 0
    before = contents(raw)
    refused(command_line("convert", "-d", data, "-o", raw), 1, "exists already")
    assert contents(raw) == before
    edit("dataset.json", '"cancer"', '"tumour"')(data)
    assert command_line("convert", "-d", data, "-o", raw, "--overwrite").code == 0
    assert json.loads((raw / "dataset.json").read_text())["labels"] == {"background": 0, "tumour": 1}
    assert not list(tmp_path.glob(".partial-*"))


def test_a_failed_replacement_leaves_the_old_conversion(tmp_path: Path, command_line: Cli) -> None:
    data, raw = MIMICS["msd_lung"](tmp_path / "data"), tmp_path / "Dataset001_Lung"
    assert command_line("convert", "-d", data, "-o", raw).code == 0
    before = contents(raw)
    crop("labelsTr/lung_003.nii.gz")(data)
    refused(command_line("convert", "-d", data, "-o", raw, "--overwrite"), 1, "lung_003")
    assert contents(raw) == before


def test_what_is_no_conversion_is_never_replaced(tmp_path: Path, command_line: Cli) -> None:
    data, mine = MIMICS["msd_lung"](tmp_path / "data"), tmp_path / "Dataset001_Mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    refused(command_line("convert", "-d", data, "-o", mine, "--overwrite"), 1, "not written by grcsf convert")
    assert (mine / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["Stroke", "Dataset1_Stroke", "Dataset001", "dataset001_Stroke", "Dataset001_"])
def test_a_name_that_nnunet_would_not_find_is_a_wrong_argument(name: str, tmp_path: Path, command_line: Cli) -> None:
    data = MIMICS["msd_lung"](tmp_path / "data", cases=2)
    refused(command_line("convert", "-d", data, "-o", tmp_path / name), 2, "Dataset501_Stroke")


def test_a_conversion_does_not_go_into_its_own_source(tmp_path: Path, command_line: Cli) -> None:
    data = MIMICS["msd_lung"](tmp_path / "data", cases=2)
    before = contents(data)
    refused(command_line("convert", "-d", data, "-o", data / "Dataset001_A"), 1, "lies in the data set")
    assert contents(data) == before


def test_png_among_other_formats_is_not_converted(tmp_path: Path, tiny_slices: Path) -> None:
    image, mask = scan(0, SHAPE)
    save(image, tmp_path / "d" / "images" / "a.nii.gz")
    save(mask, tmp_path / "d" / "labels" / "a.nii.gz")
    for part, place in (("images", "imagesTr/case-00_0000.png"), ("labels", "labelsTr/case-00.png")):
        shutil.copy(tiny_slices / place, tmp_path / "d" / part / "b.png")
    with pytest.raises(DatasetError, match="PNG and other formats"):
        grcsf.convert(tmp_path / "d", tmp_path / "Dataset001_A")


def test_a_description_gives_plain_folders_channels_and_classes(tmp_path: Path, tiny_volumes: Path) -> None:
    shutil.copytree(tiny_volumes / "imagesTr", tmp_path / "d" / "images")
    shutil.copytree(tiny_volumes / "labelsTr", tmp_path / "d" / "labels")
    header = {"channel_names": {"0": "FLAIR", "1": "T1"}, "labels": {"background": 0, "plaque": 1}}
    (tmp_path / "d" / "dataset.json").write_text(json.dumps(header))
    made = grcsf.convert(tmp_path / "d", tmp_path / "Dataset001_A")
    assert (made.channel_names, made.labels) == (("FLAIR", "T1"), {"background": 0, "plaque": 1})
    assert len(made.cases) == 6


def test_the_spacing_of_png_in_plain_folders_is_that_of_their_masks_too(tmp_path: Path, tiny_slices: Path) -> None:
    shutil.copytree(tiny_slices / "imagesTr", tmp_path / "d" / "images")
    shutil.copytree(tiny_slices / "labelsTr", tmp_path / "d" / "labels")
    (tmp_path / "d" / "dataset.json").write_text(json.dumps({"spacing_mm": [0.3, 0.3]}))
    assert grcsf.convert(tmp_path / "d", tmp_path / "Dataset003_Fine").spacing_mm == (0.3, 0.3)


def test_png_slices_stay_png(tmp_path: Path, tiny_slices: Path) -> None:
    made = grcsf.convert(tiny_slices, tmp_path / "Dataset002_Slices")
    assert made.file_ending == ".png"
    assert made.spacing_mm == (1.0, 1.0)
    assert len(list((tmp_path / "Dataset002_Slices" / "imagesTr").glob("*_0000.png"))) == 8
