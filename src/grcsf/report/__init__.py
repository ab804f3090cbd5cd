"""One self-contained HTML page about a run; reads files only. Import the modules: this file imports nothing."""

from __future__ import annotations

__all__: list[str] = []
