"""The plan is written when training begins, carried by the network, and held afterwards."""

import json
import logging
from pathlib import Path

import pytest

from tests.small import small_config
from wcr_med.artefacts import load_model
from wcr_med.config import Config
from wcr_med.errors import UserError
from wcr_med.evaluation.plan import PLAN_NAME, StudyPlan
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.facts import NetworkFacts
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.plan import begin_plan, hold_plan
from wcr_med.stages.workspace import Workspace


def with_margin(config: Config, margin: float) -> Config:
    document = config.model_dump(mode="json")
    document["evaluation"]["margin"] = margin
    return Config.model_validate_json(json.dumps(document))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(out=tmp_path / "run", config=small_config(tmp_path / "images", tmp_path / "cache"))


def test_a_finished_run_carries_its_plan(finished: Workspace) -> None:
    plan = StudyPlan.load(finished.out)
    assert plan is not None
    assert plan.splits == (open_patients(finished).split.hash,)
    for name in ("dense", "pruned-90"):
        step = next(step for step in load_model(finished.model_path(name))[1].history if step["step"] == "train")
        assert step["plan"] == plan.to_dict()
        facts = NetworkFacts.load(finished.evaluation_folder(name)).step("train")
        assert facts is not None
        assert facts["plan"]["sha256"] == plan.sha256


def test_later_rules_are_refused_by_evaluation(finished: Workspace) -> None:
    other = Workspace(out=finished.out, config=with_margin(finished.config, 0.5))
    with pytest.raises(UserError, match=r"evaluation\.margin was set to 0\.02 when training began .* is 0\.5 now"):
        evaluate_stage(other)


def test_before_training_a_plan_follows_the_configuration(workspace: Workspace) -> None:
    first = begin_plan(workspace, [workspace], ["a" * 64])
    assert begin_plan(workspace, [workspace], ["a" * 64]) == first
    other = Workspace(out=workspace.out, config=with_margin(workspace.config, 0.05))
    changed = begin_plan(other, [other], ["a" * 64])
    assert changed is not None
    assert changed.fields["evaluation.margin"] == 0.05


def begin_training(workspace: Workspace) -> None:
    workspace.train_folder.mkdir(parents=True)
    (workspace.train_folder / "state.safetensors").touch()


def test_once_training_began_the_plan_stands(workspace: Workspace) -> None:
    begin_plan(workspace, [workspace], ["a" * 64])
    begin_training(workspace)
    other = Workspace(out=workspace.out, config=with_margin(workspace.config, 0.05))
    with pytest.raises(UserError, match="set it back, or choose another --out"):
        begin_plan(other, [other], ["a" * 64])
    with pytest.raises(UserError, match="was made for another split"):
        begin_plan(workspace, [workspace], ["b" * 64])


def test_an_older_training_gets_no_plan_afterwards(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    begin_training(workspace)
    with caplog.at_level(logging.INFO):
        assert begin_plan(workspace, [workspace], ["a" * 64]) is None
    assert "began without a plan" in caplog.text
    assert not (workspace.out / PLAN_NAME).exists()
    hold_plan(workspace)


def test_folds_share_the_plan_of_their_study(workspace: Workspace) -> None:
    parts = [Workspace(out=workspace.out / "folds" / str(fold), config=workspace.config) for fold in range(2)]
    plan = begin_plan(workspace, parts, ["b" * 64, "a" * 64])
    assert plan is not None
    assert [StudyPlan.load(part.out) for part in parts] == [plan, plan]
    begin_training(parts[0])
    assert begin_plan(workspace, parts, ["b" * 64, "a" * 64]) == plan
    assert begin_plan(parts[1], [parts[1]], ["a" * 64]) == plan
    (parts[1].out / PLAN_NAME).unlink()
    assert begin_plan(workspace, parts, ["b" * 64, "a" * 64]) == plan
    assert StudyPlan.load(parts[1].out) == plan
    StudyPlan.of(with_margin(workspace.config, 0.3), plan.splits).save(parts[1].out)
    with pytest.raises(UserError, match="is not the plan of its study"):
        begin_plan(workspace, parts, ["b" * 64, "a" * 64])


def test_another_plan_stops_a_resumed_training(tmp_path: Path) -> None:
    from wcr_med.training.checkpoint import Checkpoint
    from wcr_med.training.progress import Progress

    state = Checkpoint(
        path=tmp_path / "state.safetensors",
        fingerprint={"seed": 0, "plan": "a" * 64},
        progress=Progress(),
        model={},
        optimizer={},
        extras={},
    )
    state.check_fingerprint({"seed": 0, "plan": "a" * 64})
    for now in ({"seed": 0}, {"seed": 0, "plan": "b" * 64}):
        with pytest.raises(UserError, match=r"began under another plan\.json"):
            state.check_fingerprint(now)
