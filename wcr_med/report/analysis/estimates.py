"""Values with intervals over patients, and tests by resampling.

A pooled figure is a function of sums over patients (a ratio, an expected calibration error). Kept as such, drawing
patients anew is one matrix product, and exchanging two networks' labels another.

Shape suffixes: P patients, T terms of a sum, R resamples.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from wcr_med.metrics.averages import Terms, mean_terms
from wcr_med.metrics.uncertainty import FEWEST_PATIENTS, Interval, all_equal, method_of, ratio_of_sums
from wcr_med.report.analysis.settings import Settings
from wcr_med.report.document import Score

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A figure that is computed from sums over patients.

    Attributes:
        terms_PT: float64, what each patient adds to each sum; a patient of zeros adds nothing and is left out.
        statistic: sums (..., T) -> values (...); NaN where the figure does not exist.
    """

    terms_PT: Array
    statistic: Callable[[Array], Array]

    @property
    def value(self) -> float:
        """Of all patients; NaN where it does not exist."""
        with np.errstate(all="ignore"):
            return float(self.statistic(self.terms_PT.sum(axis=0)))

    @property
    def adds(self) -> Array:
        """Patients that add to a sum; bool."""
        adds_P: Array = np.any(self.terms_PT != 0, axis=1)
        return adds_P


def ratio(numerator_P: Array, denominator_P: Array) -> Pooled:
    """Sum over sum. A patient whose denominator is 0 is left out, as in `wcr_med.metrics.averages`."""
    used_P = np.asarray(denominator_P) > 0
    terms_PT = np.stack([np.where(used_P, numerator_P, 0.0), np.where(used_P, denominator_P, 0.0)], axis=1)
    return Pooled(terms_PT=terms_PT.astype(np.float64), statistic=_ratio)


def score_of_mean(values_P: Array, settings: Settings) -> Score:
    """Mean over patients; NaN values are left out."""
    return score_of_terms(mean_terms(np.asarray(values_P, dtype=np.float64)), settings)


def score_of_ratio(numerator_P: Array, denominator_P: Array, settings: Settings) -> Score:
    """Sum over sum; patients with a denominator of 0 are left out."""
    numerator_P, denominator_P = (np.asarray(values, dtype=np.float64) for values in (numerator_P, denominator_P))
    return score_of_terms(Terms(numerator_P=numerator_P, denominator_P=denominator_P), settings)


def score_of_rate(events_P: Array, trials_P: Array, settings: Settings) -> Score:
    """So many of so many, counted: sum over sum with the exact interval; patients without a trial are left out."""
    events_P, trials_P = (np.asarray(values, dtype=np.float64) for values in (events_P, trials_P))
    return score_of_terms(Terms(numerator_P=events_P, denominator_P=trials_P, rate=True), settings)


def score_of_terms(terms: Terms, settings: Settings) -> Score:
    """The value of an average with its interval."""
    interval = terms.interval(confidence=settings.confidence, resamples=settings.resamples, seed=settings.seed)
    return make_score(terms.value, interval, terms.n_patients)


def score_of_pooled(pooled: Pooled, settings: Settings) -> Score:
    """The value of a pooled figure with its interval."""
    used_PT = pooled.terms_PT[pooled.adds]
    interval = bootstrap_sums(used_PT, pooled.statistic, settings)
    return make_score(pooled.value, interval, len(used_PT))


def score_of_difference(baseline: Pooled, candidate: Pooled, settings: Settings) -> Score:
    """Candidate minus baseline of one pooled figure on the same patients; a patient is drawn with both halves."""
    both_PT, statistic = _paired(baseline, candidate)
    value = candidate.value - baseline.value
    interval = bootstrap_sums(both_PT, statistic, settings) if math.isfinite(value) else None
    return make_score(value, interval, len(both_PT) if math.isfinite(value) else 0)


