import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wcr_med.config import EvaluationConfig
from wcr_med.errors import UserError
from wcr_med.evaluation import choose_threshold, evaluate_patients
from wcr_med.evaluation.threshold import GRID, threshold_counts
from wcr_med.metrics import count
from wcr_med.preprocess import binarise


def test_the_grid():
    assert GRID[0] == 0.02
    assert GRID[-1] == 0.98
    assert 0.5 in GRID
    assert len(GRID) == 97


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_one_pass_counts_what_binarise_gives_at_every_threshold(seed):
    rng = np.random.default_rng(seed)
    reference = rng.random((3, 8, 8)) < 0.3
    probability = rng.random((3, 8, 8)).astype(np.float32)
    on_grid = rng.random(probability.shape) < 0.5  # ties are the hard case
    probability[on_grid] = rng.choice(np.array([0, 1, *GRID], np.float32), on_grid.sum())
    tp_T, fp_T, positives = threshold_counts(reference, probability)
    assert positives == reference.sum()
    for index, threshold in enumerate(GRID):
        expected = count(reference, binarise(probability, threshold))
        assert (tp_T[index], fp_T[index]) == (expected.tp, expected.fp)


def noisy(volume):
    rng = np.random.default_rng(int(volume.image_SHWC.astype(int).sum()))
    return np.clip(0.3 * volume.mask_SHW + rng.beta(1, 6, volume.mask_SHW.shape), 0, 1)


def test_the_choice_is_the_best_of_full_evaluations(three_patients):
    predict = three_patients.predictor(noisy)
    choice = choose_threshold(predict, three_patients.entries)
    config = EvaluationConfig(resamples=1)
    results = [
        evaluate_patients(predict, three_patients.entries, threshold=threshold, config=config, distances=False)
        for threshold in GRID
    ]
    dice = [result.value("dice_patient") for result in results]
    pooled = [result.value("f1_pooled") for result in results]
    assert [entry[0] for entry in choice.curve] == list(GRID)
    assert [entry[1] for entry in choice.curve] == pytest.approx(dice)
    assert [entry[2] for entry in choice.curve] == pytest.approx(pooled)
    assert choice.threshold == GRID[int(np.argmax(dice))]
    assert choice.dice_patient == pytest.approx(max(dice))
    assert choice.n_patients == 3


def test_each_patient_is_predicted_once(three_patients):
    calls = []

    def answer(volume):
        calls.append(volume.patient_id)
        return volume.mask_SHW

    choose_threshold(three_patients.predictor(answer), three_patients.entries, progress=True)
    assert calls == ["large", "small", "none"]


@pytest.mark.parametrize(
    ("inside", "outside", "expected"),
    [
        (1.0, 0.0, 0.50),  # every threshold is perfect
        (0.30, 0.0, 0.30),  # all up to 0.30
        (1.0, 0.70, 0.71),  # all above 0.70
        (1.0, 0.49, 0.50),
    ],
)
def test_of_equals_the_nearest_to_one_half(three_patients, inside, outside, expected):
    choice = choose_threshold(
        three_patients.predictor(lambda volume: np.where(volume.mask_SHW, inside, outside)), three_patients.entries
    )
    assert choice.threshold == expected
    assert choice.dice_patient == 1


def test_a_dead_network_still_gets_a_threshold(three_patients):
    choice = choose_threshold(
        three_patients.predictor(lambda volume: np.zeros(volume.mask_SHW.shape)), three_patients.entries
    )
    assert (choice.threshold, choice.dice_patient, choice.f1_pooled) == (0.5, 0, 0)


def test_the_choice_is_json(three_patients):
    choice = choose_threshold(three_patients.predictor(noisy), three_patients.entries)
    document = json.loads(json.dumps(choice.to_dict(), allow_nan=False))
    assert document["threshold"] == choice.threshold
    assert len(document["curve"]) == len(GRID)


def test_patients_that_cannot_tell_are_refused(three_patients):
    predict = three_patients.predictor(noisy)
    with pytest.raises(UserError, match=r"split\.validation_patients"):
        choose_threshold(predict, [])
    with pytest.raises(UserError, match="no validation patient has a tumour"):
        choose_threshold(predict, three_patients.entries[2:])
    object.__setattr__(three_patients.volumes["small"], "mask_SHW", None)
    with pytest.raises(UserError, match="small has no reference"):
        choose_threshold(predict, three_patients.entries[1:2])
    with pytest.raises(ValueError, match="shape"):
        threshold_counts(np.zeros((2, 3, 3), bool), np.zeros((1, 3, 3), np.float32))
