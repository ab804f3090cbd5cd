"""What users meet: every public name is explained, every verb is a function, and --help is quick."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

import grcsf

MODULES = sorted(info.name for info in pkgutil.walk_packages(grcsf.__path__, "grcsf.") if "__main__" not in info.name)
VERBS = (
    *(
        "demo",
        "validate",
        "preprocess",
        "pretrain",
        "residual",
        "train",
        "predict",
        "evaluate",
        "report",
        "run",
        "info",
        "benchmark",
        "convert",
        "calcium",
        "agreement",
        "measure",
        "view",
        "serve",
    ),
)


def public_objects(module: str) -> Iterator[tuple[str, object]]:
    """Functions, classes and their public members that a module defines and lists in ``__all__``."""
    loaded = importlib.import_module(module)
    for name in getattr(loaded, "__all__", []):
        value = getattr(loaded, name)
        if getattr(value, "__module__", None) != module or not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        yield name, value
        members = vars(value).items() if inspect.isclass(value) else ()
        for member, held in members:
            inner = held.__func__ if isinstance(held, classmethod | staticmethod) else held
            if not member.startswith("_") and (inspect.isfunction(inner) or isinstance(inner, property)):
                yield f"{name}.{member}", inner


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_exists_and_has_a_docstring(module: str) -> None:
    bare = [name for name, value in public_objects(module) if not (value.__doc__ or "").strip()]
    assert not bare


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_function_of_the_package(verb: str) -> None:
    function = getattr(grcsf, verb)
    assert inspect.isfunction(function)
    elsewhere = {"benchmark": "grcsf.benchmark.run", "serve": "grcsf.serve.launch"}
    assert function.__module__ == elsewhere.get(verb, f"grcsf.verbs.{verb}")
    assert verb in grcsf.__all__


def test_a_folder_of_the_same_name_does_not_hide_a_verb() -> None:
    script = (
        "import grcsf.report.page, grcsf.preprocess.run, grcsf.residual.maps, grcsf, sys\n"
        "sys.stdout.write(' '.join(getattr(grcsf, v).__module__ for v in ('report', 'preprocess', 'residual')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "grcsf.verbs.report grcsf.verbs.preprocess grcsf.verbs.residual"


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_explains_every_argument_and_annotates_it(verb: str) -> None:
    function = getattr(grcsf, verb)
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    for name, parameter in signature.parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty, name
        assert len(signature.parameters) == 1 or f"        {name}:" in function.__doc__, f"{name} is not explained"


def test_the_command_line_has_every_verb() -> None:
    from grcsf.cli import app

    assert [command.callback.__name__ for command in app.registered_commands if command.callback] == list(VERBS)


def test_all_names_of_the_package_can_be_had() -> None:
    for name in grcsf.__all__:
        assert getattr(grcsf, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        _ = grcsf.segment


def test_version_is_the_one_of_the_package() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        expected = version("grcsf")
    except PackageNotFoundError:
        expected = "0.0.0"
    assert grcsf.__version__ == expected
    assert run_help("--version").stdout == f"grcsf {expected}\n"


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    heavy = "{'torch', 'monai', 'lightning', 'numpy', 'scipy', 'nibabel', 'SimpleITK', 'matplotlib'}"
    script = (
        "import sys\nfrom grcsf.cli import main\n"
        f"sys.argv = ['grcsf', *{arguments}]\n"
        f"try:\n    main()\nfinally:\n    sys.stderr.write(str(sorted({heavy} & sys.modules.keys())))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "[]")
    assert done.stdout.startswith("Usage: grcsf")


def test_help_answers_within_half_a_second() -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        assert run_help("--help").returncode == 0
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5


def test_no_command_is_a_usage_error_with_help() -> None:
    done = run_help()
    assert done.returncode == 2
    assert "Usage:" in done.stdout + done.stderr


def run_help(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "grcsf", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
