"""Which cases a path given for prediction holds: one image, or a folder of them."""

from __future__ import annotations

from pathlib import Path

from grcsf.datasets.dataset import Case
from grcsf.datasets.naming import complete_cases, group_files, guess_group, image_files
from grcsf.errors import DatasetError
from grcsf.io.volume import IMAGE_ENDINGS, ending_of, stem_of

__all__ = ["find_inputs"]


def find_inputs(path: Path, channels: int) -> tuple[Case, ...]:
    """The unlabelled cases at ``path``, sorted by name; images are not opened.

    Args:
        path: an image file, or a folder of ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz``, ... With one channel the
            suffix may be left out. For several channels and a file, the file and its siblings are the case.
        channels: how many channels the model takes.

    Raises:
        DatasetError: nothing there, a channel is missing or superfluous, or a case exists twice (``CASE.nii.gz`` and
            ``CASE.nrrd``).
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    if path.is_file():
        groups = {name: files for name, files in _groups_beside(path, channels).items() if _holds(files, path)}
    else:
        groups = group_files(_images_in(path), channels)
    complete, wrong = complete_cases(groups, channels)
    if wrong:
        problems = "; ".join(f"{case}: {text}" for case, texts in list(wrong.items())[:5] for text in texts)
        more = f"; and {len(wrong) - 5} more cases" if len(wrong) > 5 else ""
        raise DatasetError(f"{path}: the model takes {channels} channel(s) per case; {problems}{more}")
    return tuple(Case(name, files, None, guess_group(name)) for name, files in complete.items())


def _groups_beside(path: Path, channels: int) -> dict[str, dict[int, list[Path]]]:
    if ending_of(path) is None:
        raise DatasetError(f"{path}: not an image grcsf reads; expected one ending in {', '.join(IMAGE_ENDINGS)}")
    if channels == 1:
        return {stem_of(path).removesuffix("_0000"): {0: [path]}}
    return group_files(image_files(path.parent), channels)


def _holds(files: dict[int, list[Path]], path: Path) -> bool:
    return any(path.name == candidate.name for paths in files.values() for candidate in paths)


def _images_in(folder: Path) -> list[Path]:
    files = image_files(folder)
    if files:
        return files
    inner = next((name for name in ("imagesTs", "imagesTr") if (folder / name).is_dir()), None)
    advice = f"; did you mean {folder / inner}?" if inner else ""
    raise DatasetError(
        f"{folder}: no image in this folder; expected files ending in {', '.join(IMAGE_ENDINGS)}{advice}"
    )
