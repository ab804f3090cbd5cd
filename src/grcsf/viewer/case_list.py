"""Which cases a path given to the viewer holds; images are not opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.naming import group_files, image_files
from grcsf.datasets.sources.registry import find_source, read_dataset
from grcsf.errors import DatasetError
from grcsf.io.dicom.files import is_dicom_input
from grcsf.io.lazy import ImageRef
from grcsf.io.volume import IMAGE_ENDINGS, ending_of, stem_of
from grcsf.viewer.layers import CaseList, Layer, ViewCase, map_layers, split_map
from grcsf.viewer.runs import find_run, run_predictions

__all__ = ["find_cases"]


def find_cases(
    path: Path,
    images: Path | None = None,
    references: Path | None = None,
    dataset: Path | None = None,
    spacing_mm: tuple[float, ...] | None = None,
) -> CaseList:
    """The cases at ``path``.

    Args:
        path: an image, a folder of images, a data set of any known layout, a DICOM file, folder or zip, a run folder,
            or (with ``images``, ``references`` or ``dataset``) a mask or a folder of masks and maps.
        images: folder (or data set, or image) that the masks at ``path`` belong to.
        references: folder (or data set, or file) of reference masks.
        dataset: images and references at once; of a run folder none is needed where the data set lies beside it.
        spacing_mm: (rows, columns) of PNG images, where no data set says it.

    Raises:
        DatasetError: nothing there that can be shown.
        ImageError: DICOM that cannot be listed.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder; expected an image, a folder of images or masks, or a run")
    run = find_run(path) if path.is_dir() else None
    if run is not None and images is not None:
        raise DatasetError(f"{path}: a run shows the images of its data set; give that with -d instead of images")
    if run is not None:
        found = _of_run(run, dataset)
    elif images is None and dataset is None and is_dicom_input(path):
        from grcsf.viewer.dicom_cases import dicom_cases

        found = dicom_cases(path)
    elif images is None and dataset is None and find_source(path) is not None:
        found = _of_dataset(read_dataset(path))
    else:
        found = _of_files(path, images, dataset)
    found = _with_references(found, references or (dataset if images is not None else None))
    if not found.cases:
        raise DatasetError(f"{path}: no case to show")
    return replace(found, spacing_mm=spacing_mm or found.spacing_mm)


def _of_dataset(data: Dataset) -> CaseList:
    cases = tuple(_view(case, data) for case in (*data.cases, *data.test_cases))
    channel = data.channel_names[0].upper() if data.channel_names else ""
    return CaseList(
        title=data.name,
        cases=cases,
        labels={value: name for name, value in data.labels.items() if value > 0},
        modality="CT" if channel in ("CT", "CCTA", "CTA", "NCCT") else None,
        spacing_mm=data.spacing_mm,
    )


def _view(case: Case, data: Dataset) -> ViewCase:
    names = data.channel_names if len(data.channel_names) == len(case.images) else [""] * len(case.images)
    layers = [
        Layer("image", name, f"Image {name}".strip(), image) for name, image in zip(names, case.images, strict=True)
    ]
    if case.label is not None:
        layers.append(Layer("reference", "", "Reference", case.label))
    return ViewCase(case.name, tuple(layers))


def _of_run(run: Path, dataset: Path | None) -> CaseList:
    folds, beside = run_predictions(run)
    where = dataset or beside
    known = _of_dataset(read_dataset(where)) if where is not None else CaseList("", ())
    masks = {name: files for files in folds for name in _mask_names(files)}
    base = {case.name: case.layers for case in known.cases if case.name in masks}
    if dataset is not None and not base:
        raise DatasetError(
            f"{dataset}: holds none of the {len(masks)} cases of {run.name} (such as {next(iter(masks), 'CASE')}); "
            "give the data set that the run was made with"
        )
    names = list(base) or sorted(masks)
    cases = tuple(ViewCase(name, (*base.get(name, ()), *_predicted(name, masks[name], names))) for name in names)
    note = () if base else ("Images and references are not shown: give the data set of the run with -d.",)
    return replace(known, title=run.resolve().name, cases=cases, notes=note)


def _of_files(path: Path, images: Path | None, dataset: Path | None) -> CaseList:
    if images is None and dataset is None:
        return _plain(path)
    known = _of_dataset(read_dataset(dataset)) if dataset is not None else CaseList(path.name, ())
    pictures = _pictures(images) if images is not None else {case.name: case.layers for case in known.cases}
    files = _by_stem([path] if path.is_file() else _listed(path))
    names = [name for name in pictures if name in files or any(stem.startswith(f"{name}_") for stem in files)]
    if not names and len(pictures) == 1 and len(_mask_names(files)) == 1:
        (picture,), (name,) = pictures.values(), _mask_names(files)
        return replace(known, title=path.name, cases=(ViewCase(name, (*picture, *_predicted(name, files, [name]))),))
    if not names:
        raise DatasetError(
            f"{path}: no mask or map of any of the {len(pictures)} images (such as {next(iter(pictures), 'CASE')}); "
            "expected the same names, such as CASE.nii.gz for CASE_0000.nii.gz"
        )
    cases = tuple(ViewCase(name, (*pictures[name], *_predicted(name, files, names))) for name in names)
    return replace(known, title=path.name, cases=cases)


