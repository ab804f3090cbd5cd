"""The application and the commands of the chain. Nothing heavy is imported before the settings are good."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from grcsf.cli.agreement import agreement
from grcsf.cli.benchmark import benchmark
from grcsf.cli.calcium import calcium
from grcsf.cli.convert import convert
from grcsf.cli.evaluate import evaluate
from grcsf.cli.measure import measure
from grcsf.cli.options import (
    CaseOption,
    ConfigOption,
    DataOption,
    DeviceOption,
    FoldOption,
    FormatOption,
    InOption,
    MinutesOption,
    OutOption,
    OverwriteOption,
    ProbOption,
    ResampleOption,
    ResumeOption,
    SeedOption,
    SeriesOption,
    SetOption,
    TermsOption,
    UnlabelledOption,
    WorkersOption,
    end_with,
    flag_pairs,
    guarded,
    numbers_of,
    say,
    settings_of,
)
from grcsf.cli.report import report
from grcsf.cli.serve import serve
from grcsf.cli.view import view
from grcsf.io.memory import keep_freed_memory

__all__ = ["app", "main"]

app = typer.Typer(
    name="grcsf",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find lesions in medical images (GRCSF). Research use only; no network access, no telemetry.",
)


@app.command()
def demo(
    output: OutOption = Path("grcsf-demo"),
    anatomy: Annotated[str, typer.Option(help="brain (MRI), heart (calcium, CT) or lung (nodules, CT).")] = "brain",
    subjects: Annotated[int | None, typer.Option(help="Training phantoms; default 20, of hearts 32.")] = None,
    held_out: Annotated[int, typer.Option(help="Held-out phantoms.")] = 6,
    contrast: Annotated[str, typer.Option(help="flair (bright lesions) or t1 (dark ones).")] = "flair",
    device: DeviceOption = "auto",
    seed: SeedOption = None,
    workers: WorkersOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Phantoms -> pre-train -> train -> predict held-out phantoms -> scores -> report, in minutes."""
    from grcsf.evaluation.table import summary_table
    from grcsf.verbs.demo import demo as call
    from grcsf.verbs.demo import demo_settings

    settings = demo_settings(config, [*(set_ or []), *flag_pairs(seed, workers)], anatomy)
    result = call(
        output,
        anatomy=anatomy,
        subjects=subjects,
        held_out=held_out,
        contrast=contrast,
        settings=settings,
        device=device,
        resume=resume,
        overwrite=overwrite,
    )
    say(summary_table(result.summary))
    dice = result.summary.labels["lesion"].lesion_cases.mean["dice"]
    say(f"Held-out phantom Dice: {dice:.3f} (mean over phantoms with a lesion; phantoms are synthetic images)")
    say(f"Masks:  {result.masks}\nReport: {result.report}")


