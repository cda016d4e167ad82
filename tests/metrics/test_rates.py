import numpy as np
import pytest
from scipy import stats

from benchmarks.rates import simulate
from wcr_med.metrics.averages import average_terms, averages
from wcr_med.metrics.counts import Counts, Tally
from wcr_med.metrics.rates import METHOD, effective_trials, rate_interval


def test_no_alarm_in_141_slices_of_14_patients_is_no_more_than_none_of_14():
    trials = np.array([10] * 13 + [11])
    interval = rate_interval(np.zeros(14), trials)
    patients = stats.binomtest(0, 14).proportion_ci(method="exact")
    assert interval.low == 0
    assert interval.high == pytest.approx(patients.high, abs=0.001)
    assert interval.high >= patients.high
    assert (interval.method, interval.n_patients, interval.resamples) == (METHOD, 14, 0)


def test_every_lesion_found_has_an_interval_that_ends_at_one():
    interval = rate_interval(np.ones(5), np.ones(5))
    assert (interval.low, interval.high) == (pytest.approx(stats.binomtest(5, 5).proportion_ci().low), 1.0)
    assert rate_interval(np.ones(4), np.ones(4)) is None


def test_one_trial_a_patient_is_the_interval_of_textbooks_shrunk_for_few_patients():
    # Independent by construction: the effective number is that of the patients, but for (n - 1) / n of the variance.
    events = np.array([1] * 30 + [0] * 70)
    interval = rate_interval(events, np.ones(100))
    exact = stats.binomtest(30, 100).proportion_ci(method="exact")
    assert [interval.low, interval.high] == pytest.approx([exact.low, exact.high], abs=0.002)


def test_trials_that_are_alike_within_a_patient_weigh_as_patients():
    trials = np.full(40, 10)
    alike = np.repeat([10, 0], 20)
    mixed = np.full(40, 5) + np.tile([1, -1], 20)
    assert effective_trials(alike, trials) == pytest.approx(39 * (1.966 / 2.023) ** 2, rel=1e-3)
    assert effective_trials(mixed, trials) == 400
    wide, narrow = rate_interval(alike, trials), rate_interval(mixed, trials)
    assert wide.low < 0.35 < 0.65 < wide.high
    assert 0.44 < narrow.low < narrow.high < 0.56


def test_patients_without_a_trial_change_nothing():
    events, trials = np.array([1, 0, 2, 0, 3]), np.array([2, 3, 4, 5, 6])
    assert rate_interval(np.append(events, 0), np.append(trials, 0)) == rate_interval(events, trials)


def test_more_events_than_trials_are_refused():
    for events in (np.array([3, 0, 0, 0, 0]), np.array([-1, 0, 0, 0, 0])):
        with pytest.raises(ValueError, match="more events than trials"):
            rate_interval(events, np.full(5, 2))


@pytest.mark.parametrize(
    ("n_patients", "rate", "alike"), [(5, 0.3, 0.4), (14, 0.01, 0.4), (30, 0.3, 0.1), (14, 0.9, 0.4)]
)
def test_the_truth_is_held_as_often_as_promised(n_patients, rate, alike):
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        trials = rng.integers(5, 16, n_patients)
        total = (1 - alike) / alike
        events = rng.binomial(trials, rng.beta(rate * total, (1 - rate) * total, n_patients))
        interval = rate_interval(events, trials)
        held += interval.low <= rate <= interval.high
    assert held >= 0.9 * 300  # promised 95 %; few patients with few events hold a little less (docs/metrics.md)


def test_the_share_of_slices_with_an_alarm_has_the_exact_interval():
    tallies = [
        Tally(total=Counts(tp=5, fp=0, fn=n, tn=0), tumour_dice_sum=1.0, n_tumour=1, n_free=10, n_false_alarms=0)
        for n in range(6)
    ]
    found = averages(average_terms(tallies), resamples=50)
    alarm = found["false_positive_rate_free_slices"]
    assert alarm.value == 0
    assert alarm.interval.method == METHOD
    assert alarm.interval.high > 0.3
    assert found["dice_patient"].interval.method == "BCa"


def test_the_benchmark_simulates_both_intervals():
    held = np.mean(list(simulate((14, 15, 0.3, 0.1), trials=20)), axis=0)
    assert held.shape == (6,)
    assert held[0] >= 0.8
    assert 0 < held[2] < 1
