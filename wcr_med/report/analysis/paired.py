"""Every metric, pruned against dense on the same patients.

Shape suffix: P patients.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.evaluation.rows import PatientRow
from wcr_med.metrics.uncertainty import PairedComparison, compare, paired_differences, wilcoxon_p
from wcr_med.report.analysis.comparison_records import Better, PairedMetric, PatientPair, Shift
from wcr_med.report.analysis.estimates import exchange_p, holm, score_of_difference, score_of_mean
from wcr_med.report.analysis.metric_table import PatientMetric, PooledMetric, patient_metrics, pooled_metrics
from wcr_med.report.analysis.settings import Settings
from wcr_med.report.analysis.verdict import Verdict, verdict_of
from wcr_med.report.document import Score

Array = npt.NDArray[Any]
Rows = Sequence[PatientRow]


def dice_comparison(dense: Rows, pruned: Rows, settings: Settings) -> PairedComparison:
    """dice_patient, pruned minus dense; of all patients, or of a subgroup."""
    return compare(
        [row.dice for row in dense],
        [row.dice for row in pruned],
        worse_by=settings.worse_by,
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=settings.seed,
    )


def dice_verdict(dense: Rows, pruned: Rows, settings: Settings, *, network: str | None = None) -> Verdict:
    """The verdict on dice_patient, pruned against dense, at the margin; of all patients, or of a subgroup.

    Args:
        dense: rows of the same patients in the same order as `pruned`.
        pruned: of the network that is judged.
        settings: margin, level, least number of patients, and how they stand to the plan.
        network: name of the pruned one; a network that the plan does not name gets no verdict. `None`: not asked.
    """
    difference_P = dice_differences(dense, pruned)
    plan = settings.plan
    if plan.status == "planned" and network is not None and network not in plan.networks:
        planned = ", ".join(plan.networks) or "none"
        plan = replace(plan, status="exploration", reason=f"The plan of {plan.made} names {planned}, not {network}.")
    return verdict_of(
        difference_P,
        margin=settings.margin,
        confidence=settings.confidence,
        min_patients=settings.min_subgroup,
        plan=plan,
        p=wilcoxon_p(difference_P[np.isfinite(difference_P)]),
        nothing=_of_nothing(dense, np.isfinite(difference_P)),
    )


def _of_nothing(dense: Rows, used_P: Array) -> float:
    """Mean difference to `dense` of a network that finds nothing, which is right where nothing is; NaN for nobody."""
    finds_nothing_P = [math.nan if row.tp + row.fn == 0 else 0.0 for row in dense]
    difference_P = paired_differences([row.dice for row in dense], finds_nothing_P)
    return float(np.nan_to_num(difference_P)[used_P].mean()) if used_P.any() else math.nan


def paired_metrics(dense: Rows, pruned: Rows, settings: Settings) -> tuple[PairedMetric, ...]:
    """All metrics of the table; rows are of the same patients in the same order. Holm over all of them."""
    metrics = [_of_patients(metric, dense, pruned, settings) for metric in patient_metrics(dense)]
    metrics += [_of_pool(metric, dense, pruned, settings) for metric in pooled_metrics()]
    adjusted = holm([metric.p for metric in metrics])
    return tuple(replace(metric, p_holm=p) for metric, p in zip(metrics, adjusted, strict=True))


def patient_pairs(dense: Rows, pruned: Rows) -> tuple[PatientPair, ...]:
    """Both scores of each patient, the largest loss first, patients without a difference last; equals by patient id."""
    differences = dice_differences(dense, pruned)
    pairs = [
        PatientPair(
            patient_id=before.patient_id,
            institution=before.institution,
            dense=before.dice,
            pruned=after.dice,
            difference=float(difference),
            reference_voxels=before.tp + before.fn,
            dense_voxels=before.tp + before.fp,
            pruned_voxels=after.tp + after.fp,
        )
        for before, after, difference in zip(dense, pruned, differences, strict=True)
    ]
    return tuple(sorted(pairs, key=lambda pair: (*order_of_loss(pair.difference), pair.patient_id)))


def dice_differences(dense: Rows, pruned: Rows) -> Array:
    """Pruned minus dense Dice of each patient; a right "nothing there" counts as 1, NaN where neither exists."""
    return paired_differences([row.dice for row in dense], [row.dice for row in pruned])


def order_of_loss(difference: float) -> tuple[bool, float]:
    """Sorts the largest loss first and NaN last."""
    return math.isnan(difference), 0.0 if math.isnan(difference) else difference


def _of_patients(metric: PatientMetric, dense: Rows, pruned: Rows, settings: Settings) -> PairedMetric:
    dense_P, pruned_P = (np.array([metric.value(row) for row in rows], dtype=np.float64) for rows in (dense, pruned))
    # Only a right "nothing there" is perfect; a score that was not measured is not.
    right_P = np.array(
        [before.empty == "both" or after.empty == "both" for before, after in zip(dense, pruned, strict=True)]
    )
    flipped_P = (np.isnan(dense_P) ^ np.isnan(pruned_P)) & right_P
    if metric.perfect is None:
        flipped_P = np.zeros_like(flipped_P)
        difference_P = pruned_P - dense_P
    else:
        filled = (np.where(flipped_P & np.isnan(values), metric.perfect, values) for values in (dense_P, pruned_P))
        before_P, after_P = filled
        difference_P = after_P - before_P
    return _metric(
        metric,
        dense=_mean(dense_P),
        pruned=_mean(pruned_P),
        difference=score_of_mean(difference_P, settings),
        p=wilcoxon_p(difference_P[np.isfinite(difference_P)]),
        test="Wilcoxon signed-rank",
        n_flipped=int(np.count_nonzero(flipped_P)),
    )


def _of_pool(metric: PooledMetric, dense: Rows, pruned: Rows, settings: Settings) -> PairedMetric:
    before, after = metric.pooled(dense), metric.pooled(pruned)
    return _metric(
        metric,
        dense=before.value,
        pruned=after.value,
        difference=score_of_difference(before, after, settings),
        p=exchange_p(before, after, settings),
        test="exchange of labels",
        n_flipped=0,
    )


def _metric(
    metric: PatientMetric | PooledMetric,
    *,
    dense: float,
    pruned: float,
    difference: Score,
    p: float,
    test: str,
    n_flipped: int,
) -> PairedMetric:
    return PairedMetric(
        name=metric.name,
        label=metric.label,
        unit=metric.unit,
        better=metric.better,
        dense=dense,
        pruned=pruned,
        difference=difference,
        p=p,
        test=test,
        p_holm=p,
        shift=shift_of(difference, metric.better, dense=dense),
        n_flipped=n_flipped,
    )


def shift_of(difference: Score, better: Better, *, dense: float) -> Shift:
    """Whether the whole interval lies on one side of 0, and whether that is the good one.

    Where nearer zero is better, every value of the interval must bring the dense figure nearer to 0, or away from it.
    """
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return "not shown"
    if better == "nearer zero":
        low, high = dense + difference.low, dense + difference.high
        if max(abs(low), abs(high)) < abs(dense):
            return "better"
        return "worse" if low * high > 0 and min(abs(low), abs(high)) > abs(dense) else "not shown"
    return "better" if (difference.low > 0) == (better == "higher") else "worse"


def _mean(values_P: Array) -> float:
    defined = values_P[np.isfinite(values_P)]
    return float(defined.mean()) if len(defined) else math.nan
