"""Data sets: what lies in a folder, which cases belong together, how they are split. Import the modules."""

from __future__ import annotations

__all__: list[str] = []
