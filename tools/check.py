"""The one check of the project: ruff, ruff format, mypy and pytest, all of them, then a summary.

python tools/check.py          everything
python tools/check.py --fast   without the tests marked slow
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2  # of tests: each takes up to 2 GB


def checks(fast: bool) -> dict[str, list[str]]:
    """Name and command of every check, in the order they run."""
    pytest = ["pytest", "-n", str(WORKERS), "--dist", "loadfile", *(["-m", "not slow"] if fast else [])]
    modules = {
        "lint": ["ruff", "check", "."],
        "format": ["ruff", "format", "--check", "."],
        "types": ["mypy"],
        "tests": pytest,
    }
    return {name: [sys.executable, "-m", *command] for name, command in modules.items()}


def main(arguments: list[str] | None = None) -> int:
    """Run every check even after a failure; 0 if all passed, 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="skip the tests marked slow")
    fast = parser.parse_args(arguments).fast
    source = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    threads = str(max(1, (os.cpu_count() or 1) // WORKERS))
    calm = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": threads}  # sleep, not spin, on shared cores
    environment = {**calm, **os.environ, "PYTHONPATH": source}
    lines = []
    failed = False
    for name, command in checks(fast).items():
        sys.stdout.write(f"== {name}: {' '.join(command[2:])}\n")
        sys.stdout.flush()
        started = time.perf_counter()
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        failed |= code != 0
        seconds = time.perf_counter() - started
        lines.append(f"{name:<8} {'passed' if code == 0 else f'FAILED (exit {code})':<18} {seconds:6.1f} s")
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
