"""One network by itself: scores, empty cases, lesions, and its scores by partition."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.evaluation.result import EvaluationResult
from wcr_med.evaluation.rows import PatientRow
from wcr_med.report.analysis.estimates import score_of_mean, score_of_ratio
from wcr_med.report.analysis.network_records import Cases, PartitionScore
from wcr_med.report.analysis.settings import Settings
from wcr_med.report.clinical.inputs import Partition
from wcr_med.report.document import Score

Array = npt.NDArray[Any]


def scores_of(result: EvaluationResult, settings: Settings) -> tuple[dict[str, Score], dict[str, int]]:
    """Every average by name, and by the same names how many patients are left out of it.

    Distances in millimetres are added where the pixel size of every patient is known.
    """
    scores = {name: Score.from_average(average) for name, average in result.averages.items()}
    undefined = {name: average.n_undefined for name, average in result.averages.items()}
    if all(math.isfinite(row.pixel_mm) for row in result.rows):
        for name in ("hd95", "assd"):
            if f"mean_{name}_px" in scores:
                values_P = np.array([getattr(row, f"{name}_px") * row.pixel_mm for row in result.rows])
                scores[f"mean_{name}_mm"] = score_of_mean(values_P, settings)
                undefined[f"mean_{name}_mm"] = int(np.count_nonzero(np.isnan(values_P)))
    return scores, undefined


def cases_of(rows: Sequence[PatientRow]) -> Cases:
    """Count patients and slices by what there was to find and what was found."""
    burden = [row for row in rows if row.empty == "reference"]
    return Cases(
        n_patients=len(rows),
        n_both_empty=sum(row.empty == "both" for row in rows),
        n_false_alarm=len(burden),
        n_missed=sum(row.empty == "prediction" for row in rows),
        n_not_found=sum(row.tp + row.fn > 0 and row.tp == 0 for row in rows),
        n_slices=sum(row.n_slices for row in rows),
        n_slices_free=sum(row.n_slices - row.n_slices_tumour for row in rows),
        n_slices_false_alarm=sum(row.n_slices_false_alarm for row in rows),
        false_positive_voxels=sum(row.fp for row in burden),
        false_positive_ml=float(sum(row.fp * row.voxel_ml for row in burden)),
        n_false_lesions=sum(row.n_false_lesions for row in rows),
    )


def partition_scores(
    name: str, rows: Mapping[str, PatientRow], partitions: Sequence[Partition], settings: Settings
) -> tuple[PartitionScore, ...]:
    """The network called `name` on the test patients of each partition; `rows` by patient id."""
    scores = []
    for partition in partitions:
        tested = [rows[patient_id] for patient_id in partition.parts["test"] if patient_id in rows]
        overlap_P = np.array([2 * row.tp for row in tested], dtype=np.float64)
        errors_P = np.array([row.fp + row.fn for row in tested], dtype=np.float64)
        scores.append(
            PartitionScore(
                partition=partition.name,
                n_patients=len(tested),
                threshold=threshold_in(name, partition, tested),
                dice_patient=score_of_mean(np.array([row.dice for row in tested], dtype=np.float64), settings),
                f1_pooled=score_of_ratio(overlap_P, overlap_P + errors_P, settings),
            )
        )
    return tuple(scores)


def threshold_in(name: str, partition: Partition, rows: Sequence[PatientRow]) -> float:
    """The threshold of the network called `name`: what the partition says, else what its rows say."""
    used = {row.threshold for row in rows}
    return partition.thresholds.get(name, used.pop() if len(used) == 1 else math.nan)
