"""Which patient a case belongs to: ``groups`` of dataset.json, a CSV column, or the name of the case."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from grcsf.datasets.naming import guess_group
from grcsf.errors import DatasetError

__all__ = ["find_groups"]

_CSV_NAMES = ("cases.csv", "patients.csv")
_CASE_COLUMNS = ("case", "caseid", "name", "id", "identifier")
_PATIENT_COLUMNS = ("subject", "patient", "group", "subjectid", "patientid", "participantid")
"""Names in small letters, without what stands between words."""


def find_groups(
    folder: Path, case_names: Sequence[str], declared: Mapping[str, str] | None, complete: bool = True
) -> dict[str, str]:
    """The patient of each case.

    Args:
        folder: the data set, which may hold ``cases.csv`` or ``patients.csv`` with a column ``case`` and a column
            ``subject``, ``patient`` or ``group``.
        case_names: the cases.
        declared: ``groups`` of ``dataset.json``, which comes first.
        complete: refuse a list of patients that leaves out a case; else such a case is guessed from its name.

    Raises:
        DatasetError: ``complete``, and patients are given for some cases but not for others (guessing these could
            split a patient), or a CSV file that cannot be read.
    """
    source, groups = "groups in dataset.json", declared
    if groups is None:
        source, groups = _from_csv(folder)
    if groups is None:
        return {name: guess_group(name) for name in case_names}
    missing = [name for name in case_names if not groups.get(name)]
    if missing and complete:
        raise DatasetError(
            f"{folder}: {source} give no patient for {len(missing)} of {len(case_names)} cases "
            f"({', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}); add them, each patient stays on one side"
        )
    return {name: groups.get(name) or guess_group(name) for name in case_names}


def _from_csv(folder: Path) -> tuple[str, dict[str, str] | None]:
    for name in _CSV_NAMES:
        path = folder / name
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8-sig")
            lines = text.splitlines()
            mark = max(",;\t", key=lines[0].count) if lines else ","
            rows = list(csv.DictReader(lines, delimiter=mark, restval=""))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"{path}: cannot be read as CSV ({error})") from None
        found = [column for column in (rows[0] if rows else {}) if column]
        columns = {"".join(filter(str.isalnum, column.lower())): column for column in found}
        case = next((columns[key] for key in _CASE_COLUMNS if key in columns), None)
        patient = next((columns[key] for key in _PATIENT_COLUMNS if key in columns), None)
        if case and patient:
            return f"{name} (column {patient})", {row[case].strip(): row[patient].strip() for row in rows}
        if patient or name == "patients.csv":  # a cases.csv may be about other things
            raise DatasetError(
                f"{path}: columns {', '.join(found[:12]) or 'none'} found; expected case, and subject or patient, "
                "so that each patient stays on one side of a split"
            )
    return "", None
