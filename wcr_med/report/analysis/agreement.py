"""Volume agreement after Bland and Altman (The Lancet, 1986): predicted minus reference volume.

Shape suffix: P patients.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.evaluation.rows import PatientRow
from wcr_med.report.analysis.estimates import Pooled, make_score, score_of_mean, score_of_pooled
from wcr_med.report.analysis.network_records import VolumeAgreement, VolumePoint
from wcr_med.report.analysis.settings import Settings
from wcr_med.report.document import Score

Array = npt.NDArray[Any]

_SPREADS = 1.959963984540054  # of a normal distribution, within which 95 % lie


def volume_agreement(rows: Sequence[PatientRow], settings: Settings) -> VolumeAgreement:
    """Bias and limits of agreement over all patients, those without a tumour included.

    The limits are bias -/+ 1.96 standard deviations (n - 1). All intervals are bootstrapped over patients, so they do
    not lean on normal differences; the limits themselves do, as usual.
    """
    known = all(math.isfinite(row.voxel_ml) for row in rows)
    scale_P = np.array([row.voxel_ml if known else 1.0 for row in rows])
    reference_P = np.array([row.tp + row.fn for row in rows]) * scale_P
    predicted_P = np.array([row.tp + row.fp for row in rows]) * scale_P
    difference_P = predicted_P - reference_P
    lower, upper = (_limit(difference_P, sign * _SPREADS, settings) for sign in (-1, 1))
    within_P = (difference_P >= lower.value) & (difference_P <= upper.value)
    return VolumeAgreement(
        unit="ml" if known else "voxels",
        points=tuple(
            VolumePoint(
                patient_id=row.patient_id,
                reference=float(reference),
                predicted=float(predicted),
                mean=float((reference + predicted) / 2),
                difference=float(predicted - reference),
            )
            for row, reference, predicted in zip(rows, reference_P, predicted_P, strict=True)
        ),
        bias=score_of_mean(difference_P, settings),
        lower=lower,
        upper=upper,
        standard_deviation=float(difference_P.std(ddof=1)) if len(rows) > 1 else math.nan,
        n_within=int(np.count_nonzero(within_P)),
    )


def _limit(difference_P: Array, spreads: float, settings: Settings) -> Score:
    if len(difference_P) < 2:
        return make_score(math.nan, None, len(difference_P))
    centre = difference_P.mean()  # sums of squares far from 0 would lose digits
    moved_P = difference_P - centre
    terms_PT = np.stack([np.ones_like(moved_P), moved_P, moved_P**2], axis=1)

    def limit(sums: Array) -> Array:
        n, total, squares = sums[..., 0], sums[..., 1], sums[..., 2]
        variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
        moved: Array = centre + total / n + spreads * np.sqrt(variance)
        return moved

    return score_of_pooled(Pooled(terms_PT=terms_PT, statistic=limit), settings)