@app.command()
def validate(
    input: Annotated[
        Path, typer.Option("-i", "--input", "-d", "--dataset", help="Data set of any known layout, or DICOM.")
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON file for the findings.")] = None,
    tolerance_mm: Annotated[float, typer.Option(help="How far grid corners may lie apart.")] = 1e-3,
    workers: Annotated[int, typer.Option("--workers", help="Threads that read files.")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Report every problem of a data set at once; exit code 1 if there is an error."""
    from grcsf.verbs.validate import findings_text
    from grcsf.verbs.validate import validate as call

    report = call(input, output, tolerance_mm=tolerance_mm, workers=workers, overwrite=overwrite)
    say(findings_text(report, input.name))
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def preprocess(
    dataset: DataOption,
    output: OutOption,
    fold: Annotated[int | None, typer.Option("-f", "--fold", help="Learn the plan from this fold only.")] = None,
    seed: SeedOption = None,
    workers: WorkersOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Fingerprint, plan, arrays."""
    settings = settings_of(config, set_, seed, workers)
    from grcsf.verbs.preprocess import preprocess as call

    store = call(dataset, output, fold=fold, settings=settings, resume=resume, overwrite=overwrite)
    say(f"{len(store.names)} cases in {output}")


@app.command()
def pretrain(
    input: InOption,
    dataset: DataOption,
    output: OutOption,
    fold: FoldOption = 0,
    unlabelled: UnlabelledOption = None,
    minutes: MinutesOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = None,
    workers: WorkersOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Pre-train the masked autoencoder of a fold; labels are not needed, training lesions are left out of its loss."""
    extra = (f"mae.minutes={minutes}",) if minutes is not None else ()
    settings = settings_of(config, set_, seed, workers, extra)
    from grcsf.verbs.pretrain import pretrain as call

    bundle = call(
        input,
        dataset,
        output,
        fold=fold,
        unlabelled=unlabelled or [],
        settings=settings,
        device=device,
        resume=resume,
        overwrite=overwrite,
    )
    say(f"masked autoencoder of {len(bundle.seen)} images in {output}")


@app.command()
def residual(
    input: InOption,
    dataset: DataOption,
    model: Annotated[Path, typer.Option("-m", "--model", help="Output of grcsf pretrain.")],
    output: OutOption,
    fold: FoldOption = 0,
    device: DeviceOption = "auto",
    seed: SeedOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Maps that are cached are always kept.")] = True,
) -> None:
    """Compute the residual maps of a fold into a cache."""
    settings = settings_of(config, set_, seed, None)
    from grcsf.verbs.residual import residual as call

    call(input, dataset, model, output, fold=fold, settings=settings, device=device)
    say(f"residual maps in {output}")


@app.command()
def train(
    input: InOption,
    dataset: DataOption,
    output: OutOption,
    model: Annotated[Path | None, typer.Option("-m", "--model", help="Output of grcsf pretrain.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Residual cache; default: residual beside the output.")] = None,
    fold: FoldOption = 0,
    minutes: MinutesOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = None,
    workers: WorkersOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Train the segmentation network of a fold."""
    extra = (f"training.minutes={minutes}",) if minutes is not None else ()
    settings = settings_of(config, set_, seed, workers, extra)
    from grcsf.verbs.train import train as call

    call(
        input,
        dataset,
        output,
        mae=model,
        cache=cache,
        fold=fold,
        settings=settings,
        device=device,
        resume=resume,
        overwrite=overwrite,
    )
    say(f"model in {output}")


@app.command()
def predict(
    input: Annotated[Path, typer.Option("-i", "--input", help="Image, folder of CASE_0000.nii.gz ..., DICOM.")],
    model: Annotated[list[Path], typer.Option("-m", "--model", help="Model folder or run folder; repeat to average.")],
    output: OutOption,
    fold: Annotated[list[int] | None, typer.Option("-f", "--fold", help="Folds of a run folder; default all.")] = None,
    device: DeviceOption = "auto",
    save_probabilities: ProbOption = False,
    save_residuals: Annotated[bool, typer.Option("--save-residuals", help="Write residual maps too.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Write maps of what the network's units did.")] = False,
    spacing_mm: Annotated[str | None, typer.Option(help="Pixel spacing of PNG images, such as 1,1.")] = None,
    output_format: FormatOption = None,
    series: SeriesOption = None,
    case: CaseOption = None,
    allow_resample: ResampleOption = False,
    segment_terms: TermsOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Lesion masks on the grid of the images; a bad case is reported and the others go on (exit code 1)."""
    from grcsf.verbs.predict import DicomOptions, inference_settings
    from grcsf.verbs.predict import predict as call

    failed = call(
        input,
        model,
        output,
        folds=fold or [],
        settings=inference_settings(model, fold or [], config, set_ or []),
        device=device,
        spacing_mm=numbers_of(spacing_mm),
        save_probabilities=save_probabilities,
        save_residuals=save_residuals,
        explain=explain,
        resume=resume,
        overwrite=overwrite,
        output_format=output_format,
        dicom=DicomOptions(tuple(series or ()), case, allow_resample, segment_terms),
    )
    say(f"masks in {output}")
    end_with(failed)


app.command()(evaluate)


app.command()(report)


@app.command()
def run(
    dataset: DataOption,
    output: OutOption,
    fold: Annotated[list[int] | None, typer.Option("-f", "--fold", help="Fold; repeat for several.")] = None,
    unlabelled: UnlabelledOption = None,
    minutes: Annotated[float | None, typer.Option(help="Budget per fold: a quarter of it to pre-train.")] = None,
    device: DeviceOption = "auto",
    seed: SeedOption = None,
    workers: WorkersOption = None,
    save_probabilities: ProbOption = False,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """The whole chain for a data set: validate, preprocess, pretrain, residual, train, predict, evaluate, report."""
    settings = settings_of(config, set_, seed, workers)
    from grcsf.evaluation.table import summary_table
    from grcsf.verbs.run import budget_settings
    from grcsf.verbs.run import run as call

    result = call(
        dataset,
        output,
        folds=fold or [0],
        unlabelled=unlabelled or [],
        settings=budget_settings(settings, minutes) if minutes is not None else settings,
        device=device,
        save_probabilities=save_probabilities,
        resume=resume,
        overwrite=overwrite,
    )
    for index, summary in result.scores.items():
        say(f"fold {index}\n{summary_table(summary)}")
    say(f"report: {result.report}")
    end_with(result.failed)


@app.command()
def info(
    model: Annotated[Path, typer.Argument(help="Model folder, or output of grcsf pretrain.")],
    json_: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Parameters, multiply-adds and receptive field per level of a model."""
    import json

    from grcsf.verbs.info import info as call

    found = call(model)
    say(json.dumps(found.to_json(), indent=1) if json_ else found.to_text())


for _command in (benchmark, convert, calcium, agreement, measure, view, serve):
    app.command()(_command)


def _version(show: bool) -> None:
    if show:
        from grcsf import __version__

        say(f"grcsf {__version__}")
        raise typer.Exit(0)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print version.")
    ] = False,
) -> None:
    """Common options."""


def main() -> None:
    """Entry point: exit code 0 done, 1 failed, 2 wrong arguments."""
    os.environ.setdefault("NUMEXPR_MAX_THREADS", str(os.cpu_count() or 1))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin are 6 times slower on shared cores
    keep_freed_memory()
    sys.exit(guarded(app))
