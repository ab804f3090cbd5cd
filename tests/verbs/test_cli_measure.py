"""``grcsf measure``: files, atlases on their own grids, and input that is refused."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest

import grcsf
from grcsf.errors import DatasetError, ImageError, OutputError, SettingsError
from grcsf.evaluation.clinical.stroke import StrokeRules

AFFINE = np.array([[-1.0, 0, 0, 9.5], [0, 1.0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1]])  # x from 9.5 down to -9.5


def save(array, path, affine=AFFINE):
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def masks(tmp_path):
    """``a``: 24 voxels of 2 mm3 on the patient's right and 6 on the left; ``b``: none."""
    first = np.zeros((20, 10, 5), np.uint8)
    first[0:4, 0:3, 0:2] = 1
    first[15:18, 5:7, 4] = 1
    save(first, tmp_path / "masks" / "a.nii.gz")
    save(np.zeros_like(first), tmp_path / "masks" / "b.nii.gz")
    return tmp_path / "masks"


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_folder_gives_load_count_and_side(masks, tmp_path, command_line):
    done = command_line("measure", "-i", masks, "-o", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    first, second = rows(tmp_path / "out" / "measures.csv")
    assert (first["case"], first["label"], first["lesions"], first["side"]) == ("a", "lesion", "2", "both")
    numbers = [float(first[name]) for name in ("load_ml", "right_ml", "left_ml", "largest_ml")]
    assert numbers == pytest.approx([0.060, 0.048, 0.012, 0.048])
    assert (second["load_ml"], second["side"]) == ("0", "none")
    assert "a, lesion: 0.060 ml in 2 lesions, both (left 0.012, right 0.048 ml)" in done.out
    tree, run = (json.loads((tmp_path / "out" / name).read_text()) for name in ("measures.json", "run.json"))
    assert tree["rules"]["midline"] == "origin"
    assert (run["verb"], run["status"], run["cases"], len(run["inputs"])) == ("measure", "done", 2, 2)


@pytest.mark.parametrize(("word", "left_ml"), [("origin", 0.012), ("centre", 0.012), ("-9", 0.0), ("8", 0.036)])
def test_the_midline_is_origin_centre_or_a_number(masks, tmp_path, command_line, word, left_ml):
    # x of the large lesion 9.5, 8.5, 7.5, 6.5 with 6 voxels each: left of 8 lie two planes, and the small lesion
    assert command_line("measure", "-i", masks, "-o", tmp_path / "out", "--midline", word).code == 0
    assert float(rows(tmp_path / "out" / "measures.csv")[0]["left_ml"]) == pytest.approx(left_ml)


def test_an_atlas_of_another_grid_gives_territories(masks, tmp_path, command_line):
    values = np.zeros((5, 3, 3), np.int16)  # 4 mm voxels, x from -8 to 8: two planes left, one between, two right
    values[:2], values[3:] = 1, 2
    affine = np.array([[4.0, 0, 0, -8], [0, 4.0, 0, 0], [0, 0, 4.0, 0], [0, 0, 0, 1]])
    atlas = save(values, tmp_path / "atlas.nii.gz", affine)
    names = tmp_path / "names.yaml"
    names.write_text("MCA left: 1\nMCA right: 2\n")
    words = ("-i", masks, "-o", tmp_path / "out", "--atlas", atlas, "--atlas-names", names)
    done = command_line("measure", *words)
    assert done.code == 0
    assert "most in MCA right (0.048 ml)" in done.out
    table = {(row["case"], row["territory"]): row for row in rows(tmp_path / "out" / "territories.csv")}
    assert float(table["a", "MCA right"]["load_ml"]) == pytest.approx(0.048)
    assert float(table["a", "MCA left"]["load_ml"]) == pytest.approx(0.012)
    assert float(table["a", "MCA left"]["territory_ml"]) == pytest.approx(2 * 3 * 3 * 0.064)
    assert table["b", "outside"]["share_of_load"] == "nan"
    unnamed = grcsf.measure(masks, tmp_path / "more", atlas=atlas)
    assert [place.name for place in unnamed.cases[0].territories] == ["territory-1", "territory-2", "outside"]
    names.write_text("MCA left: 1\nACA: 9\n")
    with pytest.raises(SettingsError, match=r"not in the atlas atlas\.nii\.gz: ACA \(9\)"):
        grcsf.measure(masks, tmp_path / "x", atlas=atlas, atlas_names=names)
    for text in ("", "a: b\n", "a: 0\n", "a: 1\nb: 1\n", "outside: 1\n", "a: true\n"):
        names.write_text(text)
        with pytest.raises(SettingsError, match="expected lines such as"):
            grcsf.measure(masks, tmp_path / "x", atlas=atlas, atlas_names=names)


def test_an_atlas_that_is_none_is_refused(masks, tmp_path):
    for values, message in (
        (np.zeros((3, 3, 3), np.int16), "background only"),
        (np.full((3, 3, 3), -1, np.int16), "expected labels above 0"),
        (np.full((3, 3, 3), 0.5, np.float32), "holds fractions"),
        (np.ones((3, 3), np.int16), "a 2-D atlas"),
    ):
        with pytest.raises(ImageError, match=message):
            grcsf.measure(masks, tmp_path / "out", atlas=save(values, tmp_path / "atlas.nii.gz"))
    with pytest.raises(SettingsError, match="give it as --atlas"):
        grcsf.measure(masks, tmp_path / "out", atlas_names=tmp_path / "names.yaml")


def test_maps_beside_masks_are_not_taken_for_masks(masks, tmp_path):
    save(np.full((20, 10, 5), 0.5, np.float32), masks / "a_prob.nii.gz")
    summary = grcsf.measure(masks, tmp_path / "out")
    assert ([case.case for case in summary.cases], summary.failed) == (["a", "b"], {})


def test_an_atlas_of_an_earlier_run_leaves_nothing_behind(masks, tmp_path):
    atlas = save(np.ones((20, 10, 5), np.int16), tmp_path / "atlas.nii.gz")
    grcsf.measure(masks, tmp_path / "out", atlas=atlas)
    assert (tmp_path / "out" / "territories.csv").is_file()
    grcsf.measure(masks, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "territories.csv").exists()


def test_labels_come_from_the_data_set(tmp_path):
    path = save(np.ones((20, 10, 5), np.uint8), tmp_path / "labelsTr" / "a.nii.gz")
    save(np.ones((20, 10, 5), np.float32), tmp_path / "imagesTr" / "a_0000.nii.gz")
    description = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "infarct": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps({**description, "numTraining": 1, "file_ending": ".nii.gz"}))
    assert [case.label for case in grcsf.measure(path, tmp_path / "out").cases] == ["infarct"]


