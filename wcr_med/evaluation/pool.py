"""Averages computed anew from rows: of several folds together, or with intervals of another level."""

import math
from collections.abc import Sequence
from dataclasses import replace

from wcr_med.config import EvaluationConfig
from wcr_med.errors import UserError
from wcr_med.evaluation.result import EvaluationResult
from wcr_med.evaluation.summarise import summarise


def pool_results(results: Sequence[EvaluationResult], *, config: EvaluationConfig, seed: int) -> EvaluationResult:
    """One result over the patients of all, its averages and intervals computed from their rows alone.

    Args:
        results: each of a network of its own, on patients of its own; their rows keep their thresholds.
        config: level and resamples of the intervals.
        seed: of the bootstrap.

    Returns:
        A single result as it is. Of several the rows in the order given; the threshold is NaN and the split hash `None`
        unless all results agree on them.

    Raises:
        UserError: there are no results, two share a patient, or they were scored by different definitions.
    """
    if not results:
        raise UserError("no evaluations to pool; run the folds first")
    seen: dict[str, int] = {}
    for place, result in enumerate(results, start=1):
        for row in result.rows:
            if row.patient_id in seen:
                first = seen[row.patient_id]
                where = f"evaluations {first} and {place}" if first != place else f"evaluation {place}, twice"
                raise UserError(f"patient {row.patient_id} is in {where}; pool evaluations of different patients alone")
            seen[row.patient_id] = place
    rows = tuple(row for result in results for row in result.rows)
    if not rows:
        raise UserError("no patients in the evaluations to pool; run the folds again")
    if len({(tuple(row.nsd), len(row.threshold_tp)) for row in rows}) > 1 or _differ(
        [result.lesion_min_voxels for result in results]
    ):
        raise UserError(
            "the evaluations differ in evaluation.tolerance_px, evaluation.lesion_min_voxels or in what was measured;"
            " run all folds with one configuration"
        )
    if len(results) == 1:
        return results[0]
    thresholds = {result.threshold for result in results}
    hashes = {result.split_hash for result in results}
    return EvaluationResult(
        threshold=thresholds.pop() if len(thresholds) == 1 else math.nan,
        rows=rows,
        averages=summarise(rows, config, seed=seed),
        seed=seed,
        split_hash=hashes.pop() if len(hashes) == 1 else None,
        lesion_min_voxels=results[0].lesion_min_voxels,
    )


def at_level(result: EvaluationResult, config: EvaluationConfig) -> EvaluationResult:
    """The same rows with intervals of `config.confidence` and `config.resamples`; as it is where it has these."""
    found = [average.interval for average in result.averages.values() if average.interval]
    drawn = {interval.resamples for interval in found if interval.resamples}  # a rate draws nothing
    if drawn <= {config.resamples} and {interval.confidence for interval in found} <= {config.confidence}:
        return result
    return replace(result, averages=summarise(result.rows, config, seed=result.seed))


def _differ(values: Sequence[int]) -> bool:
    return len(set(values)) > 1
