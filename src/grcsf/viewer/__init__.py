"""Volumes with masks and maps in a browser, on this machine only. Import the modules: this file imports nothing."""

from __future__ import annotations

__all__: list[str] = []
