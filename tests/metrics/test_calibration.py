"""Calibration by hand, in its empty cases, and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from wcr_med.metrics import CalibrationCounts, count_calibration


def draw(seed, shape=(4, 20, 20)):
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.3, 0.6, shape).astype(np.float32)
    return (rng.random(shape) < probability**1.3).astype(np.uint8), probability


def test_by_hand():
    probability = np.array([[[0.005, 0.005, 0.02, 0.62, 0.64, 1.0]]], np.float32)
    reference = np.array([[[0, 1, 0, 1, 0, 1]]], np.uint8)
    counts = count_calibration(reference, probability)
    assert counts.n == 5  # the first is healthy and far below any doubt
    assert {k: n for k, n in enumerate(counts.n_K) if n} == {0: 2, 12: 2, 19: 1}
    assert {k: n for k, n in enumerate(counts.positive_K) if n} == {0: 1, 12: 1, 19: 1}
    assert counts.expected_calibration_error == pytest.approx(
        (2 * abs(0.0125 - 0.5) + 2 * abs(0.63 - 0.5)) / 5, abs=1e-6
    )
    assert counts.brier == pytest.approx((0.995**2 + 0.02**2 + 0.38**2 + 0.64**2) / 5, abs=1e-6)
    assert counts.mean_probability_excess == pytest.approx((0.005 + 0.02 + 0.62 + 0.64 + 1 - 3) / 5, abs=1e-6)
    assert counts.probability_sum_K[12] == pytest.approx(2 * 0.63)


def test_an_edge_belongs_to_the_bin_above():
    edges = np.array([k / 20 for k in range(21)])  # in double precision, where the edges are
    counts = count_calibration(np.ones(21, np.uint8), edges)
    assert counts.n_K == (1,) * 19 + (2,)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scikit_learn(seed):
    reference, probability = draw(seed)
    counts = count_calibration(reference, probability)
    asked = (probability >= np.float32(0.01)) | (reference != 0)
    truth, answer = reference[asked], probability[asked].astype(np.float64)
    assert counts.n == asked.sum()
    assert counts.brier == pytest.approx(brier_score_loss(truth, answer))
    observed, mean = calibration_curve(truth, answer, n_bins=20, strategy="uniform")
    n_K = np.array(counts.n_K)
    filled = n_K > 0  # as scikit-learn leaves out the rest
    np.testing.assert_allclose(np.array(counts.positive_K)[filled] / n_K[filled], observed)
    np.testing.assert_allclose(np.array(counts.probability_sum_K)[filled] / n_K[filled], mean)
    weights = n_K[filled] / counts.n
    assert counts.expected_calibration_error == pytest.approx(float((weights * abs(observed - mean)).sum()))


def test_a_calibrated_network_has_a_small_error_and_an_overconfident_one_a_large_one():
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.2, 0.8, 200_000)
    reference = (rng.random(probability.shape) < probability).astype(np.uint8)
    assert count_calibration(reference, probability).expected_calibration_error < 0.01
    sure = np.where(probability > 0.5, 0.99, 0.02)
    assert count_calibration(reference, sure).expected_calibration_error > 0.3


def test_patients_add_up():
    parts = [draw(seed) for seed in (1, 2, 3)]
    together = count_calibration(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    summed = sum((count_calibration(*part) for part in parts), CalibrationCounts())
    assert (summed.n_K, summed.positive_K) == (together.n_K, together.positive_K)
    np.testing.assert_allclose(summed.probability_sum_K, together.probability_sum_K)
    assert summed.brier == pytest.approx(together.brier)
    assert summed.expected_calibration_error == pytest.approx(together.expected_calibration_error)


def test_no_voxel_in_question():
    counts = count_calibration(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 3), np.float32))
    assert counts == CalibrationCounts()
    assert counts.n == 0
    assert math.isnan(counts.brier)
    assert math.isnan(counts.expected_calibration_error)
    assert math.isnan(counts.mean_probability_excess)


def test_a_confident_miss_counts():
    counts = count_calibration(np.ones((1, 2, 2), np.uint8), np.zeros((1, 2, 2), np.float32))
    assert (counts.n, counts.brier, counts.expected_calibration_error) == (4, 1, 1)


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.5])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(ValueError, match="NaN or outside"):
        count_calibration(np.zeros(2, np.uint8), np.array([0.5, bad]))


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="shape"):
        count_calibration(np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 3), np.float32))
    with pytest.raises(ValueError, match="bins"):
        CalibrationCounts(n_K=(1, 2))
    with pytest.raises(ValueError, match="more foreground"):
        CalibrationCounts(positive_K=(1,) + (0,) * 19)
