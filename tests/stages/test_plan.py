"""The plan is written when training begins, carried by the network, and held afterwards."""

import html
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.small import small_config
from wcr_med.artefacts import load_model
from wcr_med.cli_results import _require_of_report
from wcr_med.config import Config
from wcr_med.errors import UserError
from wcr_med.evaluation.plan import PLAN_NAME, StudyPlan
from wcr_med.stages.evaluate import evaluate_stage
from wcr_med.stages.facts import NetworkFacts
from wcr_med.stages.inputs import open_patients
from wcr_med.stages.plan import begin_plan, hold_plan, plan_standing
from wcr_med.stages.report import report_stage
from wcr_med.stages.trained_as import require_trained_as
from wcr_med.stages.workspace import Workspace, open_workspace


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


def verdicts_of(folder: Path) -> dict[str, dict[str, object]]:
    """The verdict in every file of a run folder."""
    metrics, card = (json.loads((folder / "report" / f"{name}.json").read_text()) for name in ("metrics", "model_card"))
    comparison = next(one for one in metrics["comparisons"] if one["network"] == metrics["primary"])
    return {
        "metrics.json": comparison["verdict"],
        "model_card.json": card["quantitative_analyses"]["verdict"],
        "summary.json": json.loads((folder / "summary.json").read_text())["verdict"],
    }


def plain(path: Path) -> str:
    return html.unescape(path.read_text()).replace("\N{NO-BREAK SPACE}", " ").replace("&nbsp;", " ")


@pytest.mark.parametrize(
    ("assignments", "planless", "status", "words"),
    [
        ([], False, "too few", "No verdict: too few patients"),
        (
            ["evaluation.margin=0.5", "report.min_subgroup=2"],
            False,
            "exploration",
            "evaluation.margin is 0.5 here and 0.02",
        ),
        (["evaluation.confidence=0.6"], False, "exploration", "evaluation.confidence is 0.6 here and 0.95 in the plan"),
        (
            [],
            True,
            "no plan",
            "plan.json is missing from the run folder, so it cannot be shown when",
        ),
    ],
)
def test_every_file_of_a_report_has_the_same_verdict(
    finished: Workspace, tmp_path: Path, assignments: list[str], planless: bool, status: str, words: str
) -> None:
    folder = Path(shutil.copytree(finished.out, tmp_path / "run"))
    if planless:
        (folder / PLAN_NAME).unlink()
    report_stage(open_workspace(folder, config_path=None, assignments=assignments))
    found = verdicts_of(folder)
    assert found["metrics.json"] == found["model_card.json"] == found["summary.json"]
    verdict = found["metrics.json"]
    assert verdict["status"] == status
    for page in (plain(folder / "summary.md"), plain(folder / "report" / "report.html")):
        assert words in page
        assert str(verdict["short"]) in page
        assert str(verdict["sentence"]).replace("\N{NO-BREAK SPACE}", " ") in page
        assert "on-inferior." not in page
        assert ("before training?" in page) == (status == "too few" and "<html" in page)
        assert "set before the run" not in page


def test_an_edited_configuration_and_another_recipe_are_exploration(finished: Workspace, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.out, tmp_path / "run"))
    saved = folder / "config.yaml"
    text = saved.read_text()
    saved.write_text(text.replace("margin: 0.02", "margin: 0.3"))
    report_stage(open_workspace(folder, config_path=None))
    assert verdicts_of(folder)["metrics.json"]["status"] == "exploration"
    saved.write_text(text)
    workspace = open_workspace(folder, config_path=None)
    (dense, pruned) = (NetworkFacts.load(workspace.evaluation_folder(name)) for name in ("dense", "pruned-90"))
    made = next(step for step in pruned.history if step["step"] == "prune")
    otherwise = {**made, "recipe": {**made["recipe"], "score": "lamp"}}
    history = tuple(otherwise if step is made else step for step in pruned.history)
    pruned = replace(pruned, history=history)
    splits = [open_patients(workspace).split.hash]
    standing = plan_standing(workspace, [dense], [pruned], splits=splits)
    assert standing.status == "exploration"
    assert "pruning.score lamp, and global_magnitude was planned" in standing.reason
    assert plan_standing(workspace, [dense], [], splits=splits).networks == ("pruned-90",)
    assert "plan is of 1 partition, this report of 2" in plan_standing(workspace, [dense], [], splits=splits * 2).reason


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("seed=7", "was made with seed 0, and the configuration says 7; set seed back to 0"),
        ("model.features=64", "was made with model.features 2, and the configuration says 64"),
        ("preprocess.height=64", "was made with preprocess.height 32"),
        ("training.epochs=100", "was made with training.epochs 2"),
        ("optimizer.learning_rate=0.5", "was made with optimizer.learning_rate 0.05"),
        ("regularizer.name=none", "was made with regularizer.name wcr"),
    ],
)
def test_a_report_does_not_print_what_the_network_is_not(finished: Workspace, assignment: str, message: str) -> None:
    workspace = open_workspace(finished.out, config_path=None, assignments=[assignment])
    facts = NetworkFacts.load(finished.evaluation_folder("pruned-90"))
    with pytest.raises(UserError, match=message):
        require_trained_as(workspace.config, [facts], source=Path("network.json"))
    require_trained_as(finished.config, [facts], source=Path("network.json"))
    fixed = replace(facts, history=(*facts.history, {"step": "set_threshold", "threshold": 0.4}))
    with pytest.raises(UserError, match=r"evaluation\.threshold 0\.4, and the configuration says auto"):
        require_trained_as(finished.config, [fixed], source=Path("network.json"))


@pytest.mark.parametrize("assignment", ["seed=7", "model.features=64", "pruning.score=lamp", " split.seed=3"])
def test_only_what_a_report_may_change_is_taken(assignment: str) -> None:
    with pytest.raises(UserError, match="a report shows networks as they were made"):
        _require_of_report([assignment])
    _require_of_report(["card.contact=x", "report.min_subgroup=2", "data.root=/x", "evaluation.margin=0.5"])