def _plain(path: Path) -> CaseList:
    """An image, or a folder of images with the maps beside them; masks by themselves if that is what it is."""
    if path.is_file() and ending_of(path) is None:
        raise DatasetError(f"{path}: not an image grcsf reads; expected one ending in {', '.join(IMAGE_ENDINGS)}")
    files = _by_stem([path] if path.is_file() else _listed(path))
    if path.is_dir() and (path / "prediction.json").is_file():
        names = _mask_names(files)
        note = "Images are not shown: give their folder with -i."
        return CaseList(
            path.name, tuple(ViewCase(name, tuple(_predicted(name, files, names))) for name in names), notes=(note,)
        )
    pictures = _pictures(path)
    taken = {layer.image for layers in pictures.values() for layer in layers}
    rest = {stem: file for stem, file in files.items() if file not in taken}
    cases = (ViewCase(name, (*layers, *map_layers(name, rest, pictures))) for name, layers in pictures.items())
    return CaseList(path.name, tuple(cases))


def _pictures(path: Path) -> dict[str, tuple[Layer, ...]]:
    """Case -> images of it, without references."""
    if path.is_dir() and find_source(path) is not None:
        found = _of_dataset(read_dataset(path)).cases
        return {case.name: tuple(layer for layer in case.layers if layer.role == "image") for case in found}
    files = [path] if path.is_file() else _listed(path)
    stems = {stem_of(file) for file in files}
    kept = [
        file for file in files if not ((m := split_map(stem_of(file))) and (m[0] in stems or f"{m[0]}_0000" in stems))
    ]
    several = {stem[:-5] for stem in stems if stem.endswith("_0001") and f"{stem[:-5]}_0000" in stems}
    groups = group_files(kept, 2 if several else 1)
    result = {}
    for name, channels in groups.items():
        paths = [(channel, file) for channel, found in sorted(channels.items()) for file in found]
        case = name.removesuffix("_0000") if len(paths) == 1 else name
        many = len(paths) > 1
        result[case] = tuple(
            Layer("image", f"{max(channel, 0):04d}" if many else "", f"Image {channel:04d}" if many else "Image", file)
            for channel, file in paths
        )
    return result


def _listed(folder: Path) -> list[Path]:
    files = image_files(folder)
    if not files:
        raise DatasetError(
            f"{folder}: nothing to show; expected images ending in {', '.join(IMAGE_ENDINGS)}, DICOM, a data set "
            "(grcsf validate says what is wrong with one) or a run folder with fold_0"
        )
    return files


def _by_stem(files: list[Path]) -> dict[str, Path]:
    return {stem_of(path): path for path in files}


def _mask_names(files: Mapping[str, Path]) -> list[str]:
    """Cases of a folder of masks and maps; a map without its mask stands for its case."""
    found = [split[0] if (split := split_map(stem)) else stem for stem in files]
    return list(dict.fromkeys(found))


def _predicted(name: str, files: Mapping[str, Path], cases: list[str]) -> list[Layer]:
    mask = [Layer("prediction", "", "Prediction", files[name])] if name in files else []
    return [*mask, *map_layers(name, files, cases)]


def _with_references(found: CaseList, references: Path | None) -> CaseList:
    if references is None:
        return found
    masks: dict[str, ImageRef]
    if references.is_dir() and find_source(references) is not None:
        data = read_dataset(references)
        masks = {case.name: case.label for case in (*data.cases, *data.test_cases) if case.label is not None}
        found = replace(found, labels={value: name for name, value in data.labels.items() if value > 0})
    elif references.is_dir():
        masks = dict(_by_stem(_listed(references)))
    elif references.is_file() and len(found.cases) == 1:
        masks = {found.cases[0].name: references}
    else:
        raise DatasetError(f"{references}: no such folder of reference masks (one file serves one case only)")
    if not any(case.name in masks for case in found.cases):
        raise DatasetError(
            f"{references}: no reference of any case; expected files such as {found.cases[0].name}.nii.gz"
        )
    return replace(found, cases=tuple(_referenced(case, masks.get(case.name)) for case in found.cases))


def _referenced(case: ViewCase, mask: ImageRef | None) -> ViewCase:
    if mask is None:
        return case
    kept = [layer for layer in case.layers if layer.role != "reference"]
    place = sum(layer.role == "image" for layer in kept)
    return ViewCase(case.name, (*kept[:place], Layer("reference", "", "Reference", mask), *kept[place:]))
