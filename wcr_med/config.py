"""One complete, typed, strict and frozen configuration per run.

Every field is described where it is declared; `wcr-med config` prints these descriptions. Unknown keys are errors.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from wcr_med.channel_names import KAGGLE_CHANNELS, checked_names, names_of_patterns
from wcr_med.documents import check_document, read_document
from wcr_med.volumes.labels import LabelValues

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

ALL_SITES = "all"
"""The value of `split.leave_out` that stands for every institution in turn."""

OTHER_SITE = "other"
"""The site of all institutions with fewer patients than `split.institution_min`."""


class Section(BaseModel):
    """A part of a configuration: strict, frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def to_yaml(self) -> str:
        """The resolved section as YAML; of a whole configuration, its loader reads it back to an equal object."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class NiftiConfig(Section):
    """How files are named in a folder of NIfTI volumes: one folder a patient."""

    channels: dict[str, str] = Field(
        {"t1": "*_t1.nii.gz", "flair": "*_flair.nii.gz", "t1ce": "*_t1ce.nii.gz"},
        min_length=1,
        description="Name of each channel and its file pattern, in the network's order; or one pattern of a 4D file",
    )
    label: str = Field("*_seg.nii.gz", description="Pattern of the label file")
    lesion_values: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="Label values that are lesion, such as [1, 2, 4]; null: 1 or 255, where a label holds one of them."
        " A label with a value that is named nowhere is refused",
    )
    background_values: tuple[int, ...] = Field((0,), min_length=1, description="Label values that are no lesion")

    @model_validator(mode="after")
    def _no_value_is_both(self) -> Self:
        if both := sorted(set(self.lesion_values or ()) & set(self.background_values)):
            raise ValueError(f"{both[0]} is in lesion_values and in background_values: keep it in one")
        return self

    @field_validator("channels", mode="before")
    @classmethod
    def _a_list_of_patterns_gives_names(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and value and all(isinstance(pattern, str) for pattern in value):
            return names_of_patterns(value)
        return value

    @field_validator("channels")
    @classmethod
    def _names_tell_channels_apart(cls, value: dict[str, str]) -> dict[str, str]:
        checked_names(list(value))
        return value

    @property
    def labels(self) -> LabelValues:
        """What the values of a label file mean."""
        return LabelValues(lesion=self.lesion_values, background=self.background_values)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The file patterns, in the network's order."""
        return tuple(self.channels.values())


class DataConfig(Section):
    """Where the images are."""

    root: Path = Field(description="Folder with one folder a patient (kaggle_3m, or NIfTI)")
    format: Literal["kaggle_3m", "nifti"] = Field("kaggle_3m", description="Layout of that folder")
    channels: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Name of each channel, in the network's order; null: pre-contrast, FLAIR and post-contrast of"
        " kaggle_3m, or the names in nifti.channels. Needed for a 4D file, which does not name its volumes",
    )
    nifti: NiftiConfig = Field(NiftiConfig(), description="File patterns, used when format is nifti")
    spacing_mm: tuple[Positive, Positive, Positive] | None = Field(
        None,
        description="kaggle_3m alone: millimetres between slices, rows and columns, which TIFFs do not hold;"
        " null: unknown, and distances are in pixels",
    )
    cache: Path = Field(Path(".cache/wcr-med"), description="Folder for prepared slices; may be deleted at any time")
    phantom_patients: int = Field(
        0,
        ge=0,
        description="When above zero and root does not exist, a phantom with this many patients is written there first",
    )

    @property
    def sequences(self) -> tuple[str, ...]:
        """Names of the channels as far as this section tells; one alone where it does not name a 4D file's volumes."""
        if self.channels is not None:
            return self.channels
        return KAGGLE_CHANNELS if self.format == "kaggle_3m" else tuple(self.nifti.channels)

    @model_validator(mode="after")
    def _names_are_told_once(self) -> Self:
        if self.channels is None:
            return self
        checked_names(self.channels)
        patterns = self.nifti.channels
        if self.format == "nifti" and len(patterns) > 1 and self.channels != tuple(patterns):
            raise ValueError(
                f"channels is {', '.join(self.channels)}, nifti.channels names {', '.join(patterns)}:"
                " set channels to null"
            )
        return self

    @model_validator(mode="after")
    def _spacing_is_not_in_the_files(self) -> Self:
        if self.format == "nifti" and self.spacing_mm is not None:
            raise ValueError(
                "spacing_mm is set, but format is nifti, whose files hold their own spacing: set it to null"
            )
        return self


