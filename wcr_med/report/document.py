"""The records that a summary and a report are made of: no pixels, no formatting."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wcr_med.evaluation.result import EvaluationResult
from wcr_med.metrics.averages import Average
from wcr_med.metrics.uncertainty import method_of

NOTICE = "For research use only. Not a medical device; not for diagnosis or treatment."


@dataclass(frozen=True, kw_only=True)
class Score:
    """An average over patients with its interval.

    Attributes:
        value: NaN where no patient adds to it.
        low: lower end of the interval, `None` where there is none; `high` likewise the upper.
        n_patients: how many patients it rests on.
        method: of the interval, as in `wcr_med.metrics.uncertainty.Interval`; where there is none, "none" and why:
            "none: fewer than 5 patients", "none: all values are equal".
        confidence: level of the interval, 0.95 for 95 %; `None` where there is none.
    """

    value: float
    low: float | None
    high: float | None
    n_patients: int
    method: str
    confidence: float | None = None

    @classmethod
    def from_average(cls, average: Average) -> "Score":
        """The same numbers in one flat record."""
        interval = average.interval
        return cls(
            value=average.value,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            n_patients=average.n_patients,
            method=method_of(interval, value=average.value, n_patients=average.n_patients),
            confidence=interval.confidence if interval else None,
        )


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """Whose images.

    Attributes:
        source: what the images are, in words: "images in kaggle_3m layout", or that they are a phantom.
        n_train: patients that trained; `n_validation` and `n_test` likewise.
        split_method: "holdout" or "fold 2 of 5".
        split_hash: SHA-256 of the partition.
        institutions: patients of each institution, by partition: {"train": {"CS": 3}, ...}; may be empty.
    """

    source: str
    n_train: int
    n_validation: int
    n_test: int
    split_method: str
    split_hash: str
    institutions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """The network.

    Attributes:
        name: architecture.
        features: channels of the first level.
        n_all: number of parameters; `n_prunable` of them are kernels that pruning ranks.
        grid: rows and columns of the network's input.
    """

    name: str
    features: int
    n_all: int
    n_prunable: int
    grid: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """How it was trained.

    Attributes:
        regularizer: name of the term; `strength` its weight.
        optimizer: name; `learning_rate` its peak.
        epochs: how many were run; `best_epoch` is the one that was kept.
        best_dice: of the kept epoch on validation patients, on the network's grid at threshold 0.5.
        seconds: wall time of training.
    """

    regularizer: str
    strength: float
    optimizer: str
    learning_rate: float
    epochs: int
    best_epoch: int
    best_dice: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class NetworkSummary:
    """One network on the test patients.

    Attributes:
        name: "dense", "pruned-90".
        sparsity_prunable: share of zeros among prunable weights; `sparsity_all` among all parameters.
        repair: names of the steps that followed pruning, in order; empty for none.
        retrained_epochs: of training after pruning with the mask held; 0 for one-shot.
        threshold: chosen on validation patients, or set in the configuration.
        scores: every average by name.
        n_both_empty: patients without a Dice: nothing to find, nothing found.
        false_positive_voxels: voxels predicted in patients without a tumour.
    """

    name: str
    sparsity_prunable: float
    sparsity_all: float
    repair: tuple[str, ...]
    retrained_epochs: int
    threshold: float
    scores: Mapping[str, Score]
    n_both_empty: int
    false_positive_voxels: int

    @classmethod
    def from_result(
        cls,
        result: EvaluationResult,
        *,
        name: str,
        sparsity_prunable: float,
        sparsity_all: float,
        repair: tuple[str, ...] = (),
        retrained_epochs: int = 0,
    ) -> "NetworkSummary":
        """Take threshold and scores from an evaluation."""
        return cls(
            name=name,
            sparsity_prunable=sparsity_prunable,
            sparsity_all=sparsity_all,
            repair=repair,
            retrained_epochs=retrained_epochs,
            threshold=result.threshold,
            scores={key: Score.from_average(average) for key, average in result.averages.items()},
            n_both_empty=result.n_both_empty,
            false_positive_voxels=result.false_positive_voxels,
        )


@dataclass(frozen=True, kw_only=True)
class LadderRow:
    """One rung of the sparsity table.

    Attributes:
        sparsity: share of prunable weights set to zero, in [0, 1).
        repair: names of the steps that followed pruning, in order; empty for none.
        threshold: chosen for this network on validation patients.
        dice_patient: on test patients; `f1_pooled` likewise.
    """

    sparsity: float
    repair: tuple[str, ...]
    threshold: float
    dice_patient: Score
    f1_pooled: Score

    @classmethod
    def from_result(cls, result: EvaluationResult, *, sparsity: float, repair: tuple[str, ...] = ()) -> "LadderRow":
        """Take threshold and scores from an evaluation."""
        return cls(
            sparsity=sparsity,
            repair=repair,
            threshold=result.threshold,
            dice_patient=Score.from_average(result.averages["dice_patient"]),
            f1_pooled=Score.from_average(result.averages["f1_pooled"]),
        )


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """The ONNX file of the pruned network.

    Attributes:
        file: its name.
        n_bytes: its size; `dense_bytes` the size of the same network's file with every weight stored.
        logit_difference: largest to PyTorch over `n_slices` slices, and `logit_tolerance` what the gate allowed.
        dice_difference: largest to PyTorch over the same volumes, and `dice_tolerance` what the gate allowed.
        n_slices: how many slices were compared.
    """

    file: str
    n_bytes: int
    dense_bytes: int
    logit_difference: float
    logit_tolerance: float
    dice_difference: float
    dice_tolerance: float
    n_slices: int

    @property
    def times_smaller(self) -> float:
        """Dense size over the file's size."""
        return self.dense_bytes / self.n_bytes
