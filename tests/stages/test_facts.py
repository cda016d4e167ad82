"""What is kept of a network beside its scores."""

from pathlib import Path

import pytest

from wcr_med.artefacts import ModelArtefact
from wcr_med.config import ModelConfig
from wcr_med.errors import UserError
from wcr_med.files import read_json, write_json
from wcr_med.models import build_model
from wcr_med.pruning import make_mask, prune_
from wcr_med.stages.facts import FACTS_NAME, NetworkFacts


def facts() -> NetworkFacts:
    model = build_model(ModelConfig(features=2))
    prune_(model, make_mask(model, "global_magnitude", 0.9, layer_floor=0.0))
    artefact = ModelArtefact(
        model_config={},
        preprocess={},
        split_hash="",
        trained_on=("a",),
        validated_on=("b",),
        history=({"step": "train", "seconds": 1.5}, {"step": "prune"}, {"step": "reestimate_statistics"}),
        provenance={"seed": 0},
    )
    return NetworkFacts.of(model, artefact)


def test_they_count_zeros_and_read_back(tmp_path: Path) -> None:
    found = facts()
    assert found.sparsity_prunable == pytest.approx(0.9, abs=1e-3)
    assert found.sparsity_all < found.sparsity_prunable
    assert found.repair == ("reestimate_statistics",)
    assert found.retrained_epochs == 0
    found.save(tmp_path)
    read = NetworkFacts.load(tmp_path)
    assert read == found
    assert (read.step("train") or {})["seconds"] == 1.5
    assert read.step("finetune") is None


@pytest.mark.parametrize(
    "damage", [{"history": [{}]}, {"history": [3]}, {"provenance": []}, {"n_all": "many"}, {"x": 1}]
)
def test_a_damaged_record_is_one_line(tmp_path: Path, damage: dict[str, object]) -> None:
    facts().save(tmp_path)
    path = tmp_path / FACTS_NAME
    write_json(path, read_json(path) | damage)
    with pytest.raises(UserError, match=r"network\.json: a field is missing or wrong \(.*\); run the evaluation again"):
        NetworkFacts.load(tmp_path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    facts().save(tmp_path)
    path = tmp_path / FACTS_NAME
    write_json(path, {**read_json(path), "schema_version": 99})
    with pytest.raises(UserError, match=r"network\.json: not of schema version 1; run the evaluation again"):
        NetworkFacts.load(tmp_path)
