"""Several methods scored on the same references and compared: ``grcsf evaluate`` with more than one ``-p``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grcsf.config import Settings
from grcsf.errors import DatasetError, SettingsError
from grcsf.evaluation.methods.comparison import Against, Comparison, check_against, compare_summaries
from grcsf.evaluation.methods.comparison_files import COMPARISON_FILES, write_comparison
from grcsf.io.files import ensure_new, make_folder, read_json, write_json
from grcsf.io.record import RunRecord
from grcsf.verbs.evaluate import evaluate

__all__ = ["SUBJECTS_FILE", "compare", "given_subjects", "name_methods"]

SUBJECTS_FILE = "subjects.json"
"""Case -> subject, beside the comparison: who counts once."""


def compare(
    reference: str | Path,
    predictions: Sequence[str | Path] | Mapping[str, str | Path],
    output: str | Path | None = None,
    *,
    against: Against = "all",
    subjects: str | Path | Mapping[str, str] | None = None,
    probabilities: Sequence[str | Path] | None = None,
    settings: Settings | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **scoring: Any,
) -> Comparison:
    """Score several methods on the same references, and compare them on the cases that all of them have.

    Args:
        reference: folder of reference masks, or a data set of any known source.
        predictions: two or more folders of predicted masks, by the name of their method; in a list, ``NAME=FOLDER``
            names one, and others are called as their folder.
        output: folder for ``comparison.json``, ``.csv`` and ``.md``, ``subjects.json``, and for the files of
            :func:`grcsf.evaluate` in a folder for each method; none writes nothing.
        against: pairs that are tested: ``all``, or each method against the ``first``.
        subjects: case -> subject, or a JSON file of that; none: of the data set, or that beside the reference folder,
            else by the names of the cases.
        probabilities: folders of ``CASE_prob`` maps, one for each method, in order.
        settings: the ``evaluation`` settings are used.
        resume: replace results that are there.
        overwrite: the same.
        **scoring: further arguments of :func:`grcsf.evaluate` (``labels``, ``cases``, ``images``, ``spacing_mm``,
            ``workers``), the same for every method.

    Raises:
        SettingsError: fewer than two methods, two of one name, an unknown ``against``, maps for some methods only.
        OutputError: results that are there, with neither ``resume`` nor ``overwrite``.
        DatasetError: a method without a case that could be scored, or no case that all have.
    """
    methods, truth, settings = name_methods(predictions), Path(reference), settings or Settings()
    check_against(len(methods), against)
    maps: list[str | Path | None] = [*probabilities] if probabilities else [None] * len(methods)
    if len(maps) != len(methods):
        raise SettingsError(f"{len(maps)} folders of probabilities for {len(methods)} methods; give one for each")
    who = given_subjects(subjects)
    scoring |= {"settings": settings, "overwrite": True}
    if output is None:
        if probabilities:
            raise SettingsError("probabilities: the calibration is written to files; give an output folder (-o)")
        scored = {name: evaluate(truth, folder, **scoring) for name, folder in methods.items()}
        return compare_summaries(scored, _subjects(who, truth, scored), against)
    out = Path(output)
    ensure_new(out, overwrite, resume)
    dumped = {"evaluation": settings.evaluation.model_dump(mode="json")}
    with RunRecord(out, verb="evaluate", settings=dumped, inputs=[], device="cpu") as record:
        record.add("methods", list(methods))
        scored = {
            name: evaluate(truth, folder, make_folder(out / name), probabilities=prob, **scoring)
            for (name, folder), prob in zip(methods.items(), maps, strict=True)
        }
        who = _subjects(who, truth, scored)
        comparison = compare_summaries(scored, who, against)
        write_json(out / SUBJECTS_FILE, {case: who.get(case, case) for case in comparison.cases})
        write_comparison(out, comparison)
    return comparison


def name_methods(predictions: Sequence[str | Path] | Mapping[str, str | Path]) -> dict[str, Path]:
    """Folders of predictions by the name of their method.

    Raises:
        SettingsError: one folder in place of several, a name twice, or one that cannot be a folder.
    """
    if isinstance(predictions, str | Path):
        raise SettingsError(f"predictions {predictions}: expected two or more folders, in a list or by name of method")
    if isinstance(predictions, Mapping):
        named = [(str(name), Path(folder)) for name, folder in predictions.items()]
    else:
        named = [_named(folder) for folder in predictions]
    names = [name for name, _ in named]
    wrong = [name for name in names if not _is_folder_name(name)]
    if wrong or len(set(names)) < len(names):
        raise SettingsError(
            f"methods {', '.join(names)}: expected a name of its own for each that can be a folder; give NAME=FOLDER"
        )
    return dict(named)


def _named(folder: str | Path) -> tuple[str, Path]:
    name, separator, path = str(folder).partition("=")
    if separator and not Path(folder).exists():
        return name.strip(), Path(path)
    return Path(folder).resolve().name, Path(folder)


def _is_folder_name(name: str) -> bool:
    forbidden = (".", "..", "run.json", "grcsf.log", SUBJECTS_FILE, *COMPARISON_FILES)
    return bool(name.strip()) and not set(name) & set('/\\:*?"<>|') and name not in forbidden


def given_subjects(subjects: str | Path | Mapping[str, str] | None) -> dict[str, str] | None:
    """Case -> subject as it is, or from its JSON file; none stays none.

    Raises:
        DatasetError: a file that cannot be read or holds something else.
    """
    if subjects is None or isinstance(subjects, Mapping):
        return None if subjects is None else dict(subjects)
    tree = read_json(Path(subjects), DatasetError)
    if not isinstance(tree, dict) or not all(isinstance(subject, str) for subject in tree.values()):
        raise DatasetError(f"{subjects}: expected an object of case: subject, both text")
    return tree


def _subjects(given: dict[str, str] | None, reference: Path, scored: Mapping[str, Any]) -> dict[str, str]:
    if given is not None:
        return given
    from grcsf.datasets.groups import find_groups
    from grcsf.datasets.sources.registry import find_source, read_dataset

    if find_source(reference) is not None:
        data = read_dataset(reference)
        return {case.name: case.group for case in (*data.cases, *data.test_cases)}
    folder, declared = reference.parent, None
    if (folder / "dataset.json").is_file():
        declared = read_json(folder / "dataset.json", DatasetError).get("groups")
    names = sorted({score.case for summary in scored.values() for score in summary.cases})
    return find_groups(folder, names, declared, complete=False)
