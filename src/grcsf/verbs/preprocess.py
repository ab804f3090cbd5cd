"""``grcsf preprocess``: fingerprint, plan, arrays."""

from __future__ import annotations

from pathlib import Path

from grcsf.config import Settings
from grcsf.datasets.sources.registry import read_dataset
from grcsf.datasets.splits import get_fold
from grcsf.preprocess.run import preprocess_dataset
from grcsf.preprocess.store import CaseStore

__all__ = ["preprocess"]


def preprocess(
    dataset: str | Path,
    output: str | Path,
    *,
    fold: int | None = None,
    settings: Settings | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> CaseStore:
    """Turn the scans of a data set into normalised arrays on disk.

    Args:
        dataset: a data set of any known source.
        output: folder of the arrays, plan and fingerprint.
        fold: learn the plan from the training cases of this fold only; none: from all cases.
        settings: ``preprocess`` and ``workers`` are used.
        resume: skip cases that are complete.
        overwrite: replace what is there.
    """
    settings = settings or Settings()
    data = read_dataset(Path(dataset))
    learned_from = get_fold(data, fold).train if fold is not None else None
    return preprocess_dataset(
        data, settings, Path(output), resume=resume, overwrite=overwrite, fingerprint_cases=learned_from
    )
