"""``grcsf demo``: the whole chain on phantoms, in minutes, with nothing but the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from grcsf.config import Settings, load_settings
from grcsf.datasets.dataset import Dataset
from grcsf.errors import OutputError, SettingsError
from grcsf.evaluation.html import summary_html
from grcsf.evaluation.summary import Summary
from grcsf.io.files import ensure_new, make_folder, read_json, write_json
from grcsf.io.html import block, paragraph
from grcsf.phantoms.brain import PhantomSettings, write_phantoms
from grcsf.phantoms.heart import HeartPhantomSettings, write_heart_phantoms
from grcsf.phantoms.lung import LungPhantomSettings, write_lung_phantoms
from grcsf.verbs.common import clear_folder
from grcsf.verbs.run import run

__all__ = ["DemoResult", "demo", "demo_settings"]

DATASET = "Dataset900_BrainPhantoms"


@dataclass(frozen=True)
class _Anatomy:
    """What a demo is made of: its data set, how phantoms are written, and the file of its settings."""

    dataset: str
    phantoms: type[PhantomSettings] | type[HeartPhantomSettings] | type[LungPhantomSettings]
    write: Callable[[Path, Any], Dataset]
    config: str
    subjects: int = 20


ANATOMIES: Mapping[str, _Anatomy] = MappingProxyType(
    {
        "brain": _Anatomy(DATASET, PhantomSettings, write_phantoms, "demo"),
        "heart": _Anatomy("Dataset901_HeartPhantoms", HeartPhantomSettings, write_heart_phantoms, "demo-heart", 32),
        "lung": _Anatomy("Dataset902_LungPhantoms", LungPhantomSettings, write_lung_phantoms, "demo-lung"),
    }
)
"""What ``grcsf demo --anatomy`` knows."""


@dataclass(frozen=True)
class DemoResult:
    """Where the demo's output is, and the scores of the held-out phantoms."""

    summary: Summary
    masks: Path
    report: Path

    def _repr_html_(self) -> str:
        """Scores of the held-out phantoms, for notebooks."""
        return block("Demo: held-out phantoms", summary_html(self.summary), paragraph(f"Report: {self.report.name}"))


def demo_settings(
    config: str | Path | None = None, overrides: list[str] | None = None, anatomy: str = "brain"
) -> Settings:
    """Settings of a demo, changed by a YAML file and ``a.b=value`` pairs.

    Raises:
        SettingsError: an unknown anatomy, key or value.
    """
    return load_settings(config, overrides or [], base=load_settings(_anatomy(anatomy).config))


def demo(
    output: str | Path = "grcsf-demo",
    *,
    anatomy: str = "brain",
    subjects: int | None = None,
    held_out: int = 6,
    contrast: str = "flair",
    settings: Settings | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> DemoResult:
    """Make phantoms, run the chain on them, score the held-out ones and write the report.

    Args:
        output: folder of the phantoms (``Dataset900_BrainPhantoms``) and of the run (``run``).
        anatomy: ``brain`` (MRI), ``heart`` (CT, coronary calcium) or ``lung`` (CT, nodules).
        subjects: training phantoms; none: 20, of hearts 32.
        held_out: phantoms that nothing is trained on.
        contrast: ``flair`` or ``t1``; of the brain alone.
        settings: see :func:`demo_settings`.
        device: ``auto``, ``cpu``, ``cuda``.
        resume: go on where an earlier demo stopped.
        overwrite: replace an earlier demo.

    Raises:
        SettingsError: another anatomy or contrast, or too few or too many phantoms.
        OutputError: ``output`` exists with neither flag, or is to be resumed with other options.
    """
    kind, settings, out = _anatomy(anatomy), settings or demo_settings(anatomy=anatomy), Path(output)
    subjects = kind.subjects if subjects is None else subjects
    wanted: dict[str, Any] = {"subjects": subjects, "held_out": held_out, "seed": settings.seed}
    if anatomy == "brain":
        wanted |= {"contrast": contrast}
    elif contrast != "flair":
        raise SettingsError(f"contrast={contrast}: only the brain has contrasts; leave it out for anatomy={anatomy}")
    else:
        wanted |= {"anatomy": anatomy}
    phantoms = _phantom_settings(kind, {**wanted, "subjects": subjects + held_out})
    ensure_new(out, overwrite, resume)
    make_folder(out)
    folder = out / kind.dataset
    done = out / "phantoms.json"
    if resume and done.is_file() and read_json(done, OutputError) != wanted:
        raise OutputError(f"{out}: holds phantoms made with other options; choose another output or --overwrite")
    if not (resume and done.is_file()):
        done.unlink(missing_ok=True)
        clear_folder(folder)
        data = kind.write(folder, phantoms)
        names = data.case_names
        write_json(folder / "splits_final.json", [{"train": names[:subjects], "val": names[subjects:]}])
        write_json(done, wanted)
    result = run(folder, out / "run", settings=settings, device=device, resume=resume, overwrite=overwrite)
    return DemoResult(result.scores[0], out / "run" / "fold_0" / "validation", result.report)


def _anatomy(name: str) -> _Anatomy:
    if name not in ANATOMIES:
        raise SettingsError(f"anatomy={name}: expected one of {', '.join(ANATOMIES)}")
    return ANATOMIES[name]


def _phantom_settings(kind: _Anatomy, wanted: Mapping[str, Any]) -> Any:
    values = {key: value for key, value in wanted.items() if key in kind.phantoms.model_fields}
    try:
        return kind.phantoms.model_validate(values)
    except ValidationError as error:
        raise SettingsError("; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())) from None
