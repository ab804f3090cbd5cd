"""Synthetic scans with known lesions: seeded generators of brains, hearts and lungs. Import the modules."""

from __future__ import annotations

__all__: list[str] = []
