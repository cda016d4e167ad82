import json

import numpy as np
import pytest

from wcr_med.config import EvaluationConfig
from wcr_med.errors import UserError
from wcr_med.evaluation import compare_paired, evaluate_patients

CONFIG = EvaluationConfig(resamples=100)


def evaluate(patients, answer, entries=None):
    entries = entries if entries is not None else patients.entries
    return evaluate_patients(patients.predictor(answer), entries, threshold=0.5, config=CONFIG, distances=False)


def perfect(volume):
    return volume.mask_SHW


def misses_the_small_one(volume):
    return volume.mask_SHW if volume.patient_id == "large" else np.zeros(volume.mask_SHW.shape)


def cries_wolf(volume):
    return np.ones(volume.mask_SHW.shape) if volume.patient_id == "none" else volume.mask_SHW


def test_a_network_with_itself(three_patients):
    result = evaluate(three_patients, perfect)
    found = compare_paired(result, result, CONFIG)
    assert (found["mean_difference"], found["n_worse"], found["wilcoxon_p"]) == (0, 0, 1)
    assert (found["interval"], found["verdict"]) == (None, "inconclusive")  # of two patients nothing is known
    assert (found["n_patients"], found["n_undefined"]) == (2, 1)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_largest_loss_comes_first(three_patients):
    found = compare_paired(evaluate(three_patients, perfect), evaluate(three_patients, misses_the_small_one), CONFIG)
    assert found["mean_difference"] == -0.5
    assert found["n_worse"] == 1
    assert found["patients"] == [
        {"patient_id": "small", "baseline": 1, "candidate": 0, "difference": -1},
        {"patient_id": "large", "baseline": 1, "candidate": 1, "difference": 0},
        {"patient_id": "none", "baseline": None, "candidate": None, "difference": None},
    ]


def test_a_new_false_alarm_is_a_loss(three_patients):
    found = compare_paired(evaluate(three_patients, perfect), evaluate(three_patients, cries_wolf), CONFIG)
    assert found["patients"][0] == {"patient_id": "none", "baseline": None, "candidate": 0, "difference": -1}
    assert (found["n_flipped"], found["n_worse"], found["n_patients"]) == (1, 1, 3)
    assert found["verdict"] != "non-inferior"


def test_the_order_of_patients_is_immaterial(three_patients):
    baseline = evaluate(three_patients, perfect)
    candidate = evaluate(three_patients, misses_the_small_one, three_patients.entries[::-1])
    assert compare_paired(baseline, candidate, CONFIG) == compare_paired(
        baseline, evaluate(three_patients, misses_the_small_one), CONFIG
    )


def test_other_patients_are_refused(three_patients):
    with pytest.raises(UserError, match="patient none was scored for one network alone"):
        compare_paired(
            evaluate(three_patients, perfect), evaluate(three_patients, perfect, three_patients.entries[:2]), CONFIG
        )
