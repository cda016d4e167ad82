"""What pruning cost, in the few figures that the first screen shows; and what disturbed images do to both networks."""

import math
from collections.abc import Callable, Sequence

from wcr_med.evaluation.rows import PatientRow
from wcr_med.report.analysis.comparison_records import CostFigure, WorstDisturbance
from wcr_med.report.analysis.document import RobustnessCurve, RobustnessStep
from wcr_med.report.clinical.outcomes import is_fragile

Rows = Sequence[PatientRow]


def pruning_cost(dense: Rows, pruned: Rows) -> tuple[CostFigure, ...]:
    """Dice, false lesions, missed lesions, HD95, tumour-free slices with an alarm: dense beside pruned.

    Args:
        dense: rows of the same patients in the same order as `pruned`.
        pruned: see above.
    """

    def figure(name: str, of_rows: Callable[[Rows], float], *, of: int | None = None, unit: str = "") -> CostFigure:
        return CostFigure(name=name, dense=float(of_rows(dense)), pruned=float(of_rows(pruned)), of=of, unit=unit)

    lesions = sum(len(row.lesions) for row in dense)
    free = sum(row.n_slices - row.n_slices_tumour for row in dense)
    return (
        figure("dice_patient", lambda rows: _mean([row.dice for row in rows])),
        figure("false_lesions", lambda rows: sum(row.n_false_lesions for row in rows)),
        figure("missed_lesions", lambda rows: sum(row.detection.missed for row in rows), of=lesions),
        figure("hd95_px", lambda rows: _mean([row.hd95_px for row in rows]), unit="px"),
        figure("slices_with_alarm", lambda rows: sum(row.n_slices_false_alarm for row in rows), of=free),
    )


def worst_disturbance(curves: Sequence[RobustnessCurve], *, dense: str, pruned: str) -> WorstDisturbance | None:
    """The disturbance and strength at which the pruned network's mean Dice is lowest; of equals the weakest.

    Returns:
        `None` where robustness was not measured, or no Dice exists.
    """
    found = [entry for entry in disturbed(curves, dense=dense, pruned=pruned) if math.isfinite(entry.pruned)]
    return min(found, key=lambda entry: entry.pruned, default=None)


def fragile(curves: Sequence[RobustnessCurve], *, dense: str, pruned: str) -> tuple[WorstDisturbance, ...]:
    """Of each disturbance the weakest strength that leaves either network less than half of its Dice."""
    weakest: dict[str, WorstDisturbance] = {}
    for entry in disturbed(curves, dense=dense, pruned=pruned):
        if is_fragile(entry):
            weakest.setdefault(entry.disturbance, entry)
    return tuple(weakest.values())


def disturbed(curves: Sequence[RobustnessCurve], *, dense: str, pruned: str) -> tuple[WorstDisturbance, ...]:
    """Every disturbance and strength above 0 that both networks were scored under, by rising strength."""
    steps: dict[tuple[str, str], dict[float, RobustnessStep]] = {
        (curve.network, curve.disturbance): {step.strength: step for step in curve.steps} for curve in curves
    }
    units = {curve.disturbance: curve.unit for curve in curves}
    return tuple(
        WorstDisturbance(
            disturbance=disturbance,
            strength=strength,
            unit=unit,
            dense=before[strength].dice.value,
            pruned=after[strength].dice.value,
            dense_clean=before[0.0].dice.value,
            pruned_clean=after[0.0].dice.value,
            n_patients=after[strength].dice.n_patients,
        )
        for disturbance, unit in units.items()
        for before, after in [(steps.get((dense, disturbance), {}), steps.get((pruned, disturbance), {}))]
        for strength in sorted(before.keys() & after.keys() - {0.0})
    )


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else math.nan
