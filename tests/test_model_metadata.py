import json
from typing import Any

import pytest

from wcr_med.errors import UserError
from wcr_med.model_metadata import ModelMetadata
from wcr_med.preprocess import PreprocessSettings


def metadata(**changes: Any) -> ModelMetadata:
    fields: dict[str, Any] = {
        "in_channels": 3,
        "preprocess": PreprocessSettings(height=64, width=48),
        "threshold": 0.4,
        "sparsity": {"n_prunable": 10, "sparsity_prunable": 0.9},
        "split_hash": "abc",
        "network": {"name": "buda_unet"},
        "history": ({"step": "train"},),
        "provenance": {"seed": None},
    }
    return ModelMetadata(**{**fields, **changes})


def document(**changes: Any) -> str:
    return json.dumps({**json.loads(metadata().to_json()), **changes})


@pytest.mark.parametrize("patterns", [None, ("*_t1.nii", "*_flair.nii", "*_t2.nii")])
def test_survives_a_round_trip(patterns: tuple[str, ...] | None) -> None:
    original = metadata(channel_files=patterns)
    assert ModelMetadata.from_json(original.to_json(), source="m.onnx") == original


def test_names_of_channels_survive_too() -> None:
    original = metadata(channels=("T1", "FLAIR", "T1 with contrast"), image_statistics={"n_images": 3})
    assert ModelMetadata.from_json(original.to_json(), source="m.onnx") == original


def test_a_file_of_schema_1_is_read_and_names_no_channels() -> None:
    older = json.loads(document(schema_version=1))
    del older["channels"], older["image_statistics"]
    assert ModelMetadata.from_json(json.dumps(older), source="m.onnx") == metadata()


def test_says_what_it_is_and_is_not_for() -> None:
    read = json.loads(metadata().to_json())
    assert list(read)[:2] == ["schema_version", "task"]
    assert read["task"] == "binary-segmentation"
    assert "Not a medical device" in read["intended_use"]


def test_refuses_numbers_that_json_has_not() -> None:
    with pytest.raises(ValueError, match="JSON"):
        metadata(sparsity={"sparsity_prunable": float("nan")}).to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no wcr-med metadata"),
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        (document(schema_version=99), "schema 99"),
        (document(schema_version=None), "schema None"),
        (document(task="classification"), "'classification'"),
        (document(extra=1), "unknown: .*extra"),
        (document(threshold=1.0), "threshold"),
        (document(threshold="0.5"), "threshold"),
        (document(threshold=float("nan")), "threshold"),
        (document(in_channels=0), "in_channels"),
        (document(channels=["T1", "t1", "T2"]), "channels"),
        (document(channels=["T1", "T2"]), "channels"),
        (document(channels=["T1", "T2", "a\x1b[2J"]), "channels"),
        (document(channels="abc"), "channels"),
        (document(image_statistics=[]), "image_statistics"),
        (document(in_channels=True), "in_channels"),
        (document(preprocess=[]), "preprocess"),
        (document(preprocess={"height": 3}), "width"),
        (document(preprocess={**PreprocessSettings().to_dict(), "height": 0}), "out of range"),
        (document(preprocess={**PreprocessSettings().to_dict(), "low_percentile": "1"}), "preprocessing settings"),
        (document(sparsity={"sparsity_prunable": "much"}), "sparsity"),
        (document(split_hash=3), "split_hash"),
        (document(network=None), "network"),
        (document(history=["train"]), "history"),
        (document(provenance=1), "provenance"),
        (document(channel_files=["a", "b"]), "channel_files"),
        (document(classes=["lesion"]), "classes"),
        (document(intended_use=None), "intended_use"),
        (document(licence=None), "licence"),
    ],
)
def test_every_bad_document_is_one_line_with_the_file_and_the_remedy(text: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ModelMetadata.from_json(text, source="m.onnx")
    assert str(caught.value).startswith("m.onnx: ")
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)
