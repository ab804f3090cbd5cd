"""What orCaScore scores of a segmentation: calcifications found and invented, by number and volume, by artery."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from grcsf.arrays import AnyArray, BoolArray
from grcsf.evaluation.clinical.agatston import TOTAL, calcium_voxels
from grcsf.evaluation.clinical.calcium_rules import CalciumRules
from grcsf.evaluation.lesions import score_lesions
from grcsf.evaluation.presets import PRESETS
from grcsf.io.geometry import Geometry

__all__ = ["DETECTION_SCORES", "Detection", "detect_calcium"]

DETECTION_SCORES = ("sensitivity", "ppv", "volume_sensitivity", "volume_ppv", "f1")
"""Names of the scores of :class:`Detection`, as in files."""

_ABOVE_130 = CalciumRules(threshold="above")


@dataclass(frozen=True)
class Detection:
    """Calcifications of a reference and a prediction; ``+`` pools cases.

    Attributes:
        n_reference: calcifications of the reference.
        n_prediction: calcifications of the prediction.
        n_found: those of the reference that share a voxel with the prediction.
        n_right: those of the prediction that share a voxel with the reference.
        reference_mm3: volume of the reference.
        prediction_mm3: volume of the prediction.
        shared_mm3: volume of both.
    """

    n_reference: int = 0
    n_prediction: int = 0
    n_found: int = 0
    n_right: int = 0
    reference_mm3: float = 0.0
    prediction_mm3: float = 0.0
    shared_mm3: float = 0.0

    def __add__(self, other: Detection) -> Detection:
        return Detection(
            self.n_reference + other.n_reference,
            self.n_prediction + other.n_prediction,
            self.n_found + other.n_found,
            self.n_right + other.n_right,
            self.reference_mm3 + other.reference_mm3,
            self.prediction_mm3 + other.prediction_mm3,
            self.shared_mm3 + other.shared_mm3,
        )

    @property
    def sensitivity(self) -> float:
        """Share of the calcifications that were found; by number."""
        return self._share(self.n_found, self.n_reference)

    @property
    def ppv(self) -> float:
        """Share of the predicted calcifications that are right; by number."""
        return self._share(self.n_right, self.n_prediction)

    @property
    def volume_sensitivity(self) -> float:
        """Share of the reference volume that was predicted."""
        return self._share(self.shared_mm3, self.reference_mm3)

    @property
    def volume_ppv(self) -> float:
        """Share of the predicted volume that is right."""
        return self._share(self.shared_mm3, self.prediction_mm3)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two volume scores."""
        return self._share(2 * self.shared_mm3, self.reference_mm3 + self.prediction_mm3)

    def _share(self, part: float, whole: float) -> float:
        """The policy of the preset: nan where both are empty, 0 where one is."""
        if not self.n_reference and not self.n_prediction:
            return math.nan
        return part / whole if whole else 0.0


def detect_calcium(
    image_hu: AnyArray, reference: AnyArray, prediction: AnyArray, geometry: Geometry, labels: Mapping[str, int]
) -> dict[str, Detection]:
    """Compare two labelled masks by the rules of orCaScore.

    Voxels above 130 HU (130 itself is none) of a mask are its calcium; calcifications are their 6-connected components
    in 3-D, of any size; one shared voxel makes a calcification found (our reading, as in the preset ``orcascore``).
    In the row :data:`~grcsf.evaluation.clinical.agatston.TOTAL` labels are joined first.

    Args:
        image_hu: CT, 3-D, HU.
        reference: label values of the expert, same shape.
        prediction: label values of the method, same shape.
        geometry: the grid of all three.
        labels: name -> value; 0 is left out.

    Returns:
        Label name -> detection, with the total last.

    Source: standard, http://orcascore.isi.uu.nl/evaluation/; the overlap: own.
    """
    calcium = calcium_voxels(image_hu, _ABOVE_130)
    named = {name: value for name, value in labels.items() if value != 0}
    found = {
        name: _detect(calcium & (reference == value), calcium & (prediction == value), geometry)
        for name, value in named.items()
    }
    every = list(named.values())
    found[TOTAL] = _detect(calcium & np.isin(reference, every), calcium & np.isin(prediction, every), geometry)
    return found


def _detect(reference: BoolArray, prediction: BoolArray, geometry: Geometry) -> Detection:
    scores = score_lesions(reference, prediction, geometry.edges_mm, PRESETS["orcascore"])
    voxel_mm3 = geometry.voxel_size
    return Detection(
        n_reference=scores.n_reference,
        n_prediction=scores.n_prediction,
        n_found=scores.n_detected,
        n_right=len(scores.of("prediction", detected=True)),
        reference_mm3=int(np.count_nonzero(reference)) * voxel_mm3,
        prediction_mm3=int(np.count_nonzero(prediction)) * voxel_mm3,
        shared_mm3=int(np.count_nonzero(reference & prediction)) * voxel_mm3,
    )
