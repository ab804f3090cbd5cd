"""``grcsf serve`` with the stand-in for workers; run by tests with the flags of the command."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

from grcsf.cli import main

if __name__ == "__main__":
    command = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
    import_module("grcsf.serve.app")  # which knows the class as it is
    service_module = import_module("grcsf.serve.service")
    service_module.Service = partial(service_module.Service, command=command)  # type: ignore[attr-defined]
    sys.argv = ["grcsf", "serve", *sys.argv[1:]]
    main()
