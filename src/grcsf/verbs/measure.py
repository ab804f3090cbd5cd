"""``grcsf measure``: stroke measures of masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from grcsf.errors import SettingsError
from grcsf.evaluation.clinical.stroke import StrokeRules
from grcsf.evaluation.clinical.stroke_cases import StrokeSummary, measure_files, read_atlas, write_stroke
from grcsf.io.files import ensure_new
from grcsf.io.record import RunRecord
from grcsf.io.volume import stem_of
from grcsf.verbs.masks import labels_beside, masks_in, one_mask

__all__ = ["measure"]


def measure(
    mask: str | Path,
    output: str | Path,
    *,
    labels: Mapping[str, int] | None = None,
    rules: StrokeRules | None = None,
    atlas: str | Path | None = None,
    atlas_names: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> StrokeSummary:
    """Lesion load, number of lesions, side and territories of masks; anybody's masks will do.

    Args:
        mask: 3-D mask file, or folder of them.
        output: folder for ``measures.csv``, ``measures.json`` and, with an atlas, ``territories.csv``.
        labels: name -> value; none: ``dataset.json`` beside the folder of masks, else ``lesion`` of value 1.
        rules: how; none: the defaults.
        atlas: label volume of vascular territories in the space of the masks.
        atlas_names: YAML file of ``name: value`` for the atlas.
        resume: replace measures that are there.
        overwrite: the same.

    Raises:
        DatasetError: nothing to measure.
        ImageError: an atlas that cannot be used.
        OutputError: an output that exists already.
        SettingsError: labels or names that do not fit.
    """
    rules = rules or StrokeRules()
    source = Path(mask)
    if atlas_names is not None and atlas is None:
        raise SettingsError("--atlas-names: names the labels of an atlas; give it as --atlas")
    files = masks_in(source) if source.is_dir() else {stem_of(one_mask(source)): source}
    territories = read_atlas(Path(atlas), Path(atlas_names) if atlas_names else None) if atlas is not None else None
    named = dict(labels or labels_beside(source, "lesion"))
    out = Path(output)
    ensure_new(out, overwrite, resume)
    inputs = [*files.values(), *(Path(path) for path in (atlas, atlas_names) if path is not None)]
    settings = {"measure": rules.model_dump(mode="json"), "labels": named}
    with RunRecord(out, verb="measure", settings=settings, inputs=inputs, device="cpu") as run:
        summary = measure_files(files, named, rules, territories)
        (out / "territories.csv").unlink(missing_ok=True)  # of an earlier run, which may have had an atlas
        write_stroke(out, summary)
        run.add("cases", len(files))
        run.add("failed", summary.failed)
    return summary