def exchange_p(baseline: Pooled, candidate: Pooled, settings: Settings) -> float:
    """Two-sided permutation test of a difference of pooled figures: each patient's two halves are exchanged at random.

    Without an effect of the network the halves are exchangeable, so the test is exact for any figure. The observed
    arrangement counts as one of the permutations: (1 + as large) / (1 + permutations).

    Returns:
        NaN where the difference does not exist.
    """
    both_PT, statistic = _paired(baseline, candidate)
    if not math.isfinite(candidate.value - baseline.value):
        return math.nan
    n_terms = both_PT.shape[1] // 2
    first_PT, second_PT = both_PT[:, :n_terms], both_PT[:, n_terms:]
    rng = np.random.default_rng(settings.seed)
    exchanged_RP = rng.integers(0, 2, (settings.permutations, len(both_PT))).astype(np.float64)
    moved_RT = exchanged_RP @ (second_PT - first_PT)
    sums_RT = np.concatenate([first_PT.sum(axis=0) + moved_RT, second_PT.sum(axis=0) - moved_RT], axis=1)
    with np.errstate(all="ignore"):
        drawn_R = np.abs(statistic(sums_RT))
        observed = abs(float(statistic(both_PT.sum(axis=0))))
    # An arrangement without a value cannot be shown to be smaller.
    as_large = int(np.count_nonzero(~(drawn_R < observed - 1e-9 * max(1.0, observed))))
    return (1 + as_large) / (1 + settings.permutations)


def bootstrap_sums(terms_PT: Array, statistic: Callable[[Array], Array], settings: Settings) -> Interval | None:
    """Interval of a function of sums over patients: BCa (Efron 1987), else percentile, as in `bootstrap`.

    Resamples in which the figure does not exist are left out of the percentile interval.

    Returns:
        `None` with fewer than `FEWEST_PATIENTS` patients, where leaving out any one patient changes nothing, or where
        no resample gives a value.
    """
    n_patients = len(terms_PT)
    if n_patients < FEWEST_PATIENTS:
        return None
    with np.errstate(all="ignore"):
        left_out_P = statistic(terms_PT.sum(axis=0) - terms_PT)
    if all_equal(left_out_P[np.isfinite(left_out_P)]):
        return None

    def of_drawn(index: Array, axis: int = -1) -> Array:
        return statistic(_draws(np.atleast_2d(index), n_patients) @ terms_PT).reshape(index.shape[:-1])

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # degenerate data are told by NaN, and handled below
        result = stats.bootstrap(
            (np.arange(n_patients),),
            of_drawn,
            vectorized=True,
            n_resamples=settings.resamples,
            confidence_level=settings.confidence,
            method="BCa",
            rng=np.random.default_rng(settings.seed),
        )
        ends = (float(result.confidence_interval.low), float(result.confidence_interval.high))
    method = "BCa"
    if not all(map(math.isfinite, ends)):
        values_R = result.bootstrap_distribution
        values_R = values_R[np.isfinite(values_R)]
        if len(values_R) == 0:
            return None
        tail = 50 * (1 - settings.confidence)
        low, high = np.percentile(values_R, [tail, 100 - tail])
        ends, method = (float(low), float(high)), "percentile"
    return Interval(
        low=ends[0],
        high=ends[1],
        confidence=settings.confidence,
        method=method,
        n_patients=n_patients,
        resamples=settings.resamples,
    )


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjustment (1979), in the order given; NaN stays NaN and does not count as a test."""
    adjusted = list(p_values)
    order = sorted((index for index, p in enumerate(p_values) if math.isfinite(p)), key=lambda index: p_values[index])
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def make_score(value: float, interval: Interval | None, n_patients: int) -> Score:
    """The flat record of a value and its interval, or why there is none."""
    return Score(
        value=value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n_patients=n_patients,
        method=method_of(interval, value=value, n_patients=n_patients),
        confidence=interval.confidence if interval else None,
    )


def _paired(baseline: Pooled, candidate: Pooled) -> tuple[Array, Callable[[Array], Array]]:
    """Both halves of every patient that adds to either, and the difference of the two figures."""
    n_terms = baseline.terms_PT.shape[1]
    both_PT = np.concatenate([baseline.terms_PT, candidate.terms_PT], axis=1)[baseline.adds | candidate.adds]

    def difference(sums: Array) -> Array:
        return candidate.statistic(sums[..., n_terms:]) - baseline.statistic(sums[..., :n_terms])

    return both_PT, difference


def _draws(index_RP: Array, n_patients: int) -> Array:
    """How often each patient was drawn; float64 (R, P). Rows may be shorter than P (the jackknife's are)."""
    rows = np.arange(len(index_RP))[:, None] * n_patients
    counts = np.bincount((index_RP + rows).ravel(), minlength=len(index_RP) * n_patients)
    return counts.reshape(len(index_RP), n_patients).astype(np.float64)


def _ratio(sums: Array) -> Array:
    pair: Array = ratio_of_sums(sums[..., :1], sums[..., 1:])
    return pair
