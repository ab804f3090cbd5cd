"""Pages made from the settings are up to date, shipped YAML files load, and links between pages lead somewhere."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import typer
import yaml

from grcsf.config import Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return load_tool("settings_reference")


def test_result_pages_are_what_the_stored_scores_say() -> None:
    results = load_tool("result_pages")
    assert results.names()
    for name in results.names():
        assert (results.PAGES / f"{name}.md").read_text("utf-8") == results.page(name), (
            "run: python tools/result_pages.py"
        )


def test_settings_page_is_up_to_date(reference: ModuleType) -> None:
    assert reference.PAGE.read_text("utf-8") == reference.page(), "run: python tools/settings_reference.py"


def test_default_yaml_is_up_to_date(reference: ModuleType) -> None:
    assert reference.DEFAULTS.read_text("utf-8") == reference.defaults(), "run: python tools/settings_reference.py"


def test_default_yaml_names_every_setting_with_its_default() -> None:
    written = yaml.safe_load((ROOT / "configs" / "default.yaml").read_text("utf-8"))
    assert written == Settings().model_dump(mode="json")


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("0*.md")), ids=lambda path: path.stem)
def test_a_decision_names_the_default_of_today(page: Path) -> None:
    line = next((line for line in page.read_text("utf-8").splitlines() if line.startswith("Setting: ")), "")
    for name, told in re.findall(r"`([a-z]+\.[a-z_]+)` \(default `?([\w.-]+(?:,\d{3})*)", line):
        value: object = Settings()
        for part in name.split("."):
            value = getattr(value, part)
        assert value == yaml.safe_load(told.replace(",", "")), f"{name} is {value}"


def test_settings_page_names_every_setting(reference: ModuleType) -> None:
    page = reference.page()
    for group, value in Settings():
        names = [f"{group}.{name}" for name, _ in value] if hasattr(value, "model_fields_set") else [group]
        for name in names:
            assert f"| `{name}` |" in page


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_yaml_loads(path: Path) -> None:
    settings = load_settings(path)
    assert (settings == Settings()) is (path.stem == "default")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_yaml_keeps_whole_patches_in_a_window(path: Path) -> None:
    settings = load_settings(path)
    for edge in settings.preprocess.patch_size or ():
        assert edge % settings.mae.patch == 0
        assert edge % settings.network.rcu_patch == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_a_file(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_navigation_names_every_page_once() -> None:
    tree = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    named = sorted(_leaves(tree["nav"]))
    assert named == sorted(page.relative_to(ROOT / "docs").as_posix() for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_settings_named_in_a_page_exist(page: Path) -> None:
    for group, name in re.findall(r"`(?:--set )?([a-z]+)\.([a-z_0-9]+)(?:=[^`]*)?`", page.read_text("utf-8")):
        value = getattr(Settings(), group, None)
        if value is not None and hasattr(value, "model_fields_set") and name not in {"yaml", "py", "json"}:
            assert hasattr(value, name), f"{page.name} names {group}.{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_in_a_page_can_be_typed(page: Path) -> None:
    commands = typer.main.get_command(importlib.import_module("grcsf.cli").app).commands  # type: ignore[attr-defined]
    for line in _blocks(page, "bash"):
        words = shlex.split(line, comments=True)
        if "grcsf" not in words[:2] or "--version" in words:
            continue
        verb, *arguments = words[words.index("grcsf") + 1 :]
        commands[verb].make_context(verb, arguments)  # raises for an unknown flag or a missing one


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_in_a_page_compiles_and_imports_what_exists(page: Path) -> None:
    tree = ast.parse("\n".join(_blocks(page, "python")))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("grcsf"):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names)


def test_python_examples_without_files_run() -> None:
    text = (ROOT / "docs" / "reference" / "python.md").read_text("utf-8")
    examples = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "assert" in block]
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "python.md", "exec"), {})


@pytest.mark.parametrize("name", ["calcium-scores", "stroke-measures"])
def test_examples_of_clinical_measures_run(name: str) -> None:
    example = "\n".join(_blocks(ROOT / "docs" / "reference" / f"{name}.md", "python"))
    assert "assert" in example
    exec(compile(example, name, "exec"), {})


def _blocks(page: Path, language: str) -> list[str]:
    """Lines of the fenced blocks of a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in found for line in block.splitlines()]


def _leaves(tree: object) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    items = tree.values() if isinstance(tree, dict) else tree
    return [leaf for item in items for leaf in _leaves(item)]  # type: ignore[attr-defined]
