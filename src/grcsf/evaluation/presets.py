"""Named rules of lesion-wise scoring: what a lesion is, when it counts as found, what an empty case scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import yaml

from grcsf.errors import SettingsError

__all__ = ["PRESETS", "Connectivity", "F1Of", "LesionPreset", "Matching", "OverlapRule", "resolve_preset"]

Connectivity = Literal["face", "edge", "full"]
"""Which voxels touch: 6, 18 or 26 neighbours in 3-D; 4 (face), 8 (edge, full) in 2-D."""
OverlapRule = Literal["any", "voxels", "share", "iou"]
"""What a reference and a predicted lesion must share: a voxel, ``threshold`` voxels, that share of the reference
lesion, or that intersection over union."""
Matching = Literal["many-to-many", "many-to-one", "one-to-one"]
"""What becomes of several pairs that pass the rule: all stay; each prediction keeps the reference it shares most voxels
with; or pairs are taken from the highest intersection over union down, each lesion once."""
F1Of = Literal["lesions", "volume"]
"""F1 from numbers of lesions, or from shared volume."""

_WORDS = {
    "connectivity_2d": get_args(Connectivity),
    "connectivity_3d": get_args(Connectivity),
    "overlap": get_args(OverlapRule),
    "matching": get_args(Matching),
    "f1_of": get_args(F1Of),
    "when_empty": ("skip", "one", "zero"),
}
_NUMBERS = ("threshold", "min_size_mm")
_WHOLE = ("version", "min_voxels")


@dataclass(frozen=True)
class LesionPreset:
    """The rules of one way to score lesions; frozen, and written whole into every file of scores.

    Attributes:
        name: what the rules are called.
        version: raised whenever a rule of that name changes.
        connectivity_2d: which pixels belong to one lesion.
        connectivity_3d: which voxels belong to one lesion.
        overlap: what a pair of lesions must share to be a candidate for a match.
        threshold: voxels for ``voxels``, share in (0, 1] for ``share`` and ``iou``; not used for ``any``.
        matching: what becomes of several candidates.
        min_voxels: components of fewer voxels are left out of both masks before anything is counted.
        min_size_mm: as ``min_voxels`` in mm2 (2-D) or mm3 (3-D).
        f1_of: what F1 is made from.
        when_empty: precision, recall, F1 and panoptic quality of a case without any lesion in either mask; with
            lesions in one mask only they are 0.
    """

    name: str
    version: int = 1
    connectivity_2d: Connectivity = "full"
    connectivity_3d: Connectivity = "full"
    overlap: OverlapRule = "any"
    threshold: float = 0.0
    matching: Matching = "many-to-many"
    min_voxels: int = 1
    min_size_mm: float = 0.0
    f1_of: F1Of = "lesions"
    when_empty: Literal["skip", "one", "zero"] = "skip"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise SettingsError(f"lesion preset: name {self.name!r}, expected a word")
        for key, words in _WORDS.items():
            if getattr(self, key) not in words:
                raise self._refuse(key, f"one of {', '.join(words)}")
        for key in _WHOLE:
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise self._refuse(key, "a whole number of at least 1")
        for key in _NUMBERS:
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise self._refuse(key, "a number of at least 0")
        if self.overlap in ("share", "iou") and not 0 < self.threshold <= 1:
            raise self._refuse("threshold", f"a share above 0 and at most 1 for overlap={self.overlap}")
        if self.overlap == "voxels" and self.threshold < 1:
            raise self._refuse("threshold", "at least 1 voxel for overlap=voxels")

    def _refuse(self, key: str, expected: str) -> SettingsError:
        return SettingsError(f"lesion preset {self.name}: {key} {getattr(self, key)!r}, expected {expected}")

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> LesionPreset:
        """A preset of one's own, from what a YAML or JSON file holds.

        Args:
            tree: ``name`` and any other field; ``base`` names a shipped preset whose rules are the defaults.

        Raises:
            SettingsError: no name, the name of a shipped preset with other rules, an unknown field or a value that
                does not fit.

        >>> LesionPreset.from_dict({"name": "ours", "base": "isles2022", "min_voxels": 3}).when_empty
        'one'
        """
        if not isinstance(tree, Mapping):
            raise SettingsError(f"lesion preset: found a {type(tree).__name__}, expected fields such as name: mine")
        known = [field.name for field in fields(cls)]
        unknown = [str(key) for key in tree if key not in (*known, "base")]
        if unknown:
            raise SettingsError(f"lesion preset: unknown field {', '.join(unknown)}; known: base, {', '.join(known)}")
        if "name" not in tree:
            raise SettingsError("lesion preset: no name; expected a field such as name: mine")
        given = {key: value for key, value in tree.items() if key != "base"}
        preset = replace(resolve_preset(str(tree["base"])), **given) if "base" in tree else cls(**given)
        if PRESETS.get(preset.name, preset) != preset:
            raise SettingsError(f"lesion preset {preset.name}: a shipped preset has this name; choose another one")
        return preset

    def to_dict(self) -> dict[str, Any]:
        """Every field, for a file of scores; :meth:`from_dict` takes it back."""
        return asdict(self)

    def connectivity(self, spatial_dims: int) -> Connectivity:
        """Which voxels touch in 2-D or 3-D."""
        return self.connectivity_2d if spatial_dims == 2 else self.connectivity_3d


_ALL = (
    LesionPreset(name="any-overlap"),
    LesionPreset(name="atlas2022", when_empty="one"),
    LesionPreset(name="isles2022", when_empty="one"),
    LesionPreset(name="orcascore", connectivity_2d="face", connectivity_3d="face", f1_of="volume"),
    LesionPreset(name="panoptica-iou0.5", connectivity_2d="face", overlap="iou", threshold=0.5, matching="one-to-one"),
)

PRESETS: Mapping[str, LesionPreset] = MappingProxyType({preset.name: preset for preset in _ALL})
"""The shipped presets by name.

