"""The averages over patients, each by its own name, never mixed.

Every average but the median is a ratio of two sums over patients. Keeping the terms of the sums per patient makes the
value and its interval one and the same computation.

Shape suffix: P patients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.metrics.counts import SliceCounts, Tally
from wcr_med.metrics.rates import rate_interval
from wcr_med.metrics.uncertainty import Interval, bootstrap, ratio_of_sums

Array = npt.NDArray[Any]

DEFINITIONS: Mapping[str, str] = {
    "dice_patient": "mean over patients of the Dice of the whole volume; the headline",
    "dice_patient_median": "median over patients of the Dice of the whole volume",
    "f1_pooled": "one Dice (= F1) from the pixels of all slices of all patients counted together",
    "dice_slice_tumour": "mean of the Dice of single slices, over all slices that hold tumour in the reference",
    "false_positive_rate_free_slices": "share of slices without tumour in which at least one pixel is predicted",
}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What each patient adds to an average.

    Attributes:
        numerator_P: float64.
        denominator_P: float64, not negative; a patient with 0 here adds nothing and is left out.
        median: the average is the median of the ratios, not the ratio of the sums.
        rate: numerator and denominator are counts, so many of so many: the interval is the exact one of
            `wcr_med.metrics.rates`.
    """

    numerator_P: Array
    denominator_P: Array
    median: bool = False
    rate: bool = False

    @property
    def n_patients(self) -> int:
        """How many patients the average rests on."""
        return int(np.count_nonzero(self.denominator_P))

    @property
    def value(self) -> float:
        """The average; NaN where no patient adds to it."""
        used = self.denominator_P > 0
        if not used.any():
            return float("nan")
        if self.median:
            return float(np.median(self.numerator_P[used] / self.denominator_P[used]))
        return float(ratio_of_sums(self.numerator_P[used], self.denominator_P[used]))

    def interval(self, *, confidence: float, resamples: int, seed: int) -> Interval | None:
        """Over patients: exact for a rate, else by bootstrap; `None` where there is none."""
        if self.rate:
            return rate_interval(self.numerator_P, self.denominator_P, confidence=confidence)
        return bootstrap(
            self.numerator_P,
            self.denominator_P,
            median=self.median,
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class Average:
    """An average with its interval.

    Attributes:
        value: NaN where no patient adds to it.
        n_patients: how many patients it rests on.
        n_undefined: how many patients were left out because the score does not exist for them.
        interval: `None` where there is none; `wcr_med.metrics.uncertainty.method_of` says why.
    """

    value: float
    n_patients: int
    n_undefined: int
    interval: Interval | None


def average_terms(patients: Sequence[SliceCounts | Tally]) -> dict[str, Terms]:
    """The terms of every average in `DEFINITIONS`, from the counts of each patient's slices or what sums them up.

    A patient with neither a lesion nor a predicted pixel has no Dice (NaN) and is left out of `dice_patient`, its
    median and `f1_pooled`; `Average.n_undefined` tells how many there are.
    """
    totals = [patient.total for patient in patients]
    dice_P = np.array([total.dice for total in totals], dtype=np.float64)
    defined_P = np.isfinite(dice_P)
    dice_P = np.where(defined_P, dice_P, 0.0)
    overlap_P = np.array([2 * total.tp for total in totals], dtype=np.float64)
    errors_P = np.array([total.fp + total.fn for total in totals], dtype=np.float64)
    weight_P = defined_P.astype(np.float64)
    return {
        "dice_patient": Terms(numerator_P=dice_P, denominator_P=weight_P),
        "dice_patient_median": Terms(numerator_P=dice_P, denominator_P=weight_P, median=True),
        "f1_pooled": Terms(numerator_P=overlap_P, denominator_P=overlap_P + errors_P),
        "dice_slice_tumour": Terms(
            numerator_P=np.array([patient.tumour_dice_sum for patient in patients], dtype=np.float64),
            denominator_P=np.array([patient.n_tumour for patient in patients], dtype=np.float64),
        ),
        "false_positive_rate_free_slices": Terms(
            numerator_P=np.array([patient.n_false_alarms for patient in patients], dtype=np.float64),
            denominator_P=np.array([patient.n_free for patient in patients], dtype=np.float64),
            rate=True,
        ),
    }


def mean_terms(values_P: Array) -> Terms:
    """The terms of a plain mean over patients; NaN values are left out."""
    defined_P = np.isfinite(values_P)
    return Terms(numerator_P=np.where(defined_P, values_P, 0.0), denominator_P=defined_P.astype(np.float64))


def averages(
    terms: Mapping[str, Terms], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, Average]:
    """Every average with its interval over patients, in the order of `terms`."""
    return {
        name: Average(
            value=term.value,
            n_patients=term.n_patients,
            n_undefined=len(term.denominator_P) - term.n_patients,
            interval=term.interval(confidence=confidence, resamples=resamples, seed=seed),
        )
        for name, term in terms.items()
    }
