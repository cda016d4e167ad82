import json
from pathlib import Path

import pytest
from torch import nn

from tests.exported import SIZE, small_artefact
from wcr_med.config import CardConfig, load_config
from wcr_med.errors import UserError
from wcr_med.export.metadata import build_metadata, licence_of, without_patients
from wcr_med.model_metadata import LICENCE_NOTE, ModelMetadata
from wcr_med.models import sparsity


def test_says_what_is_known(network: nn.Module) -> None:
    metadata = build_metadata(network, small_artefact(threshold=0.3), channel_files=["a*", "b*", "c*"])
    report = sparsity(network)
    assert metadata.sparsity["sparsity_prunable"] == report.sparsity_prunable == pytest.approx(0.8, abs=1e-3)
    assert metadata.sparsity["sparsity_all"] == report.sparsity_all
    assert metadata.sparsity["n_prunable"] == report.n_prunable
    assert metadata.threshold == 0.3
    assert metadata.split_hash == "0123abcd"
    assert [step["step"] for step in metadata.history] == ["train", "prune"]
    assert metadata.preprocess.height == SIZE
    assert metadata.in_channels == 3
    assert metadata.channel_files == ("a*", "b*", "c*")
    assert metadata.provenance["network"] == {"seed": 0}
    assert "onnxruntime" in metadata.provenance["export"]["versions"]


def test_a_threshold_is_needed(network: nn.Module) -> None:
    with pytest.raises(UserError, match="no operating threshold"):
        build_metadata(network, small_artefact(threshold=None))


def test_names_no_patient(network: nn.Module) -> None:
    history = (
        {"step": "train", "patients": ["TCGA_CS_0001", "TCGA_DU_0002"], "dice": 0.8},
        {
            "step": "choose_threshold",
            "worst": "TCGA_HT_0003_19990101",
            "by_patient": {"TCGA_HT_0003": 0.7},
            "best": 0.4,
        },
    )
    document = build_metadata(network, small_artefact(history=history)).to_json()
    assert "TCGA" not in document
    train, choice = json.loads(document)["history"]
    assert train == {"step": "train", "patients": [], "dice": 0.8}
    assert choice == {"step": "choose_threshold", "by_patient": {}, "best": 0.4}


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("TCGA_CS_49421", True),
        ("XTCGA_CS_4942", True),
        ("TCGA_CS_4942", False),
        ("root/TCGA_CS_4942_19970222/x.tif", False),
        ("7", False),
        ("version 7.1", True),
    ],
)
def test_what_counts_as_naming(text: str, *, stays: bool) -> None:
    assert without_patients([text, {"key": text}], ["TCGA_CS_4942", "7"]) == ([text, {"key": text}] if stays else [{}])


def test_without_patients_nothing_changes() -> None:
    document = {"a": [1, "x", None, {"b": 2.5}]}
    assert without_patients(document, []) == document


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, LICENCE_NOTE),
        ({"licence": "CC BY 4.0"}, "CC BY 4.0."),
        ({"data_licence": " CC BY-NC-SA 4.0. "}, f"{LICENCE_NOTE} Training images: CC BY-NC-SA 4.0."),
        ({"licence": "As the\nimages", "data_licence": "CC0"}, "As the images. Training images: CC0."),
    ],
)
def test_the_licence_is_what_the_card_states(network: nn.Module, stated: dict[str, str], expected: str) -> None:
    licence = licence_of(CardConfig(**stated))
    assert licence == expected
    metadata = build_metadata(network, small_artefact(), licence=licence)
    assert ModelMetadata.from_json(metadata.to_json(), source="the test").licence == expected


@pytest.mark.parametrize("recipe", ["lgg", "lgg_small"])
def test_networks_of_the_recipes_name_the_licence_of_their_images(recipe: str) -> None:
    card = load_config(Path("configs") / f"{recipe}.yaml").card
    assert "CC BY-NC-SA 4.0" in licence_of(card)
    assert card.model_name
    assert card.developers
