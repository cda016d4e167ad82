"""Where an artefact comes from."""

import json
import platform

import pytest

from wcr_med import provenance as module
from wcr_med.provenance import available_cores, provenance


def test_it_records_what_is_needed_and_names_nobody() -> None:
    record = provenance(seed=7)
    assert record["seed"] == 7
    assert record["versions"]["numpy"]
    text = json.dumps(record)
    assert platform.node() not in text or not platform.node()
    assert "/home" not in text
    assert available_cores() >= 1


def test_a_container_names_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    module._commit.cache_clear()
    monkeypatch.setenv("WCR_MED_COMMIT", "abc")
    assert provenance(seed=None)["commit"] == "abc"
    module._commit.cache_clear()
