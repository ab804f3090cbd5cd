"""``grcsf demo``: the whole chain on phantoms, in minutes, with nothing but the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from grcsf.config import Settings, load_settings
from grcsf.datasets.phantoms import PhantomSettings, write_phantoms
from grcsf.errors import OutputError, SettingsError
from grcsf.evaluation.summary import Summary
from grcsf.io.files import ensure_new, make_folder, read_json, write_json
from grcsf.verbs.common import clear_folder
from grcsf.verbs.run import run

__all__ = ["DemoResult", "demo", "demo_settings"]

DATASET = "Dataset900_BrainPhantoms"

_DEMO = (
    "preprocess.dimensions=2d",
    "preprocess.spacing_mm=[2, 2]",
    "mae.steps=1200",
    "mae.minutes=1.2",
    "network.features=[16, 32, 64, 96]",
    "training.steps=900",
    "training.minutes=4.5",
    "training.learning_rate=0.003",
    "training.steps_per_epoch=50",
)
"""What the demo changes in the default settings: slices, a small network, minutes instead of hours."""


@dataclass(frozen=True)
class DemoResult:
    """Where the demo's output is, and the scores of the held-out phantoms."""

    summary: Summary
    masks: Path
    report: Path


def demo_settings(config: Path | None = None, overrides: list[str] | None = None) -> Settings:
    """Settings of the demo, changed by a YAML file and ``a.b=value`` pairs."""
    return load_settings(config, overrides or [], base=load_settings(None, _DEMO))


def demo(
    output: str | Path = "grcsf-demo",
    *,
    subjects: int = 20,
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
        subjects: training phantoms.
        held_out: phantoms that nothing is trained on.
        contrast: ``flair`` or ``t1``.
        settings: see :func:`demo_settings`.
        device: ``auto``, ``cpu``, ``cuda``.
        resume: go on where an earlier demo stopped.
        overwrite: replace an earlier demo.

    Raises:
        SettingsError: another contrast, or too few or too many phantoms.
        OutputError: ``output`` exists with neither flag, or is to be resumed with other options.
    """
    settings, out = settings or demo_settings(), Path(output)
    ensure_new(out, overwrite, resume)
    make_folder(out)
    folder = out / DATASET
    wanted = {"subjects": subjects, "held_out": held_out, "contrast": contrast, "seed": settings.seed}
    done = out / "phantoms.json"
    if resume and done.is_file() and read_json(done, OutputError) != wanted:
        raise OutputError(f"{out}: holds phantoms made with other options; choose another output or --overwrite")
    if not (resume and done.is_file()):
        phantoms = _phantom_settings(subjects + held_out, contrast, settings.seed)
        done.unlink(missing_ok=True)
        clear_folder(folder)
        data = write_phantoms(folder, phantoms)
        names = data.case_names
        write_json(folder / "splits_final.json", [{"train": names[:subjects], "val": names[subjects:]}])
        write_json(done, wanted)
    result = run(folder, out / "run", settings=settings, device=device, resume=resume, overwrite=overwrite)
    return DemoResult(result.scores[0], out / "run" / "fold_0" / "validation", result.report)


def _phantom_settings(subjects: int, contrast: str, seed: int) -> PhantomSettings:
    try:
        return PhantomSettings.model_validate({"subjects": subjects, "contrast": contrast, "seed": seed})
    except ValidationError as error:
        raise SettingsError("; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())) from None
