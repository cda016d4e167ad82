import dataclasses

import pytest

from tests.report.side_by_side.squares import result_of, split_of
from wcr_med.config import EvaluationConfig, parse_config
from wcr_med.errors import UserError
from wcr_med.evaluation.pool import at_level
from wcr_med.files import read_json, write_json
from wcr_med.stages.scores import load_scores, require_definitions, scores_path
from wcr_med.stages.workspace import Workspace

SHIFTS = {"p1": 0, "p2": 1, "p3": 2, "p4": 0}


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    document = {
        "data": {"root": "images"},
        "split": {"validation_patients": 1, "test_patients": 4},
        "training": {"epochs": 1},
    }
    workspace = Workspace(out=tmp_path, config=parse_config(document, source="the test"))
    result_of(SHIFTS, split=split_of(SHIFTS)).save(workspace.evaluation_folder("dense"))
    return workspace


def test_reads_what_was_stored(workspace):
    assert [row.patient_id for row in load_scores(workspace, "dense", split_of(SHIFTS)).rows] == list(SHIFTS)


def test_missing_scores_name_those_that_are_there_and_the_command(workspace):
    with pytest.raises(UserError, match=r"it holds dense; run `wcr-med evaluate --out .* --model pruned-90` first"):
        load_scores(workspace, "pruned-90", split_of(SHIFTS))


def test_scores_of_another_split_are_refused(workspace):
    with pytest.raises(UserError, match=r"was scored on another split than .*split\.json"):
        load_scores(workspace, "dense", split_of(SHIFTS, train=("other",)))


@pytest.mark.parametrize("damaged", [[], {}, {"schema_version": 2}, {"schema_version": 2, "threshold": 0.5, "rows": 3}])
def test_a_damaged_file_is_one_line(workspace, damaged):
    write_json(scores_path(workspace, "dense"), damaged)
    with pytest.raises(UserError, match=r"dense/metrics\.json: .*run the evaluation again"):
        load_scores(workspace, "dense", split_of(SHIFTS))


@pytest.mark.parametrize(("field", "value"), [("dice", "high"), ("tp", None), ("tp", 0.5), ("lesions", 3)])
def test_a_damaged_row_is_one_line(workspace, field, value):
    path = scores_path(workspace, "dense")
    document = read_json(path)
    document["patients"][1][field] = value
    write_json(path, document)
    with pytest.raises(
        UserError, match=r"dense/metrics\.json: a field is missing or unknown .*; run the evaluation again"
    ):
        load_scores(workspace, "dense", split_of(SHIFTS))


def test_lost_averages_are_one_line(workspace):
    path = scores_path(workspace, "dense")
    write_json(path, read_json(path) | {"averages": {}})
    with pytest.raises(UserError, match=r"'dice_patient'\); run the evaluation again"):
        load_scores(workspace, "dense", split_of(SHIFTS))


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [("lesion_min_voxels", 3, "10"), ("tolerance_px", (3.0,), r"\[1,2\]"), ("threshold", 0.25, "0.4")],
)
def test_other_definitions_than_those_of_the_scores_are_refused(workspace, field, value, stored):
    result, path = result_of(SHIFTS), scores_path(workspace, "dense")
    require_definitions(result, EvaluationConfig(), source=path)
    with pytest.raises(UserError, match=rf"with evaluation\.{field} {stored}, .* --set evaluation\.{field}={stored}"):
        require_definitions(result, EvaluationConfig(**{field: value}), source=path)


def test_intervals_are_drawn_anew_at_another_level():
    result = result_of(SHIFTS | {"p5": 1})  # five patients: fewer have no interval
    interval = result.averages["dice_patient"].interval
    same = EvaluationConfig(confidence=interval.confidence, resamples=interval.resamples)
    assert at_level(result, same) is result
    lower = at_level(result, EvaluationConfig(confidence=0.8, resamples=interval.resamples))
    assert {one.interval.confidence for one in lower.averages.values() if one.interval} == {0.8}
    assert lower.value("dice_patient") == result.value("dice_patient")
    assert dataclasses.replace(lower, averages=result.averages) == result
