"""Exact intervals of rates: so many of so many, counted in patients of whom each brings several.

Slices and lesions of one patient resemble each other, so n of them tell less than n patients would. The interval is
the exact one of Clopper and Pearson (1934), at the number of independent trials that tells as much (Korn and Graubard
1998).

Shape suffix: P patients.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from wcr_med.metrics.uncertainty import FEWEST_PATIENTS, Interval

Array = npt.NDArray[Any]

METHOD = "Clopper-Pearson, clustered by patient"
"""`Interval.method` of a rate."""


def rate_interval(events_P: Array, trials_P: Array, *, confidence: float = 0.95) -> Interval | None:
    """The exact interval of sum(events) / sum(trials), patients being clusters of trials.

    Clopper-Pearson at `effective_trials` trials and as many events as give the same rate. Its ends lie within [0, 1]
    and are never equal: at 0 of n it runs from 0 upwards, at n of n it ends at 1.

    Args:
        events_P: counts, from 0 to the trials of the patient.
        trials_P: counts; patients with 0 are left out.
        confidence: the level, in (0, 1).

    Returns:
        `None` where fewer than `FEWEST_PATIENTS` patients have a trial. `resamples` is 0: nothing is drawn.

    Raises:
        ValueError: a patient has more events than trials, or a negative count.
    """
    events_P, trials_P = np.asarray(events_P, dtype=np.float64), np.asarray(trials_P, dtype=np.float64)
    if np.any(events_P < 0) or np.any(events_P > trials_P):
        raise ValueError("a patient has more events than trials, or a negative count")
    used_P = trials_P > 0
    events_P, trials_P = events_P[used_P], trials_P[used_P]
    if len(trials_P) < FEWEST_PATIENTS:
        return None
    n = effective_trials(events_P, trials_P, confidence=confidence)
    x = n * events_P.sum() / trials_P.sum()
    tail = (1 - confidence) / 2
    nothing, everything = not events_P.any(), np.array_equal(events_P, trials_P)
    return Interval(
        low=0.0 if nothing else float(stats.beta.ppf(tail, x, n - x + 1)),
        high=1.0 if everything else float(stats.beta.ppf(1 - tail, x + 1, n - x)),
        confidence=confidence,
        method=METHOD,
        n_patients=len(trials_P),
        resamples=0,
    )


def effective_trials(events_P: Array, trials_P: Array, *, confidence: float = 0.95) -> float:
    """How many independent trials tell as much about the rate as these do.

    With p the rate and v its variance between patients (linearised, the patients' events - p * trials), p (1 - p) / v,
    times (t_(trials - 1) / t_(patients - 1))^2 for a v that is itself estimated, at most all trials (Korn and Graubard
    1998). Where every patient has the same rate, v is 0 and says nothing of how alike the trials of a patient are: they
    are then taken as wholly alike, which leaves (sum of trials)^2 / sum of trials^2 (Kish 1965), at most the number of
    patients. So 0 of 141 slices in 14 patients weigh no more than 0 of 14.

    Args:
        events_P: of at least two patients.
        trials_P: positive.
        confidence: level of the interval that it is for.
    """
    total, n_patients = float(trials_P.sum()), len(trials_P)
    rate = float(events_P.sum()) / total
    residual_P = events_P - rate * trials_P
    variance = n_patients / (n_patients - 1) * float(residual_P @ residual_P) / total**2
    # Counts are whole numbers, so a residual that is not zero is far above rounding.
    if np.all(np.abs(residual_P) <= 1e-9 * trials_P):
        return min(total, total**2 / float(trials_P @ trials_P))
    upper = (1 + confidence) / 2
    shrunk = (stats.t.ppf(upper, total - 1) / stats.t.ppf(upper, n_patients - 1)) ** 2
    return min(total, float(shrunk) * rate * (1 - rate) / variance)
