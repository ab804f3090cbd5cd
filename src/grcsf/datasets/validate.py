"""Everything wrong with a data set, found in one pass that never stops at the first problem.

Images are read one case at a time (one per worker), so memory does not grow with the number of cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from grcsf.datasets.case_check import CaseCheck, CaseFiles, Problem, check_case
from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.groups import find_groups
from grcsf.datasets.header import Header, read_header
from grcsf.datasets.naming import FileGroups, complete_cases, group_files, guess_group, image_files
from grcsf.datasets.nnunet_raw import find_ending
from grcsf.datasets.splits import SPLITS_FILE, fold_faults, read_folds
from grcsf.errors import DatasetError
from grcsf.io.files import to_plain
from grcsf.io.html import block, paragraph, table
from grcsf.io.progress import track
from grcsf.io.volume import ending_of, stem_of

__all__ = ["Estimate", "Problem", "ValidationReport", "check_cases", "empty_masks", "validate_dataset"]


@dataclass(frozen=True)
class Estimate:
    """What the data will need, from their size as stored.

    Attributes:
        memory_bytes: of the largest case while it is preprocessed: float32 channels twice, mask and foreground.
        disk_bytes: of all cases preprocessed at their own spacing, before compression.
    """

    memory_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True)
class ValidationReport:
    """What was found.

    Attributes:
        n_cases: cases looked at, training and test.
        n_with_lesion: cases whose mask holds a lesion.
        problems: in the order files, images, data set; empty if all is well.
        estimate: memory and disk that will be needed.
        source: which layout was recognised; empty: none.
    """

    n_cases: int = 0
    n_with_lesion: int = 0
    problems: list[Problem] = field(default_factory=list)
    estimate: Estimate = Estimate()
    source: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings are allowed."""
        return not any(problem.severity == "error" for problem in self.problems)

    def _repr_html_(self) -> str:
        """Numbers, for notebooks; the messages, which may name folders, are in ``problems``."""
        kinds = Counter(f"{problem.severity}: {problem.kind}" for problem in self.problems)
        rows = [("cases", self.n_cases), ("with a lesion", self.n_with_lesion), *sorted(kinds.items())]
        title = "No errors" if self.ok else "Errors found"
        note = paragraph(".problems says what was found.") if self.problems else ""
        return block(f"{title}{f' ({self.source})' if self.source else ''}", table(["what", "n"], rows), note)

    def to_json(self) -> dict[str, Any]:
        """The report in types that JSON knows."""
        return {"ok": self.ok, **to_plain(self)}


def validate_dataset(folder: Path, tolerance_mm: float = 1e-3, workers: int = 0) -> ValidationReport:
    """Read every file of a data set in nnU-Net raw layout and report all that is wrong at once.

    Args:
        folder: the data set.
        tolerance_mm: how far the corner voxels of two files of a case may be apart, mm.
        workers: threads that read cases beside each other; 0 reads in this one.

    Returns:
        A report; nothing is raised for what is wrong with the data.
    """
    try:
        header, faults = read_header(folder)
    except DatasetError as error:
        return ValidationReport(problems=[_of_dataset("dataset-json", str(error))])
    problems = [_of_dataset("dataset-json", f"dataset.json: {fault}") for fault in faults]
    ending = find_ending(folder, header)
    training, file_problems = _list_part(folder, "Tr", header, ending)
    testing, test_problems = _list_part(folder, "Ts", header, ending)
    problems += file_problems + test_problems
    checks, case_problems, estimate = check_cases(
        [*training, *testing],
        header.labels,
        header.spacing_mm,
        tolerance_mm=tolerance_mm,
        workers=workers,
        channels=len(header.channel_names),
    )
    problems += case_problems
    problems += _count_problems(header, training, checks)
    problems += _split_problems(folder, header, training, testing)
    return ValidationReport(len(checks), sum(check.has_lesion for check in checks), problems, estimate)


