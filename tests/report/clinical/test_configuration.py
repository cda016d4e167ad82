"""The page shows what of the configuration a user decided."""

from pathlib import Path

import pytest

from wcr_med.config import load_config
from wcr_med.documents import flatten
from wcr_med.report.clinical.configuration import changed_fields

PHANTOM = Path(__file__).parents[3] / "configs" / "phantom.yaml"


def dumped(*assignments):
    return load_config(PHANTOM, assignments).model_dump(mode="json")


def test_fields_that_differ_are_shown_and_no_other():
    plain = dict(changed_fields(dumped()))
    assert "data.root" in plain  # it has no default
    assert "evaluation.margin" not in plain
    assert len(plain) < 0.3 * len(flatten(dumped()))
    changed = dict(changed_fields(dumped("evaluation.margin=0.05", "evaluation.tolerance_px=[1, 3]")))
    assert changed == plain | {"evaluation.margin": 0.05, "evaluation.tolerance_px": [1, 3]}


@pytest.mark.parametrize("section", ["augment", "loss", "optimizer", "export", "report", "card"])
def test_a_section_of_defaults_is_not_shown(section):
    document = dumped()
    assert not [name for name, _ in changed_fields({section: document[section]}) if name.startswith("card")]


def test_a_field_that_is_no_more_is_shown():
    assert changed_fields({"gone": {"field": 3}}) == (("gone.field", 3),)
