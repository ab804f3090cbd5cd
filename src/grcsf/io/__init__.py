"""Files in and out: volumes, JSON, run records, progress. Import the modules: this file imports nothing."""

from __future__ import annotations

__all__: list[str] = []
