"""Scores of finished runs as one small file each, to bring runs of several machines together and to publish them."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from grcsf.benchmark.claims import claim_changes
from grcsf.benchmark.queue import RESULT_FILE
from grcsf.benchmark.units import Unit, refuse_other_claims
from grcsf.errors import OutputError
from grcsf.io.files import atomic_path, make_folder

__all__ = ["load_scores", "save_scores"]

_SCORES = ("cases.csv", "lesions.csv", "subjects.json", "summary.json")
_JOB = "job.json"
_LIMIT_BYTES = 64 * 2**20
_DATE = (1980, 1, 1, 0, 0, 0)


def save_scores(units: Iterable[Unit], folder: Path) -> list[str]:
    """Write ``RUN.zip`` for every run that is done: its claim, result and scores, no path, no mask.

    The same run gives the same bytes. A file of another result of the run, which was repeated since, is replaced.

    Returns:
        Ids of the runs that were written.

    Raises:
        OutputError: a file that cannot be read or written, or a run that was made in another way.
    """
    written = []
    for unit in units:
        path = make_folder(folder) / f"{unit.id}.zip"
        if not (unit.folder / RESULT_FILE).is_file():
            continue
        refuse_other_claims([unit])
        found = {_JOB: json.dumps({"claim": unit.stored_claim(), "job": {}}, indent=1)}
        wanted = [RESULT_FILE, *(f"scores/{name}" for name in _SCORES)]
        for name in wanted:
            if (unit.folder / name).is_file():
                found[name] = (unit.folder / name).read_text("utf-8")
        if path.exists() and _scores_of(_read(path)) == _scores_of(found):
            continue
        with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in found.items():
                archive.writestr(zipfile.ZipInfo(name, _DATE), text, zipfile.ZIP_DEFLATED, 9)
        written.append(unit.id)
    return written


def load_scores(units: Iterable[Unit], folder: Path) -> list[str]:
    """Take over the runs of ``folder`` that are not done here; the queue then does not repeat them.

    A run's model and masks are not among its scores: one that another step needs, as a transfer does, is trained again.

    Returns:
        Ids of the runs that were taken.

    Raises:
        OutputError: a broken file, or a run that was made in another way.
    """
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; --load-scores takes one that --save-scores wrote")
    taken = []
    for unit in units:
        path = folder / f"{unit.id}.zip"
        if not path.is_file() or (unit.folder / RESULT_FILE).is_file():
            continue
        found = _read(path)
        changes = claim_changes(_json(path, found, _JOB).get("claim", {}), unit.claim)
        if changes:
            raise OutputError(f"{path}: this run was made in another way ({'; '.join(changes[:5])}); delete the file")
        _json(path, found, RESULT_FILE)
        for name in (*(f"scores/{score}" for score in _SCORES), _JOB, RESULT_FILE):  # the result last: then it is done
            if name in found:
                make_folder((unit.folder / name).parent)
                with atomic_path(unit.folder / name) as partial:
                    partial.write_text(found[name], encoding="utf-8")
        taken.append(unit.id)
    return taken


def _scores_of(found: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in found.items() if name != _JOB}


def _read(path: Path) -> dict[str, str]:
    """The known members of an archive; nothing is unpacked under a name that the archive gives."""
    known = {_JOB, RESULT_FILE, *(f"scores/{name}" for name in _SCORES)}
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            members = [info for info in archive.infolist() if info.filename in known]
            if sum(info.file_size for info in members) > _LIMIT_BYTES:
                raise OutputError(f"{path}: its files would take more than {_LIMIT_BYTES // 2**20} MB; not read")
            return {info.filename: archive.read(info).decode("utf-8") for info in members}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); delete it or copy it again") from None


def _json(path: Path, found: dict[str, str], name: str) -> dict[str, Any]:
    try:
        tree = json.loads(found[name])
    except (KeyError, ValueError):
        raise OutputError(f"{path}: has no readable {name}; delete it or copy it again") from None
    return tree if isinstance(tree, dict) else {}
