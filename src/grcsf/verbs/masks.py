"""What the verbs that measure masks share: which files are meant, and what their labels are called."""

from __future__ import annotations

from pathlib import Path

from grcsf.errors import DatasetError
from grcsf.io.volume import IMAGE_ENDINGS, ending_of

__all__ = ["labels_beside", "one_mask"]


def labels_beside(masks: Path, name: str) -> dict[str, int]:
    """Labels of ``dataset.json`` beside a folder of masks (or of the folder of a mask), else ``name`` of value 1."""
    folder = masks if masks.is_dir() else masks.parent
    if (folder.parent / "dataset.json").is_file() and folder.name.startswith("labels"):
        from grcsf.datasets.nnunet_raw import read_dataset

        return dict(read_dataset(folder.parent).labels)
    return {"background": 0, name: 1}


def one_mask(path: Path) -> Path:
    """A mask file that exists.

    Raises:
        DatasetError: there is none.
    """
    if not path.is_file() or ending_of(path) is None:
        raise DatasetError(f"{path}: expected a mask file ending in {', '.join(IMAGE_ENDINGS)}")
    return path
