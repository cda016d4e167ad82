"""Large networks are opened, and small files cannot ask for what large networks need."""

from pathlib import Path

import onnx
import pytest
import torch

from wcr_med.config import ModelConfig
from wcr_med.errors import UserError
from wcr_med.export.export import build_graph
from wcr_med.models import build_model
from wcr_med.onnx_file import ModelContents, Tensor, read_contents, require_openable
from wcr_med.onnx_file.budget import TooLargeError, constant_limit, needs
from wcr_med.preprocess import PreprocessSettings
from wcr_med.pruning import make_mask

_KILO, _MEGA, _GIGA = 2**10, 2**20, 2**30


@pytest.mark.parametrize(
    ("size_bytes", "limit"),
    [(0, _GIGA), (_KILO, _GIGA), (4 * _MEGA, _GIGA), (6 * _MEGA, 3 * _GIGA // 2), (8 * _MEGA, 2 * _GIGA)],
)
def test_what_a_file_of_a_size_may_take(size_bytes: int, limit: int) -> None:
    assert constant_limit(size_bytes) == limit
    assert constant_limit(512 * _MEGA) == 2 * _GIGA


@pytest.mark.parametrize(("data_type", "n_elements"), [(1, 96 * _MEGA), (11, 48 * _MEGA), (3, 96 * _MEGA)])
def test_a_large_file_may_take_more_than_a_small_one(data_type: int, n_elements: int) -> None:
    """Four constants of a type: 1.5 GB of float32 or double, 0.375 GB of int8."""
    tensors = [
        Tensor(name=f"t{number}", dims=(n_elements,), data_type=data_type, held_bytes=0, external=False)
        for number in range(4)
    ]

    def taken(size_bytes: int) -> int:
        contents = ModelContents(path=Path("a.onnx"), size_bytes=size_bytes, initializers=tensors)
        return needs(contents, {}).constant_bytes

    expected = 4 * n_elements * {1: 4, 11: 8, 3: 1}[data_type]
    assert taken(30 * _MEGA) == expected
    if expected <= _GIGA:
        assert taken(30 * _KILO) == expected
    else:
        with pytest.raises(TooLargeError, match=r"bytes, of at most 1073741824"):
            taken(30 * _KILO)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("storage", ["rice", "sparse_value", "dense"])
def test_a_network_of_seventy_million_weights_is_opened(tmp_path: Path, storage: str) -> None:
    """A Buda U-Net of 96 features, 90 % sparse."""
    model = build_model(ModelConfig(features=96), seed=0).eval()
    make_mask(model, "global_magnitude", 0.9).apply_(model)
    assert sum(parameter.numel() for parameter in model.parameters()) > 69e6
    settings = PreprocessSettings(height=64, width=64)
    with torch.no_grad():
        built = build_graph(model, settings, in_channels=3, storage=storage, remove_dead_channels=False)  # type: ignore[arg-type]
    path = tmp_path / "large.onnx"
    onnx.save(built.model, path)
    contents = read_contents(path)
    require_openable(contents)
    contents.size_bytes = _MEGA
    if storage == "rice":  # what fits its size in a large file does not in a small one
        with pytest.raises(UserError, match="refused for the memory"):
            require_openable(contents)
