"""What is said of a pruned network against the dense one, on the same patients. Records only."""

from dataclasses import dataclass
from typing import Literal

from wcr_med.metrics.uncertainty import PairedComparison
from wcr_med.report.analysis.verdict import Status, Verdict
from wcr_med.report.document import Score

Better = Literal["higher", "lower", "nearer zero"]
Shift = Literal["better", "worse", "not shown"]
Change = Literal[
    "Dice fell",
    "Dice rose",
    "tumour missed now",
    "tumour found now",
    "more false lesions",
    "fewer false lesions",
    "more slices with an alarm",
    "fewer slices with an alarm",
    "lesion lost",
    "lesion gained",
    "HD95 rose",
    "HD95 fell",
    "volume further off",
    "volume nearer",
    "volume as far off",
]
Direction = Literal["worse", "better", "neither"]
JumpKind = Literal[
    "tumour found",
    "lesions found",
    "Dice",
    "false lesions",
    "tumour-free slices with an alarm",
    "HD95",
    "predicted volume",
]


@dataclass(frozen=True, kw_only=True)
class PairedMetric:
    """One metric, pruned minus dense.

    Attributes:
        name: "dice", "iou", "nsd_1px", "f1_pooled", "ece" ...
        label: for tables.
        unit: "" or "px"; of the values and the difference.
        better: which direction is good.
        dense: as in the table of scores; `pruned` likewise. NaN where it does not exist.
        difference: pruned minus dense, interval over patients. `n_patients` are the pairs that it rests on.
        p: two-sided; NaN where there is no pair.
        test: "Wilcoxon signed-rank" of the patients' differences; "exchange of labels" (a permutation test) for ratios
            of sums over patients.
        p_holm: `p` adjusted over all metrics of the table (Holm).
        shift: "better" or "worse" where the whole unadjusted interval lies on that side of 0; where nearer zero is
            better, where every value of it brings the dense figure nearer to 0, or away from it.
        n_flipped: pairs in which one value does not exist because its network rightly predicted nothing; the right
            answer counts as perfect. This is why the difference may not be that of the two columns.
    """

    name: str
    label: str
    unit: str
    better: Better
    dense: float
    pruned: float
    difference: Score
    p: float
    test: str
    p_holm: float
    shift: Shift
    n_flipped: int


@dataclass(frozen=True, kw_only=True)
class PatientPair:
    """One patient under both networks.

    Attributes:
        patient_id: the patient; `institution` where from.
        dense: Dice, NaN where it does not exist; `pruned` likewise.
        difference: pruned minus dense; a right "nothing there" counts as 1; NaN where neither exists.
        reference_voxels: of the reference; `dense_voxels` and `pruned_voxels` predicted.
    """

    patient_id: str
    institution: str
    dense: float
    pruned: float
    difference: float
    reference_voxels: int
    dense_voxels: int
    pruned_voxels: int


@dataclass(frozen=True, kw_only=True)
class Jump:
    """A figure of one patient that changed by more than its bound (`Statistics.outcome_bounds`).

    Attributes:
        what: is compared.
        unit: of both values: "", "px" or "voxels".
        dense: under the dense network; `pruned` under the pruned one. Of "tumour found" 1 for found and 0 for missed.
            A Dice that does not exist, because nothing was rightly found, is NaN; such an HD95 is 0.
        times_bound: size of the change in multiples of its bound; a change of a count by one is 1.
        direction: the change is for the worse or for the better; "neither" of a volume that is as far off as before.
        note: which lesions were lost and gained, else empty.
    """

    what: JumpKind
    unit: str
    dense: float
    pruned: float
    times_bound: float
    direction: Direction
    note: str


