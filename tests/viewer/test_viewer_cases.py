"""Which cases a path holds: files, folders, data sets, runs, predictions, DICOM."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dicoms import MR, asymmetric, with_canaries, write_series
from grcsf.errors import DatasetError
from grcsf.io.nifti import new_header, write_nifti
from grcsf.viewer.case_list import find_cases
from grcsf.viewer.layers import CaseList, ViewCase, kind_label, map_layers, split_map


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def shown(cases: CaseList) -> dict[str, list[str]]:
    return {case.name: [f"{layer.role}:{layer.kind}" for layer in case.layers] for case in cases.cases}


def test_a_single_image_is_one_case(tmp_path):
    touch(tmp_path, "scan_0000.nii.gz", "other.nii.gz")
    assert shown(find_cases(tmp_path / "scan_0000.nii.gz")) == {"scan": ["image:"]}


def test_a_folder_of_images_is_a_case_each_with_the_maps_beside_it(tmp_path):
    touch(tmp_path, "a.nii.gz", "a_prob.nii.gz", "a_residual-r50.nii.gz", "b.mha")
    assert shown(find_cases(tmp_path)) == {"a": ["image:", "map:prob", "map:residual-r50"], "b": ["image:"]}


def test_channels_of_a_case_are_its_images(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz")
    assert shown(find_cases(tmp_path)) == {name: ["image:0000", "image:0001"] for name in ("a", "b")}


def test_a_data_set_shows_images_and_references(tiny_volumes):
    found = find_cases(tiny_volumes)
    assert found.title == "Dataset901_TinyVolumes"
    assert shown(found)["case-00"] == ["image:FLAIR", "image:T1", "reference:"]
    assert len(found.cases) == 6
    assert found.labels == {1: "lesion"}


def test_a_folder_of_predictions_lies_on_its_images_and_references(phantoms):
    data = phantoms / "Dataset900_BrainPhantoms"
    wanted = ["image:", "reference:", "prediction:", "map:prob", "map:residual-r50"]
    found = find_cases(phantoms / "masks", images=data / "imagesTr", references=data / "labelsTr")
    assert shown(found) == {f"phantom-{index:04d}": wanted for index in (1, 2)}
    whole = find_cases(phantoms / "masks", dataset=data)
    assert [[layer.role for layer in case.layers] for case in whole.cases] == [
        [layer.role for layer in case.layers] for case in found.cases
    ]


def test_images_of_a_folder_take_references_from_a_data_set(phantoms):
    data = phantoms / "Dataset900_BrainPhantoms"
    found = find_cases(phantoms / "masks", images=data / "imagesTr", dataset=data)
    assert [layer.role for layer in found.cases[0].layers] == ["image", "reference", "prediction", "map", "map"]


def test_a_run_with_images_instead_of_a_data_set_is_told_what_to_give(tmp_path, phantoms):
    run = run_folder(tmp_path, tmp_path / "gone", phantoms / "masks")
    with pytest.raises(DatasetError, match="give that with -d"):
        find_cases(run, images=phantoms / "Dataset900_BrainPhantoms" / "imagesTr")


def test_predictions_without_images_say_how_to_get_them(tmp_path):
    touch(tmp_path, "a.nii.gz", "a_prob.nii.gz", "prediction.json")
    found = find_cases(tmp_path)
    assert shown(found) == {"a": ["prediction:", "map:prob"]}
    assert "-i" in found.notes[0]


def test_a_mask_and_an_image_of_other_names_make_one_case(tmp_path):
    touch(tmp_path, "scan.nii.gz", "mask.nii.gz", "truth.nii.gz")
    found = find_cases(tmp_path / "mask.nii.gz", tmp_path / "scan.nii.gz", tmp_path / "truth.nii.gz")
    assert shown(found) == {"mask": ["image:", "reference:", "prediction:"]}


def run_folder(root: Path, data: Path, masks: Path) -> Path:
    """A run as ``grcsf run`` leaves it, with one case in each of two folds."""
    run = root / "run"
    for fold, name in enumerate(("phantom-0001", "phantom-0002")):
        (run / f"fold_{fold}" / "validation").mkdir(parents=True)
        for path in masks.glob(f"{name}*"):
            shutil.copy(path, run / f"fold_{fold}" / "validation" / path.name)
    (run / "run.json").write_text(json.dumps({"dataset": data.name}), encoding="utf-8")
    return run


def test_a_run_shows_the_predictions_of_its_folds_on_the_data_set_beside_it(tmp_path, phantoms):
    data = tmp_path / "Dataset900_BrainPhantoms"
    shutil.copytree(phantoms / data.name, data)
    run = run_folder(tmp_path, data, phantoms / "masks")
    wanted = ["image:FLAIR", "reference:", "prediction:", "map:prob", "map:residual-r50"]
    assert shown(find_cases(run)) == {"phantom-0001": wanted, "phantom-0002": wanted}
    assert shown(find_cases(tmp_path)) == shown(find_cases(run)), "the folder of a demo"
    assert shown(find_cases(run / "fold_1")) == {"phantom-0002": wanted}


def test_a_run_without_its_data_set_shows_masks_and_says_so(tmp_path, phantoms):
    run = run_folder(tmp_path, tmp_path / "gone", phantoms / "masks")
    found = find_cases(run)
    assert shown(found)["phantom-0001"] == ["prediction:", "map:prob", "map:residual-r50"]
    assert "-d" in found.notes[0]
    assert shown(find_cases(run, dataset=phantoms / "Dataset900_BrainPhantoms"))["phantom-0001"][0] == "image:FLAIR"


def test_a_run_with_a_data_set_that_is_not_its_own_is_refused(tmp_path, phantoms, tiny_volumes):
    run = run_folder(tmp_path, tmp_path / "gone", phantoms / "masks")
    with pytest.raises(DatasetError, match="holds none of the 2 cases of run"):
        find_cases(run, dataset=tiny_volumes)


def test_a_data_set_name_in_a_run_leads_nowhere_else(tmp_path, phantoms):
    """``run.json`` may come from anybody; a path in it is not followed."""
    run = run_folder(tmp_path / "deep", tmp_path, phantoms / "masks")
    outside = f"../../../{phantoms.name}/Dataset900_BrainPhantoms"
    (run / "run.json").write_text(json.dumps({"dataset": outside}), encoding="utf-8")
    assert "-d" in find_cases(run).notes[0]


def test_every_series_of_a_dicom_study_is_a_case_without_free_text(tmp_path):
    for number in (1, 2):
        write_series(
            tmp_path / f"s{number}", asymmetric(), number=number, sop_class=MR, intercept=-1024.0, change=with_canaries
        )
    found = find_cases(tmp_path)
    assert [case.name for case in found.cases] == ["series 1", "series 2"]
    assert found.modality == "MR"
    assert "XCANARYX" not in repr([(case.name, [layer.label for layer in case.layers]) for case in found.cases])


@pytest.mark.parametrize(
    ("path", "options", "text"),
    [
        ("none", {}, "no such file or folder"),
        ("empty", {}, "nothing to show"),
        ("a.txt", {}, "not an image grcsf reads"),
        ("images", {"references": "empty"}, "nothing to show"),
        ("images", {"references": "other"}, "no reference of any case"),
        ("images", {"images": "other"}, "no mask or map of any of the 2 images"),
    ],
)
def test_what_cannot_be_shown_is_an_error_that_says_what_was_expected(tmp_path, path, options, text):
    touch(tmp_path / "empty")
    touch(tmp_path / "images", "a.nii.gz", "b.nii.gz")
    touch(tmp_path / "other", "x.nii.gz", "y.nii.gz")
    touch(tmp_path, "a.txt")
    with pytest.raises(DatasetError, match=text):
        find_cases(tmp_path / path, **{name: tmp_path / value for name, value in options.items()})


@pytest.mark.parametrize(
    ("stem", "found"),
    [
        ("case_1_prob", ("case_1", "prob")),
        ("case_residual-r75", ("case", "residual-r75")),
        ("case_importance-l1", ("case", "importance-l1")),
        ("case_gcu-gain-l0", ("case", "gcu-gain-l0")),
        ("case_fusion-1-r50", ("case", "fusion-1-r50")),
        ("case_rcu-gain-1", ("case", "rcu-gain-1")),
        ("case_1", None),
        ("prob", None),
    ],
)
def test_maps_are_told_by_their_kind(stem, found):
    assert split_map(stem) == found


def test_a_case_whose_name_begins_like_another_keeps_its_own_maps(tmp_path):
    files = {stem: tmp_path / f"{stem}.nii.gz" for stem in ("a", "a_b", "a_b_prob", "a_prob", "a_my-map")}
    assert [layer.kind for layer in map_layers("a", files, ["a", "a_b"])] == ["prob", "my-map"]
    assert [layer.kind for layer in map_layers("a_b", files, ["a", "a_b"])] == ["prob"]


def test_kinds_have_names():
    assert kind_label("prob") == "Lesion probability"
    assert kind_label("importance-1") == kind_label("importance-l1") == "Importance of patches, level 1"
    assert kind_label("fusion-1-r75") == "Use of the residual map, level 1, mask ratio 0.75"
    assert kind_label("shiny") == "shiny"


def test_a_case_without_a_layer_of_a_role_has_none():
    assert ViewCase("a", ()).first("reference") is None


def test_a_real_file_is_not_opened_to_list_it(tmp_path):
    """A folder of thousands of cases lists at once: a file that is no image is found out only when it is shown."""
    write_nifti(np.zeros((3, 3, 3), np.uint8), new_header((3, 3, 3), np.eye(4)), tmp_path / "good.nii.gz")
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    assert list(shown(find_cases(tmp_path))) == ["bad", "good"]
