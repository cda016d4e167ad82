"""The operating threshold, chosen on validation patients and never on test patients.

Shape suffixes: P patients, T thresholds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.data.index import PatientEntry, load_volume
from wcr_med.errors import UserError
from wcr_med.evaluation.patients import predict, reference_of, show_progress
from wcr_med.evaluation.predictors import Predictor

Array = npt.NDArray[Any]

GRID: tuple[float, ...] = tuple(percent / 100 for percent in range(2, 99))
"""Every threshold that is tried: 0.02, 0.03 ... 0.98."""


@dataclass(frozen=True, kw_only=True)
class ThresholdChoice:
    """The threshold with the best dice_patient, and what every other would have given.

    Attributes:
        threshold: the choice; of equals the nearest to 0.5, of those the lower.
        dice_patient: at the choice.
        f1_pooled: at the choice.
        n_patients: validation patients it was chosen on.
        curve: for each threshold of the grid: (threshold, dice_patient, f1_pooled); NaN never occurs, see
            `choose_threshold`.
    """

    threshold: float
    dice_patient: float
    f1_pooled: float
    n_patients: int
    curve: tuple[tuple[float, float, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def choose_threshold(
    predictor: Predictor, entries: Sequence[PatientEntry], *, progress: bool = False
) -> ThresholdChoice:
    """Choose the threshold that maximises dice_patient, in one pass over the patients.

    Each patient's probabilities are counted into bins between the thresholds, by class; the counts above a threshold
    are exactly those of `binarise` at it.

    Args:
        predictor: raw volume to probabilities on the same grid.
        entries: validation patients.
        progress: show progress.

    Raises:
        UserError: there are no patients, or none of them has a tumour; or an answer is not a probability.
    """
    if not entries:
        raise UserError("no validation patients to choose the threshold on; raise split.validation_patients")
    counts = []
    for entry in show_progress(entries, "choose threshold", progress):
        volume = load_volume(entry)
        counts.append(threshold_counts(reference_of(volume), predict(predictor, volume)))
    tp_PT = np.stack([tp_T for tp_T, _, _ in counts])
    fp_PT = np.stack([fp_T for _, fp_T, _ in counts])
    positives_P = np.array([positives for _, _, positives in counts])
    if not positives_P.any():
        raise UserError("no validation patient has a tumour, so no threshold is better than another; change split.seed")
    return best_threshold(tp_PT, fp_PT, positives_P)


def threshold_counts(reference_SHW: Array, probability_SHW: Array) -> tuple[Array, Array, int]:
    """True and false positives of one volume at every threshold of `GRID`.

    Args:
        reference_SHW: integer or bool, non-zero is foreground.
        probability_SHW: float32 in [0, 1], the same shape.

    Returns:
        tp_T and fp_T (int64), and the number of foreground pixels of the reference.
    """
    if reference_SHW.shape != probability_SHW.shape:
        raise ValueError(f"reference of shape {reference_SHW.shape}, probability of shape {probability_SHW.shape}")
    grid_T = np.array(GRID, dtype=np.float32)
    reached = np.flatnonzero(probability_SHW >= grid_T[0])  # most of a volume lies below every threshold
    foreground = reference_SHW.reshape(-1)[reached] != 0
    values = probability_SHW.reshape(-1)[reached].astype(np.float32, copy=False)
    passed = np.searchsorted(grid_T, values, side="right")  # how many thresholds each value reaches
    counted = []
    for chosen in (foreground, ~foreground):
        bins = np.bincount(passed[chosen], minlength=len(grid_T) + 1)
        counted.append(np.cumsum(bins[::-1])[::-1][1:])
    return counted[0], counted[1], int(np.count_nonzero(reference_SHW))


def best_threshold(tp_PT: Array, fp_PT: Array, positives_P: Array) -> ThresholdChoice:
    """The choice from the counts of `threshold_counts`, one row a patient.

    Args:
        tp_PT: true positives at every threshold of `GRID`.
        fp_PT: false positives, likewise.
        positives_P: foreground pixels of the reference; above zero for at least one patient.
    """
    # 2 tp + fp + fn = predicted + reference pixels.
    sizes_PT = tp_PT + fp_PT + positives_P[:, None]
    dice_PT = np.divide(2 * tp_PT, sizes_PT, out=np.full(sizes_PT.shape, np.nan), where=sizes_PT > 0)
    dice_T = np.nanmean(dice_PT, axis=0)
    f1_T = 2 * tp_PT.sum(axis=0) / sizes_PT.sum(axis=0)
    best = np.flatnonzero(dice_T >= dice_T.max() - 1e-12)
    nearest = min(best, key=lambda index: (round(abs(GRID[index] - 0.5), 6), GRID[index]))
    return ThresholdChoice(
        threshold=GRID[nearest],
        dice_patient=float(dice_T[nearest]),
        f1_pooled=float(f1_T[nearest]),
        n_patients=len(positives_P),
        curve=tuple((GRID[index], float(dice_T[index]), float(f1_T[index])) for index in range(len(GRID))),
    )
