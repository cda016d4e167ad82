import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.report.analysis.made_up import QUICK, Found, row, rows_of, shifted
from wcr_med.report.analysis.paired import dice_verdict, paired_metrics, patient_pairs, shift_of
from wcr_med.report.document import Score


def by_name(dense, pruned):
    return {metric.name: metric for metric in paired_metrics(dense, pruned, QUICK)}


def test_a_network_against_itself():
    dense = rows_of([Found(shift=1), Found(shift=None), Found(shift=3, false=True), Found(shift=0), Found(shift=2)])
    for metric in paired_metrics(dense, dense, QUICK):
        assert metric.difference.value == 0, metric.name
        assert (metric.p, metric.p_holm, metric.shift, metric.n_flipped) == (1.0, 1.0, "not shown", 0), metric.name
        assert metric.dense == metric.pruned
    assert dice_verdict(dense, dense, QUICK).status == "too few"
    assert dice_verdict(dense * 10, dense * 10, QUICK).status == "non-inferior"
    assert all(pair.difference == 0 for pair in patient_pairs(dense, dense))


def test_known_answers():
    dense, pruned = shifted(0, 0, 0, 0, 0, 0), shifted(0, 1, 2, 3, 4, None)
    metrics = by_name(dense, pruned)
    dice = metrics["dice"]
    differences = -np.array([0, 1, 2, 3, 4, 8]) / 8
    assert (dice.dense, dice.pruned) == (1.0, pytest.approx(1 + differences.mean()))
    assert dice.difference.value == pytest.approx(differences.mean())
    assert dice.p == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert (dice.shift, dice.better, dice.test) == ("worse", "higher", "Wilcoxon signed-rank")
    assert metrics["relative_volume_error"].difference.value == pytest.approx(-1 / 6)  # the miss loses all
    assert metrics["absolute_volume_error"].difference.value == pytest.approx(1 / 6)
    assert metrics["lesion_sensitivity"].difference.value == pytest.approx(-1 / 6)
    # 64 voxels each; shift s leaves 64 - 8 s of them, and predicts 64 but for the miss.
    tp, fp, fn = 384 - 8 * 10 - 64, 80, 80 + 64
    assert metrics["f1_pooled"].pruned == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert metrics["f1_pooled"].test == "exchange of labels"
    assert metrics["hd95_px"].shift == "worse"
    assert metrics["brier"].dense == pytest.approx((1 - 0.875) ** 2)
    assert metrics["ece"].dense == pytest.approx(1 - 0.875)
    assert metrics["nsd_1px"].better == "higher"


def test_a_false_alarm_in_an_empty_patient_is_a_loss_from_perfect():
    dense = (row("a", Found(shift=None), size=0), row("b", Found()))
    pruned = (row("a", Found(shift=None, false=True), size=0), row("b", Found()))
    metrics = by_name(dense, pruned)
    for name in ("dice", "iou", "precision", "nsd_1px"):
        assert metrics[name].n_flipped == 1, name
        assert metrics[name].difference.value == pytest.approx(-0.5), name
        assert metrics[name].dense == 1, name  # the empty patient has no Dice there
    assert metrics["hd95_px"].difference.value == pytest.approx(pruned[0].hd95_px / 2)
    assert metrics["recall"].difference.n_patients == 1
    assert metrics["false_positive_rate_free_slices"].difference.value == pytest.approx(1 / 8)
    pairs = patient_pairs(dense, pruned)
    assert [pair.patient_id for pair in pairs] == ["a", "b"]
    assert math.isnan(pairs[0].dense)
    assert pairs[0].difference == -1


def test_a_score_that_was_not_measured_is_not_perfect():
    dense = shifted(2, 2, 2)
    pruned = tuple(replace(row, hd95_px=math.nan, nsd={}) for row in shifted(4, 4, 4))
    metrics = by_name(dense, pruned)
    for name in ("hd95_px", "nsd_1px"):
        assert math.isnan(metrics[name].difference.value), name
        assert metrics[name].n_flipped == 0, name


def test_everything_empty_has_no_differences():
    dense = [row(name, Found(shift=None), size=0) for name in "abc"]
    metrics = by_name(dense, dense)
    assert math.isnan(metrics["dice"].difference.value)
    assert math.isnan(metrics["dice"].p)
    assert math.isnan(metrics["dice"].p_holm)
    assert metrics["dice"].difference.n_patients == 0
    assert math.isnan(metrics["ece"].difference.value)
    assert metrics["specificity"].difference.value == 0
    assert dice_verdict(dense, dense, QUICK).status == "too few"


def test_pairs_are_sorted_by_loss():
    pairs = patient_pairs(shifted(1, 1, 1, 1), shifted(2, 0, None, 1))
    assert [pair.patient_id for pair in pairs] == ["p02", "p00", "p03", "p01"]
    assert [pair.reference_voxels for pair in pairs] == [64] * 4
    assert pairs[0].pruned_voxels == 0


@pytest.mark.parametrize(
    ("better", "low", "high", "dense", "expected"),
    [
        ("higher", 0.1, 0.2, 0, "better"),
        ("higher", -0.2, -0.1, 0, "worse"),
        ("lower", -0.2, -0.1, 0, "better"),
        ("lower", 0.1, 0.2, 0, "worse"),
        ("lower", -0.1, 0.2, 0, "not shown"),
        ("nearer zero", -0.2, -0.1, 0.15, "better"),
        ("nearer zero", -0.2, -0.1, 0.0, "worse"),
        ("nearer zero", -0.9, -0.5, 0.1, "worse"),
        ("nearer zero", 0.4, 0.8, -0.3, "not shown"),  # the interval holds +0.5 as well
        ("higher", None, None, 0, "not shown"),
    ],
)
def test_which_side_is_good(better, low, high, dense, expected):
    score = Score(value=0.0, low=low, high=high, n_patients=9, method="BCa")
    assert shift_of(score, better, dense=dense) == expected
