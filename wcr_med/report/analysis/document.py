"""The analysis of a run: every number of the report, as a tree of records. Definitions: docs/report.md."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from wcr_med.evaluation.plan import PlanStanding
from wcr_med.evaluation.result import without_nan
from wcr_med.report.analysis.comparison_records import (
    AttributeAnalysis,
    Better,
    Change,
    Comparison,
    CostFigure,
    Flip,
    HarmTest,
    Jump,
    LesionPoint,
    PairedMetric,
    PatientPair,
    Shift,
    Subgroup,
    WorstDisturbance,
)
from wcr_med.report.analysis.network_records import (
    Calibration,
    CalibrationBin,
    Cases,
    LesionDetection,
    NetworkAnalysis,
    PartitionScore,
    ThresholdCurve,
    ThresholdPoint,
    VolumeAgreement,
    VolumePoint,
)
from wcr_med.report.clinical.inputs import Deployment, Leak
from wcr_med.report.document import NOTICE, LadderRow, Score

__all__ = [
    "Analysis",
    "AttributeAnalysis",
    "Better",
    "Calibration",
    "CalibrationBin",
    "Cases",
    "Change",
    "Characteristic",
    "Comparison",
    "CostFigure",
    "Demographics",
    "Flip",
    "HarmTest",
    "Jump",
    "LesionDetection",
    "LesionPoint",
    "NetworkAnalysis",
    "Notice",
    "PairedMetric",
    "PartitionFacts",
    "PartitionScore",
    "PatientPair",
    "RobustnessCurve",
    "RobustnessStep",
    "Section",
    "Shift",
    "Statistics",
    "Subgroup",
    "ThresholdCurve",
    "ThresholdPoint",
    "VolumeAgreement",
    "VolumePoint",
    "WorstDisturbance",
]

SCHEMA_VERSION = 2

Section = Literal[
    "summary",
    "data",
    "performance",
    "lesions",
    "volume",
    "calibration",
    "threshold",
    "subgroups",
    "pruning",
    "robustness",
    "deployment",
]


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that could not be computed, or that limits what a figure says.

    Attributes:
        section: where it is shown.
        message: one or two sentences.
    """

    section: Section
    message: str


@dataclass(frozen=True, kw_only=True)
class Characteristic:
    """One attribute of a group of patients.

    Attributes:
        name: "institution", "missing sequence", or a column of data.csv.
        counts: patients by code, sorted; of a number with many values empty.
        median: of a number; NaN for codes. `q1` and `q3` its quartiles, `low` and `high` its range.
        n_missing: patients without a value.
    """

    name: str
    counts: Mapping[str, int]
    median: float
    q1: float
    q3: float
    low: float
    high: float
    n_missing: int


@dataclass(frozen=True, kw_only=True)
class Demographics:
    """Who is in one part of a partition.

    Attributes:
        partition: name of the partition; "all" for the whole data set.
        part: "train", "validation", "test"; "all" for the whole data set.
        n_patients: in it.
        characteristics: the same names in the same order for every part.
    """

    partition: str
    part: str
    n_patients: int
    characteristics: tuple[Characteristic, ...]


@dataclass(frozen=True, kw_only=True)
class PartitionFacts:
    """One partition in numbers.

    Attributes:
        name: "hold-out", "fold 1 of 5".
        n_train: patients; `n_validation` and `n_test` likewise.
        disjoint: no patient is in two parts.
        split_hash: SHA-256 of the partition.
        thresholds: by network.
    """

    name: str
    n_train: int
    n_validation: int
    n_test: int
    disjoint: bool
    split_hash: str
    thresholds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class RobustnessStep:
    """One strength of a disturbance.

    Attributes:
        strength: in the unit of the curve; 0 is the image as it is.
        dice: mean over patients.
        change: paired, against the same network on the images as they are.
        to_dense: paired, against the dense network on the very same images; `None` for the dense network.
    """

    strength: float
    dice: Score
    change: Score
    to_dense: Score | None


