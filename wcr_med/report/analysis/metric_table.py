"""The metrics on which dense and pruned networks are compared: where the value comes from, and which way is better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wcr_med.evaluation.rows import PatientRow
from wcr_med.report.analysis.calibration import pooled_brier, pooled_ece
from wcr_med.report.analysis.comparison_records import Better
from wcr_med.report.analysis.estimates import Pooled, ratio
from wcr_med.report.analysis.lesions import pooled_f1, pooled_precision, pooled_sensitivity


@dataclass(frozen=True, kw_only=True)
class PatientMetric:
    """A score that each patient has.

    Attributes:
        name: short, for programs; `label` for tables, `unit` of it.
        better: which direction is good.
        value: of a row; NaN where it does not exist.
        perfect: what a right "nothing there" counts as where the other network raised a false alarm; `None` where the
            score of such a patient does not depend on the prediction.
    """

    name: str
    label: str
    better: Better
    value: Callable[[PatientRow], float]
    perfect: float | None = None
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class PooledMetric:
    """A figure that exists for all patients together.

    Attributes:
        name: short, for programs; `label` for tables, `unit` of it.
        better: which direction is good.
        pooled: of the rows of one network.
    """

    name: str
    label: str
    better: Better
    pooled: Callable[[Sequence[PatientRow]], Pooled]
    unit: str = ""


def patient_metrics(rows: Sequence[PatientRow]) -> tuple[PatientMetric, ...]:
    """Scores of single patients; one NSD for each tolerance that the rows hold."""
    tolerances = dict.fromkeys(tolerance for row in rows for tolerance in row.nsd)
    return (
        PatientMetric(name="dice", label="Dice", better="higher", value=lambda row: row.dice, perfect=1.0),
        PatientMetric(name="iou", label="IoU", better="higher", value=lambda row: row.iou, perfect=1.0),
        PatientMetric(
            name="precision", label="Precision", better="higher", value=lambda row: row.precision, perfect=1.0
        ),
        PatientMetric(name="recall", label="Recall", better="higher", value=lambda row: row.recall),
        PatientMetric(name="specificity", label="Specificity", better="higher", value=lambda row: row.specificity),
        PatientMetric(
            name="relative_volume_error",
            label="Relative volume error, signed",
            better="nearer zero",
            value=lambda row: row.relative_volume_error,
        ),
        PatientMetric(
            name="absolute_volume_error",
            label="Relative volume error, absolute",
            better="lower",
            value=lambda row: abs(row.relative_volume_error),
        ),
        PatientMetric(
            name="hd95_px", label="HD95", better="lower", value=lambda row: row.hd95_px, perfect=0.0, unit="px"
        ),
        PatientMetric(
            name="assd_px", label="ASSD", better="lower", value=lambda row: row.assd_px, perfect=0.0, unit="px"
        ),
        *(_nsd(tolerance) for tolerance in tolerances),
    )


def pooled_metrics() -> tuple[PooledMetric, ...]:
    """Figures of all patients together: ratios of sums over patients, and the calibration error."""
    return (
        PooledMetric(name="f1_pooled", label="F1, all voxels pooled", better="higher", pooled=_f1_pooled),
        PooledMetric(
            name="dice_slice_tumour", label="Dice of slices with tumour", better="higher", pooled=_dice_slice_tumour
        ),
        PooledMetric(
            name="false_positive_rate_free_slices",
            label="False alarms in slices without tumour",
            better="lower",
            pooled=_false_alarms,
        ),
        PooledMetric(name="lesion_sensitivity", label="Lesion sensitivity", better="higher", pooled=pooled_sensitivity),
        PooledMetric(name="lesion_precision", label="Lesion precision", better="higher", pooled=pooled_precision),
        PooledMetric(name="lesion_f1", label="Lesion F1", better="higher", pooled=pooled_f1),
        PooledMetric(name="ece", label="Expected calibration error", better="lower", pooled=pooled_ece),
        PooledMetric(name="brier", label="Brier score", better="lower", pooled=pooled_brier),
    )


def _nsd(tolerance: str) -> PatientMetric:
    return PatientMetric(
        name=f"nsd_{tolerance}px",
        label=f"Surface Dice within {tolerance} px",
        better="higher",
        value=lambda row: row.nsd.get(tolerance, np.nan),
        perfect=1.0,
    )


def _f1_pooled(rows: Sequence[PatientRow]) -> Pooled:
    overlap_P = np.array([2 * row.tp for row in rows])
    return ratio(overlap_P, overlap_P + np.array([row.fp + row.fn for row in rows]))


def _dice_slice_tumour(rows: Sequence[PatientRow]) -> Pooled:
    sums_P = np.array([row.tumour_slice_dice_sum for row in rows])
    return ratio(sums_P, np.array([row.n_slices_tumour for row in rows]))


def _false_alarms(rows: Sequence[PatientRow]) -> Pooled:
    alarms_P = np.array([row.n_slices_false_alarm for row in rows])
    return ratio(alarms_P, np.array([row.n_slices - row.n_slices_tumour for row in rows]))
