import math

import pytest

from tests.report.analysis.made_up import QUICK
from wcr_med.errors import UserError
from wcr_med.evaluation.robustness import RobustnessPoint, RobustnessResult
from wcr_med.report.analysis.robustness import robustness_curves

CLEAN = {"a": 0.9, "b": 0.8, "c": math.nan}


def result_of(*points):
    made = [
        RobustnessPoint(network=network, disturbance=disturbance, strength=strength, dice=dice)
        for network, disturbance, strength, dice in points
    ]
    return RobustnessResult(points=tuple(made), units={"noise": "standard deviations"}, seed=0)


def test_curves_start_with_the_images_as_they_are():
    noisy = {"a": 0.7, "b": 0.8, "c": 0.0}
    result = result_of(
        ("dense", "none", 0.0, CLEAN),
        ("pruned-90", "none", 0.0, CLEAN),
        ("dense", "noise", 0.2, CLEAN),
        ("dense", "noise", 0.1, CLEAN),
        ("pruned-90", "noise", 0.1, noisy),
    )
    dense, pruned = robustness_curves(result, dense="dense", settings=QUICK)
    assert (dense.network, dense.unit) == ("dense", "standard deviations")
    assert [step.strength for step in dense.steps] == [0.0, 0.1, 0.2]
    assert dense.steps[0].dice.value == pytest.approx(0.85)
    assert all(step.to_dense is None and step.change.value == 0 for step in dense.steps)
    clean, noise = pruned.steps
    assert clean.to_dense.value == 0
    assert noise.dice.value == pytest.approx(0.5)
    assert noise.change.value == pytest.approx((-0.2 + 0 - 1) / 3)  # a right "nothing" became a false alarm
    assert noise.to_dense.value == pytest.approx(-0.4)
    assert noise.change.method == "none: fewer than 5 patients"


def test_not_measured():
    assert robustness_curves(None, dense="dense", settings=QUICK) == ()


def test_refused():
    with pytest.raises(UserError, match="pruned-90 was not scored on undisturbed"):
        points = (("dense", "none", 0.0, CLEAN), ("pruned-90", "noise", 0.1, CLEAN))
        robustness_curves(result_of(*points), dense="dense", settings=QUICK)
    with pytest.raises(UserError, match="patient c was scored for dense under none"):
        points = (("dense", "none", 0.0, CLEAN), ("dense", "noise", 0.1, {"a": 0.5, "b": 0.5}))
        robustness_curves(result_of(*points), dense="dense", settings=QUICK)
