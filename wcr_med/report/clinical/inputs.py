"""What a report is made of: stored predictions and their scores, never a network. Records only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wcr_med.config import CardConfig, EvaluationConfig, ReportConfig
from wcr_med.data.attributes import PatientAttributes
from wcr_med.data.index import PatientEntry
from wcr_med.evaluation.plan import NO_PLAN, PlanStanding
from wcr_med.evaluation.result import EvaluationResult
from wcr_med.evaluation.robustness import RobustnessResult
from wcr_med.report.document import LadderRow
from wcr_med.timing import SpeedRatio

Design = Literal["hold-out", "cross-validation", "leave-one-institution-out"]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time of one slice through an exported file, preprocessing inside the graph.

    Attributes:
        threads: of the processor.
        p50_ms: median; `p95_ms` the 95th percentile.
        n_runs: timed runs.
        to_dense: how many times as fast as the dense network's portable file, from runs that took turns; `None` of that
            file itself, and where the dense network was not timed beside it.
    """

    threads: int
    p50_ms: float
    p95_ms: float
    n_runs: int
    to_dense: SpeedRatio | None = None


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """An exported file on the machine that measured it.

    Attributes:
        file: its name.
        size_bytes: its size; `dense_bytes` the size of the same network's file with every weight stored.
        logit_difference: largest to PyTorch over `n_slices` slices; `dice_difference` likewise, of whole volumes.
        latency: one entry for each number of threads.
        peak_memory_bytes: of a process that opens and runs the file, `None` where it could not be measured.
        processor: its name, as the operating system gives it.
        accelerated: the file was run with the package's own operators.
    """

    file: str
    size_bytes: int
    dense_bytes: int
    logit_difference: float
    dice_difference: float
    n_slices: int
    latency: tuple[Latency, ...] = ()
    peak_memory_bytes: int | None = None
    processor: str = "unknown"
    accelerated: bool = False


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network and what is stored of it.

    Attributes:
        name: "dense", "pruned-90".
        sparsity_prunable: share of zeros among prunable weights; `sparsity_all` among all parameters. Of several folds
            the mean.
        n_prunable: prunable weights; `n_all` all parameters.
        repair: names of the steps that followed pruning, in order.
        retrained_epochs: after pruning with the mask held; 0 for one-shot.
        result: rows of all test patients; of several folds pooled.
        folders: by patient, the evaluation folder that holds the patient's mask and probabilities
            (`wcr_med.evaluation.stored`).
        deployment: by file name in the order of export (portable first); empty where nothing was exported.
    """

    name: str
    sparsity_prunable: float
    sparsity_all: float
    n_prunable: int
    n_all: int
    repair: tuple[str, ...]
    retrained_epochs: int
    result: EvaluationResult
    folders: Mapping[str, Path]
    deployment: tuple[Deployment, ...] = ()

    @property
    def label(self) -> str:
        """For headings and tables: "dense", "90 % sparsity"."""
        if self.name == "dense":
            return "dense"
        return f"{self.name.removeprefix('pruned-')} % sparsity" if self.name.startswith("pruned-") else self.name


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One split: a hold-out, or one fold.

    Attributes:
        name: "hold-out", "fold 1 of 5", "institution CS left out".
        parts: patient ids of "train", "validation" and "test".
        split_hash: SHA-256 of the partition.
        thresholds: by network, chosen on this partition's validation patients.
    """

    name: str
    parts: Mapping[str, tuple[str, ...]]
    split_hash: str
    thresholds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What a split of slices instead of patients would have claimed: a warning, never a result.

    Attributes:
        averages: by name, of the dense network that was trained with the leak, on its own test slices.
        honest: the same averages of the dense network of this report.
        n_slices_test: test slices; `n_patients_shared` of their patients also trained the network.
        n_patients_shared: see above.
    """

    averages: Mapping[str, float]
    honest: Mapping[str, float]
    n_slices_test: int
    n_patients_shared: int


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """Everything that a report says comes from here.

    Attributes:
        title: names the run.
        command: what made it, to be typed again; `None` if unknown.
        design: how patients were divided.
        source: what the images are, in words.
        phantom: the images are made up by this package.
        networks: the dense one first, then the pruned ones in order of sparsity.
        primary: name of the pruned network that the verdict is about (`pruning.sparsity`).
        entries: every patient of the data set by id; images are read for the gallery alone.
        attributes: by patient id, of every patient of the data set.
        partitions: one, or one for each fold.
        architecture: name, features, grid, loss, optimizer, regularizer with strength, epochs, seconds: (label, value).
        ladder: sparsities on the test patients, as pruned and repaired; empty with folds that did not score it.
        robustness: `None` where it was not measured.
        leak: `None` unless asked for.
        card: what the user states.
        settings: of the report.
        evaluation: the definitions' parameters: tolerances, margin, level.
        plan: how all of this stands to the plan that was frozen when training began.
        configuration: the resolved configuration of the run, JSON-ready.
        provenance: of `wcr_med.provenance.provenance`, of the report.
        notes: sentences that a reader must know.
        commits: of the code: "training" of the dense network, "export" of the primary one's file; `None` where unknown.
    """

    title: str
    command: str | None
    design: Design
    source: str
    phantom: bool
    networks: tuple[Network, ...]
    primary: str
    entries: Mapping[str, PatientEntry]
    attributes: Mapping[str, PatientAttributes]
    partitions: tuple[Partition, ...]
    architecture: tuple[tuple[str, str], ...]
    ladder: tuple[LadderRow, ...]
    robustness: RobustnessResult | None
    leak: Leak | None
    card: CardConfig
    settings: ReportConfig
    evaluation: EvaluationConfig
    configuration: Mapping[str, Any]
    provenance: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    commits: Mapping[str, str | None] = field(default_factory=dict)
    plan: PlanStanding = NO_PLAN

    @property
    def dense(self) -> Network:
        """The network before pruning."""
        return self.networks[0]

    @property
    def pruned(self) -> Network:
        """The network that the verdict is about."""
        return next(network for network in self.networks if network.name == self.primary)
