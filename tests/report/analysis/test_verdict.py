"""One verdict for every page and file, and none where the rules do not allow it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.report.analysis.made_up import PLANNED, QUICK, inputs_of, with_dice
from wcr_med.evaluation.plan import NO_PLAN
from wcr_med.report.analysis.analyse import analyse
from wcr_med.report.analysis.paired import dice_verdict
from wcr_med.report.analysis.verdict import beside, verdict_of

RNG = np.random.default_rng(3)
MANY = RNG.normal(0.001, 0.02, 60)


def judged(difference, plan=PLANNED, margin=0.02, min_patients=10):
    return verdict_of(
        np.asarray(difference, dtype=np.float64), margin=margin, confidence=0.95, min_patients=min_patients, plan=plan
    )


def test_a_verdict_with_its_numbers():
    found = judged(MANY)
    assert (found.status, found.short, found.n_patients, found.min_patients) == (
        "non-inferior", "Non-inferior", 60, 40,
    )  # fmt: skip
    assert found.sentence.startswith("Even with one more patient who lost 0.1, the lower bound of the mean difference")
    assert "above \u22120.02 (n = 60, 95\u00a0% level)" in found.sentence
    assert found.reason == PLANNED.reason
    assert "there is a loss" not in found.sentence
    costly = judged(-0.01 + 0.0001 * np.arange(200) / 200)
    assert costly.status == "non-inferior"
    assert "Yet there is a loss" in costly.sentence
    assert "runing" not in costly.sentence  # it is said of two runs side by side too


@pytest.mark.parametrize(
    ("difference", "status"),
    [(MANY - 0.2, "inferior"), (MANY * 5, "inconclusive"), (MANY[:39], "too few"), ([], "too few")],
)
def test_other_statuses(difference, status):
    found = judged(difference)
    assert found.status == status
    assert found.judged == (status in ("inferior", "inconclusive"))


def test_the_report_may_ask_for_more_patients_and_not_for_fewer():
    assert judged(MANY, min_patients=61).status == "too few"
    assert judged(MANY[:20], min_patients=1).status == "too few"
    assert judged(MANY[:20], min_patients=1).min_patients == 40


@pytest.mark.parametrize(
    ("plan", "status"),
    [
        (
            replace(PLANNED, status="exploration", reason="evaluation.margin is 0.5 here and 0.02 in the plan."),
            "exploration",
        ),
        (NO_PLAN, "no plan"),
    ],
)
@pytest.mark.parametrize("difference", [MANY, MANY - 0.5, MANY[:14], MANY[:3], [], [math.nan] * 50])
def test_without_a_plan_nothing_is_called_non_inferior(plan, status, difference):
    found = judged(difference, plan=plan, margin=0.5)
    assert found.status == status
    assert not found.judged
    assert plan.reason in found.sentence
    words = f"{found.short} {found.sentence} {found.reason}".lower()
    assert not any(word in words for word in ("inferior", "inconclusive", "set before", "above", "below"))


def test_values_that_do_not_exist_are_left_out():
    found = judged([*MANY, math.nan, math.inf])
    assert found.n_patients == 60
    assert found == judged(MANY)


def test_rounding_never_puts_a_bound_on_the_wrong_side():
    assert beside(-0.019996, -0.02) == "\u22120.019996"
    assert beside(-0.0204, -0.02) == "\u22120.0204"
    assert beside(-0.0123, -0.02) == "\u22120.012"
    for margin in (0.02, 0.0123456):
        for shift in np.linspace(-0.02, 0.02, 200):
            found = judged(MANY + shift, margin=margin)
            if found.status != "non-inferior":
                continue
            shown = found.sentence.partition("difference is ")[2].partition(",")[0]
            assert float(shown.replace("\u2212", "-")) > -margin


def test_a_network_that_the_plan_does_not_name_gets_no_verdict():
    rows = with_dice(np.full(60, 0.8))
    inputs = inputs_of(rows, rows)
    dense, pruned = inputs.networks
    later = replace(pruned, name="pruned-50", sparsity_prunable=0.5)
    analysis = analyse(replace(inputs, networks=(dense, later, pruned)))
    assert analysis.comparison("pruned-90").verdict.status == "non-inferior"
    other = analysis.comparison("pruned-50").verdict
    assert other.status == "exploration"
    assert "names pruned-90, not pruned-50" in other.reason


def test_a_weak_reference_is_no_yardstick():
    weak = with_dice(np.full(60, 0.01))
    found = dice_verdict(weak, weak, QUICK)
    assert (found.status, found.short) == ("weak reference", "No verdict: weak reference")
    assert found.sentence.startswith(
        "A network that finds nothing would pass: its mean difference would be \u22120.010"
    )
    strong = with_dice(np.full(60, 0.5))
    assert dice_verdict(strong, strong, QUICK).status == "non-inferior"
    assert dice_verdict(strong, strong, replace(QUICK, margin=0.6)).status == "weak reference"
