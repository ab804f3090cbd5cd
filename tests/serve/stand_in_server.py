"""``grcsf serve`` with the stand-in for workers; run by tests with the flags of the command."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import grcsf.serve.service as service_module
from grcsf.cli import main

if __name__ == "__main__":
    command = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
    service_module.Service = partial(service_module.Service, command=command)  # type: ignore[misc]
    sys.argv = ["grcsf", "serve", *sys.argv[1:]]
    main()
