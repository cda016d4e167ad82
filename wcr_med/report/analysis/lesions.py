"""Lesions found, missed and made up, counted over all patients; and lesion by lesion, dense beside pruned.

Shape suffix: P patients.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.evaluation.rows import PatientRow
from wcr_med.report.analysis.comparison_records import LesionPoint
from wcr_med.report.analysis.estimates import (
    Pooled,
    ratio,
    score_of_mean,
    score_of_pooled,
    score_of_rate,
    score_of_ratio,
)
from wcr_med.report.analysis.network_records import LesionDetection
from wcr_med.report.analysis.settings import Settings
from wcr_med.report.document import Score

Array = npt.NDArray[Any]


def lesion_detection(rows: Sequence[PatientRow], settings: Settings) -> LesionDetection:
    """Detection over all patients: ratios of sums, intervals over patients. NaN where the ratio does not exist.

    Sensitivity and precision are rates, with exact intervals (`wcr_med.metrics.rates`).
    """
    detected_P, missed_P, _ = _counts(rows)
    n_lesions_P = np.array([len(row.lesions) for row in rows], dtype=np.float64)
    dice_sum_P = np.array([sum(lesion.dice for lesion in row.lesions) for row in rows], dtype=np.float64)
    return LesionDetection(
        min_voxels=settings.lesion_min_voxels,
        n_reference=int(n_lesions_P.sum()),
        n_detected=sum(row.detection.detected for row in rows),
        n_predicted=sum(row.n_predicted_lesions for row in rows),
        n_false=sum(row.n_false_lesions for row in rows),
        sensitivity=score_of_rate(detected_P, detected_P + missed_P, settings),
        precision=_precision_score(rows, settings),
        f1=score_of_pooled(pooled_f1(rows), settings),
        dice=score_of_ratio(dice_sum_P, n_lesions_P, settings),
        false_per_patient=score_of_mean(np.array([row.n_false_lesions for row in rows], dtype=np.float64), settings),
    )


def pooled_sensitivity(rows: Sequence[PatientRow]) -> Pooled:
    """Detected / reference lesions."""
    detected_P, missed_P, _ = _counts(rows)
    return ratio(detected_P, detected_P + missed_P)


def pooled_precision(rows: Sequence[PatientRow]) -> Pooled:
    """Detected / (detected + false); 0 where lesions were missed and nothing was predicted."""
    return Pooled(terms_PT=np.stack(_counts(rows), axis=1), statistic=_precision)


def pooled_f1(rows: Sequence[PatientRow]) -> Pooled:
    """2 detected / (2 detected + missed + false)."""
    detected_P, missed_P, false_P = _counts(rows)
    return ratio(2 * detected_P, 2 * detected_P + missed_P + false_P)


def lesion_points(dense: Sequence[PatientRow], pruned: Sequence[PatientRow]) -> tuple[LesionPoint, ...]:
    """Every reference lesion under both networks; the rows are of the same patients in the same order."""
    return tuple(
        LesionPoint(
            patient_id=before.patient_id,
            index=lesion.index,
            n_voxels=lesion.n_voxels,
            volume_ml=lesion.n_voxels * before.voxel_ml,
            detected_dense=lesion.detected,
            detected_pruned=same.detected,
            dice_dense=lesion.dice,
            dice_pruned=same.dice,
        )
        for before, after in zip(dense, pruned, strict=True)
        for lesion, same in zip(before.lesions, after.lesions, strict=True)
    )


def _precision_score(rows: Sequence[PatientRow], settings: Settings) -> Score:
    detected_P, _, false_P = _counts(rows)
    score = score_of_rate(detected_P, detected_P + false_P, settings)
    # Lesions missed and nothing predicted: 0 by definition, of no trial, so there is nothing to be sure or unsure of.
    return replace(score, value=pooled_precision(rows).value) if math.isnan(score.value) else score


def _counts(rows: Sequence[PatientRow]) -> tuple[Array, Array, Array]:
    counts = [row.detection for row in rows]
    detected_P, missed_P, false_P = (
        np.array([getattr(count, name) for count in counts], dtype=np.float64)
        for name in ("detected", "missed", "false")
    )
    return detected_P, missed_P, false_P


def _precision(sums: Array) -> Array:
    detected, missed, false = sums[..., 0], sums[..., 1], sums[..., 2]
    nothing = (detected + false == 0) & (missed > 0)
    return np.where(nothing, 0.0, detected / (detected + false))
