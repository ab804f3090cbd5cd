"""grcsf: lesion segmentation guided by what a masked autoencoder did not expect (GRCSF, arXiv 2502.08675).

Every command of the command line is a function here, imported when it is first used::

    import grcsf
    grcsf.run("Dataset501_SoopFlairAxial", "results", folds=[0])
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

_VERBS = (
    "agreement",
    "benchmark",
    "calcium",
    "convert",
    "compare",
    "demo",
    "evaluate",
    "info",
    "measure",
    "predict",
    "preprocess",
    "pretrain",
    "report",
    "residual",
    "run",
    "serve",
    "show",
    "train",
    "validate",
    "view",
)
_ELSEWHERE = {"benchmark": "grcsf.benchmark.run", "serve": "grcsf.serve.launch"}

if TYPE_CHECKING:
    __version__: str
    from grcsf.benchmark.run import benchmark
    from grcsf.config import Settings, load_settings
    from grcsf.serve.launch import serve
    from grcsf.verbs.agreement import agreement
    from grcsf.verbs.calcium import calcium
    from grcsf.verbs.compare import compare
    from grcsf.verbs.convert import convert
    from grcsf.verbs.demo import demo
    from grcsf.verbs.evaluate import evaluate
    from grcsf.verbs.info import info
    from grcsf.verbs.measure import measure
    from grcsf.verbs.predict import predict
    from grcsf.verbs.preprocess import preprocess
    from grcsf.verbs.pretrain import pretrain
    from grcsf.verbs.report import report
    from grcsf.verbs.residual import residual
    from grcsf.verbs.run import run
    from grcsf.verbs.show import show
    from grcsf.verbs.train import train
    from grcsf.verbs.validate import validate
    from grcsf.verbs.view import view

__all__ = [
    "Settings",
    "__version__",
    "agreement",
    "benchmark",
    "calcium",
    "compare",
    "convert",
    "demo",
    "evaluate",
    "info",
    "load_settings",
    "measure",
    "predict",
    "preprocess",
    "pretrain",
    "report",
    "residual",
    "run",
    "serve",
    "show",
    "train",
    "validate",
    "view",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        value = _version()
    elif name in _VERBS:
        module = _ELSEWHERE.get(name, f"grcsf.verbs.{name}")
        value = getattr(importlib.import_module(module), name)
    elif name in ("Settings", "load_settings"):
        value = getattr(importlib.import_module("grcsf.config"), name)
    else:
        raise AttributeError(f"module 'grcsf' has no attribute {name!r}")
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps the verbs that share their names with folders (``preprocess``, ...) when those folders are imported.

    Importing a folder would put it in the place of the function; ``from grcsf.report.page import ...`` needs no
    attribute, for imports look a folder up by its full name.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("grcsf")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0.0.0"
