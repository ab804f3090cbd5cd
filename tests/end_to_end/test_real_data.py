"""The chain on real scans; skipped where there are none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

import grcsf
from chain import FOLD_FILES, LABELS, TINY, contents, same_grid, tiny
from grcsf.datasets.nnunet_raw import read_dataset, write_dataset_json
from grcsf.datasets.splits import get_fold

pytestmark = [pytest.mark.slow, pytest.mark.real_data]
Find = Callable[[str], Path]
SHORT = (*TINY, "training.steps=8", "training.steps_per_epoch=4")
MODES = {
    "volumes": ("preprocess.dimensions=3d", "preprocess.spacing_mm=[4, 4, 4]", "preprocess.patch_size=[16, 16, 16]"),
    "slices": ("preprocess.dimensions=2d", "preprocess.spacing_mm=[4, 4]", "preprocess.patch_size=[48, 48]"),
}


@pytest.mark.parametrize("pairs", MODES.values(), ids=MODES)
def test_multiple_sclerosis_in_four_channels(pairs: tuple[str, ...], real_data: Find, tmp_path: Path) -> None:
    data, out = real_data("Dataset510_OpenMs3D"), tmp_path / "run"
    result = grcsf.run(data, out, settings=tiny(*pairs, base=SHORT), device="cpu")
    assert result.failed == {}
    assert not [name for name in FOLD_FILES if not (out / "fold_0" / name).is_file()]
    (held_out,) = get_fold(read_dataset(data), 0).val
    image, mask = data / "imagesTr" / f"{held_out}_0000.nii.gz", out / "fold_0" / "validation" / f"{held_out}.nii.gz"
    for path in (mask, *mask.parent.glob("*_residual-*.nii.gz")):
        assert same_grid(image, path)
        assert np.isfinite(nibabel.load(path).get_fdata()).all()
    (score,) = result.scores[0].cases
    truth = np.asarray(nibabel.load(data / "labelsTr" / mask.name).dataobj) > 0
    found = np.asarray(nibabel.load(mask).dataobj) > 0
    counts = (int((truth & found).sum()), int((~truth & found).sum()), int((truth & ~found).sum()))
    assert (score.counts.tp, score.counts.fp, score.counts.fn) == counts


def test_validation_finds_no_error_in_real_data(real_data: Find) -> None:
    report = grcsf.validate(real_data("Dataset510_OpenMs3D"))
    assert report.ok
    assert (report.n_cases, report.n_with_lesion) == (3, 3)


def test_strokes_on_png_slices(real_data: Find, tmp_path: Path) -> None:
    """Twelve of a thousand slices, with the patients of their list; the data set is not written to."""
    source, data = real_data("Dataset501_SoopFlairAxial"), tmp_path / "data"
    names = [case.name for case in read_dataset(source).cases][:12]
    for part, ending in (("imagesTr", "_0000.png"), ("labelsTr", ".png")):
        (data / part).mkdir(parents=True)
        for name in names:
            shutil.copyfile(source / part / f"{name}{ending}", data / part / f"{name}{ending}")
    write_dataset_json(
        data,
        channel_names=("FLAIR",),
        labels=LABELS,
        num_training=len(names),
        file_ending=".png",
        spacing_mm=(1.0, 1.0),
    )
    pairs = ("preprocess.spacing_mm=[3, 3]", "preprocess.patch_size=[64, 64]")
    result = grcsf.run(data, tmp_path / "run", settings=tiny(*pairs, base=SHORT), device="cpu")
    assert result.failed == {}
    for name in get_fold(read_dataset(data), 0).val:
        mask = SimpleITK.ReadImage(tmp_path / "run" / "fold_0" / "validation" / f"{name}.png")
        assert mask.GetSize() == SimpleITK.ReadImage(data / "labelsTr" / f"{name}.png").GetSize()


@pytest.fixture(scope="module")
def slice_model(one_channel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of slices of one channel at 2 mm, trained on tiny volumes."""
    out = tmp_path_factory.mktemp("slice_model") / "run"
    pairs = ("preprocess.dimensions=2d", "preprocess.spacing_mm=[2, 2]", "preprocess.patch_size=[32, 32]")
    grcsf.run(one_channel, out, settings=tiny(*pairs), device="cpu")
    return out


@pytest.mark.parametrize(
    ("kind", "name"),
    [("slices", "brain1"), ("slices", "brain2"), ("slices", "breast1"), ("slices", "lung1"), ("volumes", "brain1")],
)
def test_scans_of_thick_slices_in_nrrd(
    name: str, kind: str, real_data: Find, slice_model: Path, one_channel_model: Path, tmp_path: Path
) -> None:
    image = real_data("pyradiomics") / f"{name}_image.nrrd"
    model = slice_model if kind == "slices" else one_channel_model
    assert grcsf.predict(image, model, tmp_path / "out", device="cpu", save_residuals=name == "brain1") == {}
    reader = SimpleITK.ReadImage(image)
    for path in (tmp_path / "out").glob("*.nrrd"):
        written = SimpleITK.ReadImage(path)
        assert written.GetSize() == reader.GetSize()
        for fact in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(written, fact)() == getattr(reader, fact)()
    mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "out" / f"{name}_image.nrrd"))
    assert set(np.unique(mask)) <= {0, 1}
    assert sorted(contents(tmp_path / "out")) == sorted(
        ["prediction.json", f"{name}_image.nrrd", *(p.name for p in (tmp_path / "out").glob("*_residual-*"))]
    )
