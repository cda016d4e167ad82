"""From rows to averages: the one computation behind an evaluation and behind several pooled."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.config import EvaluationConfig
from wcr_med.evaluation.rows import PatientRow
from wcr_med.metrics.averages import Average, Terms, average_terms, averages, mean_terms

Array = npt.NDArray[Any]

LESION_DEFINITIONS: Mapping[str, str] = {
    "dice_lesion": "mean of the Dice of single lesions, over all lesions of the reference; a missed lesion is 0",
    "detection_f1_pooled": "one detection F1 from the lesions of all patients counted together",
    "false_lesions_per_patient": "components of the prediction that touch no lesion, a patient",
    "brier_in_question": "mean of (probability - foreground)^2 over the voxels in question of all patients together",
}
"""Averages beside those of `wcr_med.metrics.averages.DEFINITIONS` and the plain means `mean_*`."""

_SCORES = ("iou", "precision", "recall", "specificity", "relative_volume_error")
_DISTANCES = ("hd95_px", "assd_px")
_DETECTION = ("precision", "recall", "f1")


def summarise(rows: Sequence[PatientRow], config: EvaluationConfig, *, seed: int) -> dict[str, Average]:
    """Every average with its interval.

    Distances are among them where the rows have any, the Brier score where they have probabilities.

    Args:
        rows: of one network; at least one.
        config: level and resamples of the intervals.
        seed: of the bootstrap.
    """
    terms = average_terms([row.tally for row in rows])
    measured = any(row.nsd or math.isfinite(row.hd95_px) for row in rows)
    for name in _SCORES + _DISTANCES if measured else _SCORES:
        terms[f"mean_{name}"] = mean_terms(np.array([getattr(row, name) for row in rows], dtype=np.float64))
    for tolerance in rows[0].nsd:
        terms[f"mean_nsd_{tolerance}px"] = mean_terms(np.array([row.nsd[tolerance] for row in rows]))
    for name in _DETECTION:
        scores = np.array([getattr(row.detection, name) for row in rows], dtype=np.float64)
        terms[f"mean_detection_{name}"] = mean_terms(scores)
    terms.update(_lesion_terms(rows))
    return averages(terms, confidence=config.confidence, resamples=config.resamples, seed=seed)


def _lesion_terms(rows: Sequence[PatientRow]) -> dict[str, Terms]:
    n_lesions_P = [len(row.lesions) for row in rows]
    found_P = np.array([2 * row.detection.detected for row in rows])
    errors_P = np.array([row.detection.missed + row.detection.false for row in rows])
    terms = {
        "dice_lesion": _terms([sum(lesion.dice for lesion in row.lesions) for row in rows], n_lesions_P),
        "detection_f1_pooled": _terms(found_P, found_P + errors_P),
        "false_lesions_per_patient": _terms([row.n_false_lesions for row in rows], np.ones(len(rows))),
    }
    if any(row.threshold_tp for row in rows):
        squared_P = [row.calibration.squared_error_sum for row in rows]
        terms["brier_in_question"] = _terms(squared_P, [row.calibration.n for row in rows])
    return terms


def _terms(numerator_P: Sequence[float] | Array, denominator_P: Sequence[float] | Array) -> Terms:
    return Terms(
        numerator_P=np.asarray(numerator_P, dtype=np.float64), denominator_P=np.asarray(denominator_P, dtype=np.float64)
    )
