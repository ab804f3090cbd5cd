"""One self-contained HTML page about a run; reads files only."""

from __future__ import annotations

from grcsf.report.page import write_report

__all__ = ["write_report"]
