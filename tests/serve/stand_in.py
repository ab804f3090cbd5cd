"""A worker for tests that loads no model: it reads the scan, writes a mask of its brighter half, and can misbehave."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from grcsf.errors import ModelError
from grcsf.serve.scans import output_ending, read_scan, write_on_grid
from grcsf.serve.worker import serve_lines

VIEW = {
    "labels": {"background": 0, "lesion": 1},
    "dimensions": 3,
    "spacing_mm": [None, None, None],
    "threshold": 0.5,
    "maps": [],
    "models": 1,
    "fingerprint": "0" * 64,
    "version": "0",
}


class StandIn:
    """How it behaves is the first of ``models``: plain, two, slow, dies, wrong, absent."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.mode = Path(first["models"][0]).name
        self.count = 0
        if self.mode == "absent":
            raise ModelError("no such model")

    def describe(self) -> dict[str, Any]:
        return {**VIEW, "channels": ["FLAIR", "T1"] if self.mode == "two" else ["FLAIR"]}

    def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        if self.mode == "slow":
            time.sleep(0.2 if job["explain"] else 60)
        if self.mode == "dies" and job["threshold"] == 0.25:
            os._exit(1)
        if self.mode == "wrong" and job["threshold"] == 0.25:
            return {"done": {"result": {}, "files": {"mask": "mask.nii"}}}
        volume, notes = read_scan(Path(job["images"][0]), job["spacing_mm"], job["max_voxels"], job["max_bytes"])
        mask = (volume.array > volume.array.mean()).astype(np.uint8)
        name = "mask" + output_ending(volume.path, fractions=False)
        write_on_grid(mask, volume, Path(job["folder"], "out", name), job["spacing_mm"])
        result = {
            "labels": [],
            "lesions": [],
            "volume_ml": 0.0,
            "area_mm2": None,
            "shape": list(mask.shape),
            "spacing_mm": list(volume.geometry.spacing_mm),
            "threshold": job["threshold"] or 0.5,
            "model": "0" * 64,
            "warnings": [*notes, f"job {self.count} of process {os.getpid()}"],
            "seconds": 0.1,
        }
        return {"done": {"result": result, "files": {"mask": name}}}


if __name__ == "__main__":
    sys.exit(serve_lines(StandIn))
