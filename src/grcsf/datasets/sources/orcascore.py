"""orCaScore: calcium-scoring CT as MetaImage with the calcifications of each coronary artery labelled.

Layout: ``Training Set/Images/TRV1P1CTI.mhd`` (V1 to V4: the scanner's vendor) and ``Reference standard/TRV1P1R.mhd``;
the names count, in small or capital letters, not the folders. ``...CTAI.mhd`` (contrast-enhanced) is not used: the
reference was drawn on the scan without contrast. Cases named TE and VA are test cases.
Source: second-hand, the challenge's data page and public readers of the set; docs/how-to/data-sources.md.
"""

from __future__ import annotations

import re
from pathlib import Path

from grcsf.datasets.dataset import Case, Dataset
from grcsf.datasets.sources.source import Draft, Found, Source, first_match, without_hidden

__all__ = ["ORCASCORE"]

LABELS = {"background": 0, "LAD": 1, "LCX": 2, "RCA": 3}
"""Values in the reference images; the left main artery counts as LAD there."""

_NAME = re.compile(r"(?P<case>(?P<part>TR|TE|VA)V(?P<vendor>\d)P\d+)(?P<kind>CTI|CTAI|R)\.mhd", re.IGNORECASE)


def _evidence(path: Path) -> str:
    if not path.is_dir():
        return ""
    found = first_match(path, ("*.mhd", "*/*.mhd", "*/*/*.mhd", "*/*/*/*.mhd"), lambda file: bool(_scan(file)))
    return f"MetaImage files such as {found.name}" if found else ""


def _scan(file: Path) -> re.Match[str] | None:
    match = _NAME.fullmatch(file.name)
    return match if match and match["kind"].upper() == "CTI" else None


def _read(path: Path) -> Found:
    draft = Draft(path)
    files: dict[str, dict[str, list[Path]]] = {}
    for file in without_hidden(path.rglob("*.[mM][hH][dD]"), path):
        if match := _NAME.fullmatch(file.name):
            files.setdefault(match["case"].upper(), {}).setdefault(match["kind"].upper(), []).append(file)
    for name, kinds in sorted(files.items()):
        _add(draft, name, kinds)
    training, testing = draft.cases()
    dataset = Dataset(path.resolve().name, path, training, testing, ("CT",), LABELS, ".mha", None, ORCASCORE.title)
    return Found(dataset, tuple(draft.problems))


def _add(draft: Draft, name: str, kinds: dict[str, list[Path]]) -> None:
    for kind in ("CTI", "R"):
        if len(kinds.get(kind, [])) > 1:
            draft.error(name, "duplicate-case", f"{len(kinds[kind])} files {name}{kind}.mhd; keep one")
            return
    if "CTI" not in kinds:
        draft.error(name, "missing-image", f"no {name}CTI.mhd; expected the scan without contrast")
        return
    facts = (("site", f"vendor {name[3]}"),)
    reference = kinds.get("R", [None])[0]
    if reference is not None:
        draft.training.append(Case(name, (kinds["CTI"][0],), reference, name, facts))
    elif name.startswith("TR"):
        draft.error(name, "missing-label", f"no {name}R.mhd; expected the reference standard of this training scan")
    else:
        draft.testing.append(Case(name, (kinds["CTI"][0],), None, name, facts))


ORCASCORE = Source(
    "orCaScore (MetaImage)",
    "Images/TRV1P1CTI.mhd with Reference standard/TRV1P1R.mhd",
    _evidence,
    _read,
)
