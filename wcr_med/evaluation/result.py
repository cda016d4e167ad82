"""What an evaluation found: a row a patient, averages with intervals, and the files that hold them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wcr_med.config import EvaluationConfig
from wcr_med.errors import UserError
from wcr_med.evaluation.rows import PatientRow, without_nan
from wcr_med.evaluation.summarise import LESION_DEFINITIONS, summarise
from wcr_med.evaluation.tables import write_per_lesion_csv, write_per_patient_csv
from wcr_med.files import read_json, write_json
from wcr_med.metrics.averages import DEFINITIONS, Average
from wcr_med.metrics.calibration import CalibrationCounts
from wcr_med.metrics.lesions import DetectionCounts
from wcr_med.metrics.uncertainty import Interval

__all__ = ["SCHEMA_VERSION", "SCORE_DEFINITIONS", "EvaluationResult", "PatientRow", "without_nan"]

RESULT_FILES = ("metrics.json", "per_patient.csv", "per_lesion.csv")
"""What `EvaluationResult.save` writes."""

SCHEMA_VERSION = 3
_READS = (2, SCHEMA_VERSION)
"""Schema 2 counted surface voxels. Its distances mean something else than those of today: they are left out. It also
had bootstrap intervals of rates and of fewer than five patients: intervals are computed anew."""

_DISTANCES = ("mean_hd95_", "mean_assd_", "mean_nsd_")

SCORE_DEFINITIONS: Mapping[str, str] = {
    "dice": "2 tp / (2 tp + fp + fn) of the whole volume",
    "iou": "tp / (tp + fp + fn)",
    "precision": "tp / (tp + fp); 0 where nothing is predicted and there is something to find",
    "recall": "tp / (tp + fn)",
    "specificity": "tn / (tn + fp)",
    "relative_volume_error": "(predicted - reference volume) / reference volume",
    "surface": "elements between voxels inside and outside, weighted by their area (marching cubes); distances run "
    "between elements; a volume of one slice is a plane, its surface the contour, weighted by length",
    "hd95_px": "larger of the two directed 95th percentiles, by area, of 3D surface distance, in pixels of the slice",
    "assd_px": "mean 3D surface distance over the area of both surfaces together, in pixels of the slice",
    "nsd": "share of the area of both surfaces within the tolerance of the other; the key is the tolerance in pixels "
    "of the slice",
    "distance_unit": "slices lie their true spacing apart where it is known; else one slice counts as one pixel",
    "lesion": "connected component of the volume over 26 neighbours with at least lesion_min_voxels voxels; smaller "
    "ones are dropped, of reference and prediction",
    "detected": "a kept component of the prediction shares a voxel with the lesion",
    "false_lesion": "kept component of the prediction that shares no voxel with any kept lesion of the reference",
    "detection_precision": "detected / (detected + false lesions); 0 where lesions were missed and none is false",
    "detection_recall": "detected / lesions of the reference",
    "detection_f1": "2 detected / (2 detected + missed + false)",
    "lesion_dice": "Dice of a lesion against all kept components of the prediction that overlap it, taken together",
    "in_question": "voxels with a probability of at least 0.01, or of the reference",
    "calibration": "voxels in question in 20 equal bins of probability, lower edge included",
    "expected_calibration_error": "mean over voxels in question of |mean probability - share of foreground| of the bin",
    "threshold_tp": "true positives at the thresholds 0.02, 0.03 ... 0.98; threshold_fp likewise",
    "empty_rule": "reference and prediction empty: NaN (null), counted; one of them empty: Dice, IoU, precision and "
    "NSD 0, HD95 and ASSD the diagonal of the volume; recall and volume error do not exist for an empty reference",
    "interval": "over patients, none of fewer than five, and none where all have the same value; bootstrap, BCa; "
    "percentile for the median; of rates the exact one of Clopper and Pearson, patients being clusters",
}


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """One network on a set of patients.

    Attributes:
        threshold: probability from which a pixel is foreground; NaN where the rows have different ones (several folds).
        rows: one for each patient, in the order they were given.
        averages: by name, see `wcr_med.metrics.averages.DEFINITIONS`, `wcr_med.evaluation.summarise` and `mean_*` of
            single scores.
        seed: of the bootstrap.
        split_hash: of the partition whose patients these are; `None` where it is not known, and of several folds.
        lesion_min_voxels: components of fewer voxels count neither as lesions nor as false alarms.
    """

    threshold: float
    rows: tuple[PatientRow, ...]
    averages: Mapping[str, Average]
    seed: int
    split_hash: str | None = None
    lesion_min_voxels: int = 10

    @property
    def n_both_empty(self) -> int:
        """Patients with nothing to find and nothing found: their Dice does not exist, and its mean leaves them out."""
        return sum(row.empty == "both" for row in self.rows)

    @property
    def false_positive_voxels(self) -> int:
        """Voxels predicted in patients whose reference is empty: the false-positive burden."""
        return sum(row.fp for row in self.rows if row.empty == "reference")

    @property
    def calibration(self) -> CalibrationCounts:
        """The voxels in question of all patients together."""
        return sum((row.calibration for row in self.rows), CalibrationCounts())

    @property
    def detection(self) -> DetectionCounts:
        """The lesions of all patients together."""
        return sum((row.detection for row in self.rows), DetectionCounts(detected=0, missed=0, false=0))

    def value(self, name: str) -> float:
        """An average by name, NaN where it does not exist."""
        return self.averages[name].value

    def to_dict(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return {
            "schema_version": SCHEMA_VERSION,
            "definitions": {**DEFINITIONS, **LESION_DEFINITIONS, **SCORE_DEFINITIONS},
            "lesion_min_voxels": self.lesion_min_voxels,
            "threshold": without_nan(self.threshold),
            "seed": self.seed,
            "split_hash": self.split_hash,
            "n_patients": len(self.rows),
            "n_both_empty": self.n_both_empty,
            "n_reference_empty": sum(row.empty in ("both", "reference") for row in self.rows),
            "false_positive_voxels": self.false_positive_voxels,
            "averages": {name: without_nan(asdict(average)) for name, average in self.averages.items()},
            "patients": [row.to_dict() for row in self.rows],
        }

    @classmethod
    def from_dict(cls, document: Any, *, source: str = "metrics.json") -> "EvaluationResult":
        """Read what `to_dict` wrote.

        Raises:
            UserError: another schema, or a field is missing; `source` names the file. Schema 2 is read without its
                distances, as if they had not been measured.
        """
        found = document.get("schema_version") if isinstance(document, Mapping) else None
        if found not in _READS:
            raise UserError(f"{source}: schema version {found!r}, expected {SCHEMA_VERSION}; run the evaluation again")
        try:
            rows = tuple(PatientRow.from_dict(row) for row in document["patients"])
            averages = _averages(document["averages"])
            if found != SCHEMA_VERSION:
                rows, averages = _without_distances(rows, averages)
                averages = _with_new_intervals(averages, rows, document["seed"])
            return cls(
                threshold=math.nan if document["threshold"] is None else document["threshold"],
                lesion_min_voxels=document["lesion_min_voxels"],
                seed=document["seed"],
                split_hash=document.get("split_hash"),
                rows=rows,
                averages=averages,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{source}: a field is missing or unknown ({error}); run the evaluation again") from None

    def save(self, folder: Path) -> None:
        """Write metrics.json, per_patient.csv and per_lesion.csv into `folder`."""
        write_json(folder / "metrics.json", self.to_dict())
        write_per_patient_csv(folder / "per_patient.csv", self.rows)
        write_per_lesion_csv(folder / "per_lesion.csv", self.rows)

    @classmethod
    def load(cls, path: Path) -> "EvaluationResult":
        """Read a metrics.json."""
        return cls.from_dict(read_json(path), source=str(path))


def _averages(document: Mapping[str, Any]) -> dict[str, Average]:
    if missing := sorted(DEFINITIONS.keys() - document.keys()):
        raise KeyError(missing[0])
    return {name: _average(entry) for name, entry in document.items()}


def _without_distances(
    rows: tuple[PatientRow, ...], averages: Mapping[str, Average]
) -> tuple[tuple[PatientRow, ...], dict[str, Average]]:
    kept = {name: average for name, average in averages.items() if not name.startswith(_DISTANCES)}
    return tuple(replace(row, hd95_px=math.nan, assd_px=math.nan, nsd={}) for row in rows), kept


def _with_new_intervals(averages: Mapping[str, Average], rows: tuple[PatientRow, ...], seed: int) -> dict[str, Average]:
    """The stored values with the intervals of today, at the level and with the resamples of the stored ones."""
    old = next((average.interval for average in averages.values() if average.interval), None)
    if old is None:
        return dict(averages)
    config = EvaluationConfig(confidence=old.confidence, resamples=old.resamples)
    new = summarise(rows, config, seed=seed)
    return {
        name: replace(average, interval=new[name].interval if name in new else None)
        for name, average in averages.items()
    }


def _average(entry: Mapping[str, Any]) -> Average:
    interval = Interval(**entry["interval"]) if entry["interval"] is not None else None
    value = math.nan if entry["value"] is None else entry["value"]
    return Average(value=value, n_patients=entry["n_patients"], n_undefined=entry["n_undefined"], interval=interval)
