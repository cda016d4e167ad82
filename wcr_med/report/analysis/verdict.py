"""The verdict of non-inferiority: one record, made in one place, for every page, file and card."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wcr_med.evaluation.plan import PlanStanding
from wcr_med.metrics.verdict import MIN_PATIENTS, PROCEDURE, Bounds, added_value, bounds_of_mean, decide
from wcr_med.report.clinical.formats import counted, number, p_value, percent

Array = npt.NDArray[Any]
Status = Literal["non-inferior", "inferior", "inconclusive", "too few", "weak reference", "exploration", "no plan"]

JUDGED: tuple[Status, ...] = ("non-inferior", "inferior", "inconclusive")
"""What is a verdict; the others say why there is none."""

_SHORT: dict[Status, str] = {
    "non-inferior": "Non-inferior",
    "inferior": "Inferior",
    "inconclusive": "Inconclusive",
    "too few": "No verdict: too few patients",
    "weak reference": "No verdict: weak reference",
    "exploration": "No verdict: exploration",
    "no plan": "No verdict: no plan",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a network is not worse than another by more than the margin, or why nothing is said about it.

    Attributes:
        status: "non-inferior", "inferior" or "inconclusive"; "too few" patients; "weak reference" where a network that
            finds nothing would lose less than the margin; "exploration" where a rule differs
            from the plan; "no plan" where it cannot be shown when the rules were set.
        short: the status in a few words, for a table.
        sentence: with the numbers behind it.
        reason: why there is no verdict; with a verdict, when its rules were set.
        mean_difference: of the patients' Dice; NaN without patients.
        bounds: of the mean difference; `None` below five patients. A status "too few", "exploration" or "no plan" does
            not rest on them.
        n_patients: with a difference.
        min_patients: below so many there is no verdict.
        margin: the largest loss that is acceptable.
        procedure: name of what computed the bounds.
    """

    status: Status
    short: str
    sentence: str
    reason: str
    mean_difference: float
    bounds: Bounds | None
    n_patients: int
    min_patients: int
    margin: float
    procedure: str

    @property
    def judged(self) -> bool:
        """Whether this is a verdict."""
        return self.status in JUDGED


def verdict_of(
    difference_P: Array,
    *,
    margin: float,
    confidence: float,
    min_patients: int,
    plan: PlanStanding,
    p: float = math.nan,
    nothing: float = -math.inf,
) -> Verdict:
    """Judge paired differences of Dice; the only place where a verdict is made.

    Args:
        difference_P: candidate minus baseline, one a patient; values that are not finite are left out.
        margin: the largest loss of mean Dice that is acceptable, above 0.
        confidence: of both bounds together.
        min_patients: asked for by the report; `MIN_PATIENTS` at least are needed.
        plan: how margin, level and networks stand to the plan of the study.
        p: of the difference, two-sided, for the sentence; NaN leaves it out.
        nothing: mean difference of a network that finds nothing in any patient.
    """
    difference = np.asarray(difference_P, dtype=np.float64)
    difference = difference[np.isfinite(difference)]
    n_patients, needed = len(difference), max(MIN_PATIENTS, min_patients)
    bounds = bounds_of_mean(difference, margin=margin, confidence=confidence)
    few = n_patients < needed or bounds is None
    status: Status
    if plan.status != "planned":
        status = plan.status
    elif few or bounds is None:
        status = "too few"
    elif nothing > -margin:
        status = "weak reference"
    else:
        status = decide(bounds, margin=margin)
    reason = plan.reason
    if few:
        lacking = f"{counted(n_patients, 'patient')} with a difference; at least {needed} are needed for a verdict."
        reason = lacking if status == "too few" else f"{reason} {lacking}"
    if status == "weak reference":
        reason = (
            f"A network that finds nothing would pass: its mean difference would be {number(nothing, signed=True)}, and"
            f" the margin is {margin_words(margin)}. The network compared with is too weak for a verdict."
        )
    mean = float(difference.mean()) if n_patients else math.nan
    return Verdict(
        status=status,
        short=_SHORT[status],
        sentence=_sentence(status, reason, mean, bounds, margin, p),
        reason=reason,
        mean_difference=mean,
        bounds=bounds,
        n_patients=n_patients,
        min_patients=needed,
        margin=margin,
        procedure=PROCEDURE,
    )


def margin_words(margin: float) -> str:
    """A margin with all its digits: "0.02", "0.0125"."""
    return f"{margin:g}"


def _sentence(status: Status, reason: str, mean: float, bounds: Bounds | None, margin: float, p: float) -> str:
    if bounds is None or status in ("too few", "weak reference"):
        return reason
    if status in ("exploration", "no plan"):
        return f"{reason} {_described(bounds, margin)}"
    numbers = _numbers(bounds, p)
    added, floor = margin_words(added_value(margin)), "\u2212" + margin_words(margin)
    low, high = beside(bounds.low, -margin), beside(bounds.high, -margin)
    if status == "non-inferior":
        worse = " Yet there is a loss: even the upper bound is below 0." if bounds.high < 0 else ""
        return (
            f"Even with one more patient who lost {added}, the lower bound of the mean difference is {low}, above"
            f" {floor} {numbers}. A larger mean loss does not fit these patients.{worse}"
        )
    if status == "inferior":
        return (
            f"Even with one more patient who gained {added}, the upper bound of the mean difference is {high}, below"
            f" {floor} {numbers}. The loss is larger than was deemed acceptable."
        )
    return (
        f"With one more patient who lost or gained {added}, the bounds of the mean difference are {low} and {high}, on"
        f" both sides of {floor} {numbers}. These patients cannot tell whether the loss is acceptable."
    )


def _described(bounds: Bounds, margin: float) -> str:
    """Bounds without a judgement."""
    low, high = (number(value, signed=True) for value in (bounds.low, bounds.high))
    return (
        f"For orientation: the {percent(bounds.confidence)} bounds of the mean difference are {low} and {high}"
        f" (n = {bounds.n_patients}), computed for a margin of {margin_words(margin)}."
    )


def _numbers(bounds: Bounds, p: float) -> str:
    level = f"{percent(bounds.confidence)} level"
    test = "" if math.isnan(p) else f", {p_value(p)} against no difference, Wilcoxon signed-rank"
    return f"(n = {bounds.n_patients}, {level}{test})"


def beside(value: float, limit: float) -> str:
    """A number with three decimals, or as many as it takes to show on which side of the limit it lies."""
    for digits in range(3, 9):
        if (round(value, digits) > limit) == (value > limit) and round(value, digits) != limit:
            break
    return number(value, digits, signed=True)
