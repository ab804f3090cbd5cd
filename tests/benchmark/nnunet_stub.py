"""In place of nnU-Net's driver, for tests of run.py: every step leaves what nnU-Net would, and its masks are right."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path


def prepare(job: dict) -> None:
    Path(job["prepared"]).write_text(json.dumps({"name": job["name"], "configuration": "2d"}), encoding="utf-8")


def train(job: dict) -> None:
    if job["seed"] == 13:
        Path(job["trained"]).with_name("train-error.json").write_text('"unlucky"', encoding="utf-8")
        raise SystemExit(1)
    model = Path(job["results"]) / job["name"] / "nnUNetTrainer__nnUNetPlans__2d"
    model.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(job["preprocessed"]).parent / "raw" / job["name"] / "dataset.json", model)
    said = {"seconds": 2.5, "peak_memory_mb": 64.0, "multiply_adds": job["multiply_adds"] // 300 * 300}
    said |= {"parameters": job["parameters"], "model": str(model)}
    Path(job["trained"]).write_text(json.dumps(said), encoding="utf-8")


def predict(job: dict) -> None:
    if Path(job["masks"], "..", "fail").is_file():
        raise SystemExit(1)
    for case, (image, *_) in zip(job["cases"], job["images"], strict=True):
        path = Path(image)
        ending = path.name.removeprefix(f"{case}_0000")
        shutil.copy(path.parents[1] / "labelsTr" / f"{case}{ending}", Path(job["masks"]) / f"{case}{ending}")
    (Path(job["masks"]) / "plans.json").write_text("{}", encoding="utf-8")
    said = {"prediction_seconds": 1.5, "prediction_memory_mb": 32.0}
    Path(job["predicted"]).write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    step, path = sys.argv[1:]
    with Path(path).with_name("calls.txt").open("a", encoding="utf-8") as calls:
        calls.write(f"{step}\n")
    {"prepare": prepare, "train": train, "predict": predict}[step](json.loads(Path(path).read_text("utf-8")))
