"""Means over trainings, and intervals over trainings and patients."""

import math

import numpy as np
import pytest

from wcr_med.report.comparison.ladders import (
    METRICS,
    Ladder,
    Metric,
    Place,
    difference_with_interval,
    mean_with_interval,
)

Counts = dict[str, tuple[int, int, int]]


def ladder(*places: Counts) -> Ladder:
    """A training on each of as many folds."""
    return Ladder(counts={(number, number): counts for number, counts in enumerate(places)})


def random_counts(seed: int, n: int = 12) -> Counts:
    rng = np.random.default_rng(seed)
    return {f"p{k}": tuple(int(v) for v in rng.integers(1, 100, 3)) for k in range(n)}  # type: ignore[misc]


@pytest.mark.parametrize("metric", METRICS)
def test_fewer_than_five_patients_have_no_interval(metric: Metric) -> None:
    found = mean_with_interval(ladder({"a": (3, 1, 2)}), metric)
    assert found.value == pytest.approx(6 / 9)
    assert math.isnan(found.low)
    assert found.n_places == 1
    two = random_counts(0, 2)
    seeds = Ladder(counts={(seed, None): two for seed in range(5)})  # five seeds are not five patients
    assert math.isnan(mean_with_interval(seeds, metric).high)
    assert math.isnan(difference_with_interval(seeds, seeds, metric).low)
    assert math.isfinite(mean_with_interval(ladder(random_counts(0, 5)), metric).low)


def test_dice_is_averaged_over_patients_and_f1_over_pixels() -> None:
    place: Counts = {"small": (1, 1, 0), "large": (90, 0, 20)}
    assert mean_with_interval(ladder(place), "dice_patient").value == pytest.approx((2 / 3 + 180 / 200) / 2)
    assert mean_with_interval(ladder(place), "f1_pooled").value == pytest.approx(182 / 203)


def test_trainings_count_equally_whatever_their_patients() -> None:
    both = ladder({"a": (1, 0, 0)}, {"b": (0, 1, 1), "c": (0, 1, 1)})
    assert mean_with_interval(both, "dice_patient").value == pytest.approx(0.5)


def test_a_patient_without_lesion_and_prediction_is_left_out_of_the_mean() -> None:
    assert mean_with_interval(ladder({"a": (1, 0, 0), "empty": (0, 0, 0)}), "dice_patient").value == 1.0


@pytest.mark.parametrize("metric", METRICS)
def test_the_interval_holds_the_mean_and_narrows_with_patients(metric: Metric) -> None:
    few = mean_with_interval(ladder(random_counts(0, 5), random_counts(1, 5)), metric)
    many = mean_with_interval(ladder(random_counts(0, 200), random_counts(1, 200)), metric)
    for found in (few, many):
        assert found.low < found.value < found.high
    assert many.high - many.low < few.high - few.low


def test_trainings_that_differ_widen_the_interval() -> None:
    good: Counts = {f"p{k}": (9, 1, 1) for k in range(10)}
    poor: Counts = {f"p{k}": (1, 9, 9) for k in range(10)}
    found = mean_with_interval(ladder(good, poor), "dice_patient")
    assert (found.low, found.high) == pytest.approx((0.1, 0.9))


@pytest.mark.parametrize("metric", METRICS)
def test_more_seeds_on_the_same_patients_are_not_more_patients(metric: Metric) -> None:
    counts = random_counts(0)
    one = mean_with_interval(ladder(counts), metric)
    seeds: dict[Place, Counts] = {(seed, 0): counts for seed in range(10)}
    ten = mean_with_interval(Ladder(counts=seeds), metric)
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high), rel=1e-9)
    folds = mean_with_interval(ladder(*[counts] * 10), metric)
    assert folds.high - folds.low < 0.5 * (one.high - one.low)


@pytest.mark.parametrize("metric", METRICS)
def test_a_difference_is_paired(metric: Metric) -> None:
    one = ladder(random_counts(0), random_counts(1))
    same = difference_with_interval(one, one, metric)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    other = ladder(random_counts(2), random_counts(3))
    found = difference_with_interval(one, other, metric)
    expected = mean_with_interval(one, metric).value - mean_with_interval(other, metric).value
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high


def test_a_difference_is_over_the_trainings_that_both_have() -> None:
    counts = [random_counts(k) for k in range(3)]
    one = ladder(*counts)
    places: dict[Place, Counts] = {(1, 1): dict.fromkeys(counts[1], (1, 1, 1))}
    found = difference_with_interval(one, Ladder(counts=places), "dice_patient")
    assert found.n_places == 1
    assert found.value == pytest.approx(mean_with_interval(ladder(counts[1]), "dice_patient").value - 0.5)


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_is_nan_and_never_a_number(metric: Metric) -> None:
    found = mean_with_interval(ladder(), metric)
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert found.n_places == 0


def test_the_same_counts_give_the_same_interval() -> None:
    counts = random_counts(0)
    shuffled = dict(reversed(counts.items()))
    assert mean_with_interval(ladder(counts), "f1_pooled") == mean_with_interval(ladder(shuffled), "f1_pooled")
