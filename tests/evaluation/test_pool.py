"""Folds pooled give what one evaluation of all their patients gives."""

import math
from dataclasses import replace

import numpy as np
import pytest

from wcr_med.config import EvaluationConfig
from wcr_med.errors import UserError
from wcr_med.evaluation import EvaluationResult, evaluate_patients, pool_results

CONFIG = EvaluationConfig(resamples=100)


def shifted(volume):
    return 0.8 * np.roll(volume.mask_SHW, 1, axis=2) + 0.1


def evaluate(patients, entries, **arguments):
    arguments = {"threshold": 0.5, "config": CONFIG, "seed": 3, **arguments}
    return evaluate_patients(patients.predictor(shifted), entries, **arguments)


def test_pooled_is_what_one_evaluation_of_all_gives(three_patients):
    entries = three_patients.entries
    whole = evaluate(three_patients, entries, split_hash="f")
    parts = [
        evaluate(three_patients, entries[:1], split_hash="f"),
        evaluate(three_patients, entries[1:], split_hash="f"),
    ]
    assert pool_results(parts, config=CONFIG, seed=3) == whole


def test_pooled_without_distances(three_patients):
    entries = three_patients.entries
    parts = [evaluate(three_patients, part, distances=False) for part in (entries[:2], entries[2:])]
    pooled = pool_results(parts, config=CONFIG, seed=3)
    assert pooled.averages == evaluate(three_patients, entries, distances=False).averages


def test_folds_have_thresholds_and_splits_of_their_own(three_patients, tmp_path):
    entries = three_patients.entries
    parts = [
        evaluate(three_patients, entries[:1], threshold=0.4, split_hash="a"),
        evaluate(three_patients, entries[1:], threshold=0.6, split_hash="b"),
    ]
    pooled = pool_results(parts, config=CONFIG, seed=3)
    assert math.isnan(pooled.threshold)
    assert pooled.split_hash is None
    assert [row.threshold for row in pooled.rows] == [0.4, 0.6, 0.6]
    pooled.save(tmp_path)
    assert EvaluationResult.load(tmp_path / "metrics.json").to_dict() == pooled.to_dict()
    assert pooled.to_dict()["threshold"] is None


def test_a_patient_in_two_folds_is_refused(three_patients):
    entries = three_patients.entries
    parts = [evaluate(three_patients, entries[:2]), evaluate(three_patients, entries[1:])]
    with pytest.raises(UserError, match="patient small is in evaluations 1 and 2"):
        pool_results(parts, config=CONFIG, seed=0)
    doubled = replace(parts[0], rows=parts[0].rows * 2)
    with pytest.raises(UserError, match="patient large is in evaluation 1, twice"):
        pool_results([doubled], config=CONFIG, seed=0)


def test_folds_of_different_definitions_are_refused(three_patients):
    entries = three_patients.entries
    first = evaluate(three_patients, entries[:1])
    for config in (EvaluationConfig(tolerance_px=(3.0,)), EvaluationConfig(lesion_min_voxels=3)):
        with pytest.raises(UserError, match="differ"):
            pool_results([first, evaluate(three_patients, entries[1:], config=config)], config=CONFIG, seed=0)
    with pytest.raises(UserError, match="differ"):
        pool_results([first, evaluate(three_patients, entries[1:], distances=False)], config=CONFIG, seed=0)


def test_nothing_to_pool(three_patients):
    with pytest.raises(UserError, match="no evaluations"):
        pool_results([], config=CONFIG, seed=0)
    with pytest.raises(UserError, match="no patients"):
        empty = replace(evaluate(three_patients, three_patients.entries[:1]), rows=())
        pool_results([empty], config=CONFIG, seed=0)
