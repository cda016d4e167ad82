import dataclasses
import re

import pytest

from wcr_med.config import CardConfig
from wcr_med.report.analysis.analyse import analyse
from wcr_med.report.clinical.claim_items import CLAIM_2024
from wcr_med.report.clinical.crosswalk import crosswalk
from wcr_med.report.clinical.page import SECTIONS
from wcr_med.report.clinical.tripod_items import TRIPOD_AI

SPECS = {spec.name: [item for group in spec.groups for item in group.items] for spec in (CLAIM_2024, TRIPOD_AI)}
ITEMS = [item for items in SPECS.values() for item in items]


@pytest.fixture(scope="module")
def analysis(made_up):
    return analyse(made_up)


@pytest.fixture
def row(made_up, analysis):
    """The row of an item: `row("CLAIM 2024", "44", card={...}, design=...)`."""

    def find(guideline, number, *, card=None, analysis_changes=None, **changes):
        inputs = dataclasses.replace(made_up, card=CardConfig(**(card or {})), **changes)
        changed = dataclasses.replace(analysis, **(analysis_changes or {}))
        (found,) = [entry for entry in crosswalk(inputs, changed) if entry.name == guideline]
        (item,) = [item for item in found.items if item.number == number]
        return item

    return find


def test_claim_has_44_items_in_order():
    assert [item.number for item in SPECS["CLAIM 2024"]] == [str(number) for number in range(1, 45)]
    assert CLAIM_2024.n_items == 44


def test_tripod_has_27_items_of_52_parts_in_order():
    numbers = [item.number for item in SPECS["TRIPOD+AI 2024"]]
    assert len(numbers) == len(set(numbers)) == 52
    whole = [int(re.match(r"\d+", number)[0]) for number in numbers]
    assert whole == sorted(whole)
    assert set(whole) == set(range(1, 28))
    assert TRIPOD_AI.n_items == 27


@pytest.mark.parametrize("spec", ITEMS, ids=lambda spec: f"{spec.number} {spec.name}")
def test_points_at_sections_and_fields_that_exist(spec):
    assert set(spec.sections) <= {section.anchor for section in SECTIONS}
    assert set(spec.fields) <= set(CardConfig.model_fields)
    kinds = [bool(spec.unknown), bool(spec.not_applicable), bool(spec.sections and (spec.answer or spec.fields))]
    assert sum(kinds) == 1


def test_every_field_of_the_card_answers_an_item():
    named = {field for item in ITEMS for field in item.fields}
    assert set(CardConfig.model_fields) - named == {"model_name", "developers", "contact"}


def test_an_item_that_only_developers_can_answer(row):
    silent = row("CLAIM 2024", "44")
    assert (silent.status, silent.sections, silent.reason) == ("not stated", (), "Not stated: card.funding.")
    stated = row("CLAIM 2024", "44", card={"funding": "A grant."})
    assert (stated.status, stated.sections, stated.fields) == ("answered", ("provenance",), ("card.funding",))
    assert row("CLAIM 2024", "44", card={"funding": " "}).status == "not stated"


def test_an_item_that_report_and_developers_answer_together(row):
    half = row("CLAIM 2024", "7")
    assert half.status == "answered in part"
    assert "Not stated: card.data_source." in half.reason
    assert row("CLAIM 2024", "7", card={"data_source": "An archive."}).status == "answered"


def test_an_item_with_several_fields(row):
    one = row("TRIPOD+AI 2024", "3b", card={"population": "Adults."})
    assert one.status == "answered in part"
    assert one.reason == "Stated by the developers. Not stated: card.intended_use and card.intended_users."


def test_an_item_that_is_answered_in_part_at_most(row):
    assert row("CLAIM 2024", "3", card={"intended_use": "Research."}).status == "answered in part"


def test_what_was_not_measured_is_not_stated(row):
    assert row("CLAIM 2024", "30").status == "answered"
    absent = row("CLAIM 2024", "30", analysis_changes={"robustness": ()})
    assert (absent.status, absent.reason) == ("not stated", "Robustness was not measured.")
    assert row("TRIPOD+AI 2024", "22", analysis_changes={"deployment": {}}).status == "not stated"


def test_external_data_need_a_left_out_institution(row):
    assert row("CLAIM 2024", "33").status == "not stated"
    assert row("CLAIM 2024", "33", design="leave-one-institution-out").status == "answered in part"


def test_without_clinical_columns_demographics_are_answered_in_part(row, made_up):
    assert row("CLAIM 2024", "36").status == "answered"
    bare = {name: dataclasses.replace(entry, clinical={}) for name, entry in made_up.attributes.items()}
    assert row("CLAIM 2024", "36", attributes=bare).status == "answered in part"


def test_items_that_do_not_apply_say_why(row):
    item = row("CLAIM 2024", "27")
    assert (item.status, item.sections) == ("not applicable", ())
    assert item.reason


def test_counts_add_up(made_up, analysis):
    for guideline in crosswalk(made_up, analysis):
        statuses = ("answered", "answered in part", "not stated", "not applicable")
        assert sum(guideline.count(status) for status in statuses) == len(guideline.items)
        assert guideline.to_dict()["items"][0]["number"] == "1"
        assert guideline.url.startswith("https://doi.org/")
