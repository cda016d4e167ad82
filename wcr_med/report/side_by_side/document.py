"""What is known of two runs and of how they differ. Records only; `SideBySide.to_dict` is compare.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from wcr_med.config import EvaluationConfig, ReportConfig
from wcr_med.data.split import Split
from wcr_med.evaluation.plan import NO_PLAN, PlanStanding
from wcr_med.evaluation.result import EvaluationResult
from wcr_med.evaluation.rows import without_nan
from wcr_med.metrics.uncertainty import PairedComparison
from wcr_med.report.analysis.comparison_records import PairedMetric
from wcr_med.report.analysis.verdict import Verdict
from wcr_med.report.document import NOTICE, Score

SCHEMA_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class RunEvaluation:
    """One network of one run, as it was scored and stored.

    Attributes:
        name: of the run folder; where both have one name, the path as typed.
        network: "dense", "pruned-90".
        result: rows of its test patients; of several folds pooled.
        splits: one, or one for each fold, in the order of the folds.
        evaluation: the definitions' parameters.
        settings: of the report.
        configuration: resolved, JSON-ready.
        phantom: the images are made up.
        plan: how the run stands to the plan that was frozen when its training began.
        planned: the plan's fields; empty without one.
    """

    name: str
    network: str
    result: EvaluationResult
    splits: tuple[Split, ...]
    evaluation: EvaluationConfig
    settings: ReportConfig
    configuration: Mapping[str, Any]
    phantom: bool
    plan: PlanStanding = NO_PLAN
    planned: Mapping[str, Any] = field(default_factory=dict)

    @property
    def design(self) -> str:
        """How patients were divided, in words."""
        methods = [split.method for split in self.splits]
        if len(methods) > 1:
            return f"{len(methods)} folds, each tested by its own network ({methods[0]}, ...)"
        return "hold-out" if methods == ["holdout"] else methods[0]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """One of the two runs.

    Attributes:
        name: of its folder; `network` of the network.
        design: how patients were divided, in words.
        n_test: its test patients, common or not.
        only_here: test patients that the other run has no score for, sorted.
        split_hashes: one for each partition.
        threshold: probability from which a voxel is lesion; NaN where folds have different ones.
        scores: averages over the common patients, by name.
    """

    name: str
    network: str
    design: str
    n_test: int
    only_here: tuple[str, ...]
    split_hashes: tuple[str, ...]
    threshold: float
    scores: Mapping[str, Score]


@dataclass(frozen=True, kw_only=True)
class PatientLine:
    """One common patient.

    Attributes:
        patient_id: the patient; `institution` where from.
        a: Dice in run A, NaN where it does not exist; `b` likewise in run B.
        difference: B minus A; a right "nothing there" counts as 1; NaN where neither exists.
        reference_voxels: of the reference; `a_voxels` and `b_voxels` predicted.
        changes: of the patient's outcome from A to B beyond the bounds, in words, the worst first; empty without any.
    """

    patient_id: str
    institution: str
    a: float
    b: float
    difference: float
    reference_voxels: int
    a_voxels: int
    b_voxels: int
    changes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FieldDifference:
    """A field of the configuration in which the runs differ.

    Attributes:
        field: dotted name.
        a: its value in run A; `b` in run B. `None` stands for null and for a field that is not there.
    """

    field: str
    a: Any
    b: Any


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Run B against run A.

    Attributes:
        a: the run that the other is set against; `b` that other.
        n_common: patients that both runs tested.
        paired: B minus A in dice_patient.
        verdict: on that difference at the margin of run A, or why there is none.
        metrics: every metric that both runs define alike; in these records "dense" is run A and "pruned" run B.
        omitted: metrics that the runs define differently: by name, why.
        patients: the largest loss first; those without a difference last.
        outcome_bounds: by figure of a patient, the change beyond which it is among `PatientLine.changes`.
        not_compared: figures of single patients that the runs define differently, or that one has not measured.
        fields: in which the configurations differ, sorted.
        notices: what a reader must know.
        phantom: the images of a run are made up.
        confidence: level of the intervals; `resamples`, `permutations` and `seed` how they were drawn.
        resamples: see above.
        permutations: see above.
        seed: see above.
    """

    a: RunFacts
    b: RunFacts
    n_common: int
    paired: PairedComparison
    verdict: Verdict
    metrics: tuple[PairedMetric, ...]
    omitted: Mapping[str, str]
    patients: tuple[PatientLine, ...]
    outcome_bounds: Mapping[str, float]
    not_compared: tuple[str, ...]
    fields: tuple[FieldDifference, ...]
    notices: tuple[str, ...]
    phantom: bool
    confidence: float
    resamples: int
    permutations: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; a number that does not exist is None. See docs/side_by_side.md."""
        document = {"schema_version": SCHEMA_VERSION, "notice": NOTICE, **without_nan(asdict(self))}
        for metric in document["metrics"]:
            metric["a"], metric["b"] = metric.pop("dense"), metric.pop("pruned")
        return document
