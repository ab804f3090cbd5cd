"""Builds small data sets and run folders as the other stages leave them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import yaml

from browser import browser, page  # noqa: F401
from grcsf.config import Settings
from grcsf.datasets.header import write_dataset_json
from grcsf.evaluation.files import write_cases, write_summary
from grcsf.evaluation.overlap import Confusion, WhenEmpty, dice, iou, precision, recall
from grcsf.evaluation.presets import PRESETS
from grcsf.evaluation.score import evaluate_folder
from grcsf.evaluation.summary import CaseScore, Summary, summarise
from grcsf.io.volume import write_like
from grcsf.verbs.compare import compare


@dataclass(frozen=True)
class Sample:
    """A run folder, its data set, and the names of its cases by fold."""

    run: Path
    dataset: Path
    cases: tuple[tuple[str, ...], ...]


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def head(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    middle = (shape[0] / 2, shape[1] / 2)
    image = np.where(disc(shape, middle, 0.46 * min(shape)), 110.0, 0.0)
    image[disc(shape, (middle[0], middle[1] * 0.85), 0.1 * min(shape))] = 55
    image[disc(shape, (middle[0], middle[1] * 1.15), 0.1 * min(shape))] = 55
    return image + np.where(image > 0, rng.normal(0, 6, shape), 0)


def write_history(path: Path, column: str, scored: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"step,seconds,loss,learning_rate,{column}"]
    for step in range(50, 501, 50):
        score = f"{1 - np.exp(-step / 200):.4f}" if scored else ""
        lines.append(f"{step},{step / 10},{0.2 + np.exp(-step / 150):.5f},0.001,{score}")
    path.write_text("\n".join(lines) + "\n")


def write_record(folder: Path, verb: str, **extra: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "verb": verb,
        "grcsf": "0.1.0",
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "device": "cpu",
        "seed": 0,
        "settings": Settings().model_dump(mode="json"),
        "inputs": {"dataset.json": "ab" * 32},
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 75.25,
        "cpu_seconds": 140.0,
        "peak_memory_mb": 812.4,
        "status": "done",
        "error": None,
        **extra,
    }
    (folder / "run.json").write_text(json.dumps(record))


def write_image(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.round(array).clip(0, 255).astype(np.uint8)), str(path))
    else:
        values = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.uint8)
        nib.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(path)


@pytest.fixture
def make_sample(tmp_path: Path) -> Callable[..., Sample]:
    """Write a data set and the run of its folds; every stage as on disk, scores by the real evaluation."""

    def build(
        names: tuple[str, ...] = tuple(f"case-{index}" for index in range(8)),
        folds: int = 2,
        volumes: bool = False,
        shape: tuple[int, int] = (48, 40),
    ) -> Sample:
        dataset, run = tmp_path / "Dataset900_Sample", tmp_path / "run"
        ending = ".nii.gz" if volumes else ".png"
        rng = np.random.default_rng(3)
        by_fold = tuple(names[index::folds] for index in range(folds))
        for number, name in enumerate(names):
            fold = run / f"fold_{number % folds}" / "validation"
            _write_case(dataset, fold, name, number, ending, shape, rng)
        labels = {"background": 0, "lesion": 1}
        spacing = None if volumes else (1.0, 1.5)
        write_dataset_json(
            dataset,
            channel_names=("FLAIR",),
            labels=labels,
            num_training=len(names),
            file_ending=ending,
            spacing_mm=spacing,
        )
        for index in range(folds):
            fold = run / f"fold_{index}"
            write_history(fold / "mae" / "history.csv", "selection_loss", scored=False)
            write_history(fold / "train" / "history.csv", "selection_dice", scored=True)
            (fold / "train" / "model.json").write_text(json.dumps({"weights_sha256": f"{index:064d}"}))
            for stage in ("mae", "train", "validation", "scores"):
                write_record(fold / stage, stage)
            _score(dataset, fold, by_fold[index], labels, spacing)
        write_record(run, "run")
        (run / "settings.yaml").write_text(yaml.safe_dump(Settings().model_dump(mode="json"), sort_keys=False))
        return Sample(run, dataset, by_fold)

    return build


def _write_case(
    dataset: Path, fold: Path, name: str, number: int, ending: str, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    centre = (shape[0] * 0.6, shape[1] * 0.35)
    image, truth, found = head(shape, rng), disc(shape, centre, 2 + number), disc(shape, (centre[0] + 2, centre[1]), 4)
    if number == 0:
        truth = np.zeros(shape, bool)
    image = np.where(truth, 190.0, image)
    residual = (image / 60 + rng.normal(0, 0.4, shape)) * (image > 0) - 1.2 * (image > 0)
    arrays = [image, truth, found, residual]
    if ending != ".png":  # five slices, the lesion largest in the fourth; file axes are x, y, z
        weights = [0, 0, 1, 2, 1]
        arrays = [np.stack([a.T if w == 2 or a is image else a.T * (w > 0) * 0.5 for w in weights], -1) for a in arrays]
        arrays[1], arrays[2] = arrays[1] > 0.6, arrays[2] > 0.6
    masks = [np.asarray(array, np.uint8) for array in arrays[1:3]]
    source = dataset / "imagesTr" / f"{name}_0000{ending}"
    write_image(source, arrays[0])
    write_image(dataset / "labelsTr" / f"{name}{ending}", masks[0])
    write_image(fold / f"{name}{ending}", masks[1])
    map_ending = ".mha" if ending == ".png" else ending
    for ratio in (50, 75):
        write_like(arrays[3].astype(np.float32), source, fold / f"{name}_residual-r{ratio}{map_ending}", (1.0, 1.5))


def _score(
    dataset: Path, fold: Path, cases: tuple[str, ...], labels: dict[str, int], spacing: tuple[float, ...] | None
) -> None:
    evaluate_folder(
        dataset / "labelsTr",
        fold / "validation",
        fold / "scores",
        labels,
        WhenEmpty.SKIP,
        cases=cases,
        overwrite=True,
        spacing_mm=spacing,
    )


@dataclass(frozen=True)
class Compared:
    """The output of a comparison, its methods by folder, and the data set."""

    folder: Path
    methods: dict[str, Path]
    dataset: Path


@pytest.fixture
def make_comparison(make_sample: Callable[..., Sample], tmp_path: Path) -> Callable[..., Compared]:
    """Compare the masks of a sample with the same ones moved by one and by three pixels."""

    def build(methods: int = 2, names: tuple[str, ...] = tuple(f"case-{index}" for index in range(8))) -> Compared:
        sample = make_sample(folds=1, names=names)
        ours = sample.run / "fold_0" / "validation"
        folders = {"ours": ours}
        for name, step in (("moved", 1), ("far", 3))[: methods - 1]:
            folders[name] = tmp_path / name
            for case in names:
                mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(ours / f"{case}.png")))
                write_image(folders[name] / f"{case}.png", np.roll(mask, step, axis=0))
        out = tmp_path / "compared"
        compare(sample.dataset, folders, out, images=sample.dataset)
        return Compared(out, folders, sample.dataset)

    return build


@pytest.fixture
def make_large(tmp_path: Path) -> Callable[..., Path]:
    """The scores of many cases as ``grcsf evaluate`` leaves them, without any image."""

    def build(count: int = 3000, name_of: Callable[[int], str] = "case-{:04d}".format) -> Path:
        folder = tmp_path / "scores"
        folder.mkdir()
        rng = np.random.default_rng(5)
        rows = [_scored(name_of(index), rng) for index in range(count)]
        summary = Summary(
            WhenEmpty.SKIP, 3, {"lesion": summarise(rows, 1, 3)}, tuple(rows), preset=PRESETS["any-overlap"]
        )
        write_cases(folder / "cases.csv", summary)
        write_summary(folder / "summary.json", summary)
        return folder

    return build


def _scored(case: str, rng: np.random.Generator) -> CaseScore:
    reference, share = int(rng.integers(0, 5000)), float(rng.uniform())
    counts = Confusion(int(reference * share), int(rng.integers(0, 500)), reference - int(reference * share), 10_000)
    scores = {
        "dice": dice(counts, when_empty=WhenEmpty.SKIP),
        "iou": iou(counts, when_empty=WhenEmpty.SKIP),
        "f1": dice(counts, when_empty=WhenEmpty.SKIP),
        "precision": precision(counts, when_empty=WhenEmpty.SKIP),
        "recall": recall(counts, when_empty=WhenEmpty.SKIP),
    }
    sizes = (reference / 1000, counts.n_prediction / 1000)
    return CaseScore(case, "lesion", counts, *sizes, scores, (f"{case}.nii.gz", f"{case}.nii.gz"))
