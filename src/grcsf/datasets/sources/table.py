"""A CSV table of paths: one row per case. Source: own.

Columns: ``case``; ``image``, or ``image_NAME`` for each channel; ``mask`` (empty: unlabelled, kept apart); optional
``subject`` (or ``patient``, ``group``), ``fold`` (in which the case is validated on), ``site``. Paths are below the
folder of the table.
"""

from __future__ import annotations

import csv
from pathlib import Path

from grcsf.datasets.dataset import Case, Dataset, Fold
from grcsf.datasets.sources.described import Description, commonest_ending, read_description
from grcsf.datasets.sources.source import Draft, Found, Source, check_case_name, inside
from grcsf.errors import DatasetError
from grcsf.io.volume import path_of

__all__ = ["TABLE"]

_FILE = "dataset.csv"
_SUBJECT = ("subject", "patient", "group")
_MAX_BYTES = 64 << 20
Row = dict[str, str]


def _evidence(path: Path) -> str:
    if path.is_file() and path.suffix.lower() == ".csv":
        return f"the table {path.name}"
    return f"a table {_FILE}" if (path / _FILE).is_file() else ""


def _read(path: Path) -> Found:
    table = path if path.is_file() else path / _FILE
    root = table.parent
    draft, rows = Draft(root), _rows(table)
    described = read_description(root, draft)
    columns = [key for key in rows[0] if key == "image" or key.startswith("image_")]
    folds: dict[str, str] = {}
    for number, row in enumerate(rows, 2):  # the header is line 1
        case = _case(draft, f"{table.name} line {number}", row, columns, described)
        if case is not None:
            (draft.testing if case.label is None else draft.training).append(case)
            folds |= {case.name: row.get("fold", "")} if case.label is not None else {}
    training, testing = draft.cases()
    dataset = Dataset(
        name=table.stem if path.is_file() else root.resolve().name,
        root=root,
        cases=training,
        test_cases=testing,
        channel_names=described.header.channel_names or tuple(key.removeprefix("image_") for key in columns),
        labels=described.labels,
        file_ending=commonest_ending([path_of(image) for case in training for image in case.images]),
        spacing_mm=described.header.spacing_mm,
        source=TABLE.title,
        folds=_folds(draft, folds) if "fold" in rows[0] else None,
        described_by=(table, *described.files),
    )
    given, names = [key.removeprefix("image_") for key in columns], dataset.channel_names
    if len(names) != len(given):
        message = f"dataset.json names {len(names)} channels, {table.name} has {len(given)} of them"
        draft.error(None, "channels", message)
    elif len(given) > 1 and [name.casefold() for name in names] != [name.casefold() for name in given]:
        message = f"dataset.json names the channels {', '.join(names)}, {table.name} has {', '.join(given)}"
        draft.error(None, "channels", f"{message}; use the same names in the same order")
    return Found(dataset, tuple(draft.problems))


def _rows(table: Path) -> list[Row]:
    """Rows by column in small letters, separated by commas, semicolons or tabs.

    Raises:
        DatasetError: not a table, empty, or without a column that is needed.
    """
    try:
        if table.stat().st_size > _MAX_BYTES:
            raise DatasetError(f"{table}: {table.stat().st_size >> 20} MiB; a table of paths has at most 64 MiB")
        text = table.read_text(encoding="utf-8-sig")
        first = text.splitlines()[0] if text.splitlines() else ""
        mark = max(",;\t", key=first.count)
        raw = list(csv.reader(text.splitlines(), delimiter=mark, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table}: cannot be read as CSV ({error})") from None
    names = [_column(name.strip()) for name in raw[0]] if raw else []
    missing = {"case", "image", "mask"} - {"image" if name.startswith("image_") else name for name in names}
    if missing or len(set(names)) < len(names):
        raise DatasetError(
            f"{table}: columns {', '.join(names[:12]) or 'none'} found; expected each once: case, image (or "
            "image_CHANNEL for each channel), mask, and optionally subject, fold, site"
        )
    rows = [dict(zip(names, (cell.strip() for cell in row), strict=False)) for row in raw[1:] if any(row)]
    if not rows:
        raise DatasetError(f"{table}: no row; expected one for each case")
    return rows


def _column(name: str) -> str:
    """In small letters, but for the name of a channel, which is shown as it was written."""
    return f"image_{name[6:]}" if name.lower().startswith("image_") else name.lower()


def _case(draft: Draft, what: str, row: Row, columns: list[str], described: Description) -> Case | None:
    try:
        name = check_case_name(row.get("case", ""), what)
        files = {key: _file(draft.root, row, key, what) for key in (*columns, *(("mask",) if row.get("mask") else ()))}
    except DatasetError as error:
        draft.error(row.get("case") or None, "path", str(error))
        return None
    subject = next((row[key] for key in _SUBJECT if row.get(key)), "")
    if any(key in row for key in _SUBJECT) and not subject:
        draft.error(name, "patients", f"{what}: no subject given, though the table has that column; fill it in")
    facts = (("site", row["site"]),) if row.get("site") else ()
    label = described.mask(files["mask"]) if "mask" in files else None
    return Case(name, tuple(files[key] for key in columns), label, subject or name, facts)


def _file(root: Path, row: Row, key: str, what: str) -> Path:
    path = inside(root, row.get(key, ""), f"{what}, column {key}")
    if not path.is_file():
        raise DatasetError(f"{what}, column {key}: no file {row[key]!r} below {root.name or root}")
    return path


def _folds(draft: Draft, given: dict[str, str]) -> tuple[Fold, ...] | None:
    """Fold k validates on the cases with k in the column and trains on the others."""
    values = sorted(set(given.values()))
    if len(values) < 2 or sorted(values, key=lambda text: (len(text), text)) != [str(k) for k in range(len(values))]:
        found = ", ".join(repr(value) for value in values[:6])
        draft.error(
            None, "folds", f"column fold holds {found}; expected 0, 1, ... without gaps, for every case with a mask"
        )
        return None
    return tuple(
        Fold(
            tuple(sorted(name for name, value in given.items() if value != str(k))),
            tuple(sorted(name for name, value in given.items() if value == str(k))),
        )
        for k in range(len(values))
    )


TABLE = Source(
    "CSV table of paths", f"a .csv file, or a folder with {_FILE}: columns case, image, mask", _evidence, _read
)
