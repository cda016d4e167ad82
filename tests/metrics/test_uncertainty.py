import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wcr_med.metrics import bootstrap, compare, rate_interval
from wcr_med.metrics.uncertainty import method_of, paired_differences

UNIT = st.floats(0, 1, allow_subnormal=False)


def test_interval_of_a_mean_approaches_the_normal_one():
    values = np.random.default_rng(0).normal(5, 2, 400)
    interval = bootstrap(values, resamples=4000)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert (interval.method, interval.n_patients, interval.confidence) == ("BCa", 400, 0.95)


def test_interval_of_a_ratio_against_a_plain_loop():
    rng = np.random.default_rng(1)
    denominator = rng.uniform(1, 3, 300)
    numerator = denominator * rng.uniform(0.2, 0.8, 300)
    drawn = rng.integers(0, 300, (4000, 300))
    expected = np.percentile(numerator[drawn].sum(axis=1) / denominator[drawn].sum(axis=1), [2.5, 97.5])
    interval = bootstrap(numerator, denominator, resamples=4000)
    assert [interval.low, interval.high] == pytest.approx(expected, abs=0.003)


def test_median_uses_the_percentile_method():
    values = np.random.default_rng(2).random(101)
    interval = bootstrap(values, median=True)
    assert interval.method == "percentile"
    assert interval.low <= np.median(values) <= interval.high


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 0.3, 0.7, 0.8, 1 / 3, 1e-9, 12345.6])
@pytest.mark.parametrize("median", [False, True])
def test_equal_values_have_no_interval_whatever_rounding_does(value, median):
    # Sums of 14 such values are rounded this way or that, so that BCa exists for some of them and not for others.
    assert bootstrap(np.full(14, value), median=median) is None
    assert bootstrap(3 * value * np.arange(1.0, 15), 3 * np.arange(1.0, 15), median=median) is None
    assert method_of(None, value=value, n_patients=14) == "none: all values are equal"


def test_values_that_differ_have_the_same_method_whatever_they_are():
    for scale in (1e-6, 0.1, 1.0, 1e6):
        values = np.append(np.full(13, 0.3), 0.4) * scale
        assert bootstrap(values, resamples=200).method == "BCa"
        assert bootstrap(values, resamples=200, median=True).method == "percentile"


def test_fewer_than_five_patients_have_no_interval():
    for n in range(5):
        assert bootstrap(np.random.default_rng(n).random(n)) is None
        assert rate_interval(np.ones(n), np.full(n, 2)) is None
        assert method_of(None, value=0.5, n_patients=n) == "none: fewer than 5 patients"
    padded = np.append(np.arange(4.0), 9.0)
    assert bootstrap(padded, np.array([1.0, 1, 1, 1, 0])) is None
    assert bootstrap(np.arange(5.0)).n_patients == 5
    assert method_of(None, value=math.nan, n_patients=9) == "none"


def test_patients_that_add_nothing_change_nothing():
    numerator, denominator = np.array([0.2, 0.9, 0.5, 0.4, 0.7]), np.ones(5)
    padded = bootstrap(np.append(numerator, 0.0), np.append(denominator, 0.0))
    assert padded == bootstrap(numerator, denominator)


