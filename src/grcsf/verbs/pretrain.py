"""``grcsf pretrain``: masked autoencoders on images without labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from grcsf.config import MaeSettings, ResidualSettings, Settings
from grcsf.datasets.dataset import Case, Dataset, Fold
from grcsf.datasets.inputs import find_inputs
from grcsf.datasets.sources.registry import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.errors import DatasetError, LeakageError, SettingsError
from grcsf.fitting.fit import check_device
from grcsf.io.record import RunRecord
from grcsf.mae.bundle import MaeBundle, load_mae
from grcsf.mae.pretrain import mae_window, pretrain_mae
from grcsf.preprocess.run import preprocess_unlabelled
from grcsf.preprocess.store import CaseStore
from grcsf.verbs.common import hash_names, label_subset, lasting, open_stage, require_cases

__all__ = ["pretrain"]


def pretrain(
    preprocessed: str | Path,
    dataset: str | Path,
    output: str | Path,
    *,
    fold: int = 0,
    unlabelled: Sequence[str | Path | Dataset] = (),
    settings: Settings | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> MaeBundle:
    """Pre-train the masked autoencoder of one fold: training images of the fold and folders of unlabelled scans.

    Args:
        preprocessed: output of :func:`grcsf.preprocess`.
        dataset: the data set it came from.
        output: folder of the model.
        fold: whose validation cases it must never see.
        unlabelled: folders of scans with the same channels, or data sets, of which the images are taken and no label;
            preprocessed under the same plan beside the model.
        settings: ``mae``, ``seed`` and ``workers`` are used.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``gpu:4``.
        resume: go on from a checkpoint; a finished model is kept.
        overwrite: replace what is there.

    Raises:
        SettingsError: a window that does not fit the plan or the mask ratios.
        DatasetError: unlabelled scans with other channels, or none.
        LeakageError: an unlabelled scan that is a validation image of the fold, or of a validation patient.
    """
    settings, out = settings or Settings(), Path(output)
    check_device(device)
    store, data = CaseStore(Path(preprocessed)), read_dataset(Path(dataset))
    parts = get_fold(data, fold)
    require_cases(store, (*parts.train, *parts.val))
    extra = [_scans(given, len(store.plan.file_channels), data.spacing_mm) for given in unlabelled]
    for folder, cases, _ in extra:
        _refuse_patients(folder, cases, data, fold, parts)
    _refuse_window(store, settings.mae, settings.residual)
    labelled = label_subset(data, parts, settings.training.label_fraction, settings.seed)
    claim = {
        "fold": fold,
        "plan": store.plan.content_hash(),
        "unlabelled": [[case.name for case in cases] for _, cases, _ in extra],
        "settings": {key: lasting(settings)[key] for key in ("seed", "mae")},
        "cases": hash_names(parts.train),
        "labels": hash_names(labelled) if settings.mae.normative else None,
    }
    if open_stage(out, claim, resume=resume, overwrite=overwrite):
        return load_mae(out)
    dumped = settings.model_dump(mode="json")
    with RunRecord(out, verb="pretrain", settings=dumped, inputs=[], seed=settings.seed, device=device) as record:
        stores: list[tuple[CaseStore, Sequence[str]]] = [(store, parts.train)]
        for index, (folder, cases, spacing_mm) in enumerate(extra):
            scans = preprocess_unlabelled(cases, store.plan, out / f"unlabelled_{index}", spacing_mm, settings.workers)
            names = tuple(case.name for case in cases)
            _refuse_images(folder, scans, names, store, parts.val)
            stores.append((scans, names))
        _, result = pretrain_mae(
            stores,
            store.plan,
            settings.mae,
            out,
            seed=settings.seed,
            labelled=labelled,
            device=device,
            workers=settings.workers,
            resume=resume,
            steps_per_epoch=settings.mae.steps_per_epoch,
        )
        record.add("steps", result.steps)
        record.add("training_seconds", round(result.seconds, 1))
        record.add("precision", result.precision)
        record.add("images", sum(len(names) for _, names in stores))
    return load_mae(out)


def _scans(
    given: str | Path | Dataset, channels: int, spacing_mm: tuple[float, ...] | None
) -> tuple[Path, tuple[Case, ...], tuple[float, ...] | None]:
    """Where unlabelled scans lie, the scans, and the pixel spacing of PNG images."""
    if isinstance(given, Dataset):
        if len(given.channel_names) != channels:
            raise DatasetError(f"{given.name}: {len(given.channel_names)} channels, expected {channels} as in training")
        return given.root, given.cases, given.spacing_mm
    return Path(given), find_inputs(Path(given), channels), spacing_mm


def _refuse_window(store: CaseStore, settings: MaeSettings, residual: ResidualSettings) -> None:
    """Refuse a window of wrong dimensions, or networks and patches that cannot give the residual maps asked for."""
    try:
        window = mae_window(store.plan, settings)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    patches = math.prod(edge // settings.patch for edge in window)
    ratios = (*settings.ratios, *(residual.ratios or ()))
    sets = max(round(1 / (1 - ratio)) for ratio in ratios)
    if patches < sets:
        raise SettingsError(
            f"mae.window {window} holds {patches} patches of mae.patch {settings.patch}, and the ratios of mae and "
            f"residual {ratios} need at least {sets}; use a smaller patch or a larger window"
        )
    unknown = [ratio for ratio in residual.ratios or () if ratio not in settings.ratios]
    if settings.networks == "per-ratio" and unknown:
        raise SettingsError(
            f"residual.ratios: {unknown[0]} is none of mae.ratios {settings.ratios}, and mae.networks=per-ratio "
            "has a network for each of these only"
        )


def _refuse_patients(folder: Path, cases: Sequence[Case], data: Dataset, fold: int, parts: Fold) -> None:
    """Refuse scans that by their names are of validation cases or patients of the fold."""
    held_out = {*parts.val, *data.groups(parts.val)}
    leaked = [case.name for case in cases if case.name in held_out or case.group in held_out]
    if leaked:
        raise LeakageError(
            f"{folder}: {len(leaked)} scans have the name of a validation case or patient of fold {fold} "
            f"({', '.join(leaked[:5])}); take them out of the folder, or rename them if they are of other patients"
        )


def _refuse_images(
    folder: Path, scans: CaseStore, names: Sequence[str], store: CaseStore, held_out: Sequence[str]
) -> None:
    """Refuse scans that are the validation images themselves under other names."""
    known = {store.content_hash(name): name for name in held_out}
    leaked = [f"{name} is {known[content]}" for name in names if (content := scans.content_hash(name)) in known]
    if leaked:
        raise LeakageError(
            f"{folder}: {len(leaked)} scans are validation images of the fold ({', '.join(leaked[:5])}); "
            "take them out of the folder"
        )
