"""What is said of a pruned network against the dense one, on the same patients. Records only."""

from dataclasses import dataclass
from typing import Literal

from wcr_med.metrics.uncertainty import PairedComparison
from wcr_med.report.document import Score

Better = Literal["higher", "lower", "nearer zero"]
Shift = Literal["better", "worse", "not shown"]
GroupVerdict = Literal["non-inferior", "inferior", "inconclusive", "too few"]
Change = Literal[
    "Dice fell",
    "Dice rose",
    "tumour missed now",
    "tumour found now",
    "false alarm appeared",
    "false alarm vanished",
    "lesion lost",
    "lesion gained",
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
class Flip:
    """A patient whose outcome changed.

    Attributes:
        patient_id: the patient; `institution` where from.
        changes: in the order of `Change`; never empty.
        dense: Dice, NaN where it does not exist; `pruned` likewise, and `difference` as in `PatientPair`.
        lesions_lost: index of each reference lesion that the dense network alone found; `lesions_gained` the reverse.
        n_false_dense: false lesions of the dense network; `n_false_pruned` of the pruned one.
    """

    patient_id: str
    institution: str
    changes: tuple[Change, ...]
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
        verdict: against the margin of the whole; "too few" below `report.min_subgroup` patients with a difference.
        tested: takes part in the harm test of its attribute.
    """

    group: str
    n_patients: int
    dense: Score
    pruned: Score
    difference: Score
    verdict: GroupVerdict
    tested: bool


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
        paired: of dice_patient, with the verdict of non-inferiority; "too few" below `report.min_subgroup` patients.
        metrics: every metric.
        pairs: the largest loss first; patients without a difference last.
        flips: the largest loss first.
        lesions: every reference lesion, by patient and index.
        attributes: subgroups.
    """

    network: str
    label: str
    paired: PairedComparison
    metrics: tuple[PairedMetric, ...]
    pairs: tuple[PatientPair, ...]
    flips: tuple[Flip, ...]
    lesions: tuple[LesionPoint, ...]
    attributes: tuple[AttributeAnalysis, ...]

    def metric(self, name: str) -> PairedMetric:
        """A metric by its name; KeyError for another."""
        return {metric.name: metric for metric in self.metrics}[name]

    @property
    def harmed(self) -> tuple[AttributeAnalysis, ...]:
        """Attributes with a group that was harmed more than the rest, multiplicity accounted for."""
        return tuple(entry for entry in self.attributes if entry.harm is not None and entry.harm.harmed)
