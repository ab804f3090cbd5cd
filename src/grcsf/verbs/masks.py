"""What the verbs that measure masks share: which files are meant, and what their labels are called."""

from __future__ import annotations

from pathlib import Path

from grcsf.errors import DatasetError
from grcsf.evaluation.pairs import find_masks
from grcsf.io.map_names import case_of_map
from grcsf.io.volume import IMAGE_ENDINGS, ending_of

__all__ = ["labels_beside", "masks_in", "one_mask"]


def masks_in(folder: Path) -> dict[str, Path]:
    """Case -> mask of a folder, without the maps that ``grcsf predict`` writes beside masks.

    Raises:
        DatasetError: no such folder, no mask in it, or two masks of a case (``A.nii.gz``, ``A.nrrd``).
    """
    found = find_masks(folder)
    twice = [name for name, paths in found.items() if len(paths) > 1]
    if twice:
        raise DatasetError(f"{folder}: more than one mask of {', '.join(twice[:5])}; keep one ending each")
    maps = {name for name in found if case_of_map(name) in found}
    return {name: paths[0] for name, paths in found.items() if name not in maps}


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
