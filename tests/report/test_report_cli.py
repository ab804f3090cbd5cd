"""``grcsf report`` as it is typed: a run, the scores of one method, a comparison, and wrong arguments."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from grcsf.cli import app
from grcsf.cli.report import report
from grcsf.errors import OutputError, SettingsError
from grcsf.report.gallery import CASES
from pages import Page


def typed(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, words)])


def test_a_run_has_its_page_in_its_folder(make_sample: Callable[..., Any]) -> None:
    sample = make_sample(folds=1)
    done = typed("-i", sample.run, "-d", sample.dataset)
    assert (done.exit_code, done.output) == (0, f"report: {sample.run / 'report.html'}\n")
    again = typed("-i", sample.run)
    assert isinstance(again.exception, OutputError)
    assert typed("-i", sample.run, "--overwrite").exit_code == 0


def test_a_comparison_is_shown_with_masks_by_method(make_comparison: Callable[..., Any], tmp_path: Path) -> None:
    made = make_comparison(2)
    who = tmp_path / "who.json"
    who.write_text(json.dumps({"case-1": "p", "case-2": "p"}))
    masks = [word for name, folder in made.methods.items() for word in ("-p", f"{name}={folder}")]
    target = tmp_path / "page.html"
    done = typed(
        *("-i", made.folder, *masks, "-r", made.dataset / "labelsTr", "--images", made.dataset / "imagesTr"),
        *("--subjects", who, "--cases", "2", "-o", target),
    )
    assert done.exit_code == 0
    page = Page(target)
    assert len(page.all("article")) == 2
    assert {"ours", "moved"} <= {image["alt"].split()[2] for image in page.all("img") if "Prediction" in image["alt"]}
    assert "as the comparison counted them" in page.text  # its means are stored, whatever list is given now
    assert "from the file given" not in page.text


def test_wrong_arguments_are_told(make_comparison: Callable[..., Any]) -> None:
    made = make_comparison(2)
    assert isinstance(typed("-i", made.folder, "--cases", "-1").exception, SettingsError)
    assert isinstance(typed("-i", made.folder, "-p", f"x={made.methods['ours']}").exception, SettingsError)
    assert typed().exit_code == 2


def test_the_command_shows_as_many_cases_as_the_function() -> None:
    assert inspect.signature(report).parameters["cases"].default == CASES
