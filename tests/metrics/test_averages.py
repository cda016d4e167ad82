import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wcr_med.metrics import average_terms, averages, count_slices
from wcr_med.metrics.averages import DEFINITIONS, mean_terms


def patient(reference, prediction):
    """A patient of one-row slices, given as text: "0110" is a slice."""
    return count_slices(
        *(np.array([[[int(c) for c in row]] for row in mask], np.uint8) for mask in (reference, prediction))
    )


GOOD = patient(["1100", "0000"], ["1100", "0000"])  # Dice 1
HALF = patient(["1100", "1111", "0000"], ["0110", "0000", "1000"])  # tp 1, fp 2, fn 5: Dice 2/9
EMPTY = patient(["0000"], ["0000"])
ALARM = patient(["0000", "0000"], ["1110", "0000"])
MISS = patient(["1110"], ["0000"])


def values(*patients):
    return {name: term.value for name, term in average_terms(patients).items()}


def test_every_definition_is_computed_and_no_other():
    assert list(average_terms([GOOD])) == list(DEFINITIONS)


def test_hand_counted_averages_differ_by_name():
    found = values(GOOD, HALF)
    assert found["dice_patient"] == pytest.approx((1 + 2 / 9) / 2)
    assert found["f1_pooled"] == pytest.approx(2 * 3 / (2 * 3 + 2 + 5))
    assert found["dice_slice_tumour"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["false_positive_rate_free_slices"] == pytest.approx(1 / 2)


def test_the_median_is_that_of_patients():
    assert values(GOOD, HALF, MISS)["dice_patient_median"] == pytest.approx(2 / 9)


def test_an_empty_patient_is_left_out_and_counted():
    terms = average_terms([GOOD, EMPTY, MISS])
    found = averages(terms, resamples=50)
    assert found["dice_patient"].value == 0.5
    assert (found["dice_patient"].n_patients, found["dice_patient"].n_undefined) == (2, 1)
    assert terms["f1_pooled"].value == pytest.approx(4 / 7)
    assert found["false_positive_rate_free_slices"].value == 0


def test_false_alarms_and_misses_bring_every_dice_down():
    assert values(GOOD, ALARM)["dice_patient"] == 0.5
    assert values(GOOD, MISS)["dice_patient"] == 0.5
    assert values(GOOD, ALARM)["f1_pooled"] == pytest.approx(4 / 7)
    assert values(GOOD, ALARM)["false_positive_rate_free_slices"] == pytest.approx(1 / 3)


def test_averages_of_nothing_do_not_exist():
    found = averages(average_terms([EMPTY]), resamples=50)
    assert math.isnan(found["dice_patient"].value)
    assert math.isnan(found["dice_patient_median"].value)
    assert math.isnan(found["dice_slice_tumour"].value)
    assert found["dice_patient"].interval is None
    assert found["dice_patient"].n_patients == 0


def test_mean_terms_leave_nan_out():
    term = mean_terms(np.array([1.0, math.nan, 3.0]))
    assert (term.value, term.n_patients) == (2.0, 2)


def random_patients(seed, n):
    rng = np.random.default_rng(seed)
    density = rng.random((n, 2))
    return [count_slices(*(rng.random((3, 2, 4)) < d[:, None, None, None] ** 3)) for d in density]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 8), st.randoms(use_true_random=False))
def test_the_order_of_patients_is_immaterial_and_bounds_hold(seed, n, random):
    patients = random_patients(seed, n)
    shuffled = list(patients)
    random.shuffle(shuffled)
    for name, value in values(*patients).items():
        assert value == pytest.approx(values(*shuffled)[name], nan_ok=True), name
        assert math.isnan(value) or 0 <= value <= 1


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_one_patient_alone_has_mean_median_and_pooled_dice_alike(seed):
    (only,) = random_patients(seed, 1)
    found = values(only)
    expected = only.total.dice
    for name in ("dice_patient", "dice_patient_median", "f1_pooled"):
        assert found[name] == pytest.approx(expected, nan_ok=True)
