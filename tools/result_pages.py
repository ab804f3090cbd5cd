"""Write docs/results/NAME.md from the stored scores in benchmarks/results/NAME/, for every benchmark that has some.

python tools/result_pages.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from grcsf.benchmark.run import benchmark

ROOT = Path(__file__).resolve().parent.parent
SCORES = ROOT / "benchmarks" / "results"
PAGES = ROOT / "docs" / "results"


def page(name: str) -> str:
    """The tables of a benchmark, as ``grcsf benchmark --tables-only --load-scores`` makes them."""
    with tempfile.TemporaryDirectory() as out:
        benchmark(ROOT / "benchmarks" / f"{name}.yaml", out, tables_only=True, load_scores=SCORES / name)
        tables = (Path(out) / "tables" / "tables.md").read_text("utf-8")
    source = f"<!-- Made by tools/result_pages.py from benchmarks/results/{name}; do not edit. -->\n\n"
    return source + tables


def names() -> list[str]:
    """Benchmarks with stored scores."""
    return sorted(folder.name for folder in SCORES.iterdir() if any(folder.glob("*.zip")))


def main() -> int:
    """Write every page."""
    PAGES.mkdir(exist_ok=True)
    for name in names():
        path = PAGES / f"{name}.md"
        path.write_text(page(name), encoding="utf-8")
        sys.stdout.write(f"written: {path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