def check_cases(
    cases: Sequence[CaseFiles],
    labels: Mapping[str, int],
    spacing_mm: tuple[float, ...] | None,
    *,
    tolerance_mm: float,
    workers: int,
    channels: int,
) -> tuple[list[CaseCheck], list[Problem], Estimate]:
    """Read every image of the cases; also what is wrong between cases, and what all of them will need.

    Args:
        cases: what to read.
        labels: value of each class that the data set declares.
        spacing_mm: (rows, columns) of PNG images.
        tolerance_mm: how far the corner voxels of two images of a case may be apart, mm.
        workers: threads; 0 reads in this one.
        channels: of each case, for the estimate.
    """
    check = partial(check_case, labels=labels, spacing_mm=spacing_mm, tolerance_mm=tolerance_mm)
    checks = list(_check_all(cases, check, workers))
    problems = [problem for checked in checks for problem in checked.problems]
    problems += _duplicate_images(checks)
    problems += _mixed_dimensions(checks)
    sizes = [checked.voxels for checked in checks]
    count = max(1, channels)
    return checks, problems, Estimate(max(sizes, default=0) * (8 * count + 2), sum(sizes) * (4 * count + 2))


def empty_masks(checks: Sequence[CaseCheck]) -> list[Problem]:
    """A warning if there are masks without a lesion."""
    empty = sum(check.has_label and not check.has_lesion for check in checks)
    if not empty:
        return []
    message = f"{empty} of {sum(check.has_label for check in checks)} masks are empty (no lesion)"
    return [_of_dataset("empty-masks", message, "warning")]


def _of_dataset(kind: str, message: str, severity: Any = "error") -> Problem:
    return Problem(case=None, severity=severity, kind=kind, message=message)


def _list_part(folder: Path, part: str, header: Header, ending: str) -> tuple[list[CaseFiles], list[Problem]]:
    """The cases of imagesTr or imagesTs with what files they have, and the problems of their names."""
    images, labels = folder / f"images{part}", folder / f"labels{part}"
    if not images.is_dir():
        missing = _of_dataset("missing-folder", f"no folder {images.name} in the data set; expected the images there")
        return [], [missing] if part == "Tr" else []
    channels = max(1, len(header.channel_names))
    groups = group_files(image_files(images), channels)
    problems = [
        Problem(case, "error", "wrong-ending", f"{paths[0].name}: dataset.json declares the ending {ending}")
        for case, files in groups.items()
        for paths in files.values()
        if ending not in map(ending_of, paths)
    ]
    _, wrong = complete_cases(groups, channels)
    for case, messages in wrong.items():
        problems += [Problem(case, "error", _name_kind(text), f"{images.name}: {text}") for text in messages]
    by_name: dict[str, list[Path]] = {}
    for path in image_files(labels) if labels.is_dir() else []:
        by_name.setdefault(stem_of(path), []).append(path)
    cases, label_problems = _with_labels(groups, by_name, ending, labels.name)
    if not cases and part == "Tr":
        label_problems.append(_of_dataset("no-cases", f"no image in {images.name}; expected CASE_0000{ending}"))
    return cases, problems + label_problems


