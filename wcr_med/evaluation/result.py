"""What an evaluation found: a row a patient, averages with intervals, and the files that hold them."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wcr_med.errors import UserError
from wcr_med.files import read_json, write_json, write_text
from wcr_med.metrics.averages import DEFINITIONS, Average
from wcr_med.metrics.uncertainty import Interval

SCHEMA_VERSION = 1

SCORE_DEFINITIONS: Mapping[str, str] = {
    "dice": "2 tp / (2 tp + fp + fn) of the whole volume",
    "iou": "tp / (tp + fp + fn)",
    "precision": "tp / (tp + fp); 0 where nothing is predicted and there is something to find",
    "recall": "tp / (tp + fn)",
    "specificity": "tn / (tn + fp)",
    "relative_volume_error": "(predicted - reference volume) / reference volume",
    "hd95_px": "larger of the two directed 95th percentiles of 3D surface distance, in pixels of the slice",
    "assd_px": "mean 3D surface distance over the surface voxels of both masks, in pixels of the slice",
    "nsd": "share of both surfaces within the tolerance of the other; the key is the tolerance in pixels of the slice",
    "distance_unit": "slices lie their true spacing apart where it is known; else one slice counts as one pixel",
    "empty_rule": "reference and prediction empty: NaN (null), counted; one of them empty: Dice, IoU, precision and "
    "NSD 0, HD95 and ASSD the diagonal of the volume; recall and volume error do not exist for an empty reference",
    "interval": "bootstrap over patients, BCa; percentile for the median and where BCa does not exist",
}


@dataclass(frozen=True, kw_only=True)
class PatientRow:
    """The scores of one patient. NaN where a score does not exist (docs/metrics.md).

    Attributes:
        patient_id: the patient.
        institution: where the images come from, "unknown" if the name tells none.
        n_slices: slices of the volume; `n_slices_tumour` of these hold tumour in the reference.
        n_slices_false_alarm: slices without tumour in which a pixel is predicted.
        tp, fp, fn, tn: pixels of the volume.
        tumour_slice_dice_sum: sum of the Dice of single slices that hold tumour.
        empty: which masks are empty: "none", "reference", "prediction" or "both".
        hd95_px: in pixels of the slice; `assd_px` likewise. NaN where distances were not asked for.
        nsd: normalised surface Dice, keyed by the tolerance in pixels as text; without distances it holds nothing.
        pixel_mm: size of a pixel (geometric mean of its sides); NaN where the spacing is unknown. Multiplied with a
            distance in pixels it gives millimetres.
        voxel_ml: volume of a voxel in millilitres, NaN where the spacing is unknown.
    """

    patient_id: str
    institution: str
    n_slices: int
    n_slices_tumour: int
    n_slices_false_alarm: int
    tp: int
    fp: int
    fn: int
    tn: int
    dice: float
    iou: float
    precision: float
    recall: float
    specificity: float
    relative_volume_error: float
    tumour_slice_dice_sum: float
    empty: str
    hd95_px: float
    assd_px: float
    nsd: Mapping[str, float]
    pixel_mm: float
    voxel_ml: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes None."""
        return {name: without_nan(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "PatientRow":
        """Read what `to_dict` wrote."""
        values: dict[str, Any] = {name: math.nan if value is None else value for name, value in document.items()}
        values["nsd"] = {key: math.nan if value is None else value for key, value in document["nsd"].items()}
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """One network on a set of patients.

    Attributes:
        threshold: probability from which a pixel is foreground.
        rows: one for each patient, in the order they were given.
        averages: by name, see `wcr_med.metrics.averages.DEFINITIONS` and `mean_*` of single scores.
        seed: of the bootstrap.
        split_hash: of the partition whose patients these are; `None` where it is not known.
    """

    threshold: float
    rows: tuple[PatientRow, ...]
    averages: Mapping[str, Average]
    seed: int
    split_hash: str | None = None

    @property
    def n_both_empty(self) -> int:
        """Patients with nothing to find and nothing found: their Dice does not exist, and its mean leaves them out."""
        return sum(row.empty == "both" for row in self.rows)

    @property
    def false_positive_voxels(self) -> int:
        """Voxels predicted in patients whose reference is empty: the false-positive burden."""
        return sum(row.fp for row in self.rows if row.empty == "reference")

    def value(self, name: str) -> float:
        """An average by name, NaN where it does not exist."""
        return self.averages[name].value

    def to_dict(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return {
            "schema_version": SCHEMA_VERSION,
            "definitions": {**DEFINITIONS, **SCORE_DEFINITIONS},
            "threshold": self.threshold,
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
    def from_dict(cls, document: Mapping[str, Any], *, source: str = "metrics.json") -> "EvaluationResult":
        """Read what `to_dict` wrote.

        Raises:
            UserError: another schema, or a field is missing; `source` names the file.
        """
        if document.get("schema_version") != SCHEMA_VERSION:
            found = document.get("schema_version")
            raise UserError(f"{source}: schema version {found!r}, expected {SCHEMA_VERSION}; run the evaluation again")
        try:
            return cls(
                threshold=document["threshold"],
                seed=document["seed"],
                split_hash=document.get("split_hash"),
                rows=tuple(PatientRow.from_dict(row) for row in document["patients"]),
                averages={name: _average(entry) for name, entry in document["averages"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{source}: a field is missing or unknown ({error}); run the evaluation again") from None

    def save(self, folder: Path) -> None:
        """Write metrics.json and per_patient.csv into `folder`."""
        write_json(folder / "metrics.json", self.to_dict())
        write_per_patient_csv(folder / "per_patient.csv", self)

    @classmethod
    def load(cls, path: Path) -> "EvaluationResult":
        """Read a metrics.json."""
        return cls.from_dict(read_json(path), source=str(path))


def write_per_patient_csv(path: Path, result: EvaluationResult) -> None:
    """Write one line a patient, scores with six decimals; a score that does not exist is an empty field."""
    stream = io.StringIO()
    records = [_flat(row) for row in result.rows]
    names = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.DictWriter(stream, fieldnames=names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_text(path, stream.getvalue())


def without_nan(value: Any) -> Any:
    """The same JSON-ready value with None for NaN and infinity, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: without_nan(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return value


def _flat(row: PatientRow) -> dict[str, Any]:
    record = row.to_dict()
    record.update({f"nsd_{tolerance}px": value for tolerance, value in record.pop("nsd").items()})
    return {name: f"{value:.6f}" if isinstance(value, float) else value for name, value in record.items()}


def _average(entry: Mapping[str, Any]) -> Average:
    interval = Interval(**entry["interval"]) if entry["interval"] is not None else None
    value = math.nan if entry["value"] is None else entry["value"]
    return Average(value=value, n_patients=entry["n_patients"], n_undefined=entry["n_undefined"], interval=interval)
