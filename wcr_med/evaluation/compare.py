"""Two networks on the same patients."""

from dataclasses import asdict
from typing import Any

from wcr_med.config import EvaluationConfig
from wcr_med.errors import UserError
from wcr_med.evaluation.result import EvaluationResult, without_nan
from wcr_med.metrics.uncertainty import compare, paired_differences


def compare_paired(
    baseline: EvaluationResult, candidate: EvaluationResult, config: EvaluationConfig, *, seed: int = 0
) -> dict[str, Any]:
    """Compare a candidate (the pruned network) with a baseline (the dense one) by the Dice of each patient.

    Args:
        baseline: scored at its own threshold.
        candidate: scored at its own threshold, on the same patients; the order does not matter.
        config: margin, worse_by, level and resamples.
        seed: of the bootstrap.

    Returns:
        JSON-ready: the fields of `wcr_med.metrics.uncertainty.PairedComparison`, and `patients`: one entry each
        with both scores (None where one does not exist) and their difference, the largest loss first.

    Raises:
        UserError: the two were scored on different patients.
    """
    baseline_dice = {row.patient_id: row.dice for row in baseline.rows}
    candidate_dice = {row.patient_id: row.dice for row in candidate.rows}
    if set(baseline_dice) != set(candidate_dice):
        odd = sorted(set(baseline_dice) ^ set(candidate_dice))[0]
        raise UserError(f"patient {odd} was scored for one network alone; evaluate both on the same patients")
    order = sorted(baseline_dice)
    comparison = compare(
        [baseline_dice[patient_id] for patient_id in order],
        [candidate_dice[patient_id] for patient_id in order],
        margin=config.margin,
        worse_by=config.worse_by,
        confidence=config.confidence,
        resamples=config.resamples,
        seed=seed,
    )
    differences = paired_differences(
        [baseline_dice[patient_id] for patient_id in order], [candidate_dice[patient_id] for patient_id in order]
    )
    patients: list[dict[str, Any]] = [
        {
            "patient_id": patient_id,
            "baseline": without_nan(baseline_dice[patient_id]),
            "candidate": without_nan(candidate_dice[patient_id]),
            "difference": without_nan(float(difference)),
        }
        for patient_id, difference in zip(order, differences, strict=True)
    ]
    patients.sort(key=lambda entry: (entry["difference"] is None, entry["difference"] or 0.0))
    return {**without_nan(asdict(comparison)), "patients": patients}