``any-overlap``
    The default: one shared voxel is enough, diagonal neighbours are one lesion, empty cases are left out.
    Source: own; the rules of the stroke challenges with the empty policy of our voxel scores.
``atlas2022``
    A lesion "counts as detected if a single voxel has been predicted". Source: standard, ATLAS R2.0
    (https://atlas.grand-challenge.org/Evaluation/); 26 neighbours and 1 for an empty case from the challenge's code
    (second-hand; its *simple lesion count* uses 6 neighbours: ``simple_count_difference``).
``isles2022``
    The same rules from the code of ISLES 2022. Source: second-hand, ``compute_lesion_f1_score`` of
    https://github.com/ezequieldlrosa/isles22 (26 neighbours, ``empty_value=1.0``). The name stays its own, so that
    neither changes with the other.
``orcascore``
    Lesions are 6-connected; F1 is the harmonic mean of sensitivity and positive predictive value by volume; both are
    given by number too. Source: standard, http://orcascore.isi.uu.nl/evaluation/. The page names no overlap that makes
    a lesion found: one voxel is our reading. Masks have to hold voxels above 130 HU only, as the challenge's do;
    ``grcsf calcium`` with references applies the threshold itself (:mod:`grcsf.evaluation.clinical.orcascore`).
``panoptica-iou0.5``
    Pairs with an intersection over union of at least 0.5, each lesion once. Source: second-hand, the default of
    https://github.com/BrainLesion/panoptica (NaiveThresholdMatching; 26 neighbours in 3-D, 4 in 2-D; nan if empty).
"""


def resolve_preset(preset: str | Mapping[str, Any] | LesionPreset) -> LesionPreset:
    """A preset from its name, the path of a YAML or JSON file, its fields, or itself.

    Raises:
        SettingsError: an unknown name (the known ones are listed), a file that cannot be read, or wrong fields.
    """
    if isinstance(preset, LesionPreset):
        return preset
    if not isinstance(preset, str):
        return LesionPreset.from_dict(preset)
    if preset in PRESETS:
        return PRESETS[preset]
    if Path(preset).suffix.lower() not in (".yaml", ".yml", ".json"):
        known = ", ".join(PRESETS)
        raise SettingsError(f"lesion preset {preset}: unknown; known: {known}, or the path of a YAML file of your own")
    try:
        tree = yaml.safe_load(Path(preset).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"lesion preset {preset}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"lesion preset {preset}: not valid YAML ({' '.join(str(error).split())})") from None
    return LesionPreset.from_dict(tree)