def test_the_seed_decides():
    values = np.random.default_rng(3).random(9)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_a_higher_level_is_a_wider_interval():
    values = np.random.default_rng(4).random(30)
    narrow, wide = bootstrap(values, confidence=0.8), bootstrap(values, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@settings(deadline=None, max_examples=25)
@given(st.lists(UNIT, min_size=5, max_size=12))
def test_an_interval_stays_within_the_scores(values):
    interval = bootstrap(np.array(values), resamples=200)
    if interval is None:
        assert max(values) - min(values) <= 1e-12
        return
    assert min(values) - 1e-9 <= interval.low <= interval.high + 1e-9
    assert interval.high <= max(values) + 1e-9


def test_coverage_of_the_true_mean():
    # 200 data sets of 20 patients; 95 % intervals should hold the truth about 190 times.
    rng = np.random.default_rng(5)
    intervals = [bootstrap(rng.beta(5, 2, 20), resamples=300) for _ in range(200)]
    held = sum(interval.low <= 5 / 7 <= interval.high for interval in intervals)
    assert 176 <= held <= 199


def test_pairs_that_changed_are_counted():
    found = compare([0.8, 0.8, 0.8, 0.8, 0.8], [0.2, 0.9, 0.95, 0.8, 0.8], worse_by=0.05)
    assert (found.n_worse, found.n_better) == (1, 2)


def test_one_pair_has_no_interval():
    found = compare([0.8], [0.8], worse_by=0.05)
    assert (found.interval, found.n_patients) == (None, 1)


def test_no_pairs():
    found = compare([math.nan], [math.nan], worse_by=0.05)
    assert math.isnan(found.mean_difference)
    assert math.isnan(found.wilcoxon_p)
    assert (found.n_patients, found.n_undefined) == (0, 1)


def test_wilcoxon_is_the_exact_one_of_textbooks():
    found = compare(np.zeros(6), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], worse_by=0.05)
    assert found.wilcoxon_p == pytest.approx(2 / 2**6)
    assert compare([0.5, 0.6], [0.5, 0.6], worse_by=0.05).wilcoxon_p == 1.0


def test_the_interval_is_paired():
    # Patients differ widely, the networks hardly: an unpaired interval would span the spread of patients.
    baseline = np.linspace(0.1, 0.9, 30)
    found = compare(baseline, baseline - 0.01 + 1e-6 * np.resize([-1, 1], 30), worse_by=0.05)
    assert found.interval.high - found.interval.low < 1e-5
    assert found.n_worse == 0
    assert compare(baseline, baseline - 0.01, worse_by=0.05).interval is None  # all lose the same
    assert compare([0.8] * 5, [0.75] * 5, worse_by=0.05).n_worse == 0  # just worse_by, whatever rounding does


def test_a_new_false_alarm_counts_as_a_loss_of_one():
    found = compare([0.8, math.nan, math.nan], [0.8, 0.0, math.nan], worse_by=0.05)
    assert found.mean_difference == pytest.approx(-0.5)
    assert (found.n_patients, found.n_undefined, found.n_flipped, found.n_worse) == (2, 1, 1, 1)
    np.testing.assert_array_equal(paired_differences([0.0, math.nan], [math.nan, math.nan]), [1.0, math.nan])


def test_a_loss_of_exactly_worse_by_is_not_worse():
    found = compare([0.5, 0.5], [0.25, 0.125], worse_by=0.25)
    assert found.n_worse == 1


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(UNIT, UNIT), min_size=2, max_size=10))
def test_swapping_the_networks_turns_the_sign(pairs):
    first, second = np.array(pairs).T
    forth = compare(first, second, worse_by=0.05, resamples=50)
    back = compare(second, first, worse_by=0.05, resamples=50)
    assert forth.mean_difference == pytest.approx(-back.mean_difference)
    assert (forth.n_worse, forth.n_better) == (back.n_better, back.n_worse)
    assert forth.wilcoxon_p == pytest.approx(back.wilcoxon_p)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="paired"):
        compare([0.5], [0.5, 0.6], worse_by=0.05)


def test_scipy_is_asked_for_pairs():
    # The same data through scipy by hand: numerator and denominator of a patient stay together.
    numerator, denominator = np.array([1.0, 2.0, 9.0, 3.0, 2.0]), np.array([2.0, 3.0, 10.0, 8.0, 5.0])
    expected = stats.bootstrap(
        (np.arange(5),),
        lambda index: numerator[index].sum() / denominator[index].sum(),
        vectorized=False,
        n_resamples=3000,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    interval = bootstrap(numerator, denominator, resamples=3000)
    assert [interval.low, interval.high] == pytest.approx([expected.low, expected.high], abs=0.02)
