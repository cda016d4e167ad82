"""Predict and score every patient, on the grid of the patient's own files."""

import logging
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.config import EvaluationConfig
from wcr_med.data.index import PatientEntry, load_volume
from wcr_med.errors import UserError
from wcr_med.evaluation.predictors import Predictor
from wcr_med.evaluation.result import EvaluationResult, PatientRow
from wcr_med.files import atomic_path
from wcr_med.metrics.averages import average_terms, averages, mean_terms
from wcr_med.metrics.counts import Counts, SliceCounts, count_slices
from wcr_med.metrics.distances import surface_distances
from wcr_med.preprocess import binarise
from wcr_med.progress import track

Array = npt.NDArray[Any]

_LOG = logging.getLogger(__name__)

_MEAN_SCORES = ("iou", "precision", "recall", "specificity", "relative_volume_error", "hd95_px", "assd_px")


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
) -> EvaluationResult:
    """Score a network on patients.

    Args:
        predictor: raw volume to probabilities on the same grid.
        entries: the patients. The caller has made sure that the network saw none of them (`ModelArtefact.refuse_leak`).
        threshold: a pixel is foreground where its probability is at least this; in (0, 1).
        config: tolerances, level and resamples of the intervals.
        seed: of the bootstrap.
        split_hash: of the partition that the patients come from; goes into the result.
        distances: also measure surfaces; without them a volume is scored about ten times faster.
        progress: show progress.
        keep: folder for the predicted masks, one `<patient_id>.npz` each; `load_prediction` reads them.

    Raises:
        UserError: there are no patients, the threshold is not a probability, or a patient's files are bad.
    """
    if not entries:
        raise UserError("no patients to evaluate; raise split.test_patients or split.validation_patients")
    if not 0 < threshold < 1:
        raise UserError(f"threshold is {threshold}: give a probability between 0 and 1")
    rows, counts = [], []
    for entry in show_progress(entries, "evaluate", progress):
        volume = load_volume(entry)
        reference_SHW = _reference(volume.mask_SHW, entry.patient_id)
        prediction_SHW = binarise(predictor(volume.image_SHWC), threshold)
        row, slice_counts = score_patient(
            reference_SHW,
            prediction_SHW,
            patient_id=entry.patient_id,
            institution=entry.institution,
            spacing_mm=volume.spacing_mm,
            tolerances_px=config.tolerance_px if distances else None,
        )
        rows.append(row)
        counts.append(slice_counts)
        if keep is not None:
            _save_prediction(keep, entry.patient_id, prediction_SHW)
    terms = average_terms(counts)
    for name in _MEAN_SCORES:
        if distances or not name.endswith("_px"):
            terms[f"mean_{name}"] = mean_terms(np.array([getattr(row, name) for row in rows]))
    for tolerance in rows[0].nsd:
        terms[f"mean_nsd_{tolerance}px"] = mean_terms(np.array([row.nsd[tolerance] for row in rows]))
    with_intervals = averages(terms, confidence=config.confidence, resamples=config.resamples, seed=seed)
    return EvaluationResult(
        threshold=threshold, rows=tuple(rows), averages=with_intervals, seed=seed, split_hash=split_hash
    )


def score_patient(
    reference_SHW: Array,
    prediction_SHW: Array,
    *,
    patient_id: str,
    institution: str = "unknown",
    spacing_mm: tuple[float, float, float] | None = None,
    tolerances_px: Sequence[float] | None = (1.0, 2.0),
) -> tuple[PatientRow, SliceCounts]:
    """Every score of one patient.

    Distances are three-dimensional and in pixels of the slice. With a known spacing, slices lie their true distance
    apart in that unit; without, one slice counts as one pixel.

    Args:
        reference_SHW: (slices, rows, columns), integer or bool, non-zero is lesion.
        prediction_SHW: the same.
        patient_id: named in the row, and `institution` beside it.
        institution: "unknown" if the name tells none.
        spacing_mm: steps between slices, rows and columns; `None` if unknown.
        tolerances_px: of the normalised surface Dice; `None`: no distances.
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
    row = PatientRow(
        patient_id=patient_id,
        institution=institution,
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
    )
    return row, slice_counts


def load_prediction(folder: Path, patient_id: str) -> Array:
    """A mask that `evaluate_patients` kept: uint8 (slices, rows, columns), 0 or 1.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = folder / f"{patient_id}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            prediction_SHW: Array = archive["prediction_SHW"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: no readable prediction ({error}); run the evaluation again") from None
    return prediction_SHW


def show_progress(entries: Sequence[PatientEntry], label: str, progress: bool) -> Iterator[PatientEntry]:
    """The entries, with progress shown as they pass."""
    return track(entries, label=label, unit="patient", total=len(entries), log=_LOG, enabled=progress)


def _reference(mask_SHW: Array | None, patient_id: str) -> Array:
    if mask_SHW is None:
        raise UserError(f"patient {patient_id} has no reference mask; an evaluation needs one")
    return mask_SHW


def _which_empty(total: Counts) -> str:
    if total.both_empty:
        return "both"
    if total.reference_pixels == 0:
        return "reference"
    return "prediction" if total.prediction_pixels == 0 else "none"


def _save_prediction(folder: Path, patient_id: str, prediction_SHW: Array) -> None:
    with atomic_path(folder / f"{patient_id}.npz") as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, prediction_SHW=prediction_SHW)
