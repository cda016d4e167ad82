"""Whether one network is not worse than another by more than a margin: the bounds that decide it.

Two dangers make an ordinary interval too bold. Differences of Dice are skewed: most patients change little, a few lose
much. And a loss that hits few patients may be absent from the sample, which then looks harmless. Against the first the
bounds are corrected for skewness; against the second one patient is added to the sample, who lost five margins (for the
upper bound: who gained them); and below `MIN_PATIENTS` there is no verdict at all.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from wcr_med.metrics.uncertainty import FEWEST_PATIENTS

Array = npt.NDArray[Any]
Decision = Literal["non-inferior", "inferior", "inconclusive"]

PROCEDURE = "skewness-corrected t, one added patient (1)"
"""Name of the procedure; the number in brackets rises with every change of what it computes."""

MIN_PATIENTS = 40
"""Patients with a difference, below which no verdict is given.

A loss that hits one patient in ten is absent from 36 patients with probability 0.9^36 = 2.3 %. With fewer, no procedure
that looks at the sample alone can keep its error at 2.5 %; the simulation leaves some room above that.
"""

ADDED_MARGINS = 5
"""What the added patient lost, in margins; at most 1, the largest loss of Dice there is."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Two one-sided bounds of a mean difference.

    Attributes:
        low: the mean lies below it with probability (1 - confidence) / 2 at most, as far as the simulation of
            `benchmarks/verdict.py` goes; `high` likewise above.
        confidence: of both together, 0.95 for 95 %.
        n_patients: without the added one.
    """

    low: float
    high: float
    confidence: float
    n_patients: int


def bounds_of_mean(difference_P: Array, *, margin: float, confidence: float = 0.95) -> Bounds | None:
    """The bounds that a verdict rests on.

    The lower bound of a sample x of n patients is that of x and one more value, -min(1, 5 margin). With the mean m, the
    standard deviation s (divisor N - 1) and the skewness g (moments with divisor N) of these N = n + 1 values it is

        m - s h,   h = 3 / g (cbrt(1 + g y) - 1),   y = t_{N - 1} / sqrt(N) - g / (6 N),

    where t_{N - 1} is the quantile of Student's distribution at (1 + confidence) / 2, and h = y where g is 0. This is
    Hall's monotone cubic transformation of the t statistic, inverted. The upper bound is that of -x, negated.

    Args:
        difference_P: one finite number a patient, in [-1, 1].
        margin: above 0.
        confidence: in (0, 1).

    Returns:
        `None` for fewer than `FEWEST_PATIENTS` patients.

    Source: Hall, *On the removal of skewness by transformation*, J R Stat Soc B 54 (1992), 221-228; the added value as
    in Gaffke, *Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable*,
    Math Methods Stat 14 (2005), 451-467.
    """
    n_patients = len(difference_P)
    if n_patients < FEWEST_PATIENTS:
        return None
    added = added_value(margin)
    return Bounds(
        low=_lower(np.append(difference_P, -added), confidence),
        high=-_lower(np.append(-difference_P, -added), confidence),
        confidence=confidence,
        n_patients=n_patients,
    )


def decide(bounds: Bounds, *, margin: float) -> Decision:
    """Non-inferior where the lower bound is above -margin, inferior where the upper one is below, else inconclusive."""
    if bounds.low > -margin:
        return "non-inferior"
    return "inferior" if bounds.high < -margin else "inconclusive"


def added_value(margin: float) -> float:
    """What the added patient lost or gained: min(1, 5 margin)."""
    return min(1.0, ADDED_MARGINS * margin)


def _lower(values_N: Array, confidence: float) -> float:
    count = len(values_N)
    mean, spread = float(values_N.mean()), float(values_N.std())
    if spread <= np.finfo(np.float64).eps * abs(mean):  # every value is the added one
        return mean
    skewness = float(np.mean(((values_N - mean) / spread) ** 3))
    quantile = float(special.stdtrit(count - 1, (1 + confidence) / 2))
    y = quantile / math.sqrt(count) - skewness / (6 * count)
    h = y if abs(skewness) < 1e-9 else 3 / skewness * (math.cbrt(1 + skewness * y) - 1)
    return mean - h * float(values_N.std(ddof=1))
