"""How much hangs on the operating threshold. Nothing is chosen here: thresholds come from validation patients.

Shape suffixes: P patients, T thresholds.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from wcr_med.evaluation.rows import PatientRow
from wcr_med.evaluation.threshold import GRID
from wcr_med.report.analysis.network_records import ThresholdCurve, ThresholdPoint

_NO_POINTS: tuple[ThresholdPoint, ...] = ()


def threshold_curve(rows: Sequence[PatientRow], chosen: Mapping[str, float], *, margin: float) -> ThresholdCurve:
    """dice_patient and f1_pooled had every patient been given the same threshold, for each of `GRID`.

    Args:
        rows: with counts at every threshold; where one has none the curve has no points.
        chosen: by partition, the thresholds that were used.
        margin: how far below its best the curve may lie on the plateau.
    """
    points = _points(rows)
    low, high = _plateau(points, chosen, margin)
    return ThresholdCurve(points=points, chosen=dict(chosen), plateau_low=low, plateau_high=high, plateau_loss=margin)


def _points(rows: Sequence[PatientRow]) -> tuple[ThresholdPoint, ...]:
    if any(len(row.threshold_tp) != len(GRID) for row in rows):
        return _NO_POINTS
    tp_PT = np.array([row.threshold_tp for row in rows], dtype=np.float64)
    fp_PT = np.array([row.threshold_fp for row in rows], dtype=np.float64)
    # 2 tp + fp + fn = predicted + reference pixels; 0 where both are empty, and then there is no Dice.
    sizes_PT = tp_PT + fp_PT + np.array([row.tp + row.fn for row in rows])[:, None]
    dice_PT = np.divide(2 * tp_PT, sizes_PT, out=np.zeros_like(sizes_PT), where=sizes_PT > 0)
    n_T = np.count_nonzero(sizes_PT > 0, axis=0)
    return tuple(
        ThresholdPoint(
            threshold=threshold,
            dice_patient=float(dice_PT[:, t].sum() / n_T[t]) if n_T[t] else math.nan,
            f1_pooled=float(2 * tp_PT[:, t].sum() / sizes_PT[:, t].sum()) if n_T[t] else math.nan,
        )
        for t, threshold in enumerate(GRID)
    )


def _plateau(points: Sequence[ThresholdPoint], chosen: Mapping[str, float], margin: float) -> tuple[float, float]:
    known = [threshold for threshold in chosen.values() if math.isfinite(threshold)]
    best = max((point.dice_patient for point in points if math.isfinite(point.dice_patient)), default=math.nan)
    if not known or math.isnan(best):
        return math.nan, math.nan
    centre = statistics.median(known)
    start = min(range(len(points)), key=lambda t: abs(points[t].threshold - centre))
    good = [point.dice_patient >= best - margin - 1e-12 for point in points]
    if not good[start]:
        return math.nan, math.nan
    low = high = start
    while low > 0 and good[low - 1]:
        low -= 1
    while high + 1 < len(points) and good[high + 1]:
        high += 1
    return points[low].threshold, points[high].threshold
