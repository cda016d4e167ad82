"""Pixels counted by reference and prediction, and the scores that follow from the counts.

The empty-mask rule is the project's own (docs/metrics.md), since libraries disagree: nothing to find and nothing found
is NaN, not a perfect score; a false alarm on an empty reference is 0; a missed lesion is 0. A score that is NaN when a
network predicts nothing would let that network drop its failures from the mean, so precision is 0 there as well.

Shape suffixes: S slices, H and W rows and columns.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many pixels are true and false, positive and negative. Whole numbers, not negative.

    Attributes:
        tp: foreground in reference and prediction.
        fp: foreground in the prediction alone.
        fn: foreground in the reference alone.
        tn: background in both.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def __post_init__(self) -> None:
        if min(self.tp, self.fp, self.fn, self.tn) < 0:
            raise ValueError(f"counts cannot be negative: {self}")

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(tp=self.tp + other.tp, fp=self.fp + other.fp, fn=self.fn + other.fn, tn=self.tn + other.tn)

    @property
    def reference_pixels(self) -> int:
        """Foreground pixels of the reference."""
        return self.tp + self.fn

    @property
    def prediction_pixels(self) -> int:
        """Foreground pixels of the prediction."""
        return self.tp + self.fp

    @property
    def both_empty(self) -> bool:
        """Nothing to find and nothing found."""
        return self.tp + self.fp + self.fn == 0

    @property
    def dice(self) -> float:
        """2 tp / (2 tp + fp + fn), in [0, 1]; equal to F1. NaN if both are empty, 0 if one is."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """Intersection over union, tp / (tp + fp + fn), in [0, 1]. NaN if both are empty, 0 if one is."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """The share of predicted pixels that are right, tp / (tp + fp). NaN if both are empty, 0 if one is."""
        if self.prediction_pixels == 0 and self.reference_pixels > 0:
            return 0.0
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """The share of reference pixels that are found, tp / (tp + fn). NaN if the reference is empty."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """The share of background pixels left alone, tn / (tn + fp). NaN if the reference fills the volume."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def relative_volume_error(self) -> float:
        """(predicted - reference volume) / reference volume, -1 for a miss. NaN if the reference is empty."""
        return _ratio(self.fp - self.fn, self.tp + self.fn)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What averages over patients need of one patient; rows keep it after the counts of single slices are gone.

    Attributes:
        total: the pixels of the whole volume.
        tumour_dice_sum: sum of the Dice of the slices that hold tumour in the reference.
        n_tumour: how many slices hold tumour; `n_free` hold none.
        n_free: see above.
        n_false_alarms: slices without tumour in which a pixel is predicted.
    """

    total: Counts
    tumour_dice_sum: float
    n_tumour: int
    n_free: int
    n_false_alarms: int


@dataclass(frozen=True, kw_only=True)
class SliceCounts:
    """The counts of every slice of one patient, from which all averages follow.

    Attributes:
        tp_S: int64, foreground in reference and prediction, a number for each slice; `fp_S`, `fn_S`, `tn_S` likewise.
    """

    tp_S: Array
    fp_S: Array
    fn_S: Array
    tn_S: Array

    @property
    def total(self) -> Counts:
        """The counts of the whole volume."""
        return Counts(
            tp=int(self.tp_S.sum()), fp=int(self.fp_S.sum()), fn=int(self.fn_S.sum()), tn=int(self.tn_S.sum())
        )

    @property
    def has_tumour(self) -> Array:
        """Which slices hold foreground in the reference; bool."""
        tumour_S: Array = self.tp_S + self.fn_S > 0
        return tumour_S

    @property
    def tumour_dice_sum(self) -> float:
        """The sum of the Dice scores of the slices that hold tumour; 0 if there is none."""
        tumour_S = self.has_tumour
        overlap = 2 * self.tp_S[tumour_S]
        return float((overlap / (overlap + self.fp_S[tumour_S] + self.fn_S[tumour_S])).sum())

    @property
    def n_tumour(self) -> int:
        """How many slices hold tumour."""
        return int(self.has_tumour.sum())

    @property
    def n_free(self) -> int:
        """How many slices hold none."""
        return int((~self.has_tumour).sum())

    @property
    def n_false_alarms(self) -> int:
        """How many slices without tumour have a predicted pixel."""
        return int((~self.has_tumour & (self.fp_S > 0)).sum())

    @property
    def tally(self) -> Tally:
        """The slices summed up."""
        return Tally(
            total=self.total,
            tumour_dice_sum=self.tumour_dice_sum,
            n_tumour=self.n_tumour,
            n_free=self.n_free,
            n_false_alarms=self.n_false_alarms,
        )


def count(reference: Array, prediction: Array) -> Counts:
    """Count the pixels of two masks of one shape.

    Args:
        reference: any shape; zero is background, everything else foreground. bool or integer.
        prediction: the same.

    Raises:
        ValueError: the shapes differ, or an array is floating point (threshold it first).
    """
    reference, prediction = _as_masks(reference, prediction)
    tp = int(np.count_nonzero(reference & prediction))
    n_reference, n_prediction = int(np.count_nonzero(reference)), int(np.count_nonzero(prediction))
    fp, fn = n_prediction - tp, n_reference - tp
    return Counts(tp=tp, fp=fp, fn=fn, tn=reference.size - tp - fp - fn)


def count_slices(reference_SHW: Array, prediction_SHW: Array) -> SliceCounts:
    """Count the pixels of two volumes, slice by slice.

    Args:
        reference_SHW: (slices, rows, columns), bool or integer, non-zero is foreground.
        prediction_SHW: the same.

    Raises:
        ValueError: the shapes differ, there are not three axes, or an array is floating point.
    """
    reference_SHW, prediction_SHW = _as_masks(reference_SHW, prediction_SHW)
    if reference_SHW.ndim != 3:
        raise ValueError(f"expected slices x rows x columns, not shape {reference_SHW.shape}")
    tp_S = _per_slice(reference_SHW & prediction_SHW)
    fn_S = _per_slice(reference_SHW) - tp_S
    fp_S = _per_slice(prediction_SHW) - tp_S
    pixels = reference_SHW.shape[1] * reference_SHW.shape[2]
    return SliceCounts(tp_S=tp_S, fp_S=fp_S, fn_S=fn_S, tn_S=pixels - tp_S - fp_S - fn_S)


def _per_slice(mask_SHW: Array) -> Array:
    # Without an axis numpy counts whole words of bools; with one it adds them up, fifty times slower.
    return np.array([np.count_nonzero(mask_HW) for mask_HW in mask_SHW], dtype=np.int64)


def _as_masks(reference: Array, prediction: Array) -> tuple[Array, Array]:
    if reference.shape != prediction.shape:
        raise ValueError(f"reference of shape {reference.shape}, prediction of shape {prediction.shape}")
    if "f" in (reference.dtype.kind, prediction.dtype.kind):
        raise ValueError("masks are bool or integer; apply the threshold before counting")
    return reference.astype(bool, copy=False), prediction.astype(bool, copy=False)


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
