"""From scans to arrays and back: fingerprint -> plan -> arrays on disk, and the exact inverse.

Import from the modules; this file imports nothing, so that the command line starts fast.
"""

from __future__ import annotations

__all__: list[str] = []
