"""The table of kernels as JSON."""

import json
from typing import Any

import pytest

from wcr_med.errors import UserError
from wcr_med.model_layers import Layer, layers_from_json, layers_to_json

LAYER = Layer(name="a", shape=(4, 3, 3, 3), n_nonzero=27, storage="rice", values="fp32", size_bytes=200)


def test_what_was_written_is_read_back() -> None:
    assert layers_from_json(layers_to_json([LAYER, LAYER]), source="x") == (LAYER, LAYER)
    assert layers_from_json(layers_to_json([]), source="x") == ()


def test_sparsity_is_the_share_of_zeros() -> None:
    assert (LAYER.n, LAYER.sparsity) == (108, 0.75)
    assert Layer(**{**vars(LAYER), "shape": (0, 3), "n_nonzero": 0}).sparsity == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"n_nonzero": 109},
        {"n_nonzero": -1},
        {"n_nonzero": True},
        {"shape": [1 << 31, 1 << 31]},
        {"shape": [4, -3]},
        {"shape": [1] * 9},
        {"shape": "4"},
        {"size_bytes": -1},
        {"size_bytes": 1.5},
        {"name": None},
        {"more": 1},
    ],
)
def test_a_damaged_row_is_refused(change: dict[str, Any]) -> None:
    rows = [{**json.loads(layers_to_json([LAYER]))[0], **change}]
    with pytest.raises(UserError, match=r"^m\.onnx: its table of layers is damaged"):
        layers_from_json(json.dumps(rows), source="m.onnx")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[" * 100_000, "[{}]"])
def test_another_document_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="table of layers is damaged"):
        layers_from_json(text, source="m.onnx")
