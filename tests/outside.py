"""A method from outside the package, for tests of the benchmark: it moves the reference masks."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import nibabel
import numpy as np


def fake_entry(name: str, wait: float = 0.0, shift: object = 0) -> dict[str, object]:
    """An entry that copies the references, moved by ``shift`` voxels, after ``wait`` seconds.

    ``broken``: it fails. ``forgetful``: a mask is left out in the first run, without a word.
    """
    arguments = ["{python}", str(Path(__file__).resolve()), "{dataset}", "{fold}", "{output}", str(wait), str(shift)]
    entry = {"name": name, "kind": "outside", "description": f"moved by {shift}", "command": arguments}
    return {**entry, "predict_command": [*arguments, "{model}", "{cases}"]}


def main(
    dataset: str, fold: str, output: str, wait: str, shift: str, model: str | None = None, cases: str | None = None
) -> None:
    root, out = Path(dataset), Path(output)
    with (out.parent.parent / "calls.txt").open("a", encoding="utf-8") as calls:
        calls.write(f"{out.name}\n")
    time.sleep(float(wait))
    if shift == "broken":
        raise SystemExit("error: this method never works")
    (out / "validation").mkdir(exist_ok=True)
    if model and cases:
        assert (Path(model) / "run.json").is_file()
        names = json.loads(Path(cases).read_text("utf-8"))
    else:
        names = json.loads((root / "splits_final.json").read_text("utf-8"))[int(fold)]["val"]
    forgets = shift == "forgetful" and not (out / "run.json").is_file()
    for name in names[1:] if forgets else names:
        image = nibabel.load(root / "labelsTr" / f"{name}.nii.gz")
        mask = np.roll(np.asarray(image.dataobj).astype(np.uint8), int(shift) if shift != "forgetful" else 0, axis=0)
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), out / "validation" / f"{name}.nii.gz")
    said = {"seconds": 2.5, "peak_memory_mb": 64.0, "multiply_adds": 1000, "parameters": 10, "steps": 4}
    if model:
        said = {"prediction_seconds": 1.5}
    (out / "run.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
