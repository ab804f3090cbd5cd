"""What several commands share: flags, what they become, and how a command ends. Imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from grcsf.config import Settings

__all__ = [
    "CaseOption",
    "ConfigOption",
    "DataOption",
    "DeviceOption",
    "FoldOption",
    "FormatOption",
    "ImagesOption",
    "InOption",
    "LabelsOption",
    "MinutesOption",
    "OutOption",
    "OverwriteOption",
    "ProbOption",
    "ResampleOption",
    "ResumeOption",
    "SeedOption",
    "SeriesOption",
    "SetOption",
    "TermsOption",
    "UnlabelledOption",
    "WorkersOption",
    "end_with",
    "flag_pairs",
    "guarded",
    "labels_of",
    "numbers_of",
    "say",
    "settings_of",
]

CaseOption = Annotated[str | None, typer.Option("--case", help="DICOM: name of the case; default a salted hash.")]
DataOption = Annotated[
    Path, typer.Option("-d", "--dataset", help="Data set: nnU-Net raw, MSD, ATLAS, ... or a CSV table.")
]
FormatOption = Annotated[
    str | None, typer.Option("--output-format", help="nifti, nrrd, mha or dicom-seg; default as the images.")
]
InOption = Annotated[Path, typer.Option("-i", "--input", help="Output of grcsf preprocess.")]
ImagesOption = Annotated[Path | None, typer.Option("--images", help="Folder or data set of images, for contrast.")]
LabelsOption = Annotated[str | None, typer.Option("--labels", help="Labels of the mask, such as LAD=1,LCX=2,RCA=3.")]
OutOption = Annotated[Path, typer.Option("-o", "--output", help="Where the output goes.")]
FoldOption = Annotated[int, typer.Option("-f", "--fold", help="Fold, from 0.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, gpu:4 (four GPUs), mps.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of every random draw.")]
WorkersOption = Annotated[int | None, typer.Option("--workers", help="Worker processes; 0: this one only.")]
ResampleOption = Annotated[
    bool, typer.Option("--allow-resample", help="DICOM: put tilted, uneven or missing slices onto an even grid.")
]
SeriesOption = Annotated[
    list[str] | None,
    typer.Option("--series", help="DICOM: number, UID, description, modality=MR, largest, thinnest; per channel; all."),
]
TermsOption = Annotated[Path | None, typer.Option("--segment-terms", help="DICOM: YAML of coded terms for labels.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file of settings, or one by name: calcium, stroke-2mm, ...")
]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="One setting, such as training.steps=500.")]
MinutesOption = Annotated[float | None, typer.Option("--minutes", help="Wall-clock budget of this stage.")]
UnlabelledOption = Annotated[
    list[Path] | None, typer.Option("--unlabelled", help="Folder of further scans for pre-training.")
]
ProbOption = Annotated[bool, typer.Option("--save-probabilities", help="Write probability maps too.")]


def settings_of(
    config: Path | None, pairs: list[str] | None, seed: int | None, workers: int | None, extra: tuple[str, ...] = ()
) -> Settings:
    """Settings of ``--config``, ``--set`` and the flags that are settings too."""
    from grcsf.config import load_settings

    return load_settings(config, [*(pairs or []), *flag_pairs(seed, workers), *extra])


def flag_pairs(seed: int | None, workers: int | None) -> list[str]:
    """``--seed`` and ``--workers`` as ``KEY=VALUE``, where they were given."""
    return [f"{key}={value}" for key, value in (("seed", seed), ("workers", workers)) if value is not None]


def numbers_of(text: str | None) -> tuple[float, ...] | None:
    """Numbers of a flag such as ``1,1`` or ``1x1``; none stays none."""
    if text is None:
        return None
    from grcsf.errors import SettingsError

    try:
        numbers = tuple(float(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        numbers = ()
    if not all(0 < number < float("inf") for number in numbers) or not numbers:
        raise SettingsError(f"--spacing-mm {text}: expected numbers above 0, such as 1,1")
    return numbers


def labels_of(text: str | None) -> dict[str, int] | None:
    """Labels of a flag such as ``LAD=1,LCX=2``; none stays none."""
    if text is None:
        return None
    from grcsf.errors import SettingsError

    parts = [part.rpartition("=") for part in text.split(",")]
    names = [name.strip() for name, _, _ in parts]
    if not all(name and value.strip().isdecimal() for name, (_, _, value) in zip(names, parts, strict=True)):
        raise SettingsError(f"--labels {text}: expected names with whole numbers, such as LAD=1,LCX=2,RCA=3")
    values = [int(value) for _, _, value in parts]
    if len(set(names)) < len(names) or len(set(values)) < len(values):
        raise SettingsError(f"--labels {text}: a name or a value stands there twice")
    return dict(zip(names, values, strict=True))


def say(text: str) -> None:
    """Write to the terminal."""
    sys.stdout.write(text.rstrip("\n") + "\n")


def end_with(failed: Mapping[str, str]) -> None:
    """Name the cases that failed, if any, and end the command with exit code 1."""
    for name, message in failed.items():
        sys.stderr.write(f"failed: {name}: {message}\n")
    if failed:
        raise typer.Exit(1)


def guarded(call: Callable[[], Any]) -> int:
    """Run a command and give its exit code: 0 done, 1 failed, 2 wrong arguments; errors of the user are one line."""
    from grcsf.errors import GrcsfError, SettingsError
    from grcsf.io.memory import enough_memory

    try:
        with enough_memory("lower batch_size (training, mae, inference) or the patch size"):
            call()
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except GrcsfError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except OSError as error:
        name = Path(error.filename).name if isinstance(error.filename, str) else "output"
        sys.stderr.write(f"error: {name}: {error.strerror or error}; check space and rights\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 1
    return 0