def test_labels_are_measured_apart(tmp_path, command_line):
    mask = np.zeros((20, 4, 4), np.uint8)
    mask[0], mask[19] = 1, 2
    path = save(mask, tmp_path / "m.nii.gz")
    assert command_line("measure", "-i", path, "-o", tmp_path / "out", "--labels", "core=1,penumbra=2").code == 0
    found = rows(tmp_path / "out" / "measures.csv")
    assert [(row["label"], row["side"]) for row in found] == [("core", "right"), ("penumbra", "left")]


def test_bad_masks_are_named_and_the_others_measured(masks, tmp_path, command_line):
    save(np.full((20, 10, 5), 0.5, np.float32), masks / "c.nii.gz")
    save(np.full((20, 10, 5), 7, np.uint8), masks / "d.nii.gz")
    far = AFFINE.copy()
    far[0, 3] = 99
    save(np.ones((20, 10, 5), np.uint8), masks / "e.nii.gz", far)
    save(np.ones((20, 10), np.uint8), masks / "f.nii.gz")
    (masks / "g.nii.gz").write_bytes(b"")
    done = command_line("measure", "-i", masks, "-o", tmp_path / "out")
    assert done.code == 1
    for text in (
        "c.nii.gz holds fractions",
        "holds the values [7]",
        "e: the midline x = 0 mm",
        "f: a 2-D mask",
        "failed: g",
    ):
        assert text in done.err
    assert [row["case"] for row in rows(tmp_path / "out" / "measures.csv")] == ["a", "b"]


def test_wrong_arguments_are_told(masks, tmp_path, command_line):
    out = tmp_path / "out"
    for words, code, message in (
        (("-i", tmp_path / "no", "-o", out), 1, "expected a mask file"),
        (
            ("-i", masks, "-o", out, "--midline", "middle"),
            2,
            "--midline: Input should be 'origin', 'centre' or 'given'",
        ),
        (("-i", masks, "-o", out, "--midline", "given"), 2, "give an x with midline=given only"),
        (("-i", masks, "-o", out, "--midline", "nan"), 2, "--midline-x-mm"),
        (("-i", masks, "-o", out, "--min-side-share", "0.6"), 2, "--min-side-share"),
    ):
        done = command_line("measure", *words)
        assert (done.code, message in done.err) == (code, True), done.err
    assert not out.exists()
    save(np.zeros((20, 10, 5), np.uint8), masks / "a.nii")
    with pytest.raises(DatasetError, match="more than one mask of a"):
        grcsf.measure(masks, out)


def test_measures_that_are_there_stay_unless_asked(masks, tmp_path):
    grcsf.measure(masks, tmp_path / "out")
    with pytest.raises(OutputError, match="exists already"):
        grcsf.measure(masks, tmp_path / "out")
    summary = grcsf.measure(masks, tmp_path / "out", rules=StrokeRules(connectivity="face"), overwrite=True)
    assert summary.rules.connectivity == "face"


def test_two_tables_of_measures_can_be_compared(masks, tmp_path):
    for out, size in (("all", 0.0), ("large", 20.0)):
        grcsf.measure(masks, tmp_path / out, rules=StrokeRules(min_lesion_mm3=size))
    result = grcsf.agreement(tmp_path / "all" / "measures.csv", tmp_path / "large" / "measures.csv")
    found = {item.measure: item for item in result.agreements}
    assert set(found) == {"lesions", "load_ml", "left_ml", "right_ml"}
    assert found["load_ml"].bland_altman.bias == pytest.approx(0.012 / 2)
    assert found["load_ml"].kappa is None


@pytest.mark.real_data
def test_real_stroke_masks_of_the_left_hemisphere_are_left(real_data, tmp_path):
    paths = sorted(real_data("masks_mni/stroke_lesymap").rglob("*.nii.gz"))[:3]
    for path in paths:
        (tmp_path / "masks").mkdir(exist_ok=True)
        (tmp_path / "masks" / path.name).symlink_to(path)
    summary = grcsf.measure(tmp_path / "masks", tmp_path / "out")
    assert [case.measures.side for case in summary.cases] == ["left"] * len(paths)
    assert all(5 < case.measures.load_ml < 377 for case in summary.cases)  # the range its data set names
