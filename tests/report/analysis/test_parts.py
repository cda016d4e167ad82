"""Flips, lesions, volumes, calibration, thresholds: one network or two, by known answers and second libraries."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss

from tests.report.analysis.made_up import QUICK, SHAPE, SURE, Found, result_of, row, rows_of, shifted
from wcr_med.evaluation.evaluate import score_patient
from wcr_med.evaluation.threshold import GRID, best_threshold
from wcr_med.metrics.calibration import CalibrationCounts
from wcr_med.report.analysis.agreement import volume_agreement
from wcr_med.report.analysis.calibration import calibration_of
from wcr_med.report.analysis.flips import flipped_patients
from wcr_med.report.analysis.lesions import lesion_detection, lesion_points
from wcr_med.report.analysis.summary import cases_of, scores_of
from wcr_med.report.analysis.thresholds import threshold_curve


def noisy(n=5, seed=0, spacing_mm=None):
    rng = np.random.default_rng(seed)
    volumes, rows = [], []
    for number in range(n):
        reference_SHW = (rng.random(SHAPE) < 0.3).astype(np.uint8)
        probability_SHW = np.clip(rng.random(SHAPE) * 0.7 + 0.3 * reference_SHW - 0.05, 0, 1).astype(np.float32)
        volumes.append((reference_SHW, probability_SHW))
        rows.append(
            score_patient(
                reference_SHW,
                probability_SHW >= np.float32(0.5),
                probability_SHW,
                patient_id=str(number),
                threshold=0.5,
                spacing_mm=spacing_mm,
                tolerances_px=None,
            )[0]
        )
    return volumes, rows


def test_flips_are_named():
    dense = rows_of([Found(shift=0), Found(shift=None), Found(shift=0), Found(shift=0, false=True), Found(shift=1)])
    pruned = rows_of([Found(shift=None), Found(shift=0), Found(shift=0, false=True), Found(shift=0), Found(shift=1)])
    flips = {flip.patient_id: flip for flip in flipped_patients(dense, pruned, worse_by=0.05)}
    assert list(flips) == ["p00", "p02", "p01", "p03"]  # a tumour lost, a false lesion; then the changes for the better
    assert set(flips["p00"].changes) == {
        "Dice fell",
        "tumour missed now",
        "lesion lost",
        "HD95 rose",
        "volume further off",
    }
    assert flips["p00"].lesions_lost == (1,)
    assert {"Dice rose", "tumour found now", "lesion gained"} < set(flips["p01"].changes)
    assert {"Dice fell", "more false lesions", "more slices with an alarm"} < set(flips["p02"].changes)
    assert (flips["p02"].n_false_dense, flips["p02"].n_false_pruned) == (0, 1)
    assert {"Dice rose", "fewer false lesions", "fewer slices with an alarm"} < set(flips["p03"].changes)


def test_a_false_alarm_in_an_empty_patient_is_a_flip():
    dense, pruned = [row("a", Found(shift=None), size=0)], [row("a", Found(shift=None, false=True), size=0)]
    (flip,) = flipped_patients(dense, pruned, worse_by=0.05)
    assert set(flip.changes) == {
        "Dice fell",
        "more false lesions",
        "more slices with an alarm",
        "HD95 rose",
        "volume further off",
    }
    assert (flip.pruned, flip.difference) == (0.0, -1.0)
    assert math.isnan(flip.dense)
    hd95 = next(jump for jump in flip.jumps if jump.what == "HD95")
    assert (hd95.dense, hd95.pruned) == (0, pytest.approx(math.hypot(5, 24, 24)))  # the right answer is perfect


def test_no_flip_without_a_change():
    dense = rows_of([Found(shift=1, false=True), Found(shift=None)])
    assert flipped_patients(dense, dense, worse_by=0.01) == ()


def test_a_change_of_just_worse_by_does_not_count():
    assert flipped_patients(shifted(0), shifted(2), worse_by=0.25) == ()
    assert [jump.what for flip in flipped_patients(shifted(0), shifted(2), worse_by=0.24) for jump in flip.jumps] == [
        "Dice"
    ]


def test_detection():
    rows = rows_of([Found(shift=0), Found(shift=None, false=True), Found(shift=2, false=True)])
    found = lesion_detection(rows, QUICK)
    assert (found.n_reference, found.n_detected, found.n_predicted, found.n_false) == (3, 2, 4, 2)
    assert found.sensitivity.value == pytest.approx(2 / 3)
    assert found.precision.value == pytest.approx(2 / 4)
    assert found.f1.value == pytest.approx(4 / 7)
    assert found.dice.value == pytest.approx((1 + 0 + 0.75) / 3)
    assert found.false_per_patient.value == pytest.approx(2 / 3)
    assert found.f1.method == "none: fewer than 5 patients"


def test_all_lesions_found_is_no_proof_that_all_will_be():
    found = lesion_detection(shifted(0, 1, 0, 1, 0), QUICK)
    assert (found.n_detected, found.n_reference, found.sensitivity.value) == (5, 5, 1.0)
    assert found.sensitivity.low == pytest.approx(0.478, abs=0.001)  # Clopper and Pearson's of 5 of 5
    assert (found.sensitivity.high, found.precision.high) == (1.0, 1.0)
    assert found.sensitivity.method == found.precision.method == "Clopper-Pearson, clustered by patient"
    assert (found.f1.low, found.f1.method) == (None, "none: all values are equal")
    assert lesion_detection(shifted(0, 1, 0, 1), QUICK).sensitivity.low is None


def test_a_network_that_finds_nothing_has_precision_0():
    found = lesion_detection(shifted(*[None] * 6), QUICK)
    assert (found.precision.value, found.precision.low) == (0, None)
    assert found.sensitivity.value == found.sensitivity.low == 0
    assert found.sensitivity.high > 0.4


def test_detection_without_lesions():
    found = lesion_detection([row(name, Found(shift=None), size=0) for name in "ab"], QUICK)
    assert math.isnan(found.sensitivity.value)
    assert math.isnan(found.precision.value)
    assert math.isnan(found.f1.value)
    assert math.isnan(found.dice.value)
    assert found.false_per_patient.value == 0


def test_lesions_of_both_networks():
    known = {"spacing_mm": (2.0, 1.0, 1.0)}
    dense, pruned = [row("a", Found(shift=2), **known)], [row("a", Found(shift=None), **known)]
    (point,) = lesion_points(dense, pruned)
    assert (point.n_voxels, point.volume_ml, point.index) == (64, pytest.approx(0.128), 1)
    assert (point.detected_dense, point.detected_pruned, point.dice_pruned) == (True, False, 0.0)
    assert point.dice_dense == pytest.approx(0.75)


def test_bland_altman():
    _, rows = noisy(n=12, spacing_mm=(5.0, 1.0, 1.0))
    agreement = volume_agreement(rows, QUICK)
    difference = np.array([(entry.fp - entry.fn) * 0.005 for entry in rows])
    assert agreement.unit == "ml"
    assert agreement.bias.value == pytest.approx(difference.mean())
    assert agreement.standard_deviation == pytest.approx(difference.std(ddof=1))
    assert agreement.upper.value == pytest.approx(difference.mean() + 1.959964 * difference.std(ddof=1))
    assert agreement.lower.value == pytest.approx(difference.mean() - 1.959964 * difference.std(ddof=1))
    assert agreement.lower.low < agreement.lower.value < agreement.lower.high < agreement.upper.low
    assert [point.difference for point in agreement.points] == pytest.approx(difference)
    assert agreement.n_within == np.sum(abs(difference - difference.mean()) <= 1.959964 * difference.std(ddof=1))


def test_interval_of_a_limit_is_that_of_scipy():
    _, rows = noisy(n=30)
    difference = np.array([entry.fp - entry.fn for entry in rows], dtype=float)
    expected = stats.bootstrap(
        (difference,),
        lambda drawn, axis: drawn.mean(axis) + 1.959964 * drawn.std(axis, ddof=1),
        vectorized=True,
        n_resamples=4000,
        method="BCa",
        rng=np.random.default_rng(5),
    ).confidence_interval
    upper = volume_agreement(rows, replace(QUICK, resamples=4000)).upper
    assert upper.method == "BCa"
    assert [upper.low, upper.high] == pytest.approx(list(expected), abs=0.1 * (expected.high - expected.low))


def test_one_patient_has_no_limits_of_agreement():
    agreement = volume_agreement(shifted(0), QUICK)
    assert agreement.unit == "voxels"
    assert agreement.bias.value == 0
    assert math.isnan(agreement.upper.value)
    assert (agreement.upper.low, agreement.n_within) == (None, 0)


def test_calibration_against_scikit_learn_and_a_plain_loop():
    volumes, rows = noisy()
    found = calibration_of(rows, QUICK)
    truth = np.concatenate([reference.ravel() for reference, _ in volumes])
    probability = np.concatenate([values.ravel() for _, values in volumes]).astype(np.float64)
    asked = (probability >= 0.01) | (truth > 0)
    truth, probability = truth[asked], probability[asked]
    assert found.n_voxels == asked.sum()
    assert found.brier.value == pytest.approx(brier_score_loss(truth, probability))
    assert found.over_confidence == pytest.approx(probability.mean() - truth.mean())
    place = np.minimum((probability * 20).astype(int), 19)
    error = 0.0
    for k, entry in enumerate(found.bins):
        inside = place == k
        assert entry.n_voxels == inside.sum()
        if inside.any():
            assert entry.observed.value == pytest.approx(truth[inside].mean())
            assert entry.mean_probability == pytest.approx(probability[inside].mean())
            error += inside.sum() * abs(truth[inside].mean() - probability[inside].mean())
    assert found.ece.value == pytest.approx(error / asked.sum())
    assert found.ece.low <= found.ece.high


def test_no_voxel_in_question():
    rows = [replace(entry, calibration=CalibrationCounts()) for entry in shifted(0, 1)]
    assert calibration_of(rows, QUICK) is None


def test_the_threshold_curve_is_that_of_the_choice():
    volumes, rows = noisy()
    curve = threshold_curve(rows, {"hold-out": 0.5}, margin=0.02)
    tp_PT, fp_PT = (np.array([getattr(entry, name) for entry in rows]) for name in ("threshold_tp", "threshold_fp"))
    choice = best_threshold(tp_PT, fp_PT, np.array([reference.sum() for reference, _ in volumes]))
    assert [(point.threshold, point.dice_patient, point.f1_pooled) for point in curve.points] == [
        pytest.approx(point) for point in choice.curve
    ]
    at_half = curve.points[GRID.index(0.5)]
    assert at_half.dice_patient == pytest.approx(np.mean([entry.dice for entry in rows]))
    assert threshold_curve(rows, {"hold-out": choice.threshold}, margin=0.02).plateau_low <= choice.threshold


def test_the_plateau():
    rows = shifted(0, 2)  # one probability alone: the curve is flat up to it, and 0 above
    curve = threshold_curve(rows, {"a": 0.4, "b": 0.6}, margin=0.02)
    assert (curve.plateau_low, curve.plateau_high) == (0.02, max(point for point in GRID if point <= SURE))
    above = threshold_curve(rows, {"a": 0.95}, margin=0.02)
    assert math.isnan(above.plateau_low)
    assert curve.points[-1].dice_patient == 0


def test_no_curve_without_counts_by_threshold():
    rows = [replace(entry, threshold_tp=(), threshold_fp=()) for entry in shifted(0, 1)]
    curve = threshold_curve(rows, {"a": 0.5}, margin=0.02)
    assert curve.points == ()
    assert math.isnan(curve.plateau_high)


def test_an_empty_patient_has_a_dice_only_where_something_is_predicted():
    curve = threshold_curve([row("a", Found(shift=None, false=True), size=0)], {"a": 0.5}, margin=0.02)
    assert curve.points[0].dice_patient == 0
    assert math.isnan(curve.points[-1].dice_patient)  # above 0.625


def test_cases():
    rows = [
        row("a", Found(shift=None), size=0),
        row("b", Found(shift=None, false=True), size=0),
        row("c", Found(shift=None)),
        row("d", Found(shift=9, false=True)),  # beside the tumour
    ]
    cases = cases_of(rows)
    assert (cases.n_patients, cases.n_both_empty, cases.n_false_alarm, cases.n_missed, cases.n_not_found) == (
        4,
        1,
        1,
        1,
        2,
    )
    assert (cases.n_slices, cases.n_slices_free, cases.n_slices_false_alarm) == (20, 16, 2)
    assert (cases.false_positive_voxels, cases.n_false_lesions) == (16, 3)
    assert math.isnan(cases.false_positive_ml)
    assert cases_of(rows[2:]).false_positive_ml == 0


def test_millimetres_where_the_spacing_is_known():
    known = [row(name, Found(shift=2), spacing_mm=(6.0, 2.0, 2.0)) for name in "ab"]
    scores, undefined = scores_of(result_of(known), QUICK)
    assert scores["mean_hd95_mm"].value == pytest.approx(2 * scores["mean_hd95_px"].value) == pytest.approx(4.0)
    assert undefined["mean_hd95_mm"] == 0
    assert "mean_hd95_mm" not in scores_of(result_of([*known, row("c", Found())]), QUICK)[0]
