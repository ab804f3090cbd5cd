"""``grcsf pretrain``: masked autoencoders on images without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from grcsf.config import Settings
from grcsf.datasets.inputs import find_inputs
from grcsf.datasets.nnunet_raw import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.errors import LeakageError
from grcsf.io.record import RunRecord
from grcsf.mae.bundle import MaeBundle, load_mae
from grcsf.mae.pretrain import pretrain_mae
from grcsf.preprocess.run import preprocess_unlabelled
from grcsf.preprocess.store import CaseStore
from grcsf.verbs.common import open_stage, require_cases

__all__ = ["pretrain"]


def pretrain(
    preprocessed: str | Path,
    dataset: str | Path,
    output: str | Path,
    *,
    fold: int = 0,
    unlabelled: Sequence[str | Path] = (),
    settings: Settings | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> MaeBundle:
    """Pre-train the masked autoencoder of one fold: training images of the fold and folders of unlabelled scans.

    Args:
        preprocessed: output of :func:`grcsf.preprocess`.
        dataset: the nnU-Net raw folder it came from.
        output: folder of the model.
        fold: whose validation cases it must never see.
        unlabelled: folders of scans with the same channels; preprocessed under the same plan beside the model.
        settings: ``mae``, ``seed`` and ``workers`` are used.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``gpu:4``.
        resume: go on from a checkpoint; a finished model is kept.
        overwrite: replace what is there.

    Raises:
        LeakageError: an unlabelled scan that is a validation image of the fold.
    """
    settings, out = settings or Settings(), Path(output)
    store, data = CaseStore(Path(preprocessed)), read_dataset(Path(dataset))
    parts = get_fold(data, fold, settings.seed)
    require_cases(store, (*parts.train, *parts.val))
    if open_stage(out, resume=resume, overwrite=overwrite):
        return load_mae(out)
    dumped = settings.model_dump(mode="json")
    with RunRecord(out, verb="pretrain", settings=dumped, inputs=[], seed=settings.seed, device=device) as record:
        stores: list[tuple[CaseStore, Sequence[str]]] = [(store, parts.train)]
        held_out = {store.content_hash(name): name for name in parts.val}
        for index, folder in enumerate(unlabelled):
            cases = find_inputs(Path(folder), len(store.plan.channels))
            extra = preprocess_unlabelled(cases, store.plan, out / f"unlabelled_{index}", data.spacing_mm)
            leaked = [name for name in extra.names if extra.content_hash(name) in held_out]
            if leaked:
                raise LeakageError(
                    f"{folder}: {len(leaked)} scans are validation images of fold {fold} ({', '.join(leaked[:5])}); "
                    "take them out of the folder"
                )
            stores.append((extra, extra.names))
        _, result = pretrain_mae(
            stores,
            store.plan,
            settings.mae,
            out,
            seed=settings.seed,
            device=device,
            workers=settings.workers,
            resume=resume,
            steps_per_epoch=settings.mae.steps_per_epoch,
        )
        record.add("steps", result.steps)
        record.add("training_seconds", round(result.seconds, 1))
        record.add("images", sum(len(names) for _, names in stores))
    return load_mae(out)
