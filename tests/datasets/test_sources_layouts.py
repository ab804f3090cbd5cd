"""What each source reads from its names and folders: cases, channels, patients, sites, folds, and what it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from grcsf.datasets.sources.lazy import ChannelOf, LesionMask, OnGridOf
from grcsf.datasets.sources.registry import SOURCES, find_dataset, find_source, read_dataset
from grcsf.datasets.sources.source import check_case_name, inside
from grcsf.datasets.splits import get_fold
from grcsf.datasets.tables import write_cases_table
from grcsf.errors import DatasetError
from grcsf.io.volume import read_volume
from mimics import MIMICS, MNI, save, scan, table


def test_a_nnunet_folder_is_recognised_and_no_source_shares_it(tiny_volumes: Path, tiny_slices: Path) -> None:
    for path in (tiny_volumes, tiny_slices):
        assert [name for name, source in SOURCES.items() if source.evidence(path)] == ["nnunet"]
        assert read_dataset(path).source == "nnU-Net raw"


@pytest.mark.parametrize("name", sorted(MIMICS))
def test_every_mimic_is_one_source_only(name: str, tmp_path: Path) -> None:
    path = MIMICS[name](tmp_path)
    fitting = [key for key, source in SOURCES.items() if source.evidence(path)]
    assert fitting == [name.split("_", maxsplit=1)[0]]


def test_the_first_version_of_nnunet_s_header_is_not_taken_for_the_decathlon(tmp_path: Path) -> None:
    image, mask = scan(0)
    save(image, tmp_path / "imagesTr" / "a_0000.nii.gz")
    save(mask, tmp_path / "labelsTr" / "a.nii.gz")
    pairs = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    header = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "lesion"}, "training": pairs}
    (tmp_path / "dataset.json").write_text(json.dumps(header))
    assert find_source(tmp_path) is SOURCES["nnunet"]
    assert read_dataset(tmp_path).channel_names == ("CT",)


def test_atlas_tells_sites_sessions_and_test_scans(tmp_path: Path) -> None:
    data = read_dataset(MIMICS["atlas"](tmp_path))
    assert data.case_names == (
        *("sub-r001s001_ses-1", "sub-r001s002_ses-1", "sub-r001s003_ses-1"),
        *("sub-r009s001_ses-1", "sub-r009s001_ses-2"),
    )
    assert [dict(case.facts)["site"] for case in data.cases] == ["R001"] * 3 + ["R009"] * 2
    assert {case.group for case in data.cases[3:]} == {"sub-r009s001"}
    assert [(case.name, case.label) for case in data.test_cases] == [("sub-r010s001_ses-1", None)]
    for index in range(4):
        fold = get_fold(data, index)
        assert {data.case(name).group for name in fold.train}.isdisjoint(data.case(name).group for name in fold.val)


def test_masks_of_one_subject_are_merged(tmp_path: Path) -> None:
    data = read_dataset(MIMICS["atlas"](tmp_path))
    label = data.cases[0].label
    assert isinstance(label, LesionMask)
    ball = scan(0)[1]
    ball[10:12, 11:13, 8:10] = 1
    assert np.array_equal(read_volume(label).array, ball)


def test_the_scan_in_the_space_of_the_mask_is_taken(tmp_path: Path) -> None:
    base = MIMICS["atlas"](tmp_path)
    anat = base / "Training" / "R001" / "sub-r001s002" / "ses-1" / "anat"
    save(scan(1)[0][:9], anat / "sub-r001s002_ses-1_T1w.nii.gz")
    case = read_dataset(base).case("sub-r001s002_ses-1")
    assert [path.name for path in case.images] == ["sub-r001s002_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz"]
    save(scan(1)[0], anat / "sub-r001s002_ses-1_space-MNI152NLin2009aSym_desc-copy_T1w.nii.gz")
    with pytest.raises(DatasetError, match="3 T1w images"):
        read_dataset(base)


def test_a_site_can_be_read_from_the_subject_alone(tmp_path: Path) -> None:
    for site, subject in (("R001", "sub-r001s001"), ("R044", "sub-r044s002")):
        image, mask = scan(1)
        save(image, tmp_path / subject / "ses-1" / "anat" / f"{subject}_ses-1_T1w.nii.gz", MNI)
        save(mask, tmp_path / subject / "ses-1" / "anat" / f"{subject}_ses-1_label-L_desc-T1lesion_mask.nii.gz", MNI)
        assert dict(read_dataset(tmp_path).case(f"{subject}_ses-1").facts)["site"] == site


def test_isles_puts_the_flair_on_the_grid_of_the_dwi(tmp_path: Path) -> None:
    data = read_dataset(MIMICS["isles"](tmp_path))
    assert data.channel_names == ("DWI", "ADC", "FLAIR")
    for case in data.cases:
        dwi, adc, flair = (read_volume(image) for image in case.images)
        assert isinstance(case.images[2], OnGridOf)
        assert dwi.array.shape == adc.array.shape == flair.array.shape
        assert np.array_equal(dwi.geometry.affine_ras, flair.geometry.affine_ras)
        assert flair.array.dtype == np.float32
        assert flair.array.max() > 400, "tissue of the mimic is 500"


def test_a_brain_mask_is_no_lesion_mask_of_isles(tmp_path: Path) -> None:
    base = MIMICS["isles"](tmp_path)
    before = {case.name: case.label for case in read_dataset(base).cases}
    for mask in list(base.rglob("*_msk.nii.gz")):
        shutil.copyfile(mask, mask.with_name(mask.name.replace("_msk", "_space-dwi_desc-brain_mask")))
    assert {case.name: case.label for case in read_dataset(base).cases} == before


def test_isles_without_flair_has_two_channels(tmp_path: Path) -> None:
    base = MIMICS["isles"](tmp_path)
    for folder in base.glob("sub-*/*/anat"):
        shutil.rmtree(folder)
    assert read_dataset(base).channel_names == ("DWI", "ADC")


def test_orcascore_tells_vendors_and_leaves_contrast_scans_alone(tmp_path: Path) -> None:
    data = read_dataset(MIMICS["orcascore"](tmp_path))
    assert data.case_names == ("TRV1P1", "TRV2P1", "TRV3P1", "TRV4P1")
    assert [case.facts for case in data.cases] == [(("site", f"vendor {k}"),) for k in range(1, 5)]
    assert [case.name for case in data.test_cases] == ["TEV1P1"]
    assert all(path.name.endswith("CTI.mhd") for case in data.cases for path in case.images)
    assert data.labels == {"background": 0, "LAD": 1, "LCX": 2, "RCA": 3}


def test_orcascore_is_known_by_small_letters_in_a_folder_each(tmp_path: Path) -> None:
    base = MIMICS["orcascore"](tmp_path / "a")
    for path in sorted((base / "Training Set").rglob("*.mhd")):
        case = path.stem[:6].lower()
        (tmp_path / "b" / case).mkdir(parents=True, exist_ok=True)
        shutil.copy(path.with_suffix(".raw"), tmp_path / "b" / case / f"{path.stem}.raw")
        shutil.copy(path, tmp_path / "b" / case / f"{path.stem.lower()}.mhd")
    data = read_dataset(tmp_path / "b")
    assert data.case_names == ("TRV1P1", "TRV2P1", "TRV3P1", "TRV4P1")
    assert read_volume(data.cases[0].images[0]).array.min() == -1000


def test_the_decathlon_gives_channels_labels_and_test_images(tmp_path: Path) -> None:
    data = read_dataset(MIMICS["msd"](tmp_path))
    assert data.channel_names == ("FLAIR", "T1w", "t1gd", "T2w")
    assert data.labels == {"background": 0, "edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 3}
    images = data.cases[1].images
    assert all(isinstance(image, ChannelOf) for image in images)
    for channel, image in enumerate(images):
        assert np.array_equal(read_volume(image).array, scan(10 + channel)[0])
    assert [case.name for case in data.test_cases] == ["BRATS_005"]
    assert [path.name for path in data.described_by] == ["dataset.json"]


def test_patients_without_regions_are_kept_apart_not_taken_for_healthy(tmp_path: Path) -> None:
    _, found = find_dataset(MIMICS["coca"](tmp_path))
    assert found.dataset.case_names == ("coca-0", "coca-1", "coca-2", "coca-3")
    assert [case.name for case in found.dataset.test_cases] == ["coca-4"]
    assert [problem.kind for problem in found.problems] == ["without-regions"]


def test_numbered_channels_of_plain_folders_are_told_by_the_names_of_the_masks(tmp_path: Path) -> None:
    for name in ("a", "b"):
        image, mask = scan(1)
        save(image, tmp_path / "images" / f"{name}_0000.nii.gz")
        save(image + 1, tmp_path / "images" / f"{name}_0001.nii.gz")
        save(mask, tmp_path / "labels" / f"{name}.nii.gz")
    data = read_dataset(tmp_path)
    assert (data.case_names, data.channel_names) == (("a", "b"), ("image 0", "image 1"))


def test_numbered_images_with_numbered_masks_are_cases(tmp_path: Path) -> None:
    for name in ("slice_0417", "slice_0418"):
        image, mask = scan(1)
        save(image, tmp_path / "images" / f"{name}.nii.gz")
        save(mask, tmp_path / "labels" / f"{name}.nii.gz")
    assert read_dataset(tmp_path).case_names == ("slice_0417", "slice_0418")


def test_a_table_gives_channels_subjects_sites_and_folds(tmp_path: Path) -> None:
    path = table(tmp_path)
    data = read_dataset(path)
    assert (data.name, data.root) == ("study", tmp_path)
    assert data.channel_names == ("FLAIR", "T1")
    assert [case.group for case in data.cases] == ["p0", "p0", "p1", "p1"]
    assert get_fold(data, 1).val == ("c2", "c3")
    path.rename(tmp_path / "dataset.csv")
    assert read_dataset(tmp_path).case_names == data.case_names


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_may_be_separated_otherwise_and_begin_with_a_byte_order_mark(mark: str, tmp_path: Path) -> None:
    path = table(tmp_path)
    path.write_text(path.read_text().replace(",", mark), encoding="utf-8-sig")
    assert len(read_dataset(path).cases) == 4


def test_channels_of_a_table_go_by_their_names(tmp_path: Path) -> None:
    path = table(tmp_path)
    names = {"0": "T1", "1": "FLAIR"}
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": names}))
    with pytest.raises(DatasetError, match=r"names the channels T1, FLAIR, .* has FLAIR, T1; use the same names"):
        read_dataset(path)
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "flair", "1": "t1"}}))
    assert read_dataset(path).channel_names == ("flair", "t1")


def test_a_row_without_mask_is_kept_apart(tmp_path: Path) -> None:
    path = table(tmp_path)
    path.write_text(path.read_text().replace("drawn/3.nii.gz", ""))
    with pytest.raises(DatasetError, match=r"both training and test cases \(p1\)"):
        read_dataset(path)
    path.write_text(path.read_text().replace("c3,p1", "c3,p9"))
    data = read_dataset(path)
    assert [case.name for case in data.test_cases] == ["c3"]
    assert get_fold(data, 1).val == ("c2",)


def test_folds_in_a_file_come_before_those_of_the_table(tmp_path: Path) -> None:
    path = table(tmp_path)
    folds = [{"train": ["c2", "c3"], "val": ["c0", "c1"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    assert get_fold(read_dataset(path), 0).val == ("c0", "c1")
    with pytest.raises(DatasetError, match="1 folds"):
        get_fold(read_dataset(path), 1)


@pytest.mark.parametrize("text", ["../a", "a/../../b", "/etc/passwd", "C:/a", "C:\\a", "\\\\server\\a", "a/.."])
def test_paths_that_lead_out_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="leads out"):
        inside(tmp_path, text, "line 2")


@pytest.mark.parametrize("text", ["", " "])
def test_a_path_must_be_given(text: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="line 2: no path given"):
        inside(tmp_path, text, "line 2")


@pytest.mark.parametrize("text", ["a.nii.gz", "./a/b.nii.gz", "a\\b.nii.gz", "..a/b", "a b/c"])
def test_paths_below_the_folder_are_taken(text: str, tmp_path: Path) -> None:
    assert inside(tmp_path, text, "line 2").is_relative_to(tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "-x", " a", "a\nb", "a\0", "a:b", "x" * 300, "*"])
def test_names_that_are_no_file_names_are_refused(name: str) -> None:
    with pytest.raises(DatasetError, match="case name"):
        check_case_name(name, "line 2")


def test_the_table_of_cases_holds_no_folder_above_the_data_set(tmp_path: Path) -> None:
    data = read_dataset(MIMICS["isles"](tmp_path))
    write_cases_table(data, tmp_path / "cases.csv")
    text = (tmp_path / "cases.csv").read_text()
    assert str(tmp_path) not in text
    assert "derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz" in text
    assert len(text.splitlines()) == 1 + 4
