"""What all tests share: real images where there are any, two tiny data sets, and the pace of property tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Shapes in signatures are checked in tests, and only here; the hook must stand before these folders are imported.
install_import_hook(["grcsf.mae", "grcsf.residual", "grcsf.nets", "grcsf.training.losses"], "beartype.beartype")

from chain import Done  # noqa: E402
from grcsf.datasets.nnunet_raw import write_dataset_json  # noqa: E402

settings.register_profile(
    "grcsf", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("grcsf")

# Doctests are not looked for in these: all have one name, and the first to be imported would stand for the others.
collect_ignore_glob = ["conftest.py", "*/conftest.py"]

# Voxel axes of the tiny volumes run to the left, posterior and superior, as a scanner's often do.
TINY_AFFINE = np.array([[-1.0, 0, 0, 12.5], [0, -1.2, 0, 20.0], [0, 0, 1.5, -7.0], [0, 0, 0, 1]])
LABELS = {"background": 0, "lesion": 1}


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A function from the name of a folder of real images to its path; it skips the test where that is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("GRCSF_TEST_DATA", beside))

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"no real data {name!r}: set GRCSF_TEST_DATA to the folder that holds it")
        return root / name

    return find


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A function that runs ``grcsf ARGUMENTS`` in this process, with the guard that the shell command has."""
    from grcsf.cli import main

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["grcsf", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        written = capsys.readouterr()
        code = end.value.code
        return Done(code if isinstance(code, int) else 0, written.out, written.err)

    return run


@pytest.fixture(scope="session")
def tiny_volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six two-channel NIfTI volumes with ball lesions, 24 x 28 x 20 voxels. Do not write in it."""
    root = tmp_path_factory.mktemp("tiny_volumes") / "Dataset901_TinyVolumes"
    _make_folders(root)
    for index in range(6):
        name = f"case-{index:02d}"
        channels, mask = tiny_scan((24, 28, 20), channels=2, seed=index)
        for channel, image in enumerate(channels):
            _save_nifti(image, root / "imagesTr" / f"{name}_{channel:04d}.nii.gz")
        _save_nifti(mask, root / "labelsTr" / f"{name}.nii.gz")
    write_dataset_json(
        root, channel_names=("FLAIR", "T1"), labels=LABELS, num_training=6, file_ending=".nii.gz", licence="CC0"
    )
    return root


@pytest.fixture(scope="session")
def tiny_slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of eight one-channel PNG slices with disc lesions, 48 x 56 pixels. Do not write in it."""
    root = tmp_path_factory.mktemp("tiny_slices") / "Dataset902_TinySlices"
    _make_folders(root)
    for index in range(8):
        name = f"case-{index:02d}"
        (image,), mask = tiny_scan((48, 56), channels=1, seed=100 + index)
        grey = np.clip(image / 4, 0, 255).astype(np.uint8)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(grey), root / "imagesTr" / f"{name}_0000.png")
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(mask), root / "labelsTr" / f"{name}.png")
    write_dataset_json(
        root, channel_names=("FLAIR",), labels=LABELS, num_training=8, file_ending=".png", spacing_mm=(1.0, 1.0)
    )
    return root


def tiny_scan(shape: tuple[int, ...], channels: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """A noisy ellipsoid of tissue (about 400) in air (0) with a brighter ball (about 700), and the ball's mask."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape, dtype=np.float32)
    sizes = np.array(shape).reshape(-1, *[1] * len(shape))
    inside = (((grid - (sizes - 1) / 2) / (0.45 * sizes)) ** 2).sum(axis=0) < 1
    centre = np.array(shape) * rng.uniform(0.38, 0.62, size=len(shape))
    mask = ((grid - centre.reshape(sizes.shape)) ** 2).sum(axis=0) < rng.uniform(2.5, 4.5) ** 2
    images = []
    for channel in range(channels):
        tissue = 400 + 30 * rng.standard_normal(shape)
        lesion = 300 if channel == 0 else -120
        images.append((inside * np.maximum(tissue + lesion * mask, 1)).astype(np.float32))
    return images, (mask & inside).astype(np.uint8)


def _make_folders(root: Path) -> None:
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True)


def _save_nifti(array: np.ndarray, path: Path) -> None:
    image = nibabel.Nifti1Image(array, TINY_AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
