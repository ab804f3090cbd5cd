"""``grcsf calcium`` and ``grcsf agreement``: files, DICOM, several cases, and input that is refused."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import grcsf
from dicoms import CANARY, MR, PERSON_TAGS, write_series
from grcsf.errors import DatasetError, OutputError
from grcsf.evaluation.clinical.calcium_rules import CalciumRules
from grcsf.evaluation.methods.agreement_files import compare_tables, read_table

AFFINE = np.diag([-0.5, -0.5, 3.0, 1.0])  # axes to the left, posterior, superior, as a scanner's
VESSELS = {"LAD": 1, "LCX": 2}
FLAG = "LAD=1,LCX=2"


def save(array, path, affine=AFFINE):
    path.parent.mkdir(exist_ok=True, parents=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def heart(pixels=8, peak=450):
    """CT with one calcification of ``pixels`` pixels in LAD (label 1) and one of 4 pixels below 200 HU in LCX."""
    image, mask = np.full((16, 16, 3), -80, np.int16), np.zeros((16, 16, 3), np.uint8)
    image[:pixels, 0, 0], mask[:pixels, 0, 0] = 140, 1
    image[0, 0, 0] = peak
    image[8:10, 8:10, 2], mask[8:10, 8:10, 2] = 150, 2
    return image, mask


@pytest.fixture
def cohort(tmp_path):
    """Four cases; the prediction misses the LCX of all and grows the LAD of ``c``."""
    for index, name in enumerate("abcd"):
        image, mask = heart(pixels=5 + 3 * index)
        save(image, tmp_path / "images" / f"{name}_0000.nii.gz")
        save(mask, tmp_path / "truth" / f"{name}.nii.gz")
        found = np.where(mask == 2, 0, mask)
        save(found, tmp_path / "found" / f"{name}.nii.gz")
    return tmp_path


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_folder_gives_scores_by_vessel_and_in_total(cohort, command_line):
    out = cohort / "out"
    words = ("-i", cohort / "images", "-m", cohort / "truth", "-o", out, "--labels", FLAG, "--mass-factor", "0.0008")
    done = command_line("calcium", *words)
    assert (done.code, done.err) == (0, "")
    table = rows(out / "calcium.csv")
    assert [(row["case"], row["label"]) for row in table[:3]] == [("a", "LAD"), ("a", "LCX"), ("a", "total")]
    assert [float(row["agatston"]) for row in table[:3]] == pytest.approx([5 * 0.25 * 4, 4 * 0.25 * 1, 6])
    assert [row["risk"] for row in table if row["label"] == "total"] == ["1-10", "1-10", "11-100", "11-100"]
    assert float(table[0]["mass_mg"]) == pytest.approx(0.0008 * (450 + 4 * 140) * 0.75)
    regions = rows(out / "regions.csv")
    assert len(regions) == 4 * 2
    assert (regions[1]["label"], regions[1]["slice"], regions[1]["weight"]) == ("LCX", "2", "1")
    tree, run = (json.loads((out / name).read_text()) for name in ("calcium.json", "run.json"))
    assert tree["rules"]["mode"] == "slice2d"
    assert (tree["cases"][0]["slice_axis"], tree["cases"][0]["scores"]["total"]["agatston"]) == (2, 6)
    assert (run["verb"], run["status"], len(run["inputs"])) == ("calcium", "done", 8)
    assert run["settings"]["calcium"]["mass_factor"] == 0.0008
    assert "mode slice2d (Agatston score); >= 130 HU, 1 mm2 or more, face neighbours" in done.out


def test_the_object_variant_says_that_it_is_one(cohort, command_line):
    words = ("-i", cohort / "images" / "a_0000.nii.gz", "-m", cohort / "truth" / "a.nii.gz", "--labels", FLAG)
    done = command_line("calcium", *words, "-o", cohort / "out", "--mode", "object3d")
    assert done.code == 0
    assert "3-D object variant, not the published Agatston score" in done.out
    assert json.loads((cohort / "out" / "calcium.json").read_text())["rules"]["mode"] == "object3d"


def test_references_add_detection_and_agreement(cohort, command_line):
    out = cohort / "out"
    words = ("-i", cohort / "images", "-m", cohort / "found", "-r", cohort / "truth", "--labels", FLAG, "-o", out)
    done = command_line("calcium", *words)
    assert done.code == 0
    # LAD of 5, 8, 11 and 14 pixels is found whole, LCX of 4 pixels in four cases is missed: 38 of 54 voxels
    assert "total: 4 of 8 calcifications found, 0 of 4 false; by volume sensitivity 0.704, PPV 1.000" in done.out
    detection = rows(out / "orcascore.csv")
    assert float(detection[2]["volume_sensitivity"]) == pytest.approx(5 / 9)
    assert detection[1]["sensitivity"] == "0"
    pooled = json.loads((out / "calcium.json").read_text())["orcascore"]["total"]
    assert pooled["f1"] == pytest.approx(2 * 38 / (54 + 38))
    agreement = {(row["label"], row["measure"]): row for row in rows(out / "agreement.csv")}
    total = agreement["total", "agatston"]
    assert float(total["bias"]) == pytest.approx(-4 * 0.25 * 1)  # prediction - reference: every LCX is missing
    assert float(total["sd"]) == pytest.approx(0, abs=1e-9)
    assert float(agreement["LAD", "volume_mm3"]["icc"]) == 1
    assert agreement["LAD", "volume_mm3"]["kappa"] == ""
    assert float(agreement["total", "orcascore_mm3"]["bias"]) == pytest.approx(-4 * 0.75)
    assert agreement["total", "mass_mg"]["n_missing"] == "4"
    # scores 6, 9, 12, 15 and 5, 8, 11, 14: all in the same category
    assert (float(total["kappa"]), float(total["same_category"])) == (1, 1)


def test_agreement_of_two_files(cohort, command_line):
    for part in ("truth", "found"):
        call = ("calcium", "-i", cohort / "images", "-m", cohort / part, "-o", cohort / f"{part}-out", "--labels", FLAG)
        assert command_line(*call).code == 0
    files = (cohort / "found-out" / "calcium.csv", cohort / "truth-out" / "calcium.csv")
    done = command_line("agreement", *files, "-o", cohort / "agreement")
    assert done.code == 0
    assert "total, agatston (n = 4): ICC(2,1) " in done.out
    assert "linearly weighted kappa 1.000" in done.out
    tree = json.loads((cohort / "agreement" / "agreement.json").read_text())
    assert tree["only_in_first"] == []
    assert {item["measure"] for item in tree["agreement"]} == {"agatston", "volume_mm3", "mass_mg", "lesions"}
    assert json.loads((cohort / "agreement" / "run.json").read_text())["status"] == "done"
    assert command_line("agreement", *files, "-o", cohort / "agreement").code == 1
    assert command_line("agreement", *files, "--level", "95").code == 2


def test_cases_of_one_table_only_are_named_and_not_compared(tmp_path, command_line):
    (tmp_path / "a.csv").write_text("case,label,agatston\np1,total,0\np2,total,50\np3,total,nan\np4,total,7\n")
    (tmp_path / "b.csv").write_text("case,label,agatston\np1,total,0\np2,total,500\np3,total,5\np5,total,7\n")
    done = command_line("agreement", tmp_path / "a.csv", tmp_path / "b.csv")
    assert "total, agatston (n = 2)" in done.out
    assert "1 without a value" in done.out
    assert "only in the first, not compared: 1 cases (p4)" in done.out
    assert "only in the second, not compared: 1 cases (p5)" in done.out
    (found,), *_ = compare_tables(read_table(tmp_path / "a.csv"), read_table(tmp_path / "b.csv"))
    assert found.bland_altman.bias == (0 - 450) / 2
    # categories 0 and 2 against 0 and 4: weights 1 and 1 - 2 / 4; chance 1, 0, 1 - 2 / 4 and 1 - 2 / 4, a quarter each
    assert found.kappa.value == pytest.approx((0.75 - 0.5) / (1 - 0.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,label\na,total\n", "expected case, label and one of agatston"),
        ("", "columns none"),
        ("case,label,agatston\na,total,1\na,total,2\n", "a, label total stands there twice"),
        ("case,label,agatston\na,total,many\n", "agatston is 'many', expected a number"),
        ("case,label,agatston\na,total,-3\n", "agatston is '-3', expected a number"),
        ("case,label,agatston\nz,total,3\n", "no case with the same label in common"),
        ("case,label,load_ml\na,total,3\n", "no measure in common"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text("case,label,agatston\na,total,1\n")
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        grcsf.agreement(tmp_path / "a.csv", tmp_path / "b.csv")


def test_a_missing_or_binary_table_is_refused(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x80")
    for name in ("no.csv", "b.csv"):
        with pytest.raises(DatasetError, match="cannot be read as CSV"):
            grcsf.agreement(tmp_path / name, tmp_path / name)


def test_one_bad_case_does_not_stop_the_others(cohort, command_line):
    image, mask = heart()
    save(mask, cohort / "truth" / "e.nii.gz")  # no image
    save(image, cohort / "images" / "f_0000.nii.gz")
    save(mask[:, :, :2], cohort / "truth" / "f.nii.gz")  # another grid
    save(image + 1024, cohort / "images" / "g_0000.nii.gz")  # no HU
    save(mask, cohort / "truth" / "g.nii.gz")
    save(image, cohort / "images" / "h_0000.nii.gz")
    save(mask * 3, cohort / "truth" / "h.nii.gz")  # labels 3 and 6
    broken = image.astype(np.float32)
    broken[0, 0, 0] = np.nan
    save(broken, cohort / "images" / "i_0000.nii.gz")
    save(mask, cohort / "truth" / "i.nii.gz")
    save(mask, cohort / "truth" / "j.nii.gz")
    (cohort / "images" / "j_0000.nii.gz").write_bytes((cohort / "images" / "a_0000.nii.gz").read_bytes()[:100])
    words = ("-i", cohort / "images", "-m", cohort / "truth", "-o", cohort / "out", "--labels", FLAG)
    done = command_line("calcium", *words)
    assert done.code == 1
    for text in (
        "failed: e: e: no image; expected e.nii.gz (e_0000.nii.gz for images)",
        "failed: f: f: image and mask have grids of different size",
        "failed: g: g: no value of the image is below 0",
        "failed: h: h: h.nii.gz holds the values [3, 6]",
        "are NaN or infinite",
        "failed: j: ",
    ):
        assert text in done.err
    assert {row["case"] for row in rows(cohort / "out" / "calcium.csv")} == set("abcd")
    assert set(json.loads((cohort / "out" / "run.json").read_text())["failed"]) == set("efghij")


def test_a_case_that_only_one_side_has_is_named(cohort, command_line):
    (cohort / "found" / "a.nii.gz").unlink()
    (cohort / "truth" / "d.nii.gz").unlink()
    words = ("-i", cohort / "images", "-m", cohort / "found", "-r", cohort / "truth", "--labels", FLAG)
    done = command_line("calcium", *words, "-o", cohort / "out")
    assert done.code == 1
    assert "failed: a: a: no mask;" in done.err
    assert "failed: d: d: no reference;" in done.err
    assert {row["case"] for row in rows(cohort / "out" / "orcascore.csv")} == set("bc")


def test_maps_beside_masks_are_not_taken_for_masks(cohort):
    for name in ("a_prob", "a_residual-r50"):
        save(np.full((16, 16, 3), 0.5, np.float32), cohort / "truth" / f"{name}.nii.gz")
    summary = grcsf.calcium(cohort / "images", cohort / "truth", cohort / "out", labels=VESSELS)
    assert ([case.case for case in summary.cases], summary.failed) == (list("abcd"), {})
    save(np.zeros((16, 16, 3), np.uint8), cohort / "truth" / "b.nii")
    with pytest.raises(DatasetError, match="more than one mask of b"):
        grcsf.calcium(cohort / "images", cohort / "truth", cohort / "more", labels=VESSELS)


def test_an_empty_mask_scores_zero(tmp_path):
    image, mask = heart()
    files = save(image, tmp_path / "ct.nii.gz"), save(np.zeros_like(mask), tmp_path / "none.nii.gz")
    summary = grcsf.calcium(*files, tmp_path / "out")
    assert summary.cases[0].scores["total"].agatston == 0
    assert rows(tmp_path / "out" / "calcium.csv")[0]["peak_hu"] == "nan"
    assert rows(tmp_path / "out" / "regions.csv") == []


def test_labels_come_from_the_data_set(tmp_path):
    image, mask = heart()
    files = save(image, tmp_path / "imagesTr" / "a_0000.nii.gz"), save(mask, tmp_path / "labelsTr" / "a.nii.gz")
    description = {"channel_names": {"0": "CT"}, "labels": {"background": 0, **VESSELS}}
    (tmp_path / "dataset.json").write_text(json.dumps({**description, "numTraining": 1, "file_ending": ".nii.gz"}))
    assert list(grcsf.calcium(*files, tmp_path / "out").cases[0].scores) == ["LAD", "LCX", "total"]
    summary = grcsf.calcium(files[0].parent, files[1].parent, tmp_path / "more")
    assert list(summary.labels) == ["LAD", "LCX"]


def test_metaimages_score_as_nifti_does(cohort):
    from grcsf.io.volume import read_volume, write_volume

    for folder, name in (("images", "a_0000"), ("truth", "a")):
        volume = read_volume(cohort / folder / f"{name}.nii.gz")
        (cohort / f"{folder}-mhd").mkdir()
        write_volume(volume.array, volume.geometry, cohort / f"{folder}-mhd" / f"{name}.mhd")  # as orCaScore's are
    summary = grcsf.calcium(cohort / "images-mhd", cohort / "truth-mhd", cohort / "out", labels=VESSELS)
    assert summary.cases[0].scores["total"].agatston == pytest.approx(6)


@pytest.fixture
def study(tmp_path):
    """A CT series with canaries in the tags of the person, and a mask on its grid as ``grcsf predict`` writes it."""
    image, mask = heart()

    def tag(dataset, _):
        for name, value in PERSON_TAGS.items():
            setattr(dataset, name, value)

    write_series(tmp_path / f"{CANARY}-study", image, spacing_mm=(0.5, 0.5), offsets_mm=[0, 3, 6], change=tag)
    from grcsf.io.volume import read_geometry, write_volume

    geometry = read_geometry(tmp_path / f"{CANARY}-study")
    write_volume(mask, geometry, tmp_path / "dicom-0123.nii.gz")
    return tmp_path / f"{CANARY}-study", tmp_path / "dicom-0123.nii.gz"


def test_a_dicom_folder_is_scored_and_nothing_of_the_patient_is_written(study, tmp_path):
    summary = grcsf.calcium(*study, tmp_path / "out", labels=VESSELS)
    (case,) = summary.cases
    assert case.case == "dicom-0123"
    assert case.scores["total"].agatston == pytest.approx(8 * 0.25 * 4 + 4 * 0.25)
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert CANARY not in written
    assert "19331231" not in written
    assert json.loads((tmp_path / "out" / "run.json").read_text())["dicom"]["modality"] == "CT"
    named = grcsf.calcium(*study, tmp_path / "named", labels=VESSELS, case="visit-1")
    assert named.cases[0].case == "visit-1"


def test_dicom_that_is_no_ct_is_refused_without_its_path(study, tmp_path):
    image, _ = heart()
    write_series(tmp_path / f"{CANARY}-mr", image, sop_class=MR, spacing_mm=(0.5, 0.5), offsets_mm=[0, 3, 6])
    with pytest.raises(DatasetError, match=r"dicom-0123: series 1 is MR, expected CT") as error:
        grcsf.calcium(tmp_path / f"{CANARY}-mr", study[1], tmp_path / "out", labels=VESSELS)
    assert CANARY not in str(error.value)
    with pytest.raises(DatasetError, match="no series"):
        grcsf.calcium(*study, tmp_path / "out2", labels=VESSELS, series=["7"])


def test_an_oblique_dicom_series_is_scored_or_refused_by_its_tilt(tmp_path):
    from dicoms import oblique
    from grcsf.io.volume import read_geometry, write_volume

    image, mask = heart()
    write_series(tmp_path / "ct", image, axes=oblique(17.0), spacing_mm=(0.5, 0.5), offsets_mm=[0, 3, 6])
    write_volume(mask, read_geometry(tmp_path / "ct"), tmp_path / "m.nii.gz")  # 11.9 degrees out of the axial plane
    files = tmp_path / "ct", tmp_path / "m.nii.gz"
    summary = grcsf.calcium(*files, tmp_path / "out", labels=VESSELS)
    assert summary.cases[0].slices.tilt_deg == pytest.approx(11.9, abs=0.01)
    assert summary.cases[0].scores["total"].agatston == pytest.approx(8 * 0.25 * 4 + 4 * 0.25, rel=1e-4)
    with pytest.raises(DatasetError, match=r"turned 11\.9 degrees"):
        grcsf.calcium(*files, tmp_path / "out2", labels=VESSELS, rules=CalciumRules(max_tilt_deg=5))


def test_wrong_arguments_are_told_at_once(cohort, command_line):
    one = ("-i", cohort / "images" / "a_0000.nii.gz", "-m", cohort / "truth" / "a.nii.gz", "-o", cohort / "out")
    many = ("-i", cohort / "images", "-m", cohort / "truth", "-o", cohort / "out")
    for words, code, message in (
        ((*one, "--mode", "3d"), 2, "--mode: Input should be 'slice2d' or 'object3d' (found '3d')"),
        ((*one, "--labels", "LAD"), 2, "--labels LAD: expected names with whole numbers"),
        ((*one, "--labels", "LAD=1,LAD=2"), 2, "a name or a value stands there twice"),
        ((*one, "--labels", "total=1"), 2, "none called total"),
        ((*one, "--series", "2"), 2, "--series is for DICOM images"),
        ((*many, "--case", "x"), 2, "a folder of masks needs folders"),
        ((*one[:2], "-m", cohort / "no.nii.gz", "-o", cohort / "out"), 1, "no.nii.gz: expected a mask file"),
        (("-i", cohort / "no.nii.gz", *one[2:]), 1, "no.nii.gz: expected the CT file"),
        ((*many[:2], "-m", cohort / "truth", "-r", cohort / "images", "-o", cohort / "out"), 1, "no reference of any"),
    ):
        done = command_line("calcium", *words)
        assert (done.code, message in done.err) == (code, True), done.err
    assert not (cohort / "out").exists()


def test_every_flag_reaches_the_rules(cohort, command_line):
    given = {
        "mode": "object3d",
        "threshold_hu": 120.0,
        "threshold": "above",
        "min_area_mm2": 0.5,
        "connectivity": "full",
        "mass_factor": 0.0007,
        "total": "union",
        "max_tilt_deg": 3.0,
    }
    flags = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", value)]
    words = ("-i", cohort / "images", "-m", cohort / "truth", "-o", cohort / "out", "--labels", FLAG, "--assume-hu")
    assert command_line("calcium", *words, *flags).code == 0
    for name in ("run.json", "calcium.json"):
        tree = json.loads((cohort / "out" / name).read_text())
        rules = tree["settings"]["calcium"] if name == "run.json" else tree["rules"]
        assert rules == {**given, "reference_mm": 3.0, "assume_hu": True}
    assert {row["label"] for row in rows(cohort / "out" / "regions.csv")} == {"LAD", "LCX", "total"}


def test_a_run_that_fails_leaves_earlier_scores_as_they_are(cohort):
    grcsf.calcium(cohort / "images", cohort / "truth", cohort / "out", labels=VESSELS)
    before = (cohort / "out" / "calcium.csv").read_bytes()
    with pytest.raises(DatasetError, match="not one of 4 scans"):
        grcsf.calcium(cohort / "images", cohort / "truth", cohort / "out", labels={"LAD": 7}, overwrite=True)
    assert (cohort / "out" / "calcium.csv").read_bytes() == before
    assert json.loads((cohort / "out" / "run.json").read_text())["status"] == "failed"


def test_a_dicom_zip_is_compared_with_a_reference(study, tmp_path):
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in study[0].iterdir():
            archive.write(path, path.name)
    out = tmp_path / "out"
    summary = grcsf.calcium(tmp_path / "study.zip", study[1], out, reference=study[1], labels=VESSELS)
    assert summary.detection["total"].f1 == 1
    assert CANARY not in "".join(path.read_text() for path in out.iterdir())


def test_scores_that_are_there_stay_unless_asked(cohort):
    arguments = (cohort / "images", cohort / "truth", cohort / "out")
    grcsf.calcium(*arguments, labels=VESSELS)
    with pytest.raises(OutputError, match="exists already"):
        grcsf.calcium(*arguments, labels=VESSELS)
    found = cohort / "found"
    grcsf.calcium(cohort / "images", found, cohort / "out", labels=VESSELS, reference=cohort / "truth", overwrite=True)
    assert (cohort / "out" / "orcascore.csv").is_file()
    assert json.loads((cohort / "out" / "agreement.json").read_text())["only_in_first"] == []
    grcsf.calcium(*arguments, labels=VESSELS, resume=True)
    assert not (cohort / "out" / "orcascore.csv").exists()  # nothing of the run before is left to be mistaken


def test_nothing_is_written_for_a_mask_that_is_missing(tmp_path):
    with pytest.raises(DatasetError, match="expected a mask file"):
        grcsf.calcium(Path("no.nii.gz"), Path("no-mask.nii.gz"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