class SplitConfig(Section):
    """Which patients train, validate and test. Always by patient: a hold-out, folds, or an institution left out."""

    seed: int = Field(0, ge=0, description="Seed of the partition; independent of the run's seed")
    validation_patients: Count = Field(description="Patients for early stop and for the threshold")
    test_patients: Count = Field(
        description="Patients that only the final evaluation sees (hold-out; ignored with folds and leave_out)"
    )
    folds: int = Field(0, ge=0, description="0: hold-out. 2 or more: k-fold, each patient tests once")
    fold: Annotated[int, Field(ge=0)] | None = Field(
        0, description="Which fold is the test partition, from 0; null: each in turn (`wcr-med run --folds`)"
    )
    leave_out: str | None = Field(
        None,
        description="Institution whose patients are the test partition; all: each in turn"
        " (`wcr-med run --leave-one-institution-out`)",
    )
    institution_min: Count = Field(
        5, description="leave_out: institutions of fewer patients are left out together, as the site other"
    )

    @property
    def in_turn(self) -> bool:
        """Whether this stands for several partitions, one after another, and not for one."""
        return self.fold is None or self.leave_out == ALL_SITES

    @model_validator(mode="after")
    def _fold_exists(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds is 1: use 0 for a hold-out split, or 2 and more")
        if self.fold is None and not self.folds:
            raise ValueError("fold is null, but folds is 0: give folds, or set fold to 0")
        if self.fold is not None and self.fold >= max(1, self.folds):
            raise ValueError(f"fold is {self.fold}, but folds is {self.folds}: count from 0")
        if self.folds and self.leave_out is not None:
            raise ValueError(
                f"folds is {self.folds} and leave_out is {self.leave_out}: set folds to 0, or leave_out to null"
            )
        return self


class PreprocessConfig(Section):
    """Raw volume to network input. See wcr_med.preprocess.PreprocessSettings."""

    height: int = Field(128, ge=16, le=4096, description="Rows of the network's grid")
    width: int = Field(128, ge=16, le=4096, description="Columns of the network's grid")
    crop: Literal["head", "none"] = Field("head", description="Zoom to the head's box, or take the whole slice")
    low_percentile: float = Field(
        1.0, ge=0, lt=50, description="Lower clip of foreground intensities for mean and spread"
    )
    high_percentile: float = Field(99.0, gt=50, le=100, description="Upper clip of the same")


class AugmentConfig(Section):
    """Random changes of training slices, drawn anew each epoch."""

    enabled: bool = Field(True, description="Off: slices are used as they are")
    flip: bool = Field(True, description="Mirror left and right, half of the time")
    rotate_degrees: float = Field(15.0, ge=0, le=180, description="Largest rotation either way")
    scale: float = Field(0.1, ge=0, lt=1, description="Largest relative zoom either way")
    shift: float = Field(0.05, ge=0, lt=1, description="Largest shift, as a share of the slice")
    elastic: float = Field(0.2, ge=0, le=1, description="Probability of an elastic deformation")
    intensity: float = Field(
        0.1, ge=0, description="Largest relative gain and absolute offset of a channel, in spreads"
    )
    noise: float = Field(0.05, ge=0, description="Largest standard deviation of added noise, in spreads")


class ModelConfig(Section):
    """The network."""

    name: Literal["buda_unet", "monai_unet", "basic_unet", "smp_unet"] = Field("buda_unet", description="Architecture")
    in_channels: Count = Field(3, description="Input channels")
    features: Count = Field(32, description="Channels of the first level; each deeper level doubles them")
    encoder: str = Field("resnet18", description="Encoder name, used by smp_unet alone")
    encoder_weights: str | None = Field(None, description="Pre-trained encoder weights, smp_unet alone; null: random")


class ScheduleConfig(Section):
    """When the regularizer acts, in shares of all steps; null: the method's own default."""

    start: Fraction | None = Field(None, description="It does nothing before this share of the steps")
    ramp: Fraction | None = Field(None, description="Share of the steps over which it rises to its full strength")
    settle: Fraction | None = Field(None, description="Share of the steps at the end in which it does nothing")


class RegularizerConfig(Section):
    """What concentrates the weights while the network trains."""

    name: str = Field(
        "wcr",
        description="none, wcr, l1, hoyer, hoyer_square (loss terms); wcr_tangential, wcr_quantile, gradual_magnitude"
        " (steps after the optimizer's); or one that another package adds",
    )
    strength: NotNegative | None = Field(
        None, description="Weight of a term in the loss, or size of a step; null: the method's own default"
    )
    sparsity: Fraction = Field(
        0.96, description="Final sparsity of wcr_quantile and gradual_magnitude; just above that of pruning"
    )
    cost_weight: float = Field(
        0.0, ge=0, le=1, description="wcr_quantile and gradual_magnitude: as pruning.cost_weight, to train for latency"
    )
    keep_norm: float = Field(
        0.0, ge=0, le=1, description="wcr_quantile: 1 restores each layer's norm after a step, 0 does not"
    )
    schedule: ScheduleConfig = ScheduleConfig()


class LossConfig(Section):
    """What the network is trained to lower."""

    dice: NotNegative = Field(1.0, description="Weight of the soft Dice loss")
    cross_entropy: NotNegative = Field(1.0, description="Weight of the cross-entropy")
    dice_over: Literal["batch", "slice"] = Field(
        "batch", description="Soft Dice of all pixels of a batch together, or the mean over its slices"
    )

    @model_validator(mode="after")
    def _not_both_zero(self) -> Self:
        if self.dice + self.cross_entropy == 0:
            raise ValueError("dice and cross_entropy are both 0: nothing is left to train on")
        return self


class OptimizerConfig(Section):
    """How the weights move."""

    name: Literal["sgd", "adamw"] = Field("sgd", description="SGD with momentum prunes far better than AdamW")
    learning_rate: Positive = Field(0.05, description="Peak learning rate")
    momentum: Fraction = Field(0.9, description="Momentum, sgd alone")
    weight_decay: NotNegative = Field(
        3e-3,
        description="Weight decay of kernels; lets the random start fade, so that pruning removes noise",
    )
    robust: Literal["none", "sam", "cram_plus", "s2sam"] = Field(
        "none", description="Gradient at a perturbed point: sam and cram_plus take two passes a step, s2sam one"
    )
    rho: Positive = Field(0.05, description="Length of that perturbation")
    cram_sparsities: tuple[Fraction, ...] = Field(
        (0.5, 0.7, 0.8, 0.9, 0.95), min_length=1, description="cram_plus draws one of these sparsities a step"
    )
    powerpropagation: float = Field(
        1.0, ge=1, le=8, description="alpha: kernels are theta * |theta|^(alpha - 1), and theta is trained; 1: off"
    )


class TrainingConfig(Section):
    """The loop."""

    epochs: Count = Field(description="Passes over the balanced set of slices")
    batch_size: Count = Field(16, description="Slices a step")
    warmup_epochs: float = Field(1.0, ge=0, description="Epochs of linear warm-up, before the cosine to zero")
    other_per_tumour: NotNegative = Field(1.0, description="Slices without tumour drawn for each slice with tumour")
    patience: int = Field(0, ge=0, description="Stop after this many validations without a better Dice; 0: never")
    validate_every: Count = Field(1, description="Epochs between validations")
    gradient_clip: NotNegative = Field(1.0, description="Largest norm of the loss gradient; 0: no limit")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the processor has instructions for it, else fp32"
    )
    threads: int = Field(0, ge=0, description="Processor threads; 0: all available cores")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")
    loader_workers: int = Field(
        0, ge=0, description="Processes that augment; 0, best where the step is on the CPU: in the training process"
    )
    slices: Literal["auto", "streamed", "device"] = Field(
        "auto",
        description="streamed: read from the cache and augmented by the processor; device: kept in the device's"
        " memory and augmented there; auto: device on CUDA where they fit, else streamed",
    )
    compile: bool = Field(
        False, description="Compile the network (torch.compile), in one process alone; where that fails, go on without"
    )
    checkpoint_minutes: NotNegative = Field(
        10.0, description="Also save within an epoch when the last save is older than this; 0: after epochs alone"
    )
    track: tuple[Literal["tensorboard", "mlflow"], ...] = Field(
        ("tensorboard",), description="Where curves go; mlflow: to MLFLOW_TRACKING_URI, or a file beside the run"
    )


