"""DICOM studies in (`study`), DICOM segmentations out (`segmentation`). Import the modules: this imports nothing."""

from __future__ import annotations

__all__: list[str] = []
