"""What a source of data sets is: how its layout is recognised, how it is read, and what may be wrong with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from grcsf.datasets.case_check import Problem
from grcsf.datasets.dataset import Case, Dataset
from grcsf.errors import DatasetError
from grcsf.io.files import PARTIAL_PREFIX

__all__ = [
    "BINARY",
    "Draft",
    "Found",
    "Source",
    "check_case_name",
    "first_match",
    "inside",
    "relative_name",
    "usable",
    "without_hidden",
]

BINARY = {"background": 0, "lesion": 1}
_CASE_NAME = re.compile(r"[^\W_][\w .+-]*")
_LOOK_AT = 2000


@dataclass(frozen=True)
class Found:
    """What a source read: the usable cases, and everything that is wrong with its files.

    Attributes:
        dataset: cases that have all their files; images are not opened.
        problems: of the layout; those of images are found when these are read.
    """

    dataset: Dataset
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Source:
    """A layout that grcsf knows.

    Attributes:
        title: what users call it.
        layout: what lies where, in one line.
        evidence: what in a path makes it this source, in words; empty: it is not.
        read: its cases; raises a DatasetError only for what leaves no data set at all.
    """

    title: str
    layout: str
    evidence: Callable[[Path], str]
    read: Callable[[Path], Found]


@dataclass
class Draft:
    """Cases and problems while a source is read."""

    root: Path
    training: list[Case] = field(default_factory=list)
    testing: list[Case] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def error(self, case: str | None, kind: str, message: str) -> None:
        """Note what must be mended before training."""
        self.problems.append(Problem(case, "error", kind, message))

    def warn(self, case: str | None, kind: str, message: str) -> None:
        """Note what a user should know."""
        self.problems.append(Problem(case, "warning", kind, message))

    def cases(self) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
        """Training and test cases sorted by name, each name once; patients on both sides are an error."""
        for name, count in Counter(case.name for case in (*self.training, *self.testing)).items():
            if count > 1:
                self.error(name, "duplicate-case", f"{count} cases of this name; keep one, or rename the others")
        both = sorted({case.group for case in self.training} & {case.group for case in self.testing})
        if both:
            message = f"{len(both)} patient(s) are among both training and test cases ({', '.join(both[:5])})"
            self.error(None, "patients-in-test", f"{message}; keep one side")
        if not self.training and not any(problem.severity == "error" for problem in self.problems):
            self.error(None, "no-cases", "no case with a mask; there is nothing to train on")
        sides = [
            sorted({case.name: case for case in side}.values(), key=_name) for side in (self.training, self.testing)
        ]
        return tuple(sides[0]), tuple(sides[1])


def usable(found: Found, title: str) -> Dataset:
    """The data set, refused if anything is wrong with its layout.

    Raises:
        DatasetError: naming the first problems.
    """
    errors = [problem for problem in found.problems if problem.severity == "error"]
    if errors:
        listed = "; ".join(f"{problem.case or 'data set'}: {problem.message}" for problem in errors[:3])
        more = f"; and {len(errors) - 3} more (grcsf validate lists all)" if len(errors) > 3 else ""
        raise DatasetError(f"{found.dataset.root} ({title}): {listed}{more}")
    return found.dataset


def inside(root: Path, text: str, what: str) -> Path:
    """The path that a table or JSON file names, below the folder that holds that file.

    Links are not resolved: who laid the folder out may link to where the images are.

    Args:
        root: the folder.
        text: relative path, with either kind of slash.
        what: for the message.

    Raises:
        DatasetError: an absolute path, one that leads out of the folder, or none at all.
    """
    parts = PurePosixPath(text.strip().replace("\\", "/"))
    if not text.strip():
        raise DatasetError(f"{what}: no path given; expected one below {root.name or root}")
    if parts.is_absolute() or re.match(r"^[A-Za-z]:", str(parts)) or ".." in parts.parts:
        raise DatasetError(
            f"{what}: path {text!r} leads out of {root.name or root}; expected a path below that folder, without .."
        )
    if "\0" in text:
        raise DatasetError(f"{what}: path {text!r} holds a zero byte")
    return root.joinpath(*parts.parts)


def check_case_name(name: str, what: str) -> str:
    """The name of a case, which becomes a file name.

    Raises:
        DatasetError: it is empty or holds slashes or other characters that do not belong in a file name.
    """
    if not _CASE_NAME.fullmatch(name) or len(name) > 200:
        raise DatasetError(f"{what}: case name {name[:60]!r}; expected letters, digits and . _ - + only, as in case-01")
    return name


def first_match(root: Path, patterns: Iterable[str], accept: Callable[[Path], bool] = lambda _: True) -> Path | None:
    """The first file below a folder that fits a pattern; hidden files are passed over.

    At most 2000 entries per pattern are looked at, so that a folder that is no data set does not take minutes.
    """
    for pattern in patterns:
        for path in islice(root.glob(pattern), _LOOK_AT):
            if not _hidden(path, root) and accept(path):
                return path
    return None


def without_hidden(paths: Iterable[Path], root: Path) -> list[Path]:
    """Paths below a folder, sorted, without hidden and half-written ones such as the ``._`` files of macOS archives."""
    return sorted(path for path in paths if not _hidden(path, root))


def relative_name(path: Path, root: Path) -> str:
    """Path below the folder of the data set, for tables and messages."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _hidden(path: Path, root: Path) -> bool:
    parts: Sequence[str] = path.relative_to(root).parts
    return any(part.startswith((".", PARTIAL_PREFIX)) for part in parts)


def _name(case: Case) -> str:
    return case.name
