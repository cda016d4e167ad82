"""Probabilities against the reference, over the voxels in question (`wcr_med.metrics.calibration`).

Shape suffixes: P patients, K bins.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.evaluation.rows import PatientRow
from wcr_med.metrics.calibration import N_BINS, CalibrationCounts
from wcr_med.report.analysis.estimates import Pooled, ratio, score_of_pooled, score_of_rate
from wcr_med.report.analysis.network_records import Calibration, CalibrationBin
from wcr_med.report.analysis.settings import Settings

Array = npt.NDArray[Any]


def calibration_of(rows: Sequence[PatientRow], settings: Settings) -> Calibration | None:
    """Bins, expected calibration error and Brier score of all patients together.

    The counts of all patients are added first, as the voxels of one; intervals draw patients.

    Returns:
        `None` where no voxel is in question.
    """
    total = sum((row.calibration for row in rows), CalibrationCounts())
    if total.n == 0:
        return None
    n_PK = np.array([row.calibration.n_K for row in rows], dtype=np.float64)
    positive_PK = np.array([row.calibration.positive_K for row in rows], dtype=np.float64)
    bins = tuple(
        CalibrationBin(
            low=k / N_BINS,
            high=(k + 1) / N_BINS,
            n_voxels=total.n_K[k],
            mean_probability=total.probability_sum_K[k] / total.n_K[k] if total.n_K[k] else math.nan,
            observed=score_of_rate(positive_PK[:, k], n_PK[:, k], settings),
        )
        for k in range(N_BINS)
    )
    return Calibration(
        bins=bins,
        ece=score_of_pooled(pooled_ece(rows), settings),
        brier=score_of_pooled(pooled_brier(rows), settings),
        n_voxels=total.n,
        over_confidence=total.mean_probability_excess,
    )


def pooled_ece(rows: Sequence[PatientRow]) -> Pooled:
    """Expected calibration error; its terms are voxels and excess of probability over foreground, bin by bin."""
    counts = [row.calibration for row in rows]
    n_PK = np.array([count.n_K for count in counts], dtype=np.float64)
    excess_PK = np.array([count.probability_sum_K for count in counts], dtype=np.float64)
    excess_PK -= np.array([count.positive_K for count in counts], dtype=np.float64)
    return Pooled(terms_PT=np.concatenate([n_PK, excess_PK], axis=1), statistic=_ece)


def pooled_brier(rows: Sequence[PatientRow]) -> Pooled:
    """Squared error by voxels in question."""
    counts = [row.calibration for row in rows]
    return ratio(
        np.array([count.squared_error_sum for count in counts], dtype=np.float64),
        np.array([count.n for count in counts], dtype=np.float64),
    )


def _ece(sums: Array) -> Array:
    error: Array = np.abs(sums[..., N_BINS:]).sum(axis=-1) / sums[..., :N_BINS].sum(axis=-1)
    return error
