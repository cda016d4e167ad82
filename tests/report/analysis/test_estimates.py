import math

import numpy as np
import pytest
from scipy import stats

from tests.report.analysis.made_up import QUICK
from wcr_med.report.analysis.estimates import (
    Pooled,
    exchange_p,
    holm,
    ratio,
    score_of_difference,
    score_of_pooled,
    score_of_ratio,
)
from wcr_med.report.analysis.settings import Settings


def terms(seed, n=40):
    rng = np.random.default_rng(seed)
    return rng.random(n), 1 + rng.random(n)


def test_a_pooled_ratio_has_the_interval_of_the_house():
    numerator, denominator = terms(0)
    denominator[3] = numerator[3] = 0
    pooled, direct = (
        score_of_pooled(ratio(numerator, denominator), QUICK),
        score_of_ratio(numerator, denominator, QUICK),
    )
    assert pooled.n_patients == direct.n_patients == 39
    assert pooled.method == direct.method == "BCa"
    assert [pooled.value, pooled.low, pooled.high] == pytest.approx([direct.value, direct.low, direct.high])


def test_interval_of_a_difference_against_a_plain_loop():
    first, denominator = terms(1, 200)
    second = first + np.random.default_rng(2).normal(0.1, 0.2, 200)
    drawn = np.random.default_rng(3).integers(0, 200, (4000, 200))
    differences = (second[drawn].sum(axis=1) - first[drawn].sum(axis=1)) / denominator[drawn].sum(axis=1)
    score = score_of_difference(ratio(first, denominator), ratio(second, denominator), Settings(resamples=4000))
    assert score.value == pytest.approx((second.sum() - first.sum()) / denominator.sum())
    assert [score.low, score.high] == pytest.approx(np.percentile(differences, [2.5, 97.5]), abs=0.004)


def test_fewer_than_five_patients_have_no_interval():
    for n in range(5):
        score = score_of_pooled(ratio(np.arange(n), np.ones(n)), QUICK)
        why = "none: fewer than 5 patients" if n else "none"  # without patients there is no value either
        assert (score.low, score.method, score.n_patients) == (None, why, n)


def test_figures_that_no_patient_moves_have_no_interval():
    same = ratio(np.array([1.0, 2, 3, 4, 5, 6]), 3 * np.array([1.0, 2, 3, 4, 5, 6]))
    assert score_of_pooled(same, QUICK).method == "none: all values are equal"
    first, denominator = terms(5, 9)
    unchanged = score_of_difference(ratio(first, denominator), ratio(first, denominator), QUICK)
    assert (unchanged.value, unchanged.low, unchanged.method) == (0, None, "none: all values are equal")
    assert math.isnan(score_of_pooled(ratio(np.ones(3), np.zeros(3)), QUICK).value)


def test_a_figure_that_some_resamples_lack_has_a_percentile_interval():
    # Two patients in six add to the denominator; a resample without either has no value.
    terms_PT = np.array([[1.0, 2, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    pooled = Pooled(terms_PT=terms_PT, statistic=lambda sums: sums[..., 0] / sums[..., 1])
    score = score_of_pooled(pooled, QUICK)
    assert (score.method, score.low, score.high) == ("percentile", 0.0, 0.5)


def test_exchange_of_labels_is_the_test_of_all_arrangements():
    first = np.array([0.5, 0.6, 0.7, 0.2, 0.9, 0.4])
    second = first + np.array([0.1, 0.2, 0.05, 0.3, 0.01, 0.15])  # all one way: 2 of 64 arrangements are as extreme
    p = exchange_p(ratio(first, np.ones(6)), ratio(second, np.ones(6)), Settings(permutations=20000))
    assert p == pytest.approx(2 / 64, abs=0.005)
    assert exchange_p(ratio(first, np.ones(6)), ratio(first, np.ones(6)), QUICK) == 1
    assert math.isnan(exchange_p(ratio(first, np.zeros(6)), ratio(first, np.ones(6)), QUICK))


def test_exchange_of_labels_is_uniform_without_an_effect():
    rng = np.random.default_rng(4)
    found = []
    for seed in range(200):
        size = 1 + rng.random(12) * 50  # patients of very different weight
        first, second = rng.random(12) * size, rng.random(12) * size
        found.append(exchange_p(ratio(first, size), ratio(second, size), Settings(permutations=199, seed=seed)))
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) <= 0.1


def test_holm_is_that_of_textbooks():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested():
    adjusted = holm([0.02, math.nan, 0.04])
    assert adjusted[0] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)
