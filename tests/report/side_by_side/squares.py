"""Made-up evaluations: in every patient a square, found some rows too low."""

import numpy as np

from wcr_med.config import EvaluationConfig
from wcr_med.data.split import Split
from wcr_med.evaluation import EvaluationResult, score_patient
from wcr_med.evaluation.summarise import summarise

EVALUATION = EvaluationConfig(resamples=50)


def square(top, size):
    mask_SHW = np.zeros((4, 32, 32), np.uint8)
    mask_SHW[1:3, top : top + size, 8 : 8 + size] = 1
    return mask_SHW


def row_of(name, shift, *, size=10, spacing_mm=None, tolerances_px=(1.0, 2.0), lesion_min_voxels=10):
    """A square `shift` rows too low; `None`: neither there nor found."""
    size = 0 if shift is None else size
    reference, prediction = square(4, size), square(4 + (shift or 0), size)
    row, _ = score_patient(
        reference,
        prediction,
        0.9 * prediction.astype(np.float32),
        patient_id=name,
        institution="CS",
        spacing_mm=spacing_mm,
        tolerances_px=tolerances_px,
        lesion_min_voxels=lesion_min_voxels,
        threshold=0.4,
    )
    return row


def result_of(shifts, *, split=None, **options):
    rows = tuple(row_of(name, shift, **options) for name, shift in shifts.items())
    return EvaluationResult(
        threshold=0.4,
        rows=rows,
        averages=summarise(rows, EVALUATION, seed=0),
        seed=0,
        split_hash=split.hash if split else None,
        lesion_min_voxels=options.get("lesion_min_voxels", 10),
    )


def split_of(test, *, train=("t1", "t2"), validation=("v1",), method="holdout"):
    return Split(train=tuple(train), validation=tuple(validation), test=tuple(test), seed=0, method=method)
