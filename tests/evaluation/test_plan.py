"""The plan of a study: it checks itself, and names what differs from it."""

import copy
import json
from pathlib import Path

import pytest

from tests.small import small_config
from wcr_med.config import Config
from wcr_med.errors import UserError
from wcr_med.evaluation.plan import PLAN_NAME, StudyPlan, decisions_of, differing, require_held
from wcr_med.files import read_json, write_json


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return small_config(tmp_path / "images", tmp_path / "cache")


def changed(config: Config, **sections: object) -> Config:
    document = config.model_dump(mode="json")
    for name, fields in sections.items():
        if isinstance(fields, dict):
            document[name] |= fields
        else:
            document[name] = fields
    return Config.model_validate_json(json.dumps(document))


def test_a_plan_is_read_back_as_it_was_written(config: Config, tmp_path: Path) -> None:
    plan = StudyPlan.of(config, ["b" * 64, "a" * 64])
    plan.save(tmp_path)
    assert StudyPlan.load(tmp_path) == plan
    assert plan.splits == ("a" * 64, "b" * 64)
    assert StudyPlan.load(tmp_path / "elsewhere") is None


def test_a_changed_byte_of_a_plan_is_noticed(config: Config, tmp_path: Path) -> None:
    StudyPlan.of(config, ["a" * 64]).save(tmp_path)
    path = tmp_path / PLAN_NAME
    text = path.read_text()
    for place in range(0, len(text), 7):
        if not text[place].isalnum():
            continue
        path.write_text(text[:place] + ("7" if text[place] != "7" else "8") + text[place + 1 :])
        with pytest.raises(UserError, match=r"plan\.json"):
            StudyPlan.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"made": None}, "of another kind"),
        ({"schema_version": 2}, "schema version 1"),
        ({"fields": []}, "of another kind"),
        ({"splits": [1]}, "of another kind"),
        ({"more": 1}, "was changed"),
        ({"made": "2020-01-01T00:00:00Z"}, "was changed"),
    ],
)
def test_a_plan_that_was_changed_is_refused(
    config: Config, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    document = StudyPlan.of(config, ["a" * 64]).to_dict()
    write_json(tmp_path / PLAN_NAME, document | change)
    with pytest.raises(UserError, match=message):
        StudyPlan.load(tmp_path)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("evaluation", "margin", 0.5),
        ("evaluation", "confidence", 0.8),
        ("evaluation", "worse_by", 0.2),
        ("evaluation", "resamples", 60),
        ("evaluation", "lesion_min_voxels", 1),
        ("evaluation", "tolerance_px", [5.0]),
        ("evaluation", "threshold", 0.4),
        ("report", "min_subgroup", 2),
    ],
)
def test_every_rule_of_evaluation_is_held(config: Config, section: str, field: str, value: object) -> None:
    plan = StudyPlan.of(config, ["a" * 64])
    require_held(plan, config, source="plan.json")
    other = changed(config, **{section: {field: value}})
    assert [name for name, _, _ in differing(plan, decisions_of(other))] == [f"{section}.{field}"]
    with pytest.raises(UserError, match=rf"^plan\.json: {section}\.{field} was set to .* when training began"):
        require_held(plan, other, source="plan.json")


def test_what_decides_no_verdict_may_change(config: Config) -> None:
    plan = StudyPlan.of(config, ["a" * 64])
    other = changed(
        config, evaluation={"batch_size": 3}, report={"permutations": 7}, pruning={"also": [0.5], "ladder": []}
    )
    assert differing(plan, decisions_of(other)) == ()
    pruned_otherwise = changed(config, pruning={"sparsity": 0.5})
    require_held(plan, pruned_otherwise, source="plan.json")  # a folder may hold several networks
    assert differing(plan, decisions_of(pruned_otherwise)) == (("pruning.sparsity", 0.9, 0.5),)


def test_the_hash_covers_everything(config: Config, tmp_path: Path) -> None:
    plan = StudyPlan.of(config, ["a" * 64])
    plan.save(tmp_path)
    document = read_json(tmp_path / PLAN_NAME)
    for name in document["fields"]:
        other = copy.deepcopy(document)
        other["fields"][name] = "other"
        write_json(tmp_path / PLAN_NAME, other)
        with pytest.raises(UserError, match="was changed"):
            StudyPlan.load(tmp_path)


def test_a_field_younger_than_the_plan_was_planned_at_its_default(config: Config) -> None:
    plan = StudyPlan.of(config, ["a" * 64])
    older = StudyPlan(
        made=plan.made,
        commit=plan.commit,
        fields={name: value for name, value in plan.fields.items() if name != "pruning.cost_weight"},
        splits=plan.splits,
    )
    assert differing(older, plan.fields) == ()
    assert differing(older, {**plan.fields, "pruning.cost_weight": 0.5}) == (("pruning.cost_weight", 0.0, 0.5),)
    assert [now for _, _, now in differing(plan, older.fields)] == ["not there"]
