"""Lesions found, missed and made up: connected components of the volume, in reference and prediction.

A lesion is a connected component over faces, edges and corners (26 neighbours). Components of fewer voxels than a
declared size are dropped, of the reference and of the prediction alike: they count neither as lesions nor as false
alarms. A reference lesion is detected if a kept component of the prediction shares a voxel with it; a kept component of
the prediction that shares none with any kept reference lesion is false. This is the rule of the white-matter challenge
(Kuijf et al., IEEE Transactions on Medical Imaging 2019) and of ISLES 2022 (Hernandez Petzsche et al., Scientific Data
2022). It asks whether a reader's eye is led to the lesion; how well the outline fits is told beside it by the Dice of
each lesion, not by a second threshold on overlap.

Shape suffixes: S slices, H and W rows and columns; L reference lesions.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import label

from wcr_med.metrics.boxes import bounding_box

Array = npt.NDArray[Any]

_NEIGHBOURS = 3  # steps along axes that still touch: faces, edges and corners


@dataclass(frozen=True, kw_only=True)
class LesionRow:
    """One lesion of the reference.

    Attributes:
        index: from 1, the largest lesion first; of equals the one whose first voxel comes first.
        n_voxels: its size, at least the smallest size that counts.
        n_slices: slices that hold a voxel of it.
        detected: a kept component of the prediction shares a voxel with it.
        dice: of the lesion against all kept components of the prediction that overlap it, taken together, with every
            voxel of these; 0 where it is missed. A prediction that joins two lesions costs both.
    """

    index: int
    n_voxels: int
    n_slices: int
    detected: bool
    dice: float


@dataclass(frozen=True, kw_only=True)
class DetectionCounts:
    """Lesions by outcome; patients add up with +. A reference lesion counts once, in however many pieces it is found.

    Attributes:
        detected: reference lesions that were found.
        missed: reference lesions that were not.
        false: components of the prediction that touch no reference lesion.
    """

    detected: int
    missed: int
    false: int

    def __add__(self, other: "DetectionCounts") -> "DetectionCounts":
        return DetectionCounts(
            detected=self.detected + other.detected,
            missed=self.missed + other.missed,
            false=self.false + other.false,
        )

    @property
    def precision(self) -> float:
        """Detected / (detected + false). NaN with neither lesions nor false ones, 0 if lesions were missed alone."""
        if self.detected + self.false == 0 and self.missed > 0:
            return 0.0  # a network that finds nothing must not leave the mean
        return _ratio(self.detected, self.detected + self.false)

    @property
    def recall(self) -> float:
        """Detected / (detected + missed). NaN without reference lesions."""
        return _ratio(self.detected, self.detected + self.missed)

    @property
    def f1(self) -> float:
        """2 detected / (2 detected + missed + false). NaN with neither lesions nor false ones, 0 if one is there."""
        return _ratio(2 * self.detected, 2 * self.detected + self.missed + self.false)


@dataclass(frozen=True, kw_only=True)
class LesionScores:
    """The lesions of one patient.

    Attributes:
        lesions: kept lesions of the reference, by index.
        n_predicted: kept components of the prediction; `n_false` of these touch no kept lesion of the reference.
    """

    lesions: tuple[LesionRow, ...]
    n_predicted: int
    n_false: int

    @property
    def counts(self) -> DetectionCounts:
        """The lesions by outcome."""
        return detection_counts(self.lesions, self.n_false)


def detection_counts(lesions: tuple[LesionRow, ...], n_false: int) -> DetectionCounts:
    """The lesions of a patient by outcome."""
    detected = sum(lesion.detected for lesion in lesions)
    return DetectionCounts(detected=detected, missed=len(lesions) - detected, false=n_false)


def score_lesions(reference_SHW: Array, prediction_SHW: Array, *, min_voxels: int) -> LesionScores:
    """Match the lesions of a reference with the components of a prediction.

    Args:
        reference_SHW: (slices, rows, columns), bool or integer, non-zero is foreground. May be empty.
        prediction_SHW: the same.
        min_voxels: components of fewer voxels are dropped; at least 1, which keeps all.

    Raises:
        ValueError: the shapes differ, there are not three axes, an array is floating point, or min_voxels is below 1.
    """
    if reference_SHW.shape != prediction_SHW.shape or reference_SHW.ndim != 3:
        raise ValueError(f"reference of shape {reference_SHW.shape}, prediction of shape {prediction_SHW.shape}")
    if "f" in (reference_SHW.dtype.kind, prediction_SHW.dtype.kind):
        raise ValueError("masks are bool or integer; apply the threshold before looking for lesions")
    if min_voxels < 1:
        raise ValueError(f"min_voxels is {min_voxels}; the smallest component has 1")
    where, lesion_of, sizes_L = _components(reference_SHW, min_voxels)
    predicted_where, component_of, component_sizes = _components(prediction_SHW, min_voxels)

    # Both lists of voxels are sorted, so what they share is found without a volume of labels.
    _, in_reference, in_prediction = np.intersect1d(where, predicted_where, assume_unique=True, return_indices=True)
    shared_lesion, shared_component = lesion_of[in_reference], component_of[in_prediction]
    overlap_L = np.bincount(shared_lesion, minlength=len(sizes_L))
    pairs = np.unique(shared_lesion.astype(np.int64) * max(len(component_sizes), 1) + shared_component)
    pair_lesion, pair_component = np.divmod(pairs, max(len(component_sizes), 1))
    union_L = np.bincount(pair_lesion, weights=component_sizes[pair_component], minlength=len(sizes_L))

    slices_L = _slices(where // math.prod(reference_SHW.shape[1:]), lesion_of, len(sizes_L))
    lesions = tuple(
        LesionRow(
            index=lesion + 1,
            n_voxels=int(sizes_L[lesion]),
            n_slices=int(slices_L[lesion]),
            detected=bool(overlap_L[lesion]),
            dice=float(2 * overlap_L[lesion] / (sizes_L[lesion] + union_L[lesion])),
        )
        for lesion in range(len(sizes_L))
    )
    n_predicted = len(component_sizes)
    return LesionScores(lesions=lesions, n_predicted=n_predicted, n_false=n_predicted - len(np.unique(pair_component)))


def _components(mask_SHW: Array, min_voxels: int) -> tuple[Array, Array, Array]:
    """Kept components, the largest first: flat indices of their voxels, the component of each voxel, and the sizes."""
    box = bounding_box(mask_SHW != 0)
    nothing = np.zeros(0, dtype=np.int64)
    if box is None:
        return nothing, nothing, nothing
    labels = label(mask_SHW[box] != 0, connectivity=_NEIGHBOURS)
    inside = np.flatnonzero(labels)
    found = labels.reshape(-1)[inside] - 1
    sizes = np.bincount(found)
    order = np.argsort(-sizes, kind="stable")  # labels are given in the order of first voxels
    order = order[sizes[order] >= min_voxels]
    rank = np.full(len(sizes), -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    kept = rank[found] >= 0
    places = np.unravel_index(inside[kept], labels.shape)
    shifted = tuple(place + side.start for place, side in zip(places, box, strict=True))
    return np.ravel_multi_index(shifted, mask_SHW.shape), rank[found[kept]], sizes[order]


def _slices(slice_of: Array, lesion_of: Array, n_lesions: int) -> Array:
    """In how many slices each lesion lies, from the slice and the lesion of every voxel."""
    if not len(slice_of):
        return np.zeros(n_lesions, dtype=np.int64)
    pairs = np.unique(slice_of * n_lesions + lesion_of)
    return np.bincount(pairs % n_lesions, minlength=n_lesions)


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
