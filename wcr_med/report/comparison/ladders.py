"""Scores of methods over several trainings: means over seeds, with intervals over seeds and patients.

Shape suffixes: R resamples, P patients of one place, S the seeds of one fold, F folds. A place is a pair of seed and
fold: one training and its test patients, which all seeds of a fold, or of the hold-out, share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wcr_med.metrics.uncertainty import FEWEST_PATIENTS

Array = npt.NDArray[Any]
Metric = Literal["dice_patient", "f1_pooled"]
Place = tuple[int, int | None]
"""Seed and fold of a training; no fold: the split of the run as it is."""

METRICS: tuple[Metric, ...] = ("dice_patient", "f1_pooled")
N_RESAMPLES = 2000
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over places and its interval.

    Attributes:
        value: the mean; NaN where no place has one.
        low: lower end of the percentile interval; NaN where the places have fewer than five patients in all.
        high: its upper end.
        n_places: how many trainings entered.
    """

    value: float
    low: float
    high: float
    n_places: int


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The counts of one network of each place: dense, or at one sparsity, repaired or not.

    Attributes:
        counts: by place, then by patient: (tp, fp, fn) in pixels.
    """

    counts: Mapping[Place, Mapping[str, tuple[int, int, int]]]

    @property
    def places(self) -> tuple[Place, ...]:
        """The places that are there, in order."""
        return tuple(sorted(self.counts, key=_order))


def mean_with_interval(ladder: Ladder, metric: Metric, confidence: float = 0.95) -> Interval:
    """The mean over places of a metric, with a percentile interval from a bootstrap over folds, patients and seeds.

    Each resample draws as many folds as there are, with repetition; within each as many test patients, the same for all
    its seeds; and as many of its seeds. So the interval holds what another seed and other patients would change, and
    more seeds on the same patients do not count as more patients. dice_patient is the mean Dice of a place's patients,
    those without reference and prediction left out; f1_pooled is one count over all of them.
    """
    values = _value(ladder, metric, ladder.places)
    resampled_R = _resampled(ladder, metric, ladder.places)
    return _interval(values, resampled_R, ladder, ladder.places, confidence)


def difference_with_interval(ladder: Ladder, other: Ladder, metric: Metric, confidence: float = 0.95) -> Interval:
    """`ladder` minus `other`, paired: over the places that both have, on the same resamples of the same patients."""
    common = tuple(place for place in ladder.places if place in other.counts)
    return _interval(
        _value(ladder, metric, common) - _value(other, metric, common),
        _resampled(ladder, metric, common) - _resampled(other, metric, common),
        ladder,
        common,
        confidence,
    )


def _interval(value: float, resampled_R: Array, ladder: Ladder, places: Sequence[Place], confidence: float) -> Interval:
    finite = resampled_R[np.isfinite(resampled_R)]
    tail = (1 - confidence) / 2
    enough = len({patient for place in places for patient in ladder.counts[place]}) >= FEWEST_PATIENTS
    low, high = np.quantile(finite, [tail, 1 - tail]) if finite.size and enough else (np.nan, np.nan)
    return Interval(value=value, low=float(low), high=float(high), n_places=len(places))


def _value(ladder: Ladder, metric: Metric, places: Sequence[Place]) -> float:
    if not places:
        return float("nan")
    everyone = [np.arange(len(ladder.counts[place]))[None] for place in places]
    return float(np.mean([_score(ladder, metric, place, all_) for place, all_ in zip(places, everyone, strict=True)]))


def _resampled(ladder: Ladder, metric: Metric, places: Sequence[Place]) -> Array:
    """The metric in every resample. Equal places and patients give equal draws, whatever the ladder."""
    if not places:
        return np.full(N_RESAMPLES, np.nan)
    folds: dict[int | None, list[Place]] = {}
    for place in places:
        folds.setdefault(place[1], []).append(place)
    drawn_RF = np.random.default_rng([_SEED, len(folds)]).integers(len(folds), size=(N_RESAMPLES, len(folds)))
    total_R, n_R = np.zeros(N_RESAMPLES), np.zeros(N_RESAMPLES)
    for slot, drawn_R in enumerate(drawn_RF.T):
        for number, seeds in enumerate(folds.values()):
            rng = np.random.default_rng([_SEED, slot, number])
            n_patients = len(ladder.counts[seeds[0]])
            patients_RP = rng.integers(n_patients, size=(N_RESAMPLES, n_patients))
            seeds_RS = rng.integers(len(seeds), size=(N_RESAMPLES, len(seeds)))
            chosen_R = drawn_R == number
            scores_SR = np.stack([_score(ladder, metric, place, patients_RP[chosen_R]) for place in seeds])
            total_R[chosen_R] += np.take_along_axis(scores_SR, seeds_RS[chosen_R].T, axis=0).sum(0)
            n_R[chosen_R] += len(seeds)
    result: Array = total_R / n_R
    return result


def _score(ladder: Ladder, metric: Metric, place: Place, patients_RP: Array) -> Array:
    counts_P3 = np.array([counts for _, counts in sorted(ladder.counts[place].items())], dtype=np.float64)
    tp_P, size_P = counts_P3[:, 0], 2 * counts_P3[:, 0] + counts_P3[:, 1] + counts_P3[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric == "f1_pooled":
            pooled: Array = 2 * tp_P[patients_RP].sum(1) / size_P[patients_RP].sum(1)
            return pooled
        dice_P = 2 * tp_P / size_P
        known_RP = np.isfinite(dice_P)[patients_RP]
        mean: Array = np.where(known_RP, dice_P[patients_RP], 0).sum(1) / known_RP.sum(1)
    return mean


def _order(place: Place) -> tuple[int, int]:
    return place[0], -1 if place[1] is None else place[1]
