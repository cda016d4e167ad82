"""Validation scores against counts made by hand, and the rule for empty masks."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.tiny import SPLIT, tiny_cache
from wcr_med.training.processor import Processor
from wcr_med.training.validation import ValidationScores, scores_of_counts, validate

_CPU = Processor(device=torch.device("cpu"), precision=torch.float32)


class _Threshold(nn.Module):
    """Predicts tumour where the first channel is above a level."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, :1] - self.level


def test_counts_become_a_mean_over_patients_and_a_pool() -> None:
    scores = scores_of_counts(np.array([[10, 10, 10], [1, 2, 8]]))
    assert scores.dice_patient == pytest.approx((1 + 2 / 10) / 2)
    assert scores.f1_pooled == pytest.approx(22 / 30)
    assert scores.measured


def test_nothing_predicted_and_nothing_to_find_is_left_out() -> None:
    assert scores_of_counts(np.array([[0, 0, 0], [3, 4, 4]])).dice_patient == pytest.approx(6 / 8)
    assert scores_of_counts(np.array([[0, 0, 0]])) == ValidationScores(measured=True)


def test_a_false_alarm_in_an_empty_patient_counts_as_zero() -> None:
    assert scores_of_counts(np.array([[0, 5, 0], [4, 4, 4]])).dice_patient == pytest.approx(0.5)


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_batches_that_mix_patients_change_nothing(batch_size: int) -> None:
    cache = tiny_cache()
    model = _Threshold(1.5).train()
    scores = validate(model, cache, SPLIT.validation, _CPU, batch_size=batch_size)
    dice, overlap_of_all, size_of_all = [], 0, 0
    for patient in SPLIT.validation:
        rows = cache.rows([patient])
        predicted, reference = cache.images_NChw[rows, 0] > 1.5, cache.masks_Nhw[rows] > 0
        overlap, size = int((predicted & reference).sum()), int(predicted.sum() + reference.sum())
        dice.append(2 * overlap / size)
        overlap_of_all, size_of_all = overlap_of_all + overlap, size_of_all + size
    assert scores.dice_patient == pytest.approx(np.mean(dice))
    assert scores.f1_pooled == pytest.approx(2 * overlap_of_all / size_of_all)
    assert not model.training


def test_the_threshold_is_probability_one_half() -> None:
    cache = tiny_cache()
    assert validate(_Threshold(-1e9), cache, ["d"], _CPU, batch_size=4).f1_pooled == pytest.approx(
        2 * cache.masks_Nhw[cache.rows(["d"])].mean() / (1 + cache.masks_Nhw[cache.rows(["d"])].mean())
    )
    assert validate(_Threshold(1e9), cache, ["d"], _CPU, batch_size=4).dice_patient == 0
