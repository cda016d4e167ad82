"""What keeps two runs from being compared, in whole or in part, and what a reader must know of their designs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from wcr_med.documents import flatten
from wcr_med.errors import UserError
from wcr_med.evaluation.plan import PlanStanding
from wcr_med.evaluation.rows import PatientRow
from wcr_med.report.clinical.formats import counted, listed
from wcr_med.report.side_by_side.document import FieldDifference, RunEvaluation

_SHOWN = 8  # patients named in a sentence
_DISTANCES = ("hd95_px", "assd_px")
_LESIONS = ("lesion_sensitivity", "lesion_precision", "lesion_f1")
_LESION_SCORES = ("dice_lesion", "detection_f1_pooled", "false_lesions_per_patient")

Rows = Sequence[PatientRow]


@dataclass(kw_only=True)
class Definitions:
    """Where two runs define a figure differently.

    Attributes:
        omitted: names of paired metrics that are left out, and why.
        lesions_alike: both runs count lesions alike.
    """

    omitted: dict[str, str] = field(default_factory=dict)
    lesions_alike: bool = True

    def omits(self, score: str) -> bool:
        """Whether an average over patients rests on a definition that differs."""
        metric = score.removeprefix("mean_")
        lesion = metric in _LESION_SCORES or metric.startswith("detection_")
        return metric in self.omitted or (lesion and not self.lesions_alike)


def require_same_reference(run_a: RunEvaluation, run_b: RunEvaluation, a: Rows, b: Rows) -> None:
    """Refuse rows of the same patients, in the same order, whose images or reference masks differ in size.

    Lesions of the reference are compared too where both runs count them alike.

    Raises:
        UserError: naming the first patient.
    """
    alike = run_a.result.lesion_min_voxels == run_b.result.lesion_min_voxels
    for first, second in zip(a, b, strict=True):
        size_a, size_b = _sizes(first, lesions=alike), _sizes(second, lesions=alike)
        if size_a != size_b:
            raise UserError(
                f"patient {first.patient_id}: a volume of {size_a[0]} voxels with a reference of {size_a[1]} in"
                f" {run_a.name}, {size_b[0]} with {size_b[1]} in {run_b.name}, or other lesions; the runs were scored"
                " on different images or masks: evaluate both on the same"
            )


def _sizes(row: PatientRow, *, lesions: bool) -> tuple[int, int, tuple[int, ...]]:
    of_lesions = tuple(lesion.n_voxels for lesion in row.lesions) if lesions else ()
    return row.tp + row.fp + row.fn + row.tn, row.tp + row.fn, of_lesions


def find_definitions(run_a: RunEvaluation, run_b: RunEvaluation, a: Rows, b: Rows) -> Definitions:
    """Which metrics the two runs define differently; rows are of the same patients in the same order."""
    found = Definitions()
    tolerances = [dict.fromkeys(tolerance for row in rows for tolerance in row.nsd) for rows in (a, b)]
    both = [tolerance for tolerance in tolerances[0] if tolerance in tolerances[1]]
    for tolerance in [*tolerances[0], *tolerances[1]]:
        if tolerance not in both:
            found.omitted[f"nsd_{tolerance}px"] = "one run alone has this tolerance (evaluation.tolerance_px)"
    limits = (run_a.result.lesion_min_voxels, run_b.result.lesion_min_voxels)
    if limits[0] != limits[1]:
        found.lesions_alike = False
        why = f"lesions are of at least {limits[0]} voxels in A and {limits[1]} in B (evaluation.lesion_min_voxels)"
        found.omitted |= dict.fromkeys(_LESIONS, why)
    if other := [first.patient_id for first, second in zip(a, b, strict=True) if not _same_spacing(first, second)]:
        why = f"the spacing of {_named(other)} is not the same in both runs (data.spacing_mm)"
        found.omitted |= dict.fromkeys((*_DISTANCES, *(f"nsd_{tolerance}px" for tolerance in both)), why)
    return found


def differing_fields(a: Mapping[str, object], b: Mapping[str, object]) -> tuple[FieldDifference, ...]:
    """Every field in which two configurations differ, by dotted name, sorted."""
    flat_a, flat_b = flatten(a), flatten(b)
    return tuple(
        FieldDifference(field=name, a=flat_a.get(name), b=flat_b.get(name))
        for name in sorted(flat_a.keys() | flat_b.keys())
        if flat_a.get(name) != flat_b.get(name)
    )


def notices_of(run_a: RunEvaluation, run_b: RunEvaluation, common: Sequence[str]) -> tuple[str, ...]:
    """Sentences on the designs, and on settings that only run A decides."""
    notices = []
    margins = (run_a.evaluation.margin, run_b.evaluation.margin)
    if margins[0] != margins[1]:
        notices.append(f"The margin is that of run A, {margins[0]:g}; that of run B is {margins[1]:g}.")
    for here, there, letters in ((run_a, run_b, ("A", "B")), (run_b, run_a, ("B", "A"))):
        notices += _seen(here, there, letters, common)
    if run_a.phantom != run_b.phantom:
        notices.append("One run is of made-up images and the other is not; patients of one name need not be the same.")
    if {split.hash for split in run_a.splits} != {split.hash for split in run_b.splits}:
        notices.append(
            "The runs divide patients differently, so their networks were trained on different patients: a difference"
            " may come from that and not from what was changed on purpose."
        )
    return tuple(notices)


def shared_plan(run_a: RunEvaluation, run_b: RunEvaluation) -> PlanStanding:
    """How the comparison of two runs stands to their plans: planned where both are, by the same rules.

    Which two runs are compared is in neither plan, and the sentence says so.
    """
    for run, letter in ((run_a, "A"), (run_b, "B")):
        if run.plan.status != "planned":
            return replace(run.plan, reason=f"Run {letter}: {run.plan.reason}")
        if run.plan.networks and run.network != run.plan.networks[0]:
            reason = f"Run {letter}: {run.network} is compared, and its plan gives a verdict on {run.plan.networks[0]}."
            return replace(run.plan, status="exploration", reason=reason)
    rules = [{name: value for name, value in run.planned.items() if _is_rule(name)} for run in (run_a, run_b)]
    other = sorted(name for name in rules[0].keys() | rules[1].keys() if rules[0].get(name) != rules[1].get(name))
    if other:
        reason = f"The plans of the two runs differ in {listed(other)}."
        return replace(run_a.plan, status="exploration", reason=reason)
    return replace(
        run_a.plan,
        made=max(run.plan.made or "" for run in (run_a, run_b)),
        reason="Both runs were planned with this margin before training; that they are compared is in neither plan.",
    )


def _is_rule(name: str) -> bool:
    """Whether a planned field decides a verdict on dice_patient, whatever the networks."""
    return name.startswith("verdict.") or name in ("evaluation.margin", "evaluation.confidence", "report.min_subgroup")


def _seen(here: RunEvaluation, there: RunEvaluation, letters: tuple[str, str], common: Sequence[str]) -> list[str]:
    """Test patients of one run that trained the other, or chose its epoch and threshold."""
    tested = {row.patient_id for row in here.result.rows}
    used = {patient_id for split in there.splits for patient_id in (*split.train, *split.validation)}
    seen, left_out = sorted(tested & used & set(common)), sorted((tested & used) - set(common))
    first, second = letters
    notices = []
    if left_out:
        notices.append(
            f"{counted(len(left_out), 'test patient')} of run {first} trained or tuned run {second}"
            f" ({_named(left_out)}): a fair score of run {second} does not exist for them, so they are left out. This"
            " follows from the designs."
        )
    if seen:
        notices.append(
            f"{counted(len(seen), 'common patient')} also trained or tuned networks of run {second}"
            f" ({_named(seen)}): in its folds, those of the other folds. Each was scored by a network that never saw"
            " that patient. This follows from the designs."
        )
    return notices


def _same_spacing(a: PatientRow, b: PatientRow) -> bool:
    pairs = ((a.pixel_mm, b.pixel_mm), (a.voxel_ml, b.voxel_ml))
    return all((math.isnan(x) and math.isnan(y)) or math.isclose(x, y, rel_tol=1e-4) for x, y in pairs)


def _named(patients: Sequence[str]) -> str:
    more = len(patients) - _SHOWN
    return listed([*patients[:_SHOWN], f"{more} more"]) if more > 0 else listed(list(patients))
