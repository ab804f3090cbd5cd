"""Coronary calcium on held-out CT phantoms: the demo, its plain backbone, and a threshold of 130 HU.

    python benchmarks/heart_phantoms.py OUT [--held-out 50] [--subjects 32] [--seed 0] [--set KEY=VALUE ...]

Trains what is not there yet (``OUT/demo``, ``OUT/backbone``, ``OUT/threshold``; runs are resumed), then scores the
held-out phantoms, and prints a table and writes it as ``OUT/heart_phantoms.json``:

- **Lesions over 10 mm3**: calcifications of the mask (connected voxels, faces touch) above that size that any predicted
  voxel hits, and predicted ones above it that hit nothing; over all phantoms. F1 = 2 TP / (2 TP + FP + FN).
- **Risk**: share of phantoms whose Agatston score of the predicted mask falls into the category of the true mask's.
- **Modes**: by how much the score by 3-D objects (``object3d``) of the true masks differs from the published one.

The scores say nothing about patients.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import grcsf
from grcsf.config import Settings, load_settings
from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.evaluation.lesions import score_lesions
from grcsf.io.files import read_json, write_json
from grcsf.io.volume import read_volume
from grcsf.verbs.demo import demo_settings

SMALLEST_MM3 = 10.0
PLAIN = ("network.gcu=off", "network.rcu=false")


def score_case(image: Path, truth: Path, mask: Path) -> dict[str, Any]:
    """Counts of lesions above the smallest size, and both risk categories, of one phantom."""
    from grcsf.evaluation.clinical.agatston import TOTAL, score_calcium
    from grcsf.evaluation.clinical.calcium_rules import RISK_CATEGORIES, CalciumRules, risk_category

    scan, reference, predicted = (read_volume(path) for path in (image, truth, mask))
    spacing = scan.geometry.spacing_mm
    lesions = score_lesions(reference.array > 0, predicted.array > 0, spacing, "orcascore")
    large = [lesion for lesion in lesions.lesions if lesion.size * 1000 > SMALLEST_MM3]

    def agatston(array: Any, rules: CalciumRules | None = None) -> float:
        return score_calcium(scan.array, array > 0, scan.geometry, {"lesion": 1}, rules)[TOTAL].agatston

    scores = [agatston(volume.array) for volume in (reference, predicted)]
    return {
        "tp": sum(lesion.detected for lesion in large if lesion.source == "reference"),
        "fn": sum(not lesion.detected for lesion in large if lesion.source == "reference"),
        "fp": sum(not lesion.detected for lesion in large if lesion.source == "prediction"),
        "agatston": scores,
        "object3d": agatston(reference.array, CalciumRules(mode="object3d")),
        "risk": [RISK_CATEGORIES[risk_category(score)] for score in scores],
    }


def score_folder(dataset: Path, masks: Path) -> dict[str, Any]:
    """Scores of a method over all held-out phantoms."""
    data = read_dataset(dataset)
    cases = {}
    for name in get_fold(data, 0).val:
        case = data.case(name)
        assert case.label is not None
        cases[name] = score_case(case.images[0], case.label, masks / f"{name}{data.file_ending}")
    tp, fp, fn = (sum(case[key] for case in cases.values()) for key in ("tp", "fp", "fn"))
    right = [case["risk"][0] == case["risk"][1] for case in cases.values()]
    return {
        "phantoms": len(cases),
        "lesions": tp + fn,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0,
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "risk_right": float(np.mean(right)),
        "cases": cases,
    }


def compare_modes(cases: dict[str, Any]) -> str:
    """How the two modes differ on true masks with calcium, in a sentence."""
    from grcsf.evaluation.clinical.calcium_rules import risk_category

    pairs = np.array([(case["agatston"][0], case["object3d"]) for case in cases.values() if case["agatston"][0] > 0])
    if not len(pairs):
        return "no phantom has calcium"
    share = pairs[:, 1] / pairs[:, 0] - 1
    moved = sum(risk_category(one) != risk_category(other) for one, other in pairs)
    return (
        f"object3d over slice2d on {len(pairs)} true masks with calcium: median {np.median(share):+.1%}, "
        f"largest {share.max():+.1%}, another risk category in {moved}"
    )


def run_methods(
    out: Path, settings: Settings, subjects: int, held_out: int, device: str
) -> tuple[Path, dict[str, Path]]:
    """The data set and the folder of masks of each method; what is done already is kept."""
    grcsf.demo(
        out / "demo",
        anatomy="heart",
        subjects=subjects,
        held_out=held_out,
        settings=settings,
        device=device,
        resume=(out / "demo").exists(),
    )
    dataset = out / "demo" / "Dataset901_HeartPhantoms"
    plain = load_settings(None, PLAIN, base=settings)
    grcsf.run(dataset, out / "backbone", settings=plain, device=device, resume=(out / "backbone").exists())
    script = Path(__file__).resolve().parent / "peers" / "threshold.py"
    command = [sys.executable, str(script), "--data", str(dataset), "--out", str(out / "threshold")]
    subprocess.run(command, check=True)
    return dataset, {
        "grcsf": out / "demo" / "run" / "fold_0" / "validation",
        "backbone": out / "backbone" / "fold_0" / "validation",
        "threshold": out / "threshold" / "validation",
    }


def seconds_of(out: Path) -> dict[str, float]:
    """Wall-clock seconds of the runs, as they recorded them."""
    places = {"grcsf": out / "demo" / "run", "backbone": out / "backbone"}
    return {name: float(read_json(folder / "run.json").get("seconds", 0.0)) for name, folder in places.items()}


def main() -> None:
    """Run what is missing, print the table, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--subjects", type=int, default=32)
    parser.add_argument("--held-out", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", dest="pairs", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    settings = demo_settings(None, [*args.pairs, f"seed={args.seed}"], "heart")
    args.out.mkdir(parents=True, exist_ok=True)
    dataset, masks = run_methods(args.out, settings, args.subjects, args.held_out, args.device)
    found = {name: score_folder(dataset, folder) for name, folder in masks.items()}
    write_json(args.out / "heart_phantoms.json", {"seed": args.seed, "seconds": seconds_of(args.out), "methods": found})
    print(f"{args.held_out} held-out phantoms, {found['grcsf']['lesions']} calcifications over {SMALLEST_MM3:g} mm3\n")
    print("| Method | F1 | TP | FP | FN | risk category right |\n| --- | --- | --- | --- | --- | --- |")
    for name, row in found.items():
        counts = " | ".join(str(row[key]) for key in ("tp", "fp", "fn"))
        print(f"| {name} | {row['f1']:.3f} | {counts} | {row['risk_right']:.0%} |")
    print("\n" + compare_modes(found["grcsf"]["cases"]))


if __name__ == "__main__":
    main()
