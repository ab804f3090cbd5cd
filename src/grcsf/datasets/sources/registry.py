"""Which source a folder or table is, and its cases: the one door for every verb that takes a data set."""

from __future__ import annotations

from pathlib import Path

from grcsf.datasets.dataset import Dataset
from grcsf.datasets.sources.atlas import ATLAS
from grcsf.datasets.sources.coca import COCA
from grcsf.datasets.sources.isles import ISLES
from grcsf.datasets.sources.msd import MSD
from grcsf.datasets.sources.nnunet import NNUNET
from grcsf.datasets.sources.orcascore import ORCASCORE
from grcsf.datasets.sources.pairs import PAIRS
from grcsf.datasets.sources.source import Found, Source, usable
from grcsf.datasets.sources.table import TABLE
from grcsf.errors import DatasetError

__all__ = ["SOURCES", "find_dataset", "find_source", "read_dataset", "unknown_layout"]

SOURCES: dict[str, Source] = {
    "nnunet": NNUNET,
    "msd": MSD,
    "atlas": ATLAS,
    "isles": ISLES,
    "orcascore": ORCASCORE,
    "coca": COCA,
    "pairs": PAIRS,
    "table": TABLE,
}
"""Every layout that grcsf knows. A new source is one file and one line here."""


def find_source(path: Path) -> Source | None:
    """The source of a data set, by its layout; images are not opened.

    Returns:
        None where nothing is recognised.

    Raises:
        DatasetError: several sources fit.
    """
    fitting = {source.title: why for source in SOURCES.values() if (why := source.evidence(path))}
    if len(fitting) > 1:
        listed = "; ".join(f"{title} ({why})" for title, why in fitting.items())
        raise DatasetError(
            f"{path}: could be {len(fitting)} data sets at once: {listed}; give each a folder of its own"
        )
    return next((source for source in SOURCES.values() if source.title in fitting), None)


def find_dataset(path: Path) -> tuple[Source, Found]:
    """Source and cases of a data set, with everything that is wrong with its layout.

    A folder with nothing but a ``dataset.json`` is taken for nnU-Net raw, which says what is missing.

    Raises:
        DatasetError: no such path, nothing or several sources recognised, or nothing that could be read as cases.
    """
    source = find_source(path)
    if source is None and path.is_dir() and (path / "dataset.json").is_file():
        source = NNUNET
    if source is None:
        raise DatasetError(unknown_layout(path))
    return source, source.read(path)


def read_dataset(path: Path) -> Dataset:
    """The data set in a folder or table of any known source; images are not opened.

    Args:
        path: a folder, or a CSV table.

    Raises:
        DatasetError: nothing or several sources recognised, or something wrong with the layout (``grcsf validate``
            lists all of it).
    """
    source, found = find_dataset(path)
    return usable(found, source.title)


def unknown_layout(path: Path) -> str:
    """What to say of a path in which no data set is recognised."""
    if not path.exists():
        return f"{path}: no such folder; expected a data set, such as a folder with dataset.json, imagesTr and labelsTr"
    layouts = "".join(f"\n  {source.title}: {source.layout}" for source in SOURCES.values())
    return f"{path}: no data set recognised; no dataset.json in it, nor one of these layouts:{layouts}"
