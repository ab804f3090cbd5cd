"""House rules that a parser can check: who imports whom, how long a file or function is, what is never called."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"
LAYERS = (
    *("io", "datasets", "phantoms", "preprocess", "fitting", "mae", "residual", "nets", "training", "inference"),
    *("evaluation", "report", "viewer", "verbs", "serve", "benchmark", "cli"),
)
INNER = {"dicom", "sources", "clinical", "methods"}
EVERYONE = {"config", "config_parts", "errors", "arrays"}
TOP = {"__main__", "__init__"}
FILES = sorted((SOURCE / "grcsf").rglob("*.py"))
IDS = [path.relative_to(SOURCE / "grcsf").as_posix() for path in FILES]
every_file = pytest.mark.parametrize("path", FILES, ids=IDS)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def nodes(tree: ast.AST, with_types: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if with_types or not only_for_types(child):
            yield child
            yield from nodes(child, with_types)


def imports(path: Path, *, with_types: bool = True) -> set[str]:
    """Modules that a file imports anywhere in it; names imported from a package count as the modules they are."""
    found = set()
    for node in nodes(parse(path), with_types):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import in line {node.lineno}"
            base = str(node.module)
            parts = {f"{base}.{alias.name}" for alias in node.names}
            found |= (parts & MODULES.keys()) or {base}
    return found


def own_imports(path: Path) -> set[str]:
    return {name for name in imports(path, with_types=False) if name.split(".")[0] == "grcsf"}


def layer_of(module: str) -> str:
    part = [*module.split("."), "__init__"][1]
    return "cli" if part in TOP else part


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    first = function.body[0]
    inside = range(function.lineno, (function.end_lineno or function.lineno) + 1)
    docstring: range = range(0)
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        docstring = range(first.lineno, (first.end_lineno or first.lineno) + 1)
    return sum(number not in docstring and bool(lines[number - 1].strip()) for number in inside)


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    return ((ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_the_package_is_found() -> None:
    assert len(FILES) > 50
    assert {path.parent.name for path in FILES} - {"grcsf", *INNER} == set(LAYERS)


@every_file
def test_a_folder_imports_only_from_folders_above_it(path: Path) -> None:
    here = layer_of(module_of(path))
    own = {name for name in imports(path) if name.split(".")[0] == "grcsf"}
    if here in EVERYONE:
        allowed = EVERYONE
    else:
        allowed = {*EVERYONE, *LAYERS[: LAYERS.index(here) + 1]}
    wrong = sorted(name for name in own if layer_of(name) not in allowed)
    assert not wrong, f"{here} imports {wrong}"


@every_file
def test_the_networks_know_nothing_of_the_masked_autoencoder(path: Path) -> None:
    if layer_of(module_of(path)) == "nets":
        assert not {layer_of(name) for name in own_imports(path)} & {"mae", "residual"}


def test_no_import_cycle() -> None:
    graph = {name: own_imports(path) & MODULES.keys() - {name} for name, path in MODULES.items()}
    while graph:
        leaves = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert leaves, f"these modules import each other: {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in leaves}


def test_evaluation_needs_no_torch() -> None:
    known = {name for name in MODULES if layer_of(name) == "evaluation"}
    todo, outside = set(known), set()
    while todo:
        found = imports(MODULES[todo.pop()], with_types=False)
        outside |= {name.split(".")[0] for name in found}
        parents = {".".join(name.split(".")[:n]) for name in found for n in range(2, name.count(".") + 1)}
        new = (found | parents) & MODULES.keys() - known
        known |= new
        todo |= new
    assert outside - {"grcsf"} <= sys.stdlib_module_names | {
        "numpy",
        "scipy",
        "nibabel",
        "SimpleITK",
        "pydantic",
        "yaml",
        "rich",
    }


@every_file
def test_a_file_has_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@every_file
def test_a_function_has_at_most_60_lines_of_code(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    long = {f.name: count for f in functions(parse(path)) if (count := code_lines(f, lines)) > 60}
    assert not long


@every_file
def test_nothing_is_printed(path: Path) -> None:
    assert "print" not in {name for name, _ in calls(parse(path))}


@every_file
def test_nothing_is_read_that_can_carry_code(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & {
        "pickle",
        "dill",
        "cloudpickle",
        "joblib",
        "shelve",
        "marshal",
    }
    for name, call in calls(parse(path)):
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name.endswith("torch.load"):
            assert given.get("weights_only") == "True", f"line {call.lineno}"
        assert name not in {"eval", "exec"}, f"line {call.lineno}"
        assert given.get("allow_pickle", "False") == "False", f"line {call.lineno}"


@every_file
def test_nothing_is_seeded_for_everyone(path: Path) -> None:
    """``torch.manual_seed`` only inside ``torch.random.fork_rng``, which gives the global state back."""
    tree = parse(path)
    forked = [
        range(node.lineno, (node.end_lineno or node.lineno) + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and "fork_rng" in ast.unparse(node.items[0].context_expr)
    ]
    for name, call in calls(tree):
        assert name not in {"random.seed", "np.random.seed", "numpy.random.seed", "seed_everything"}, (
            f"line {call.lineno}"
        )
        if name == "torch.manual_seed":
            assert any(call.lineno in block for block in forked), f"line {call.lineno}"


@every_file
def test_every_module_says_what_is_public(path: Path) -> None:
    tree = parse(path)
    assert ast.get_docstring(tree), "no docstring"
    defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
    if defines:
        names = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert "__all__" in names
        future = {
            alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module == "__future__"
            for alias in node.names
        }
        assert "annotations" in future
