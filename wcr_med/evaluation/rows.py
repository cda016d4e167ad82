"""The scores of one patient: the record that every average, comparison and page is computed from."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from wcr_med.metrics.calibration import CalibrationCounts
from wcr_med.metrics.counts import Counts, Tally
from wcr_med.metrics.lesions import DetectionCounts, LesionRow, detection_counts


@dataclass(frozen=True, kw_only=True)
class PatientRow:
    """The scores of one patient. NaN where a score does not exist (docs/metrics.md).

    Attributes:
        patient_id: the patient.
        institution: where the images come from, "unknown" if the name tells none.
        threshold: probability from which a pixel is foreground; rows of several folds have each their own. NaN where
            the masks did not come from probabilities.
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
        lesions: the lesions of the reference, the largest first; those too small to count are not among them.
        n_predicted_lesions: connected components of the prediction, those too small left out.
        n_false_lesions: how many of them touch no lesion of the reference.
        calibration: voxels in question by bin of probability; all zero without probabilities.
        threshold_tp: true positives at every threshold of `wcr_med.evaluation.threshold.GRID`; empty without
            probabilities. Together with the pixels of the reference (`tp + fn`) and `threshold_fp` it gives the Dice at
            every threshold.
        threshold_fp: false positives, likewise.
    """

    patient_id: str
    institution: str
    threshold: float
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
    lesions: tuple[LesionRow, ...]
    n_predicted_lesions: int
    n_false_lesions: int
    calibration: CalibrationCounts
    threshold_tp: tuple[int, ...]
    threshold_fp: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.threshold_tp) != len(self.threshold_fp):
            raise ValueError("threshold_tp and threshold_fp are not of one length")

    @property
    def tally(self) -> Tally:
        """What averages over patients need of the slices."""
        return Tally(
            total=Counts(tp=self.tp, fp=self.fp, fn=self.fn, tn=self.tn),
            tumour_dice_sum=self.tumour_slice_dice_sum,
            n_tumour=self.n_slices_tumour,
            n_free=self.n_slices - self.n_slices_tumour,
            n_false_alarms=self.n_slices_false_alarm,
        )

    @property
    def detection(self) -> DetectionCounts:
        """Lesions found, missed and made up; gives detection precision, recall and F1."""
        return detection_counts(self.lesions, self.n_false_lesions)

    @property
    def dice_lesion(self) -> float:
        """Mean Dice over the lesions of the reference; NaN where there are none."""
        return sum(lesion.dice for lesion in self.lesions) / len(self.lesions) if self.lesions else math.nan

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes None."""
        return {name: without_nan(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "PatientRow":
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: a field is missing, unknown or of another kind.
        """
        values: dict[str, Any] = {name: math.nan if value is None else value for name, value in document.items()}
        values["nsd"] = {key: math.nan if value is None else value for key, value in document["nsd"].items()}
        values["lesions"] = tuple(LesionRow(**lesion) for lesion in document["lesions"])
        calibration: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document["calibration"].items()
        }
        values["calibration"] = CalibrationCounts(**calibration)
        for name in ("threshold_tp", "threshold_fp"):
            values[name] = tuple(document[name])
        for entry in fields(cls):
            wanted = {int: (int,), float: (int, float)}.get(entry.type) if isinstance(entry.type, type) else None
            if wanted and entry.name in values and type(values[entry.name]) not in wanted:
                raise TypeError(f"{entry.name} is {document.get(entry.name)!r}")
        return cls(**values)


def without_nan(value: Any) -> Any:
    """The same JSON-ready value with None for NaN and infinity, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: without_nan(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return value