RepairName = Literal["reestimate_statistics", "match_variance", "reconstruct", "tune_biases"]


class PruningConfig(Section):
    """Which weights are removed, and what is repaired afterwards."""

    score: Literal["global_magnitude", "layer_magnitude", "lamp", "fisher"] = Field(
        "global_magnitude", description="What ranks weights"
    )
    cost_weight: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How much the latency that a weight costs counts against its squared score: 0 not at all, 1 fully",
    )
    layer_floor: Fraction = Field(
        0.001, description="Share of each layer's weights that always stays, at least one; 0: whole layers may go"
    )
    sparsity: Fraction = Field(0.9, description="Share of prunable weights set to zero in the exported network")
    also: tuple[Fraction, ...] = Field(
        (), description="Further sparsities that `run` prunes, scores, exports and reports beside it"
    )
    ladder: tuple[Fraction, ...] = Field(
        (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98), description="Sparsities of the summary's table"
    )
    repair: tuple[RepairName, ...] = Field(
        ("reestimate_statistics",),
        description="Steps after pruning, in this order; none trains a kernel by gradients: reestimate_statistics"
        " (batch norms), match_variance (each channel's mean and spread as in the dense network), reconstruct"
        " (surviving weights by least squares, layer by layer, towards the dense network's outputs), tune_biases"
        " (biases and normalisation parameters alone)",
    )
    repair_slices: Count = Field(512, description="Training slices that fisher and each repair step look at")
    tune_epochs: Count = Field(1, description="Passes of tune_biases over those slices")
    finetune_epochs: int = Field(
        0, ge=0, description="Epochs of retraining with the mask held; not one-shot any more, and labelled so"
    )


