"""Do probabilities mean what they say? Counted over the voxels in question, in equal bins of probability.

Nearly every voxel of a head is air or healthy tissue at a probability of nearly 0. Over all voxels every network looks
calibrated. A voxel is in question if its probability is at least 0.01 or the reference calls it foreground, so that
what a network misses with full confidence counts too. Below 0.01 only missed voxels enter. The share of foreground in
the lowest bin is therefore higher than among all voxels of that probability, and the more so the more is missed.

Shape suffix: K bins.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

N_BINS = 20
"""Equal bins of probability: [0, 0.05), [0.05, 0.1) ... [0.95, 1]."""

QUESTION_FROM = 0.01
"""Probability from which a voxel is in question even where the reference calls it background."""

_EDGES_K = np.arange(1, N_BINS) / N_BINS


@dataclass(frozen=True, kw_only=True)
class CalibrationCounts:
    """Voxels in question by bin of probability; patients add up with +.

    Attributes:
        n_K: voxels in each bin, `N_BINS` of them.
        probability_sum_K: sum of their probabilities.
        positive_K: how many of them are foreground in the reference.
        squared_error_sum: over all bins, of (probability - foreground)².

    Raises:
        ValueError: another number of bins, or more foreground than voxels.
    """

    n_K: tuple[int, ...] = (0,) * N_BINS
    probability_sum_K: tuple[float, ...] = (0.0,) * N_BINS
    positive_K: tuple[int, ...] = (0,) * N_BINS
    squared_error_sum: float = 0.0

    def __post_init__(self) -> None:
        lengths = {len(self.n_K), len(self.probability_sum_K), len(self.positive_K)}
        if lengths != {N_BINS}:
            raise ValueError(f"calibration counts of {sorted(lengths)} bins, expected {N_BINS}")
        if not all(0 <= positive <= n for positive, n in zip(self.positive_K, self.n_K, strict=True)):
            raise ValueError("calibration counts with more foreground than voxels, or fewer than none")

    def __add__(self, other: "CalibrationCounts") -> "CalibrationCounts":
        def added(mine: tuple[Any, ...], theirs: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(a + b for a, b in zip(mine, theirs, strict=True))

        return CalibrationCounts(
            n_K=added(self.n_K, other.n_K),
            probability_sum_K=added(self.probability_sum_K, other.probability_sum_K),
            positive_K=added(self.positive_K, other.positive_K),
            squared_error_sum=self.squared_error_sum + other.squared_error_sum,
        )

    @property
    def n(self) -> int:
        """Voxels in question."""
        return sum(self.n_K)

    @property
    def expected_calibration_error(self) -> float:
        """Mean over voxels in question of |mean probability - observed share| of their bin; NaN without such voxels.

        Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
        """
        gaps = (abs(total - positive) for total, positive in zip(self.probability_sum_K, self.positive_K, strict=True))
        return sum(gaps) / self.n if self.n else math.nan

    @property
    def brier(self) -> float:
        """Mean of (probability - foreground)² over the voxels in question; NaN without such voxels. Brier 1950."""
        return self.squared_error_sum / self.n if self.n else math.nan

    @property
    def mean_probability_excess(self) -> float:
        """Mean probability minus share of foreground over the voxels in question: above 0 is too sure of lesion.

        NaN without such voxels.
        """
        return (math.fsum(self.probability_sum_K) - sum(self.positive_K)) / self.n if self.n else math.nan


def count_calibration(reference_SHW: Array, probability_SHW: Array) -> CalibrationCounts:
    """Count the voxels in question of one volume.

    Args:
        reference_SHW: any shape, bool or integer, non-zero is foreground.
        probability_SHW: the same shape, float32 in [0, 1].

    Raises:
        ValueError: the shapes differ, or a probability is NaN or outside [0, 1].
    """
    if reference_SHW.shape != probability_SHW.shape:
        raise ValueError(f"reference of shape {reference_SHW.shape}, probability of shape {probability_SHW.shape}")
    if probability_SHW.size and not (probability_SHW.min() >= 0 and probability_SHW.max() <= 1):
        raise ValueError("a probability is NaN or outside [0, 1]")
    foreground_SHW = reference_SHW != 0
    asked = np.flatnonzero((probability_SHW >= np.float32(QUESTION_FROM)) | foreground_SHW)
    probability = probability_SHW.reshape(-1)[asked].astype(np.float64)
    foreground = foreground_SHW.reshape(-1)[asked]
    # From the left edge up, so that an edge belongs to the bin above it; 1 stays in the last.
    bins = np.searchsorted(_EDGES_K, probability, side="right")
    return CalibrationCounts(
        n_K=_whole(np.bincount(bins, minlength=N_BINS)),
        probability_sum_K=tuple(np.bincount(bins, weights=probability, minlength=N_BINS).tolist()),
        positive_K=_whole(np.bincount(bins[foreground], minlength=N_BINS)),
        squared_error_sum=float(np.square(probability - foreground).sum()),
    )


def _whole(counts_K: Array) -> tuple[int, ...]:
    return tuple(int(count) for count in counts_K)
