import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from monai.metrics import ConfusionMatrixMetric, compute_dice, compute_iou

from wcr_med.metrics import Counts, count, count_slices

MASKS = hnp.arrays(np.bool_, (3, 4, 5))


def random_pair(seed, *, density=0.3, shape=(4, 9, 8)):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < density, rng.random(shape) < density


def test_scores_of_hand_counted_masks():
    reference = np.array([[[1, 1, 1, 0], [0, 0, 0, 0]]], dtype=np.uint8)
    prediction = np.array([[[0, 1, 1, 1], [1, 0, 0, 0]]], dtype=np.uint8)
    counts = count(reference, prediction)
    assert counts == Counts(tp=2, fp=2, fn=1, tn=3)
    assert counts.dice == pytest.approx(4 / 7)
    assert counts.iou == pytest.approx(2 / 5)
    assert counts.precision == pytest.approx(1 / 2)
    assert counts.recall == pytest.approx(2 / 3)
    assert counts.specificity == pytest.approx(3 / 5)
    assert counts.relative_volume_error == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_monai_on_random_masks(seed):
    reference, prediction = random_pair(seed)
    one_hot = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, reference)]
    counts = count(reference, prediction)
    assert counts.dice == pytest.approx(compute_dice(*one_hot).item(), abs=1e-6)
    assert counts.iou == pytest.approx(compute_iou(*one_hot).item(), abs=1e-6)
    names = ["precision", "sensitivity", "specificity"]
    metric = ConfusionMatrixMetric(metric_name=names, reduction="none")
    metric(*one_hot)
    expected = [value.item() for value in metric.aggregate()]
    assert [counts.precision, counts.recall, counts.specificity] == pytest.approx(expected, abs=1e-6)


def test_nothing_to_find_and_nothing_found_has_no_score():
    counts = count(np.zeros((2, 3, 3), bool), np.zeros((2, 3, 3), bool))
    assert counts.both_empty
    assert all(math.isnan(value) for value in (counts.dice, counts.iou, counts.precision, counts.recall))
    assert math.isnan(counts.relative_volume_error)
    assert counts.specificity == 1


def test_a_false_alarm_on_an_empty_reference_scores_zero():
    counts = Counts(tp=0, fp=5, fn=0, tn=10)
    assert (counts.dice, counts.iou, counts.precision) == (0, 0, 0)
    assert math.isnan(counts.recall)
    assert math.isnan(counts.relative_volume_error)


def test_a_missed_lesion_scores_zero_in_precision_too():
    counts = Counts(tp=0, fp=0, fn=5, tn=10)
    assert (counts.dice, counts.iou, counts.precision, counts.recall) == (0, 0, 0, 0)
    assert counts.relative_volume_error == -1


def test_specificity_does_not_exist_where_the_lesion_fills_the_volume():
    assert math.isnan(Counts(tp=8, fp=0, fn=0, tn=0).specificity)


@settings(deadline=None, max_examples=60)
@given(MASKS, MASKS)
def test_dice_is_symmetric_bounded_and_tied_to_iou(first, second):
    forth, back = count(first, second), count(second, first)
    if forth.both_empty:
        assert math.isnan(forth.dice)
        assert math.isnan(back.dice)
        return
    assert forth.dice == back.dice
    assert 0 <= forth.dice <= 1
    assert forth.dice == pytest.approx(2 * forth.iou / (1 + forth.iou))
    if first.any() and second.any():
        assert (forth.precision, forth.recall) == (back.recall, back.precision)
    assert count(first, first).dice == 1 or not first.any()


@settings(deadline=None, max_examples=60)
@given(MASKS, MASKS)
def test_slices_add_up_to_the_volume(reference, prediction):
    slices = count_slices(reference, prediction)
    assert slices.total == count(reference, prediction)
    assert (slices.tp_S + slices.fp_S + slices.fn_S + slices.tn_S == 20).all()
    dice = [count(reference[i], prediction[i]).dice for i in range(3) if reference[i].any()]
    assert slices.tumour_dice_sum == pytest.approx(sum(dice))
    assert slices.n_tumour == len(dice)
    assert slices.n_free == 3 - len(dice)
    assert slices.n_false_alarms == sum(prediction[i].any() and not reference[i].any() for i in range(3))


def test_counts_add():
    assert Counts(tp=1, fp=2, fn=3, tn=4) + Counts(tp=1, fp=1, fn=1, tn=1) == Counts(tp=2, fp=3, fn=4, tn=5)


def test_large_volumes_do_not_overflow():
    counts = Counts(tp=2**33, fp=0, fn=2**33, tn=0)
    assert counts.dice == pytest.approx(2 / 3)


def test_any_non_zero_integer_is_foreground():
    assert count(np.array([0, 2, 255]), np.array([0, 1, 1])) == Counts(tp=2, fp=0, fn=0, tn=1)


def test_invalid_input_is_refused():
    mask = np.zeros((2, 3, 3), bool)
    with pytest.raises(ValueError, match="shape"):
        count(mask, mask[:1])
    with pytest.raises(ValueError, match="threshold"):
        count(mask, mask.astype(np.float32))
    with pytest.raises(ValueError, match="slices x rows"):
        count_slices(mask[0], mask[0])
    with pytest.raises(ValueError, match="negative"):
        Counts(tp=-1, fp=0, fn=0, tn=0)
