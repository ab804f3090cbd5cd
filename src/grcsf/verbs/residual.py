"""``grcsf residual``: residual maps of a fold's cases, cached on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from grcsf.config import Settings
from grcsf.datasets.sources.registry import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.errors import ModelError
from grcsf.fitting.fit import check_device, torch_device
from grcsf.io.files import make_folder
from grcsf.io.progress import track
from grcsf.io.record import RECORD_FILE, RunRecord
from grcsf.mae.bundle import MaeBundle, load_mae
from grcsf.preprocess.store import CaseStore
from grcsf.residual.cache import ResidualCache
from grcsf.residual.compute import case_residual
from grcsf.verbs.common import clear_partial, require_cases

__all__ = ["cached_maps", "checked_mae", "residual"]


def checked_mae(folder: Path, store: CaseStore, dataset: Path, fold: int) -> MaeBundle:
    """The MAE in ``folder``, refused if it was made under another plan or saw a validation case of the fold.

    Raises:
        ModelError: no MAE there, or one of another plan.
        LeakageError: it saw a validation case.
    """
    mae = load_mae(folder)
    if mae.plan_hash != store.plan.content_hash():
        raise ModelError(f"{folder}: this MAE was pre-trained under another preprocessing plan; pre-train it again")
    val = get_fold(read_dataset(dataset), fold).val
    mae.refuse_if_seen([(name, store.content_hash(name)) for name in val])
    return mae


def cached_maps(cache: ResidualCache, store: CaseStore, name: str, device: str) -> None:
    """Make sure the maps of a case are in the cache."""
    key = store.content_hash(name)
    if not cache.has(name, key):
        cache.open(name, key, lambda: case_residual(cache.mae, store.image(name), cache.settings, cache.seed, device))


def residual(
    preprocessed: str | Path,
    dataset: str | Path,
    mae: str | Path,
    output: str | Path,
    *,
    fold: int = 0,
    settings: Settings | None = None,
    device: str = "auto",
    part: Literal["all", "train"] = "all",
) -> ResidualCache:
    """Compute the residual maps of all cases of a fold that are not in the cache yet.

    Args:
        preprocessed: output of :func:`grcsf.preprocess`.
        dataset: the data set it came from.
        mae: output of :func:`grcsf.pretrain` for this fold.
        output: cache folder; maps already there under the same hash are kept.
        fold: refused if the MAE saw its validation cases.
        settings: ``residual`` and ``seed`` are used.
        device: ``auto``, ``cpu``, ``cuda``.
        part: ``train`` leaves the validation cases to prediction, which makes their maps anew.
    """
    settings, out = settings or Settings(), Path(output)
    check_device(device)
    store = CaseStore(Path(preprocessed))
    bundle = checked_mae(Path(mae), store, Path(dataset), fold)
    parts = get_fold(read_dataset(Path(dataset)), fold)
    names = parts.train if part == "train" else (*parts.train, *parts.val)
    require_cases(store, names)
    clear_partial(make_folder(out))
    cache = ResidualCache(out, bundle, settings.residual, settings.seed)
    missing = [name for name in names if not cache.has(name, store.content_hash(name))]
    if not missing and (out / RECORD_FILE).is_file():
        return cache
    dumped = settings.model_dump(mode="json")
    chosen = torch_device(device)
    with RunRecord(out, verb="residual", settings=dumped, inputs=[], seed=settings.seed, device=chosen) as record:
        with torch.inference_mode():
            for name in track(missing, "residual maps", total=len(missing)):
                cached_maps(cache, store, name, chosen)
        record.add("computed", len(missing))
        record.add("cached", len(names) - len(missing))
    return cache
