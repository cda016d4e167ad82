import itertools

import numpy as np
import pytest
from scipy import stats

from wcr_med.report.analysis.harm import harm_test
from wcr_med.report.analysis.settings import Settings

GROUPS = ["a"] * 20 + ["b"] * 12 + ["c"] * 8


def test_p_is_uniform_where_labels_mean_nothing():
    rng = np.random.default_rng(0)
    found = [
        harm_test(rng.standard_t(3, 40) * 0.05, GROUPS, ["a", "b", "c"], Settings(permutations=199, seed=seed)).p
        for seed in range(200)
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) <= 0.09  # of 200: 10 expected, 95 % of draws below 16


def test_a_planted_harm_is_found_and_named():
    difference = np.random.default_rng(1).normal(-0.01, 0.02, 40)
    difference[20:32] -= 0.05
    harm = harm_test(difference, GROUPS, ["a", "b", "c"], Settings(permutations=500))
    assert harm.worst_group == "b"
    assert harm.p == pytest.approx(1 / 501)
    others = np.r_[difference[:20], difference[32:]]
    assert harm.excess_loss == pytest.approx(others.mean() - difference[20:32].mean())
    assert (harm.n_patients, harm.n_groups, harm.permutations) == (40, 3, 500)


def test_a_gain_is_no_harm():
    difference = np.zeros(40)
    difference[20:32] = np.linspace(0.1, 0.2, 12)  # "b" gains, so "a" and "c" look worse than the rest
    harm = harm_test(difference, GROUPS, ["b"], Settings(permutations=200))
    assert harm.excess_loss < 0
    assert harm.p > 0.9


def test_against_all_arrangements_of_few_patients():
    difference, group = np.array([-0.3, -0.2, 0.0, 0.1, -0.1, 0.05]), ["x", "x", "y", "y", "y", "y"]
    harms = []
    for chosen in itertools.combinations(range(6), 2):
        others = np.delete(difference, chosen)
        harms.append(others.mean() - difference[list(chosen)].mean())
    exact = np.mean(np.array(harms) >= harms[0] - 1e-12)
    harm = harm_test(difference, group, ["x"], Settings(permutations=20000))
    assert harm.p == pytest.approx(exact, abs=0.01)


def test_patients_without_any_change():
    harm = harm_test(np.zeros(40), GROUPS, ["a", "b"], Settings(permutations=50))
    assert (harm.p, harm.statistic, harm.harmed) == (1.0, 0.0, False)


def test_nothing_to_test():
    assert harm_test(np.zeros(40), GROUPS, [], Settings()) is None
    with pytest.raises(ValueError, match="fewer than two others"):
        harm_test(np.zeros(3), ["a", "a", "b"], ["a"], Settings())


def test_the_same_seed_gives_the_same_p():
    difference = np.random.default_rng(5).normal(0, 1, 40)
    first, second = (harm_test(difference, GROUPS, ["a", "b"], Settings(permutations=700, seed=9)) for _ in range(2))
    assert first == second
