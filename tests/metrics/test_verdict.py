"""The bounds behind a verdict: known values, symmetry, odd samples, and their error at the margin."""

import math

import numpy as np
import pytest
from scipy import stats

from wcr_med.metrics.verdict import MIN_PATIENTS, added_value, bounds_of_mean, decide


def status_of(difference, margin=0.02):
    bounds = bounds_of_mean(np.asarray(difference, dtype=np.float64), margin=margin)
    assert bounds is not None
    return decide(bounds, margin=margin)


def test_the_formula_by_hand():
    values = np.array([0.01, -0.02, 0.03, -0.05, 0.0, 0.02])
    found = bounds_of_mean(values, margin=0.02)
    for low, sign in ((found.low, 1), (-found.high, -1)):
        sample = np.append(sign * values, -0.1)
        n, g = 7, stats.skew(sample)
        y = stats.t.ppf(0.975, 6) / math.sqrt(n) - g / (6 * n)
        h = 3 / g * (np.cbrt(1 + g * y) - 1)
        assert low == pytest.approx(sample.mean() - h * sample.std(ddof=1))


def test_without_skewness_it_is_the_interval_of_student():
    values = np.append(np.linspace(-0.1, 0.3, 9), 0.3)  # with the added -0.1 symmetric about 0.1
    sample = np.append(values, -0.1)
    low = bounds_of_mean(values, margin=0.02).low
    assert low == pytest.approx(stats.t.interval(0.95, 10, sample.mean(), stats.sem(sample))[0], abs=1e-6)


def test_a_loss_more_moves_both_bounds_down():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.02, 50)
    before, after = (bounds_of_mean(sample, margin=0.02) for sample in (values, values - 0.01))
    assert (after.low < before.low, after.high < before.high) == (True, True)
    assert before.low < values.mean() < before.high


@pytest.mark.parametrize("n_patients", [MIN_PATIENTS, 74, 300])
def test_equal_networks_are_non_inferior_from_the_least_number_on(n_patients):
    assert status_of(np.zeros(n_patients)) == "non-inferior"
    assert status_of(np.full(n_patients, -0.5)) == "inferior"
    assert status_of(np.full(n_patients, -0.02)) == "inconclusive"


def test_a_margin_beyond_what_dice_can_lose():
    assert added_value(0.02) == pytest.approx(0.1)
    assert added_value(0.5) == 1
    assert status_of(np.zeros(40), margin=0.5) == "non-inferior"


def test_fewer_than_five_patients_have_no_bounds():
    assert bounds_of_mean(np.zeros(4), margin=0.02) is None
    assert bounds_of_mean(np.zeros(5), margin=0.02).n_patients == 5


def test_every_value_is_the_added_one():
    bounds = bounds_of_mean(np.full(40, -0.1), margin=0.02)
    assert bounds.low == pytest.approx(-0.1)
    assert bounds.high < -0.02


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(lambda rng, size: rng.normal(-0.02, 0.03, size), id="normal"),
        pytest.param(lambda rng, size: 0.03 - 0.05 * rng.exponential(1, size), id="few large losses"),
        pytest.param(
            lambda rng, size: rng.normal(0, 0.02, size) - np.where(rng.random(size) < 0.1, 0.2, 0), id="one in ten"
        ),
    ],
)
def test_the_error_at_the_margin_stays_below_three_percent(kind):
    """2000 samples whose true mean loss is the margin; benchmarks/verdict.py draws many more, of more kinds."""
    samples = kind(np.random.default_rng(7), (2000, MIN_PATIENTS))
    wrong = sum(status_of(sample) == "non-inferior" for sample in samples)
    assert wrong <= 60