class EvaluationConfig(Section):
    """What a figure means. See docs/metrics.md."""

    threshold: float | Literal["auto"] = Field(
        "auto", description="Operating threshold; auto: chosen on validation patients, for each network by itself"
    )
    tolerance_px: tuple[Positive, ...] = Field(
        (1.0, 2.0), description="Tolerances of the normalised surface Dice, pixels"
    )
    lesion_min_voxels: Count = Field(
        10, description="Connected components of fewer voxels count neither as lesions nor as false alarms"
    )
    margin: float = Field(
        0.02, gt=0, lt=1, description="Non-inferiority margin for dice_patient; frozen when training begins"
    )
    worse_by: Positive = Field(0.05, description="A patient counts as worse when Dice falls by more than this")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Level of the intervals")
    resamples: Count = Field(2000, description="Bootstrap resamples over patients")
    batch_size: Count = Field(16, description="Slices a forward pass")

    @model_validator(mode="after")
    def _threshold_is_a_probability(self) -> Self:
        if isinstance(self.threshold, float) and not 0 < self.threshold < 1:
            raise ValueError(f"threshold is {self.threshold}: give a probability between 0 and 1, or auto")
        return self


RobustnessName = Literal["noise", "bias_field", "intensity_shift", "blur", "missing_channel"]


class ReportConfig(Section):
    """The clinical-style report. See docs/report.md."""

    robustness: tuple[RobustnessName, ...] = Field(
        ("noise", "bias_field", "intensity_shift", "blur", "missing_channel"),
        description="Disturbances of the test images under which dense and pruned networks are scored; []: none",
    )
    robustness_patients: int = Field(0, ge=0, description="At most this many test patients for that; 0: all")
    bench_runs: Count = Field(30, description="Timed runs of each exported file, for the section on deployment")
    subgroup_columns: tuple[str, ...] | None = Field(
        None, description="Columns of data.csv that make subgroups; null: every one with 2 to 8 different codes"
    )
    min_subgroup: Count = Field(
        10, description="Below this many patients a subgroup is not tested for harm; a verdict takes 40 or more"
    )
    permutations: Count = Field(2000, description="Of the test whether a subgroup is harmed more than the rest")
    gallery_patients: Count = Field(12, description="Most patients that are shown slice by slice")


class CardConfig(Section):
    """What only the user can know about the network. Null is shown as "not stated", never filled in."""

    model_name: str | None = Field(None, description="What the network is called")
    developers: str | None = Field(None, description="Who made it")
    contact: str | None = Field(None, description="Whom to ask")
    licence: str | None = Field(None, description="Under which licence the network may be used")
    intended_use: str | None = Field(None, description="The task, and where in the work of a clinic it would stand")
    intended_users: str | None = Field(None, description="Who would use it")
    population: str | None = Field(None, description="Patients and images it is meant for")
    out_of_scope: str | None = Field(None, description="What it must not be used for")
    data_source: str | None = Field(None, description="Where the images come from, with a citation")
    data_licence: str | None = Field(None, description="Licence of the images")
    data_dates: str | None = Field(None, description="When the images were acquired")
    scanners: str | None = Field(None, description="Makers, field strengths, protocols")
    reference_standard: str | None = Field(None, description="Who drew the reference masks, and how")
    annotator_agreement: str | None = Field(None, description="How well readers agree with one another")
    eligibility: str | None = Field(None, description="Which patients were included and excluded")
    ethics: str | None = Field(None, description="Approval and consent")
    sample_size: str | None = Field(None, description="How the number of patients was decided")
    registration: str | None = Field(None, description="Where the study and its protocol are registered")
    funding: str | None = Field(None, description="Who paid for the work")
    conflicts: str | None = Field(None, description="Interests of the developers")
    limitations: str | None = Field(None, description="Known limits that the figures do not show")


