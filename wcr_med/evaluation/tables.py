"""Rows as plain tables: a line a patient, a line a lesion."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wcr_med.evaluation.rows import PatientRow
from wcr_med.files import write_csv

_NESTED = ("nsd", "lesions", "calibration", "threshold_tp", "threshold_fp")

LESION_COLUMNS = ("patient_id", "institution", "index", "n_voxels", "volume_ml", "n_slices", "detected", "dice")
"""Columns of per_lesion.csv."""


def patient_record(row: PatientRow) -> dict[str, Any]:
    """One line of per_patient.csv: the plain fields of a row, and what follows from the others. NaN stays NaN."""
    record = {name: value for name, value in vars(row).items() if name not in _NESTED}
    record.update({f"nsd_{tolerance}px": value for tolerance, value in row.nsd.items()})
    record.update(
        n_lesions=len(row.lesions),
        n_lesions_detected=row.detection.detected,
        detection_precision=row.detection.precision,
        detection_recall=row.detection.recall,
        detection_f1=row.detection.f1,
        dice_lesion=row.dice_lesion,
        n_voxels_in_question=row.calibration.n,
        expected_calibration_error=row.calibration.expected_calibration_error,
        brier=row.calibration.brier,
    )
    return record


def lesion_records(row: PatientRow) -> list[dict[str, Any]]:
    """The lines of per_lesion.csv of one patient, keyed by `LESION_COLUMNS`; none where there is no lesion.

    `volume_ml` is NaN where the spacing is unknown; `detected` is 0 or 1.
    """
    return [
        {
            "patient_id": row.patient_id,
            "institution": row.institution,
            "index": lesion.index,
            "n_voxels": lesion.n_voxels,
            "volume_ml": lesion.n_voxels * row.voxel_ml,
            "n_slices": lesion.n_slices,
            "detected": int(lesion.detected),
            "dice": lesion.dice,
        }
        for lesion in row.lesions
    ]


def write_per_patient_csv(path: Path, rows: Sequence[PatientRow]) -> None:
    """Write one line a patient, scores with six decimals; a score that does not exist is an empty field."""
    write_records(path, [patient_record(row) for row in rows])


def write_per_lesion_csv(path: Path, rows: Sequence[PatientRow]) -> None:
    """Write one line a lesion of the reference; without lesions the header alone."""
    write_records(path, [record for row in rows for record in lesion_records(row)], columns=LESION_COLUMNS)


def write_records(path: Path, records: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None) -> None:
    """Write records as CSV, whole or not at all: floats with six decimals, NaN as an empty field.

    Args:
        path: the file.
        records: one a line.
        columns: in order; `None`: every field of the records, in the order of first use.
    """
    names = list(columns) if columns is not None else list(dict.fromkeys(name for record in records for name in record))
    write_csv(path, names, ({name: _plain(value) for name, value in record.items()} for record in records))


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return f"{value:.6f}" if math.isfinite(value) else ""
