"""The table of cases that a run and a conversion leave: who each case is and which files it came from."""

from __future__ import annotations

import csv
from pathlib import Path

from grcsf.datasets.dataset import Dataset
from grcsf.io.files import atomic_path
from grcsf.io.volume import ImageRef, files_of

__all__ = ["CASES_FILE", "write_cases_table"]

CASES_FILE = "cases.csv"


def write_cases_table(dataset: Dataset, path: Path) -> None:
    """Write one row per case, test cases included: name, subject, part, facts such as the site, files.

    The columns ``case`` and ``subject`` are those from which grcsf learns the patients of an nnU-Net raw folder.

    Raises:
        OutputError: the file cannot be written.
    """
    cases = [(case, part) for part, side in (("Tr", dataset.cases), ("Ts", dataset.test_cases)) for case in side]
    keys = list(dict.fromkeys(key for case, _ in cases for key, _ in case.facts))
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "subject", "part", *keys, "images", "mask"])
        for case, part in cases:
            facts = dict(case.facts)
            images = " ".join(_below(image, dataset.root) for image in case.images)
            mask = _below(case.label, dataset.root) if case.label is not None else ""
            writer.writerow([case.name, case.group, part, *(facts.get(key, "") for key in keys), images, mask])


def _below(image: ImageRef, root: Path) -> str:
    files = (path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name for path in files_of(image))
    return "+".join(files)