@dataclass(frozen=True, kw_only=True)
class CostFigure:
    """A figure of the first screen, dense beside pruned.

    Attributes:
        name: "dice_patient" (mean), "false_lesions" (number), "missed_lesions" (number), "hd95_px" (mean) or
            "slices_with_alarm" (number of tumour-free slices in which a voxel is predicted).
        dense: NaN where it does not exist; `pruned` likewise.
        of: how many there are: reference lesions, tumour-free slices; `None` where it is no share.
        unit: "" or "px".
    """

    name: str
    dense: float
    pruned: float
    of: int | None = None
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class WorstDisturbance:
    """Both networks under one disturbance at one strength: mean Dice per patient.

    Attributes:
        disturbance: its name; `strength` in `unit`.
        dense: NaN where no patient has a Dice; `pruned` likewise.
        dense_clean: on the images as they are; `pruned_clean` likewise.
        n_patients: that have a Dice under the pruned network.
    """

    disturbance: str
    strength: float
    unit: str
    dense: float
    pruned: float
    dense_clean: float
    pruned_clean: float
    n_patients: int


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A patient whose outcome changed.

    Attributes:
        patient_id: the patient; `institution` where from.
        changes: of the jumps, in their order.
        jumps: every figure that changed by more than its bound, the worst first; never empty.
        dense: Dice, NaN where it does not exist; `pruned` likewise, and `difference` as in `PatientPair`.
        lesions_lost: index of each reference lesion that the dense network alone found; `lesions_gained` the reverse.
        n_false_dense: false lesions of the dense network; `n_false_pruned` of the pruned one.
    """

    patient_id: str
    institution: str
    changes: tuple[Change, ...]
    jumps: tuple[Jump, ...]
    dense: float
    pruned: float
    difference: float
    lesions_lost: tuple[int, ...]
    lesions_gained: tuple[int, ...]
    n_false_dense: int
    n_false_pruned: int


@dataclass(frozen=True, kw_only=True)
class LesionPoint:
    """One reference lesion under both networks.

    Attributes:
        patient_id: the patient; `index` the number of the lesion within it, as in per_lesion.csv.
        n_voxels: of the lesion; `volume_ml` NaN where the spacing is unknown.
        detected_dense: found by the dense network; `detected_pruned` by the pruned one.
        dice_dense: of the lesion, 0 where missed; `dice_pruned` likewise.
    """

    patient_id: str
    index: int
    n_voxels: int
    volume_ml: float
    detected_dense: bool
    detected_pruned: bool
    dice_dense: float
    dice_pruned: float


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Patients that share a code.

    Attributes:
        group: the code, or the range of a number in words.
        n_patients: in the group.
        dense: dice_patient within it; `pruned` likewise.
        difference: paired, pruned minus dense.
        verdict: status of `wcr_med.report.analysis.verdict.Verdict`, at the margin of the whole.
        tested: takes part in the harm test of its attribute.
    """

    group: str
    n_patients: int
    dense: Score
    pruned: Score
    difference: Score
    verdict: Status
    tested: bool

    def is_shown(self, min_subgroup: int) -> bool:
        """Whether enough patients have a difference for the group's figures to be shown, if not for a verdict."""
        return self.difference.n_patients >= min_subgroup


@dataclass(frozen=True, kw_only=True)
class HarmTest:
    """Whether pruning harmed one group of an attribute more than the other patients.

    Attributes:
        statistic: largest over tested groups of (mean difference of the others - that of the group) in standard errors.
        worst_group: the group that gives it.
        excess_loss: mean difference of the other patients minus that of the worst group; positive: harmed more.
        n_patients: whose labels were permuted.
        n_groups: tested groups; the largest over them is taken in every permutation too, so `p` needs no further
            correction within the attribute.
        permutations: of the labels, and `seed` their seed.
        p: (1 + permutations at least as large) / (1 + permutations); one-sided.
        p_holm: `p` adjusted over all attributes of the comparison (Holm).
        harmed: p_holm is below 1 - evaluation.confidence.
    """

    statistic: float
    worst_group: str
    excess_loss: float
    n_patients: int
    n_groups: int
    permutations: int
    seed: int
    p: float
    p_holm: float
    harmed: bool


@dataclass(frozen=True, kw_only=True)
class AttributeAnalysis:
    """All groups of one attribute.

    Attributes:
        attribute: "institution", "tumour size", "missing sequence", or a column of data.csv.
        label: for headings.
        groups: by name, or by rising number; "not stated" last.
        harm: `None` where no test was possible; `note` then says why.
        note: one sentence, or empty.
    """

    attribute: str
    label: str
    groups: tuple[Subgroup, ...]
    harm: HarmTest | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One pruned network against the dense one.

    Attributes:
        network: name of the pruned one; `label` for headings.
        paired: of dice_patient.
        verdict: of non-inferiority in dice_patient.
        metrics: every metric.
        pairs: the largest loss first; patients without a difference last.
        cost: what pruning cost, in the figures of the first screen.
        worst_disturbance: where the pruned network's Dice is lowest; `None` where robustness was not measured.
        flips: patients with a change beyond its bound, the worst first.
        not_compared: figures of single patients that could not be compared ("HD95"), so that no change of them is seen.
        lesions: every reference lesion, by patient and index.
        attributes: subgroups.
    """

    network: str
    label: str
    paired: PairedComparison
    verdict: Verdict
    metrics: tuple[PairedMetric, ...]
    pairs: tuple[PatientPair, ...]
    cost: tuple[CostFigure, ...]
    worst_disturbance: WorstDisturbance | None
    flips: tuple[Flip, ...]
    not_compared: tuple[JumpKind, ...]
    lesions: tuple[LesionPoint, ...]
    attributes: tuple[AttributeAnalysis, ...]

    def metric(self, name: str) -> PairedMetric:
        """A metric by its name; KeyError for another."""
        return {metric.name: metric for metric in self.metrics}[name]

    @property
    def harmed(self) -> tuple[AttributeAnalysis, ...]:
        """Attributes with a group that was harmed more than the rest, multiplicity accounted for."""
        return tuple(entry for entry in self.attributes if entry.harm is not None and entry.harm.harmed)