def _with_labels(
    groups: FileGroups, labels: dict[str, list[Path]], ending: str, folder: str
) -> tuple[list[CaseFiles], list[Problem]]:
    cases, problems = [], []
    for case, channels in groups.items():
        found = labels.get(case, [])
        if not found and folder == "labelsTr":
            problems.append(Problem(case, "error", "missing-label", f"no mask {folder}/{case} for this image"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            problems.append(Problem(case, "error", "duplicate-case", f"{folder}: {names} are masks of one case"))
        images = tuple(_preferred(channels[channel], ending) for channel in sorted(channels))
        cases.append(CaseFiles(case, images, _preferred(found, ending) if found else None))
    problems += [
        Problem(case, "error", "missing-image", f"mask {folder}/{paths[0].name} without an image")
        for case, paths in labels.items()
        if case not in groups
    ]
    return cases, problems


def _preferred(paths: Sequence[Path], ending: str) -> Path:
    return min(paths, key=lambda path: ending_of(path) != ending)


def _name_kind(message: str) -> str:
    if message.startswith("duplicate"):
        return "duplicate-case"
    return "missing-channel" if message.startswith("missing") else "unexpected-channel"


def _check_all(
    cases: Sequence[CaseFiles], check: Callable[[CaseFiles], CaseCheck], workers: int
) -> Iterator[CaseCheck]:
    if workers <= 0:
        yield from track(map(check, cases), "Validating", len(cases))
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from track(pool.map(check, cases), "Validating", len(cases))


def _duplicate_images(checks: Iterable[CaseCheck]) -> Iterator[Problem]:
    """Images with the same voxels, in two cases (an error: they may be on both sides of a fold) or in one."""
    first: dict[str, tuple[str, str]] = {}
    for check in checks:
        for name, digest in check.hashes.items():
            case, other = first.setdefault(digest, (check.case, name))
            if other == name and case == check.case:
                continue
            if case == check.case:
                message = f"{name} has the same voxels as {other}; two channels should differ"
                yield Problem(check.case, "warning", "equal-channels", message)
            else:
                message = f"{name} has the same voxels as {other} of case {case}; keep one of the two cases"
                yield Problem(check.case, "error", "duplicate-image", message)


def _mixed_dimensions(checks: Sequence[CaseCheck]) -> list[Problem]:
    counts = Counter(check.dimensions for check in checks if check.dimensions)
    if len(counts) < 2:
        return []
    found = " and ".join(f"{count} {dimensions}-D" for dimensions, count in sorted(counts.items()))
    return [_of_dataset("mixed-dimensions", f"{found} cases; expected all images 2-D or all 3-D")]


def _count_problems(header: Header, training: Sequence[CaseFiles], checks: Sequence[CaseCheck]) -> list[Problem]:
    problems = []
    if header.num_training is not None and header.num_training != len(training):
        message = f"dataset.json declares numTraining {header.num_training}, imagesTr holds {len(training)} cases"
        problems.append(_of_dataset("case-count", message))
    return problems + empty_masks(checks)


def _split_problems(
    folder: Path, header: Header, training: Sequence[CaseFiles], testing: Sequence[CaseFiles]
) -> list[Problem]:
    names = [case.case for case in training]
    problems = []
    try:
        groups = find_groups(folder, names, header.groups)
    except DatasetError as error:
        problems.append(_of_dataset("patients", str(error)))
        groups = {name: guess_group(name) for name in names}
    else:
        apart = find_groups(folder, [case.case for case in testing], header.groups, complete=False)
        both = sorted(set(groups.values()) & set(apart.values()))
        if both:
            message = f"{len(both)} patient(s) are in both imagesTr and imagesTs ({', '.join(both[:5])}); keep one side"
            problems.append(_of_dataset("patients-in-test", message))
    cases = tuple(Case(name, (), None, groups[name]) for name in names)
    dataset = Dataset(folder.name, folder, cases, (), header.channel_names, header.labels, "", header.spacing_mm)
    try:
        folds = read_folds(dataset)
    except DatasetError as error:
        return [*problems, _of_dataset("folds", str(error))]
    if folds is None:
        return problems
    problems += [_of_dataset("folds", f"{SPLITS_FILE}: {fault}") for fault in fold_faults(dataset, folds)]
    unused = sorted(set(names).difference(*(fold.train + fold.val for fold in folds)))
    if unused:
        message = f"{SPLITS_FILE}: {len(unused)} case(s) are in no fold ({', '.join(unused[:5])})"
        problems.append(_of_dataset("cases-in-no-fold", message, "warning"))
    return problems
