"""How well residual maps rank lesion pixels above other tissue: AUROC and average precision per kind and ratio.

Reads a run folder of ``grcsf run`` (its ``preprocessed`` store and the fold's MAE) and scores the fold's validation
cases, pixels inside the foreground only. The plain intensity and the left-right difference stand beside the maps.

    python benchmarks/residual_auroc.py RUN DATASET --fold 0
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata

from grcsf.arrays import AnyArray
from grcsf.config import ResidualSettings
from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.preprocess.store import CaseStore
from grcsf.residual.compute import case_residual
from grcsf.verbs.residual import checked_mae

SMOOTH = 9
"""Edge of the mean filter of the second column, pixels."""


def auroc(score: AnyArray, truth: AnyArray) -> float:
    """Area under the ROC curve through mean ranks (ties count half)."""
    positive = int(truth.sum())
    ranks = rankdata(score)
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * (truth.size - positive)))


def average_precision(score: AnyArray, truth: AnyArray) -> float:
    """Mean precision at the rank of each lesion pixel."""
    ordered = truth[np.argsort(-score, kind="stable")]
    found = np.cumsum(ordered)
    return float((found / np.arange(1, ordered.size + 1))[ordered].mean())


def maps_of(mae: object, image: AnyArray, seed: int) -> dict[str, AnyArray]:
    """Each candidate map of one case, (D, H, W), larger means more suspicious."""
    found = {"intensity": image[0], "left-right difference": image[0] - image[0, :, :, ::-1]}
    for kind in ("signed", "absolute", "cosine"):
        for ratio in (0.5, 0.75):
            residual = case_residual(mae, image, ResidualSettings(kind=kind, ratios=(ratio,)), seed)  # type: ignore[arg-type]
            found[f"{kind} r={ratio:g}"] = residual.mean(axis=0)
    found["signed mean of both"] = (found["signed r=0.5"] + found["signed r=0.75"]) / 2
    return found


def main() -> None:
    """Print a Markdown table and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=("val", "train"), default="val", help="choose on train, report on val")
    parser.add_argument("--mae", type=Path, help="another MAE than the run's")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    store = CaseStore(args.run / "preprocessed")
    mae = checked_mae(args.mae or args.run / f"fold_{args.fold}" / "mae", store, args.dataset, args.fold)
    fold = get_fold(read_dataset(args.dataset), args.fold)
    chosen = fold.val if args.part == "val" else fold.train[::4]
    names = [name for name in chosen if store.label(name) is not None]
    filters: dict[str, Callable[[AnyArray], AnyArray]] = {
        "pixel": lambda x: x,
        f"mean over {SMOOTH} px": lambda x: ndimage.uniform_filter(x, (1, SMOOTH, SMOOTH)),
    }
    pooled: dict[str, dict[str, list[AnyArray]]] = {}
    truth = []
    for name in names:
        inside, label = store.foreground(name), store.label(name)
        assert label is not None
        truth.append(label[inside] > 0)
        for key, value in maps_of(mae, store.image(name), args.seed).items():
            for column, smooth in filters.items():
                pooled.setdefault(key, {}).setdefault(column, []).append(smooth(value)[inside])
    lesion = np.concatenate(truth)
    print(f"{len(names)} {args.part} cases, {lesion.size} pixels inside the foreground, {lesion.mean():.2%} lesion\n")
    print("| map | " + " | ".join(f"{column}: AUROC / AP" for column in filters) + " |\n|---|---|---|")
    table = {}
    for key, columns in pooled.items():
        scores = {c: (np.concatenate(values).astype(np.float64)) for c, values in columns.items()}
        table[key] = {c: (auroc(s, lesion), average_precision(s, lesion)) for c, s in scores.items()}
        print(f"| {key} | " + " | ".join(f"{a:.3f} / {p:.3f}" for a, p in table[key].values()) + " |")
    if args.out:
        args.out.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
