"""Predict and score every patient, on the grid of the patient's own files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from wcr_med.config import EvaluationConfig
from wcr_med.data.index import PatientEntry, load_volume
from wcr_med.errors import UserError
from wcr_med.evaluation.patients import predict, reference_of, show_progress
from wcr_med.evaluation.predictors import Predictor
from wcr_med.evaluation.result import EvaluationResult
from wcr_med.evaluation.rows import PatientRow
from wcr_med.evaluation.stored import save_prediction
from wcr_med.evaluation.summarise import summarise
from wcr_med.evaluation.threshold import threshold_counts
from wcr_med.metrics.calibration import CalibrationCounts, count_calibration
from wcr_med.metrics.counts import Counts, SliceCounts, count_slices
from wcr_med.metrics.distances import surface_distances
from wcr_med.metrics.lesions import score_lesions
from wcr_med.preprocess import binarise

Array = npt.NDArray[Any]


def evaluate_patients(
    predictor: Predictor,
    entries: Sequence[PatientEntry],
    *,
    threshold: float,
    config: EvaluationConfig,
    seed: int = 0,
    split_hash: str | None = None,
    distances: bool = True,
    progress: bool = False,
    keep: Path | None = None,
    network: str | None = None,
) -> EvaluationResult:
    """Score a network on patients.

    Args:
        predictor: raw volume to probabilities on the same grid.
        entries: the patients. The caller has made sure that the network saw none of them (`ModelArtefact.refuse_leak`).
        threshold: a pixel is foreground where its probability is at least this; in (0, 1).
        config: tolerances, smallest lesion, level and resamples of the intervals.
        seed: of the bootstrap.
        split_hash: of the partition that the patients come from; goes into the result.
        distances: also measure surfaces, which takes most of the time of scoring.
        progress: show progress.
        keep: folder for masks and probabilities, read again by `wcr_med.evaluation.stored`; `None`: none are kept.
        network: its name, for messages.

    Raises:
        UserError: there are no patients, the threshold is not a probability, a patient's files are bad, or an answer of
            the network is not a probability.
    """
    if not entries:
        raise UserError("no patients to evaluate; raise split.test_patients or split.validation_patients")
    if not 0 < threshold < 1:
        raise UserError(f"threshold is {threshold}: give a probability between 0 and 1")
    rows = []
    for entry in show_progress(entries, "evaluate", progress):
        volume = load_volume(entry)
        reference_SHW = reference_of(volume)
        probability_SHW = predict(predictor, volume, network=network)
        prediction_SHW = binarise(probability_SHW, threshold)
        row, _ = score_patient(
            reference_SHW,
            prediction_SHW,
            probability_SHW,
            patient_id=entry.patient_id,
            institution=entry.institution,
            spacing_mm=volume.spacing_mm,
            tolerances_px=config.tolerance_px if distances else None,
            lesion_min_voxels=config.lesion_min_voxels,
            threshold=threshold,
        )
        rows.append(row)
        if keep is not None:
            save_prediction(keep, volume, probability_SHW, prediction_SHW)
    return EvaluationResult(
        threshold=threshold,
        rows=tuple(rows),
        averages=summarise(rows, config, seed=seed),
        seed=seed,
        split_hash=split_hash,
        lesion_min_voxels=config.lesion_min_voxels,
    )


def score_patient(
    reference_SHW: Array,
    prediction_SHW: Array,
    probability_SHW: Array | None = None,
    *,
    patient_id: str,
    institution: str = "unknown",
    spacing_mm: tuple[float, float, float] | None = None,
    tolerances_px: Sequence[float] | None = (1.0, 2.0),
    lesion_min_voxels: int = 10,
    threshold: float = math.nan,
) -> tuple[PatientRow, SliceCounts]:
    """Every score of one patient.

    Distances are three-dimensional and in pixels of the slice. With a known spacing, slices lie their true distance
    apart in that unit; without, one slice counts as one pixel.

    Args:
        reference_SHW: (slices, rows, columns), integer or bool, non-zero is lesion.
        prediction_SHW: the same.
        probability_SHW: float32 in [0, 1], what the prediction was made of; `None`: neither calibration nor counts at
            other thresholds.
        patient_id: named in the row, and `institution` beside it.
        institution: "unknown" if the name tells none.
        spacing_mm: steps between slices, rows and columns; `None` if unknown.
        tolerances_px: of the normalised surface Dice; `None`: no distances.
        lesion_min_voxels: connected components of fewer voxels count neither as lesions nor as false alarms.
        threshold: that made the prediction of the probabilities; NaN if unknown.
    """
    slice_counts = count_slices(reference_SHW, prediction_SHW)
    total = slice_counts.total
    pixel_mm = math.sqrt(spacing_mm[1] * spacing_mm[2]) if spacing_mm else math.nan
    hd95_px, assd_px, nsd = math.nan, math.nan, {}
    if tolerances_px is not None:
        spacing_px = tuple(step / pixel_mm for step in spacing_mm) if spacing_mm else None
        surfaces = surface_distances(reference_SHW, prediction_SHW, spacing=spacing_px)
        hd95_px, assd_px = surfaces.hd95, surfaces.assd
        nsd = {f"{tolerance:g}": surfaces.surface_dice(tolerance) for tolerance in tolerances_px}
    lesions = score_lesions(reference_SHW, prediction_SHW, min_voxels=lesion_min_voxels)
    calibration, threshold_tp, threshold_fp = _probabilities(reference_SHW, probability_SHW)
    row = PatientRow(
        patient_id=patient_id,
        institution=institution,
        threshold=threshold,
        n_slices=len(reference_SHW),
        n_slices_tumour=slice_counts.n_tumour,
        n_slices_false_alarm=slice_counts.n_false_alarms,
        tp=total.tp,
        fp=total.fp,
        fn=total.fn,
        tn=total.tn,
        dice=total.dice,
        iou=total.iou,
        precision=total.precision,
        recall=total.recall,
        specificity=total.specificity,
        relative_volume_error=total.relative_volume_error,
        tumour_slice_dice_sum=slice_counts.tumour_dice_sum,
        empty=_which_empty(total),
        hd95_px=hd95_px,
        assd_px=assd_px,
        nsd=nsd,
        pixel_mm=pixel_mm,
        voxel_ml=math.prod(spacing_mm) / 1000 if spacing_mm else math.nan,
        lesions=lesions.lesions,
        n_predicted_lesions=lesions.n_predicted,
        n_false_lesions=lesions.n_false,
        calibration=calibration,
        threshold_tp=threshold_tp,
        threshold_fp=threshold_fp,
    )
    return row, slice_counts


def _probabilities(
    reference_SHW: Array, probability_SHW: Array | None
) -> tuple[CalibrationCounts, tuple[int, ...], tuple[int, ...]]:
    if probability_SHW is None:
        return CalibrationCounts(), (), ()
    tp_T, fp_T, _ = threshold_counts(reference_SHW, probability_SHW)
    calibration = count_calibration(reference_SHW, probability_SHW)
    return calibration, tuple(tp_T.tolist()), tuple(fp_T.tolist())


def _which_empty(total: Counts) -> str:
    if total.both_empty:
        return "both"
    if total.reference_pixels == 0:
        return "reference"
    return "prediction" if total.prediction_pixels == 0 else "none"
