"""Batches of image, residual maps and label around drawn centres, a pure function of (seed, step, rank)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from grcsf.arrays import LabelArray, Sliceable
from grcsf.config import TrainingSettings
from grcsf.errors import DatasetError
from grcsf.fitting.batches import Batch, step_generator
from grcsf.fitting.cases import ArrayCache, cut_window, slice_with_context, window_start
from grcsf.preprocess.plan import Plan
from grcsf.preprocess.store import CaseStore
from grcsf.training.augment import Augmentation, Sample
from grcsf.training.carve import carve_mix
from grcsf.training.sampling import LesionIndex

__all__ = ["LabelledPatches"]

ReadMaps = Callable[[str], Sliceable]


class LabelledPatches:
    """Cuts samples from preprocessed cases.

    Args:
        store: preprocessed cases with labels.
        cases: names to train on.
        maps: residual maps of a case ``(R, D, H, W)``; none for a network without RCU.
        settings: batch size, lesion share, augmentation, CarveMix, map dropout.
        seed: seed of every draw.
    """

    def __init__(
        self, store: CaseStore, cases: Sequence[str], maps: ReadMaps | None, settings: TrainingSettings, seed: int
    ) -> None:
        self.plan: Plan = store.plan
        self.settings, self.seed, self._store = settings, seed, store
        self._image = ArrayCache(store.open_image)
        self._maps = ArrayCache(maps, limit_bytes=2**30) if maps else None
        self._label = ArrayCache(self._open_label, limit_bytes=2**30)
        self.index = LesionIndex(
            cases, self._whole_label, self.plan.spatial_dims == 2, settings.lesion_fraction, settings.lesion_sampling
        )
        self.augment = Augmentation(
            settings.augmentation,
            self.plan.patch_size,
            self.plan.mirror_axes,
            with_residual=maps is not None,
            coarse_axes=self.plan.coarse_axes,
        )

    def __call__(self, step: int, rank: int) -> Batch:
        """Image (B, C, *patch), label (B, 1, *patch) int64, residual (B, R, *patch) where there are maps."""
        rng = step_generator(self.seed, 2, step, rank)
        draws = self.index.draw_batch(rng, self.settings.patches(self.plan.spatial_dims))
        samples = [self.augment(self._sample(case, centre, rng), rng) for case, centre in draws]
        return _collate([self._without_maps(sample, rng) for sample in samples])

    def fixed(self, limit: int) -> list[Batch]:
        """Unaugmented samples centred on lesions, one per case with a lesion, at most ``limit``, each a batch."""
        lesions = [found for size_class in self.index.classes for found in size_class]
        largest = {lesion.case: lesion for lesion in sorted(lesions, key=lambda lesion: lesion.size)}
        samples = []
        for case in sorted(largest)[:limit]:
            voxels = largest[case].voxels
            d, h, w = voxels[len(voxels) // 2]
            sample = self.cut(case, (int(d), int(h), int(w)))
            samples.append(_collate([{k: torch.from_numpy(np.array(v, np.float32)) for k, v in sample.items()}]))
        return samples

    def cut(self, case: str, centre: tuple[int, int, int]) -> Sample:
        """One sample around a voxel, without augmentation."""
        image, label, patch = self._image(case), self._label(case), self.plan.patch_size
        maps = None if self._maps is None else self._maps(case)
        if self.plan.spatial_dims == 2:
            index, inplane = centre[0], centre[1:]
            start = window_start(image.shape[2:], patch, inplane)
            image, label = slice_with_context(image, index, self.plan), label[index]
            maps = None if maps is None else maps[:, index]
        else:
            start = window_start(image.shape[1:], patch, centre)
        found = {"image": cut_window(image, start, patch), "label": cut_window(label, start, patch, 0, lead=0)[None]}
        if maps is not None:
            found["residual"] = cut_window(maps, start, patch, 0).astype(np.float32, copy=False)
        return found

    def _sample(self, case: str, centre: tuple[int, int, int], rng: np.random.Generator) -> Sample:
        """What was drawn or, at times, the case with a lesion of another one, cut where that lies in the body."""
        if not (self.settings.carve_mix and rng.random() < self.settings.carve_mix):
            return self.cut(case, self._jitter(rng, centre))
        donor, place = self.index.draw(rng, on_lesion=True)
        place = self._jitter(rng, place)
        lesion, here = self.cut(donor, place), list(place)
        first = 3 - self.plan.spatial_dims
        for axis in self.plan.mirror_axes:
            if rng.random() < 0.5:  # a lesion of the left may lie on the right
                lesion = {key: np.flip(array, 1 + axis) for key, array in lesion.items()}
                here[first + axis] = self.index.shapes[donor][first + axis] - 1 - place[first + axis]
        edges = zip(here, self.index.shapes[case], self.index.shapes[donor], strict=True)
        d, h, w = (min(max(int(at * edge / other), 0), edge - 1) for at, edge, other in edges)
        return carve_mix(self.cut(case, (d, h, w)), lesion, rng)

    def _without_maps(self, sample: dict[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """The sample, at times with residual maps of zero (docs/decisions/0021)."""
        share = self.settings.map_dropout
        if "residual" in sample and share and rng.random() < share:
            return sample | {"residual": torch.zeros_like(sample["residual"])}
        return sample

    def _jitter(self, rng: np.random.Generator, centre: tuple[int, int, int]) -> tuple[int, int, int]:
        """Move the centre by up to a quarter patch, so that lesions are not always in the middle."""
        quarter = [edge // 4 for edge in self.plan.patch_size]
        first = 3 - len(quarter)
        moved = list(centre)
        for axis, reach in enumerate(quarter):
            moved[first + axis] += int(rng.integers(-reach, reach + 1))
        return moved[0], moved[1], moved[2]

    def _open_label(self, case: str) -> Sliceable:
        label = self._store.open_label(case)
        if label is None:
            raise DatasetError(f"{case}: no label; training needs one for every case of the fold's training part")
        return label

    def _whole_label(self, case: str) -> LabelArray:
        label: LabelArray = self._label(case)[...]
        return label


def _collate(samples: list[dict[str, torch.Tensor]]) -> Batch:
    batch: dict[str, torch.Tensor] = {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
    batch["label"] = batch["label"].round().long()
    return batch
