import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest

import wcr_med.report.clinical
from wcr_med.config import CardConfig
from wcr_med.report.analysis.analyse import analyse
from wcr_med.report.clinical.card import model_card
from wcr_med.report.clinical.card_document import NOT_STATED

SCHEMA = json.loads((Path(wcr_med.report.clinical.__file__).parent / "model_card.schema.json").read_text())


@pytest.fixture(scope="module")
def analysis(made_up):
    return analyse(made_up)


@pytest.fixture(scope="module")
def card(made_up, analysis):
    return model_card(made_up, analysis)


def leaves(value, path=""):
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from leaves(entry, f"{path}.{name}")
    elif isinstance(value, list):
        for entry in value:
            yield from leaves(entry, path)
    else:
        yield path, value


def test_follows_its_schema(card):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = json.loads(json.dumps(card.to_dict(), allow_nan=False))
    jsonschema.validate(document, SCHEMA)


@pytest.mark.parametrize("change", [{"extra": 1}, {"schema_version": 99}])
def test_the_schema_refuses_what_is_not_a_card(card, change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(json.dumps(card.to_dict() | change)), SCHEMA)


def test_the_schema_names_every_field(card):
    for section, record in vars(card).items():
        reference = SCHEMA["properties"][section]["$ref"].rsplit("/", 1)[-1]
        assert set(SCHEMA["$defs"][reference]["properties"]) == set(vars(record)), section


def test_holds_the_sections_of_a_model_card(card):
    assert list(card.to_dict())[2:] == [
        "model_details",
        "intended_use",
        "factors",
        "metrics",
        "evaluation_data",
        "training_data",
        "quantitative_analyses",
        "ethical_considerations",
        "caveats",
    ]


def test_what_nobody_stated_reads_not_stated(made_up, analysis):
    card = model_card(dataclasses.replace(made_up, card=CardConfig(funding="  ")), analysis)
    unstated = {path for path, value in leaves(card.to_dict()) if value == NOT_STATED}
    for name in ("developers", "contact", "licence", "name"):
        assert f".model_details.{name}" in unstated
    assert card.ethical_considerations.funding == NOT_STATED
    assert card.evaluation_data.reference_standard == NOT_STATED
    assert card.model_details.commits == dict.fromkeys(("training", "export", "report"), NOT_STATED)


def test_each_commit_is_named_as_what_it_is(made_up, analysis):
    inputs = dataclasses.replace(
        made_up, provenance={"commit": "c0ffee"}, commits={"training": "abc, def", "export": None}
    )
    assert model_card(inputs, analysis).model_details.commits == {
        "training": "abc, def",
        "export": NOT_STATED,
        "report": "c0ffee",
    }


def test_false_alarms_are_in_the_card(card, analysis):
    assert card.quantitative_analyses.detection == analysis.pruned.lesions
    assert card.to_dict()["quantitative_analyses"]["detection"]["n_false"] == analysis.pruned.lesions.n_false
    assert card.quantitative_analyses.worst_disturbance == analysis.verdict.worst_disturbance is not None


def test_every_field_of_the_configuration_is_in_the_card(made_up, analysis):
    stated = {name: f"text of {name}" for name in CardConfig.model_fields}
    card = model_card(dataclasses.replace(made_up, card=CardConfig(**stated)), analysis)
    values = {value for _, value in leaves(json.loads(json.dumps(card.to_dict())))}
    assert {text for text in stated.values() if text not in values} == set()


def test_numbers_are_those_of_the_analysis(card, analysis):
    figures = card.quantitative_analyses
    assert figures.scores["pruned-90"]["dice_patient"] == analysis.pruned.scores["dice_patient"]
    assert figures.scores["dense"] == analysis.dense.scores
    assert figures.non_inferiority == analysis.verdict.paired
    assert figures.changes == analysis.verdict.metrics
    assert figures.n_patients == analysis.n_patients == 14
    assert len(figures.subgroups) == sum(len(attribute.groups) for attribute in analysis.verdict.attributes)


def test_evaluation_and_training_data_are_of_different_parts(card):
    assert {entry.part for entry in card.evaluation_data.demographics} == {"test"}
    assert {entry.part for entry in card.training_data.demographics} == {"train", "validation"}


def test_the_networks_and_the_one_that_the_card_is_about(card):
    assert [(network.name, network.primary) for network in card.model_details.networks] == [
        ("dense", False),
        ("pruned-80", False),
        ("pruned-90", True),
    ]
    assert [file.file for file in card.model_details.files] == ["pruned-90.onnx"]


def test_hard_cases_give_a_card_too(one_patient, all_empty):
    for inputs in (one_patient, all_empty):
        document = model_card(inputs, analyse(inputs)).to_dict()
        jsonschema.validate(json.loads(json.dumps(document, allow_nan=False)), SCHEMA)
