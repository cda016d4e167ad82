"""Curves under disturbed images, with intervals over patients.

Shape suffix: P patients.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from wcr_med.errors import UserError
from wcr_med.evaluation.robustness import UNDISTURBED, RobustnessPoint, RobustnessResult
from wcr_med.metrics.uncertainty import paired_differences
from wcr_med.report.analysis.document import RobustnessCurve, RobustnessStep
from wcr_med.report.analysis.estimates import score_of_mean
from wcr_med.report.analysis.settings import Settings

Array = npt.NDArray[Any]


def robustness_curves(
    result: RobustnessResult | None, *, dense: str, settings: Settings
) -> tuple[RobustnessCurve, ...]:
    """One curve for each disturbance and network, from the images as they are upwards.

    Args:
        result: `None` gives no curves.
        dense: name of the network that the others are compared with on the very same images.
        settings: level, draws and seed.

    Raises:
        UserError: a network was not scored on the undisturbed images, or on other patients than the dense one.
    """
    if result is None:
        return ()
    points = {(point.network, point.disturbance, point.strength): point for point in result.points}
    networks = list(dict.fromkeys(point.network for point in result.points))
    disturbances = dict.fromkeys(point.disturbance for point in result.points if point.disturbance != UNDISTURBED)
    clean = {point.network: point for point in result.points if point.disturbance == UNDISTURBED}
    for network in networks:
        if network not in clean or dense not in clean:
            missing = network if network not in clean else dense
            raise UserError(f"robustness: {missing} was not scored on undisturbed images; measure robustness again")
    curves = []
    for disturbance in disturbances:
        for network in networks:
            strengths = sorted(key[2] for key in points if key[:2] == (network, disturbance))
            if not strengths:
                continue
            steps = [_step(clean[network], clean[network], None if network == dense else clean[dense], settings)]
            for strength in strengths:
                other = None if network == dense else points.get((dense, disturbance, strength))
                steps.append(_step(points[network, disturbance, strength], clean[network], other, settings))
            unit = result.units.get(disturbance, "")
            curves.append(RobustnessCurve(network=network, disturbance=disturbance, unit=unit, steps=tuple(steps)))
    return tuple(curves)


def _step(
    point: RobustnessPoint, clean: RobustnessPoint, dense: RobustnessPoint | None, settings: Settings
) -> RobustnessStep:
    patients = sorted(point.dice)
    return RobustnessStep(
        strength=point.strength,
        dice=score_of_mean(_values(point.dice, patients, point), settings),
        change=score_of_mean(_change(clean, point, patients), settings),
        to_dense=None if dense is None else score_of_mean(_change(dense, point, patients), settings),
    )


def _change(baseline: RobustnessPoint, candidate: RobustnessPoint, patients: list[str]) -> Array:
    if set(baseline.dice) != set(patients):
        odd = sorted(set(baseline.dice) ^ set(patients))[0]
        raise UserError(
            f"robustness: patient {odd} was scored for {baseline.network} under {baseline.disturbance} or for"
            f" {candidate.network} under {candidate.disturbance} alone; measure robustness again"
        )
    return paired_differences(_values(baseline.dice, patients, baseline), _values(candidate.dice, patients, candidate))


def _values(dice: Mapping[str, float], patients: list[str], point: RobustnessPoint) -> Array:
    if not patients:
        raise UserError(f"robustness: {point.network} has no patients; measure robustness again")
    return np.array([dice[patient_id] for patient_id in patients], dtype=np.float64)