@dataclass(frozen=True, kw_only=True)
class RobustnessCurve:
    """One network under one disturbance.

    Attributes:
        network: its name.
        disturbance: its name; `unit` what its strength means.
        steps: by rising strength, the undisturbed images first.
    """

    network: str
    disturbance: str
    unit: str
    steps: tuple[RobustnessStep, ...]


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """How the numbers were made.

    Attributes:
        confidence: level of the intervals.
        resamples: of the bootstrap over patients.
        permutations: of the permutation tests.
        seed: of both.
        margin: of non-inferiority, in dice_patient.
        worse_by: the change of Dice that counts as a change of a patient's outcome.
        outcome_bounds: by figure of a patient, the change beyond which its outcome has changed.
        min_subgroup: below it a group of patients is counted alone, and not tested for harm.
        min_patients: below it no verdict.
        procedure: name of what computes the bounds of a verdict.
        plan: when margin, level and procedure were set, and whether they are the planned ones.
        lesion_min_voxels: below it no lesion.
        tolerances_px: of the normalised surface Dice.
        multiplicity: what was done about many comparisons, in sentences.
    """

    confidence: float
    resamples: int
    permutations: int
    seed: int
    margin: float
    worse_by: float
    outcome_bounds: Mapping[str, float]
    min_subgroup: int
    min_patients: int
    procedure: str
    plan: PlanStanding
    lesion_min_voxels: int
    tolerances_px: tuple[float, ...]
    multiplicity: str


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Every number of the report; `to_dict` is its metrics.json.

    Attributes:
        title: names the run.
        design: "hold-out", "cross-validation", "leave-one-institution-out".
        phantom: the images are made up.
        n_patients: test patients.
        primary: name of the pruned network that the verdict is about.
        networks: the dense one first, then by sparsity.
        comparisons: one for each pruned network, in that order.
        partitions: one, or one for each fold.
        demographics: the whole data set first, then every part of every partition.
        robustness: by disturbance and network; empty where it was not measured.
        ladder: dice_patient by sparsity, as pruned and repaired.
        deployment: by network, its exported files.
        leak: what a leaky split would have claimed; a warning, never a result.
        statistics: how the numbers were made.
        definitions: by name, what each figure is.
        notices: what could not be computed or must be known, by section.
    """

    title: str
    design: str
    phantom: bool
    n_patients: int
    primary: str
    networks: tuple[NetworkAnalysis, ...]
    comparisons: tuple[Comparison, ...]
    partitions: tuple[PartitionFacts, ...]
    demographics: tuple[Demographics, ...]
    robustness: tuple[RobustnessCurve, ...]
    ladder: tuple[LadderRow, ...]
    deployment: Mapping[str, tuple[Deployment, ...]]
    leak: Leak | None
    statistics: Statistics
    definitions: Mapping[str, str]
    notices: tuple[Notice, ...]

    @property
    def dense(self) -> NetworkAnalysis:
        """The network before pruning."""
        return self.networks[0]

    @property
    def pruned(self) -> NetworkAnalysis:
        """The network that the verdict is about."""
        return self.network(self.primary)

    @property
    def verdict(self) -> Comparison:
        """The primary comparison."""
        return self.comparison(self.primary)

    def network(self, name: str) -> NetworkAnalysis:
        """A network by its name; KeyError for another."""
        return {network.name: network for network in self.networks}[name]

    def comparison(self, name: str) -> Comparison:
        """The comparison of a pruned network by its name; KeyError for another."""
        return {comparison.network: comparison for comparison in self.comparisons}[name]

    def notices_of(self, section: Section) -> tuple[str, ...]:
        """The messages of one section."""
        return tuple(notice.message for notice in self.notices if notice.section == section)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; a number that does not exist is None. Described by metrics.schema.json."""
        return {"schema_version": SCHEMA_VERSION, "notice": NOTICE, **without_nan(asdict(self))}
