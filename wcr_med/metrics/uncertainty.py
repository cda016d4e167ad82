"""How sure an average over patients is, and whether one network is worse than another on the same patients.

The unit that is drawn is always the patient: slices of one patient look alike, and an interval over slices would be too
narrow.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[Any]

FEWEST_PATIENTS = 5
"""Below so many patients there is no interval of anything."""

ALL_EQUAL = "none: all values are equal"
"""Named in place of a method where no patient differs from the others: resampling could only repeat the value."""

_EXACT = 1e-9  # 0.80 less 0.75 is not more than 0.05

_ROUNDING = 1e-12  # relative to the largest value, or to 1; values nearer to each other are equal


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval over patients.

    Attributes:
        low: the lower end; `high` the upper.
        confidence: its level, 0.95 for 95 %.
        method: the one that gave these ends: "BCa" (bias-corrected and accelerated, Efron 1987), "percentile" for a
            median and where BCa does not exist, or the one of `wcr_med.metrics.rates`.
        n_patients: how many patients it rests on, at least `FEWEST_PATIENTS`.
        resamples: of the bootstrap; 0 where nothing is drawn.
    """

    low: float
    high: float
    confidence: float
    method: str
    n_patients: int
    resamples: int


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Two networks on the same patients; differences are candidate minus baseline, so negative is worse.

    Attributes:
        n_patients: pairs of which at least one score exists.
        n_undefined: pairs in which neither score exists; left out.
        mean_difference: over the pairs; NaN without pairs.
        interval: of the mean difference; `None` where `bootstrap` gives none.
        wilcoxon_p: two-sided signed-rank test; 1.0 where no pair differs, NaN without pairs.
        n_worse: pairs that fell by more than `worse_by`.
        n_better: pairs that rose by more than `worse_by`.
        worse_by: the change that counts.
        n_flipped: pairs in which one score is undefined because its network rightly predicted nothing, counted as 1.
    """

    n_patients: int
    n_undefined: int
    mean_difference: float
    interval: Interval | None
    wilcoxon_p: float
    n_worse: int
    n_better: int
    worse_by: float
    n_flipped: int


def ratio_of_sums(numerator: Array, denominator: Array, axis: int = -1) -> Array:
    """sum(numerator) / sum(denominator) along an axis; the mean where every denominator is 1."""
    ratio: Array = np.sum(numerator, axis=axis) / np.sum(denominator, axis=axis)
    return ratio


def all_equal(values: Array) -> bool:
    """Whether finite values differ by no more than rounding; true of none and of one."""
    if len(values) < 2:
        return True
    return bool(np.ptp(values) <= _ROUNDING * max(1.0, float(np.max(np.abs(values)))))


def method_of(interval: Interval | None, *, value: float, n_patients: int) -> str:
    """The method of an interval, or why there is none: "none: fewer than 5 patients", `ALL_EQUAL`, or "none".

    Args:
        interval: of `bootstrap` or `wcr_med.metrics.rates.rate_interval`.
        value: the figure itself; where it is NaN the answer is "none".
        n_patients: how many patients it rests on.
    """
    if interval is not None:
        return interval.method
    if math.isnan(value):
        return "none"
    return f"none: fewer than {FEWEST_PATIENTS} patients" if n_patients < FEWEST_PATIENTS else ALL_EQUAL


def bootstrap(
    numerator_P: Array,
    denominator_P: Array | None = None,
    *,
    median: bool = False,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """A confidence interval for a ratio of sums over patients, or for the median of the ratios.

    Which method is used is known before anything is drawn: none below `FEWEST_PATIENTS` patients, none where all
    patients have one ratio (up to rounding), percentile for a median, whose jackknife fails, else BCa. Where BCa has no
    finite ends for all that, percentile takes its place, and `Interval.method` says so.

    For counts out of counts use `wcr_med.metrics.rates.rate_interval`: at 0 of n the bootstrap has nothing to draw.

    Args:
        numerator_P: one finite number a patient.
        denominator_P: one number a patient, not negative; patients with 0 are left out. `None`: 1 for each, which
            gives the mean.
        median: the median of numerator / denominator in place of the ratio of sums.
        confidence: the level, in (0, 1).
        resamples: at least 1.
        seed: the same seed and data give the same interval.

    Returns:
        `None` where fewer than `FEWEST_PATIENTS` patients remain, or all have the same ratio; `method_of` says which.
    """
    denominator_P = np.ones_like(numerator_P, dtype=np.float64) if denominator_P is None else denominator_P
    used = denominator_P > 0
    numerator, denominator = numerator_P[used].astype(np.float64), denominator_P[used].astype(np.float64)
    if len(numerator) < FEWEST_PATIENTS or all_equal(numerator / denominator):
        return None
    statistic = _median_of_ratios if median else ratio_of_sums
    for method in ("percentile",) if median else ("BCa", "percentile"):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # degenerate data are told by NaN, and handled below
            result = stats.bootstrap(
                (numerator, denominator),
                statistic,
                paired=True,
                vectorized=True,
                n_resamples=resamples,
                confidence_level=confidence,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        low, high = float(result.low), float(result.high)
        if math.isfinite(low) and math.isfinite(high):
            break
    return Interval(
        low=low, high=high, confidence=confidence, method=method, n_patients=len(numerator), resamples=resamples
    )


def compare(
    baseline_P: Sequence[float] | Array,
    candidate_P: Sequence[float] | Array,
    *,
    worse_by: float,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedComparison:
    """Compare the Dice of two networks on the same patients. `wcr_med.metrics.verdict` says whether one is inferior.

    Args:
        baseline_P: Dice of each patient, in [0, 1] or NaN.
        candidate_P: the same patients in the same order.
        worse_by: a patient counts as worse when Dice falls by more than this.
        confidence: level of the interval.
        resamples: of the bootstrap over patients.
        seed: of the bootstrap.

    Raises:
        ValueError: the two are not of one length.
    """
    difference_P = paired_differences(baseline_P, candidate_P)
    difference = difference_P[np.isfinite(difference_P)]
    flipped = np.isnan(np.asarray(baseline_P, dtype=np.float64)) ^ np.isnan(np.asarray(candidate_P, dtype=np.float64))
    interval = bootstrap(difference, confidence=confidence, resamples=resamples, seed=seed)
    return PairedComparison(
        n_patients=len(difference),
        n_undefined=len(difference_P) - len(difference),
        mean_difference=float(difference.mean()) if len(difference) else math.nan,
        interval=interval,
        wilcoxon_p=wilcoxon_p(difference),
        n_worse=int(np.count_nonzero(difference < -worse_by - _EXACT)),
        n_better=int(np.count_nonzero(difference > worse_by + _EXACT)),
        worse_by=worse_by,
        n_flipped=int(np.count_nonzero(flipped)),
    )


def paired_differences(baseline_P: Sequence[float] | Array, candidate_P: Sequence[float] | Array) -> Array:
    """Candidate minus baseline for each patient, float64.

    Where one score is NaN and the other is not, the reference is empty and one network rightly predicted nothing while
    the other raised a false alarm. Leaving the pair out would hide that, so the right answer counts as 1 here. Where
    both are NaN the difference is NaN.

    Raises:
        ValueError: the two are not of one length.
    """
    baseline, candidate = np.asarray(baseline_P, dtype=np.float64), np.asarray(candidate_P, dtype=np.float64)
    if baseline.shape != candidate.shape or baseline.ndim != 1:
        raise ValueError(f"paired scores of shapes {baseline.shape} and {candidate.shape}")
    neither = np.isnan(baseline) & np.isnan(candidate)
    difference = np.where(np.isnan(candidate), 1.0, candidate) - np.where(np.isnan(baseline), 1.0, baseline)
    return np.where(neither, np.nan, difference)


def _median_of_ratios(numerator: Array, denominator: Array, axis: int = -1) -> Array:
    median: Array = np.median(numerator / denominator, axis=axis)
    return median


def wilcoxon_p(difference: Array) -> float:
    """Two-sided signed-rank test of finite differences, one a patient: 1.0 where none differs, NaN without any."""
    if len(difference) == 0:
        return math.nan
    if not np.any(difference):
        return 1.0
    return float(stats.wilcoxon(difference).pvalue)
