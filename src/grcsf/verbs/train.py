"""``grcsf train``: the segmentation network of one fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from grcsf.arrays import Sliceable
from grcsf.config import Settings
from grcsf.datasets.dataset import Dataset
from grcsf.datasets.sources.registry import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.errors import SettingsError
from grcsf.fitting.fit import check_device
from grcsf.io.record import RunRecord
from grcsf.preprocess.store import CaseStore
from grcsf.residual.cache import ResidualCache
from grcsf.residual.compute import case_residual
from grcsf.residual.shuffle import fit_grid, other_cases
from grcsf.training.package import LesionModel, load_model
from grcsf.training.train import train_network
from grcsf.verbs.common import hash_names, label_subset, lasting, open_stage, require_cases, selection_split
from grcsf.verbs.residual import checked_mae

__all__ = ["train"]


def train(
    preprocessed: str | Path,
    dataset: str | Path,
    output: str | Path,
    *,
    mae: str | Path | None = None,
    cache: str | Path | None = None,
    fold: int = 0,
    settings: Settings | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> LesionModel:
    """Train the network of one fold and write ``model.safetensors`` + ``model.json``.

    Args:
        preprocessed: output of :func:`grcsf.preprocess`.
        dataset: the data set it came from.
        output: folder of the model.
        mae: output of :func:`grcsf.pretrain` for this fold; needed unless the network takes no residual maps.
        cache: folder of residual maps; none: ``residual`` beside ``output``.
        fold: its training part is trained on; its validation part is not read.
        settings: all settings.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``gpu:4``.
        resume: go on from a checkpoint; a finished model is kept.
        overwrite: replace what is there.

    Raises:
        SettingsError: residual maps without an MAE.
        LeakageError: an MAE that saw the fold's validation cases, or labels that the network is not to see.
    """
    settings, out = settings or Settings(), Path(output)
    check_device(device)
    store, data = CaseStore(Path(preprocessed)), read_dataset(Path(dataset))
    _refuse_missing_mae(settings, mae)
    parts = get_fold(data, fold)
    require_cases(store, parts.train)
    bundle = maps = None
    if settings.network.uses_residual and mae is not None:
        bundle = checked_mae(Path(mae), store, Path(dataset), fold)
    labelled = label_subset(data, parts, settings.training.label_fraction, settings.seed)
    if bundle is not None:
        bundle.refuse_other_labels(labelled)
    claim = {
        "fold": fold,
        "plan": store.plan.content_hash(),
        "mae": bundle.weights_hash if bundle else None,
        "settings": {key: lasting(settings)[key] for key in ("seed", "residual", "network", "training")},
        "cases": hash_names(labelled),
    }
    if open_stage(out, claim, resume=resume, overwrite=overwrite):
        return load_model(out)
    if bundle is not None:
        kept = ResidualCache(
            Path(cache) if cache else out.parent / "residual", bundle, settings.residual, settings.seed
        )
        maps = _MapReader(kept, store, _others(data, parts.train, settings))
    training, selection = selection_split(data, labelled, settings)
    dumped = settings.model_dump(mode="json")
    with RunRecord(out, verb="train", settings=dumped, inputs=[], seed=settings.seed, device=device) as record:
        model, result = train_network(
            store,
            training,
            selection,
            settings,
            out,
            mae=bundle,
            maps=maps,
            device=device,
            resume=resume,
            provenance={"dataset": data.name, "fold": fold, "selection_cases": len(selection)},
        )
        record.add("steps", result.steps)
        record.add("training_seconds", round(result.seconds, 1))
        record.add("precision", result.precision)
        record.add("parameters", sum(p.numel() for p in model.network.parameters()))
    return model


def _refuse_missing_mae(settings: Settings, mae: str | Path | None) -> None:
    if settings.network.uses_residual and mae is None:
        name, off = ("rcu", "rcu=false") if settings.network.rcu else ("residual_input", "residual_input=rcu")
        raise SettingsError(
            f"network.{name} needs residual maps: give the MAE of this fold (-m), or --set network.{off}"
        )


def _others(data: Dataset, names: Sequence[str], settings: Settings) -> dict[str, str]:
    """Whose maps each case gets, where they are not its own."""
    if settings.residual.source == "own":
        return {}
    return other_cases({name: data.case(name).group for name in names}, settings.seed)


class _MapReader:
    """Residual maps of a case, from the cache or computed now; a class so that loader processes can carry it.

    ``others`` names the case whose maps are given in the place of a case's own.
    """

    def __init__(self, cache: ResidualCache, store: CaseStore, others: Mapping[str, str]) -> None:
        self.cache, self.store, self.others = cache, store, dict(others)

    def __call__(self, name: str) -> Sliceable:
        other = self.others.get(name)
        if other is None:
            return self._own(name)
        return fit_grid(np.asarray(self._own(other)[...], np.float32), self.store.shape(name)[1:])

    def _own(self, name: str) -> Sliceable:
        cache = self.cache
        return cache.open(
            name,
            self.store.content_hash(name),
            lambda: case_residual(cache.mae, self.store.image(name), cache.settings, cache.seed),
        )
