"""Which patients the gallery shows, and why."""

import math
from collections.abc import Callable, Sequence

from wcr_med.evaluation.rows import PatientRow
from wcr_med.report.analysis.document import Analysis, Comparison, LesionPoint
from wcr_med.report.clinical.formats import counted, listed, number
from wcr_med.report.clinical.inputs import ReportInputs
from wcr_med.report.clinical.outcomes import jump_words

_WITH_TYPICAL = 4  # places from which on the median and the best patient have their own
_RANKED = 3  # places of a ranking that are named as a reason


def choose_patients(inputs: ReportInputs, analysis: Analysis) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Test patients with the reasons to show them, failures first; at most `report.gallery_patients`.

    Four rankings take turns: worst changes from dense to pruned, lowest Dice of the pruned network, most missed
    lesions, most false-positive voxels. The median and the best patient come last; with fewer than four places they
    have none of their own. A patient stands once, with every reason; of equal patients the order is that of their ids.

    Returns:
        (patient id, reasons); empty where no patient has a lesion or a predicted voxel.
    """
    rows = {row.patient_id: row for row in inputs.pruned.result.rows}
    most = min(inputs.settings.gallery_patients, len(rows))
    rankings = _rankings(rows, analysis.verdict)
    typical = _typical(rows)
    kept = set(typical) if most >= _WITH_TYPICAL else set()
    chosen: list[str] = []
    for place in range(len(rows)):
        for ranking in rankings:
            if place < len(ranking) and ranking[place] not in chosen and len({*chosen, *kept, ranking[place]}) <= most:
                chosen.append(ranking[place])
    chosen += [patient_id for patient_id in typical if patient_id not in chosen]
    return tuple((patient_id, _reasons(patient_id, rows, rankings, typical, analysis)) for patient_id in chosen[:most])


def _rankings(rows: dict[str, PatientRow], comparison: Comparison) -> tuple[Sequence[str], ...]:
    """Flips, lowest Dice, missed lesions, false positives: patient ids, the worst first."""
    flips = [flip.patient_id for flip in comparison.flips if flip.patient_id in rows]

    def ranked(key: Callable[[PatientRow], float], counts: Callable[[PatientRow], bool]) -> list[str]:
        kept = [row for row in rows.values() if counts(row)]
        return [row.patient_id for row in sorted(kept, key=lambda row: (key(row), row.patient_id))]

    missed = _missed(comparison)
    return (
        flips,
        ranked(lambda row: row.dice, lambda row: math.isfinite(row.dice)),
        ranked(
            lambda row: -sum(lesion.n_voxels for lesion in missed[row.patient_id]),
            lambda row: bool(missed.get(row.patient_id)),
        ),
        ranked(lambda row: -row.fp, lambda row: row.fp > 0),
    )


def _missed(comparison: Comparison) -> dict[str, list[LesionPoint]]:
    missed: dict[str, list[LesionPoint]] = {}
    for lesion in comparison.lesions:
        if not lesion.detected_pruned:
            missed.setdefault(lesion.patient_id, []).append(lesion)
    return missed


def _typical(rows: dict[str, PatientRow]) -> list[str]:
    """The median (of an even number the lower of the two middle ones) and the best patient by Dice."""
    ranked = sorted((row.dice, row.patient_id) for row in rows.values() if math.isfinite(row.dice))
    places = dict.fromkeys(((len(ranked) - 1) // 2, len(ranked) - 1)) if len(ranked) > 2 else ()
    return [ranked[place][1] for place in places]


def _reasons(
    patient_id: str,
    rows: dict[str, PatientRow],
    rankings: tuple[Sequence[str], ...],
    typical: Sequence[str],
    analysis: Analysis,
) -> tuple[str, ...]:
    row, comparison = rows[patient_id], analysis.verdict
    reasons = []
    flip = next((flip for flip in comparison.flips if flip.patient_id == patient_id), None)
    if flip is not None:
        reasons.append(f"outcome changed by pruning: {listed([jump_words(jump) for jump in flip.jumps[:3]])}")
    if patient_id in rankings[1][:_RANKED]:
        reasons.append(f"{_place('lowest', rankings[1].index(patient_id))} Dice after pruning, {number(row.dice)}")
    if missed := _missed(comparison).get(patient_id):
        n_lesions = sum(lesion.patient_id == patient_id for lesion in comparison.lesions)
        reasons.append(
            f"{len(missed)} of {counted(n_lesions, 'lesion')} missed after pruning, the largest of"
            f" {max(lesion.n_voxels for lesion in missed):,} voxels"
        )
    if patient_id in rankings[3][:_RANKED]:
        place = _place("most", rankings[3].index(patient_id))
        reasons.append(f"{place} false-positive voxels after pruning, {row.fp:,}")
    if patient_id in typical:
        name = "best Dice" if patient_id == typical[-1] else "middle of the patients by Dice"
        reasons.append(f"{name} after pruning, {number(row.dice)}")
    if not reasons and math.isfinite(row.dice):
        position = rankings[1].index(patient_id) + 1
        reasons.append(f"Dice after pruning {number(row.dice)}, place {position} of {len(rankings[1])} from the lowest")
    return tuple(reasons or ["nothing to find and nothing found"])


def _place(superlative: str, index: int) -> str:
    return superlative if index == 0 else f"{('second', 'third')[index - 1]} {superlative}"