class ExportConfig(Section):
    """The ONNX file."""

    storage: Literal["auto", "dense", "gap8", "sparse_value", "rice"] = Field(
        "auto",
        description="How positions of weights are stored; auto, by tensor: of gap8, rice and dense the smallest, but "
        "dense where that saves less than 1 kB, and never sparse_value, which most other programs cannot read",
    )
    values: Literal["fp32", "fp16", "int8"] = Field(
        "fp32", description="How values of weights are stored; fp32: bit-exact; int8: one scale an output channel"
    )
    remove_dead_channels: bool = Field(
        True, description="Remove channels on which the outputs do not depend, or only by a constant; exact"
    )
    logit_tolerance: Positive = Field(
        1e-3, description="Largest logit difference to PyTorch over the parity slices; used with values fp32"
    )
    dice_tolerance: Positive = Field(
        1e-4, description="Largest Dice difference to PyTorch over the parity patients; used with values fp32"
    )
    lossy_dice_tolerance: Positive = Field(0.002, description="The same, used with values fp16 and int8")
    lossy_voxel_tolerance: Positive = Field(
        0.001,
        description="Largest share of voxels that values fp16 and int8 may put on the other side of the threshold",
    )
    quantised_dice_tolerance: Positive = Field(
        0.02, description="Largest Dice difference to the portable file over the parity patients; used with --int8"
    )
    quantised_voxel_tolerance: Positive = Field(
        0.001, description="Largest share of voxels that --int8 may put on the other side of the threshold"
    )
    parity_slices: Count = Field(64, description="Slices of test patients that the parity gate compares")
    accelerate: bool = Field(
        False, description="Also write NAME.accelerated.onnx, tuned on this machine; needs the accelerator to be built"
    )
    accelerate_threads: Count = Field(1, description="Processor threads while layers are timed for it")
    accelerate_rounds: Count = Field(9, description="How often each way to compute the layers is timed")
    accelerate_tolerance: Positive = Field(
        1e-4, description="Largest logit difference of it to the portable file, as a share of the logits' range"
    )
    accelerate_voxels: int = Field(
        0, ge=0, description="Voxels of the parity slices that may change sides between it and the portable file"
    )


class Config(Section):
    """A whole run."""

    seed: int = Field(0, ge=0, description="Seed of weights, sampling, augmentation and bootstrap")
    data: DataConfig
    split: SplitConfig
    preprocess: PreprocessConfig = PreprocessConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    regularizer: RegularizerConfig = RegularizerConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig
    pruning: PruningConfig = PruningConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()
    report: ReportConfig = ReportConfig()
    card: CardConfig = CardConfig()

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the network's channels, in their order; `None` where they are not known."""
        names = self.data.sequences
        return names if len(names) == self.model.in_channels else None

    @model_validator(mode="after")
    def _every_channel_has_a_name(self) -> Self:
        names = self.data.channels
        if names is not None and len(names) != self.model.in_channels:
            raise ValueError(
                f"data.channels gives {len(names)} names, but model.in_channels is {self.model.in_channels}:"
                " name each channel"
            )
        return self


def load_config(path: Path, assignments: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply `a.b=value` assignments, and check everything.

    Args:
        path: the YAML file.
        assignments: each `field.subfield=value`, the value in YAML, applied in order.

    Raises:
        UserError: the file is missing or not YAML, an assignment has no "=", or a field is unknown, missing or invalid.
            The message names the field, and for an unknown one the nearest that exists.
    """
    return parse_config(read_document(path, assignments), source=str(path))


def parse_config(document: dict[str, Any], *, source: str) -> Config:
    """Check a configuration that is already a dictionary; `source` names it in messages."""
    return check_document(Config, document, source=source)
