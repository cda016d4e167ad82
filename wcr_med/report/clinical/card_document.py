"""The fields of a model card, in the practice of Mitchell et al., Model Cards for Model Reporting (FAT* 2019).

Records only. What the tool cannot know is a text that reads "not stated" until somebody states it. Described by
model_card.schema.json and docs/model_card.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from wcr_med.evaluation.plan import PlanStanding
from wcr_med.evaluation.rows import without_nan
from wcr_med.metrics.uncertainty import PairedComparison
from wcr_med.report.analysis.comparison_records import WorstDisturbance
from wcr_med.report.analysis.document import Demographics, LesionDetection, PairedMetric, PartitionFacts
from wcr_med.report.analysis.verdict import Verdict
from wcr_med.report.clinical.inputs import Deployment
from wcr_med.report.document import NOTICE, Score

SCHEMA_VERSION = 2
NOT_STATED = "not stated"


@dataclass(frozen=True, kw_only=True)
class CardNetwork:
    """One network of the card.

    Attributes:
        name: "dense", "pruned-90"; `label` for tables.
        primary: the card is about this one.
        sparsity_prunable: share of zeros among prunable weights; `sparsity_all` among all parameters.
        n_prunable: prunable weights; `n_all` all parameters.
        repair: steps after pruning; `retrained_epochs` of training after it, 0 for one-shot.
        retrained_epochs: see above.
    """

    name: str
    label: str
    primary: bool
    sparsity_prunable: float
    sparsity_all: float
    n_prunable: int
    n_all: int
    repair: tuple[str, ...]
    retrained_epochs: int


@dataclass(frozen=True, kw_only=True)
class ModelDetails:
    """Who made what.

    Attributes:
        name: stated; `developers`, `contact` and `licence` likewise.
        title: of the run.
        architecture: (label, value): network, training, regularizer.
        networks: dense first.
        files: of the primary network, as exported and measured.
        software: versions of packages.
        commits: of the code: "training", "export" of the primary network's file, and "report"; "not stated" where it
            is not known. Several folds of different commits stand side by side.
        seed: of the run, `None` where unknown.
    """

    name: str
    developers: str
    contact: str
    licence: str
    title: str
    architecture: tuple[tuple[str, str], ...]
    networks: tuple[CardNetwork, ...]
    files: tuple[Deployment, ...]
    software: Mapping[str, str]
    commits: Mapping[str, str]
    seed: int | None


@dataclass(frozen=True, kw_only=True)
class IntendedUse:
    """What for, for whom, and what not for.

    Attributes:
        use: stated; `users`, `population` and `out_of_scope` likewise.
        never: what it must not be used for in any case.
        input: what goes into the network; `output` what comes out.
    """

    use: str
    users: str
    population: str
    out_of_scope: str
    never: str
    input: str
    output: str


@dataclass(frozen=True, kw_only=True)
class Factors:
    """What performance may hang on.

    Attributes:
        groups: by attribute, the groups of test patients that were scored apart.
        scanners: stated.
        disturbances: of the images under which it was scored.
    """

    groups: Mapping[str, tuple[str, ...]]
    scanners: str
    disturbances: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What was measured, and how.

    Attributes:
        definitions: by the names of the scores below, what each is.
        thresholds: by partition and network, the probability from which a voxel is lesion.
        margin: of non-inferiority in mean Dice.
        plan: when the margin and all else that decides the verdict were set, and whether they are the planned ones.
        worse_by: the change of Dice that counts for a patient.
        confidence: level of the intervals; `resamples` of the bootstrap over patients.
        resamples: see above.
    """

    definitions: Mapping[str, str]
    thresholds: Mapping[str, Mapping[str, float]]
    margin: float
    plan: PlanStanding
    worse_by: float
    confidence: float
    resamples: int


@dataclass(frozen=True, kw_only=True)
class CardData:
    """Images, whether for evaluation or for training.

    Attributes:
        images: what they are, in words.
        phantom: they are made up, and say nothing about patients.
        source: stated; `licence`, `dates`, `eligibility`, `reference_standard` and `annotator_agreement` likewise.
        preprocessing: in words.
        design: how patients were divided.
        partitions: sizes, hash and thresholds.
        demographics: of the parts that this section is about.
    """

    images: str
    phantom: bool
    source: str
    licence: str
    dates: str
    eligibility: str
    reference_standard: str
    annotator_agreement: str
    preprocessing: str
    design: str
    partitions: tuple[PartitionFacts, ...]
    demographics: tuple[Demographics, ...]


@dataclass(frozen=True, kw_only=True)
class CardSubgroup:
    """The primary network on one group of test patients.

    Attributes:
        attribute: "institution", or another; `group` its code.
        n_patients: in the group.
        dice_patient: of the primary network; `difference` to the dense one, paired.
        verdict: status of `wcr_med.report.analysis.verdict.Verdict`, at the margin of the whole.
    """

    attribute: str
    group: str
    n_patients: int
    dice_patient: Score
    difference: Score
    verdict: str


@dataclass(frozen=True, kw_only=True)
class QuantitativeAnalyses:
    """The figures; the same as in metrics.json of the report.

    Attributes:
        n_patients: test patients.
        scores: by network and name.
        non_inferiority: the primary network against the dense one, in dice_patient.
        verdict: on that difference, or why there is none.
        changes: every metric, primary network against the dense one.
        subgroups: of the primary network.
        harmed: sentence: whether a subgroup lost more than the rest.
        lesions: sentence: how many were found.
        detection: of the primary network: lesions found, missed and false, with recall and precision.
        worst_disturbance: where the primary network's Dice is lowest; `None` where robustness was not measured.
    """

    n_patients: int
    scores: Mapping[str, Mapping[str, Score]]
    non_inferiority: PairedComparison
    verdict: Verdict
    changes: tuple[PairedMetric, ...]
    subgroups: tuple[CardSubgroup, ...]
    harmed: str
    lesions: str
    detection: LesionDetection
    worst_disturbance: WorstDisturbance | None


@dataclass(frozen=True, kw_only=True)
class EthicalConsiderations:
    """Stated by the developers: all of it.

    Attributes:
        approval: and consent; `registration`, `sample_size`, `funding` and `conflicts` likewise.
    """

    approval: str
    registration: str
    sample_size: str
    funding: str
    conflicts: str


@dataclass(frozen=True, kw_only=True)
class Caveats:
    """Limits.

    Attributes:
        known: what the figures cannot tell, from the facts of the run.
        stated: by the developers.
        notes: of the run.
    """

    known: tuple[str, ...]
    stated: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A model card; `to_dict` is model_card.json."""

    model_details: ModelDetails
    intended_use: IntendedUse
    factors: Factors
    metrics: Metrics
    evaluation_data: CardData
    training_data: CardData
    quantitative_analyses: QuantitativeAnalyses
    ethical_considerations: EthicalConsiderations
    caveats: Caveats

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; a number that does not exist is None."""
        return {"schema_version": SCHEMA_VERSION, "notice": NOTICE, **without_nan(asdict(self))}
