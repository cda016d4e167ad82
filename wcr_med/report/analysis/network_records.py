"""What is said of one network by itself. Records only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wcr_med.report.document import Score


@dataclass(frozen=True, kw_only=True)
class Cases:
    """How many patients and slices, by what there was to find and what was found.

    Attributes:
        n_patients: test patients.
        n_both_empty: nothing to find and nothing found; they have no Dice.
        n_false_alarm: nothing to find, something predicted.
        n_missed: a tumour, and nothing predicted at all.
        n_not_found: a tumour, and no predicted voxel lies on it; `n_missed` is among them.
        n_slices: slices of all patients; `n_slices_free` hold no tumour.
        n_slices_false_alarm: slices without tumour in which a voxel is predicted.
        false_positive_voxels: predicted in patients without a tumour.
        false_positive_ml: the same; NaN where the spacing of such a patient is unknown, 0 where there is none.
        n_false_lesions: predicted components on no reference lesion, of all patients.
    """

    n_patients: int
    n_both_empty: int
    n_false_alarm: int
    n_missed: int
    n_not_found: int
    n_slices: int
    n_slices_free: int
    n_slices_false_alarm: int
    false_positive_voxels: int
    false_positive_ml: float
    n_false_lesions: int


@dataclass(frozen=True, kw_only=True)
class LesionDetection:
    """Lesions found, counted over all patients (ratios of sums).

    Attributes:
        min_voxels: components of fewer voxels are not lesions.
        n_reference: reference lesions; `n_detected` of them were found, the others missed.
        n_predicted: predicted components; `n_false` of them lie on no reference lesion.
        sensitivity: detected / reference.
        precision: detected / (detected + false).
        f1: 2 detected / (2 detected + missed + false).
        dice: mean over reference lesions of the Dice of the lesion, a missed one 0; interval over patients.
        false_per_patient: mean number of false lesions.
    """

    min_voxels: int
    n_reference: int
    n_detected: int
    n_predicted: int
    n_false: int
    sensitivity: Score
    precision: Score
    f1: Score
    dice: Score
    false_per_patient: Score


@dataclass(frozen=True, kw_only=True)
class VolumePoint:
    """One patient in a Bland-Altman plot; everything in the unit of `VolumeAgreement`.

    Attributes:
        patient_id: the patient.
        reference: volume; `predicted` likewise.
        mean: of the two; `difference` predicted minus reference.
    """

    patient_id: str
    reference: float
    predicted: float
    mean: float
    difference: float


@dataclass(frozen=True, kw_only=True)
class VolumeAgreement:
    """Bland-Altman: predicted against reference volume.

    Attributes:
        unit: "ml" where every patient's spacing is known, else "voxels".
        points: one for each patient, in the order of the rows.
        bias: mean difference, predicted minus reference.
        lower: bias - 1.96 standard deviations of the difference, with interval; `upper` likewise above.
        standard_deviation: of the differences, n - 1 in the denominator; NaN with fewer than two patients.
        n_within: patients between the limits.
    """

    unit: str
    points: tuple[VolumePoint, ...]
    bias: Score
    lower: Score
    upper: Score
    standard_deviation: float
    n_within: int


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Voxels whose predicted probability lies in [low, high).

    Attributes:
        low: of the bin; `high` its end, which belongs to the last bin alone.
        n_voxels: in the bin, of all patients.
        mean_probability: NaN in an empty bin.
        observed: share of them that are lesion in the reference, interval over patients; NaN in an empty bin.
    """

    low: float
    high: float
    n_voxels: int
    mean_probability: float
    observed: Score


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Probabilities against the reference, over voxels in question (docs/report.md).

    Attributes:
        bins: of equal width, from 0 to 1.
        ece: expected calibration error: mean over bins of |mean probability - observed share|, by voxels.
        brier: mean squared difference of probability and reference.
        n_voxels: in question, of all patients.
        over_confidence: mean probability minus observed share; positive: lesion claimed too readily.
    """

    bins: tuple[CalibrationBin, ...]
    ece: Score
    brier: Score
    n_voxels: int
    over_confidence: float


@dataclass(frozen=True, kw_only=True)
class ThresholdPoint:
    """Scores of the test patients had this threshold been used; nothing was chosen on them.

    Attributes:
        threshold: of `wcr_med.evaluation.threshold.GRID`.
        dice_patient: mean over patients; `f1_pooled` of all voxels. NaN where no patient has one.
    """

    threshold: float
    dice_patient: float
    f1_pooled: float


@dataclass(frozen=True, kw_only=True)
class ThresholdCurve:
    """How much hangs on the threshold.

    Attributes:
        points: by rising threshold.
        chosen: thresholds that were used, by partition (one entry for a hold-out).
        plateau_low: lowest and `plateau_high` highest threshold of the unbroken stretch around the (median) chosen one
            on which dice_patient lies at most `plateau_loss` below the best of the curve; NaN where the chosen one
            itself lies lower, or there is no curve.
        plateau_loss: the non-inferiority margin.
    """

    points: tuple[ThresholdPoint, ...]
    chosen: Mapping[str, float]
    plateau_low: float
    plateau_high: float
    plateau_loss: float


@dataclass(frozen=True, kw_only=True)
class PartitionScore:
    """A network on the test patients of one partition.

    Attributes:
        partition: its name.
        n_patients: its test patients.
        threshold: chosen on its validation patients.
        dice_patient: over them; `f1_pooled` likewise.
    """

    partition: str
    n_patients: int
    threshold: float
    dice_patient: Score
    f1_pooled: Score


@dataclass(frozen=True, kw_only=True)
class NetworkAnalysis:
    """One network, dense or pruned.

    Attributes:
        name: "dense", "pruned-90"; `label` for headings.
        sparsity_prunable: share of zeros among prunable weights; `sparsity_all` among all parameters.
        n_prunable: prunable weights; `n_all` all parameters.
        repair: names of the steps that followed pruning, in order.
        retrained_epochs: after pruning with the mask held; 0 for one-shot.
        scores: by name: those of `EvaluationResult.averages` ("dice_patient", "mean_iou", "mean_nsd_1px" ...), and
            "mean_hd95_mm", "mean_assd_mm" where every patient's spacing is known.
        n_undefined: by the same names, patients left out because the score does not exist for them.
        cases: counts of empty masks and false alarms.
        lesions: detection.
        volume: agreement.
        calibration: `None` where no voxel is in question.
        threshold: sensitivity to it.
        partitions: one entry for each partition.
    """

    name: str
    label: str
    sparsity_prunable: float
    sparsity_all: float
    n_prunable: int
    n_all: int
    repair: tuple[str, ...]
    retrained_epochs: int
    scores: Mapping[str, Score]
    n_undefined: Mapping[str, int]
    cases: Cases
    lesions: LesionDetection
    volume: VolumeAgreement
    calibration: Calibration | None
    threshold: ThresholdCurve
    partitions: tuple[PartitionScore, ...] = field(default=())
