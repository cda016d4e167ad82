"""The table of kernels that a model file carries."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.exported import SIZE, export_small, small_artefact, small_network
from wcr_med.config import ExportConfig
from wcr_med.export import ExportResult
from wcr_med.export.accelerated import kernel_encoder
from wcr_med.export.export import build_graph
from wcr_med.export.layers import write_layers_of_accelerated
from wcr_med.export.metadata import build_metadata
from wcr_med.export.partition import assemble, partition
from wcr_med.export.storage import store
from wcr_med.model_layers import LAYERS_KEY, Layer, layers_from_json
from wcr_med.onnx_file import SEAL_BYTES
from wcr_med.preprocess import PreprocessSettings


def layers_of(model: onnx.ModelProto) -> tuple[Layer, ...]:
    properties = {entry.key: entry.value for entry in model.metadata_props}
    return layers_from_json(properties[LAYERS_KEY], source="the test")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    return export_small(tmp_path_factory.mktemp("layers") / "small.onnx", small_network())


def test_a_file_lists_its_kernels(exported: ExportResult) -> None:
    layers = layers_of(onnx.load(exported.path))
    assert [layer.name for layer in layers] == [row.name for row in exported.tensors]
    dense = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in exported.dense.graph.initializer}
    for layer, row in zip(layers, exported.tensors, strict=True):
        assert layer.shape == dense[layer.name].shape
        assert layer.n_nonzero == np.count_nonzero(dense[layer.name])
        assert (layer.storage, layer.values, layer.size_bytes) == (row.storage, row.values, row.size_bytes)


def test_a_graph_without_metadata_has_no_table() -> None:
    built = build_graph(small_network(), PreprocessSettings(height=SIZE, width=SIZE), in_channels=3)
    assert not built.model.metadata_props


def test_a_dense_file_is_as_large_as_it_says() -> None:
    model = small_network()
    built = build_graph(
        model,
        PreprocessSettings(height=SIZE, width=SIZE),
        in_channels=3,
        storage="dense",
        remove_dead_channels=False,
        metadata=build_metadata(model, small_artefact()),
    )
    assert built.model.ByteSize() + SEAL_BYTES == built.dense_size_bytes


@pytest.mark.parametrize("values", ["fp32", "int8"])
def test_an_accelerated_file_lists_kernels_inside_the_operator(exported: ExportResult, values: str) -> None:
    config = ExportConfig.model_validate({"values": values})
    portable = store(exported.dense, config.storage, config.values)
    model = assemble(partition(exported.dense), encode=kernel_encoder(config))
    stored = store(model, config.storage, config.values)
    write_layers_of_accelerated(stored.model, stored.tensors, portable.tensors)
    layers = layers_of(stored.model)
    assert [(layer.name, layer.shape, layer.n_nonzero) for layer in layers] == [
        (row.name, row.shape, row.n_stored) for row in portable.tensors
    ]
    inside = [layer for layer in layers if layer.name not in {row.name for row in stored.tensors}]
    assert inside
    parts = {tensor.name: tensor for tensor in stored.model.graph.initializer}
    for layer in inside:
        kept = onnx.numpy_helper.to_array(parts[f"{layer.name}.values"])
        assert kept.nbytes < layer.size_bytes
        assert np.count_nonzero(kept) == layer.n_nonzero
        assert {"gap8": "gaps", "rice": "low", "dense": "values"}[layer.storage] in {
            name.removeprefix(f"{layer.name}.") for name in parts if name.startswith(f"{layer.name}.")
        }
    assert Path(exported.path).stat().st_size > sum(layer.size_bytes for layer in layers_of(onnx.load(exported.path)))
