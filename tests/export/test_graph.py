import copy

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.exported import open_session, small_network, tiny_network
from wcr_med.export import ExportResult, build_graph, to_onnx
from wcr_med.preprocess import PreprocessSettings, normalise


@pytest.fixture(scope="module")
def traced() -> tuple[nn.Module, onnx.ModelProto]:
    model = tiny_network(2).train()
    return model, to_onnx(model, PreprocessSettings(height=8, width=12), in_channels=2)


def test_inputs_and_outputs(traced: tuple[nn.Module, onnx.ModelProto]) -> None:
    graph = traced[1].graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "image": ["batch", 2, 8, 12],
        "centre": [2],
        "spread": [2],
        "logits": ["batch", 1, 8, 12],
        "probability": ["batch", 1, 8, 12],
    }
    assert traced[1].opset_import[0].version == 18


def test_the_graph_normalises_as_preprocess_does(traced: tuple[nn.Module, onnx.ModelProto]) -> None:
    model, proto = traced
    rng = np.random.default_rng(0)
    image_NChw = rng.uniform(0, 2000, (5, 2, 8, 12)).astype(np.float32)
    centre_C, spread_C = np.array([900, 100], np.float32), np.array([300, 10], np.float32)
    session = open_session(proto)
    logits, probability = session.run(None, {"image": image_NChw, "centre": centre_C, "spread": spread_C})
    normalised = normalise(image_NChw, centre_C, spread_C)
    assert (np.abs(normalised) == 5).any()
    with torch.inference_mode():
        expected = copy.deepcopy(model).eval()(torch.from_numpy(normalised)).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-logits.astype(np.float64))), atol=1e-6)


def test_training_mode_is_restored(traced: tuple[nn.Module, onnx.ModelProto]) -> None:
    assert all(module.training for module in traced[0].modules())


def test_no_trace_of_the_machine_stays(traced: tuple[nn.Module, onnx.ModelProto]) -> None:
    content = traced[1].SerializeToString()
    for trace in (b".py", b"stack_trace", b"/home", b"torch.export"):
        assert trace not in content


def test_batch_norm_is_still_there_until_it_is_folded(traced: tuple[nn.Module, onnx.ModelProto]) -> None:
    assert "BatchNormalization" in operators(traced[1])


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def test_a_grid_that_fits_needs_no_padding(exported: ExportResult) -> None:
    assert not operators(onnx.load(exported.path)) & {"Pad", "Slice", "Shape"}


def test_any_grid_gives_static_shapes() -> None:
    model = small_network()
    built = build_graph(model, PreprocessSettings(height=21, width=30), in_channels=3)
    assert operators(built.model) & {"Pad", "Slice", "Shape"} == {"Pad", "Slice"}
    assert_same_function(model, built.model, (3, 3, 21, 30))


def assert_same_function(model: nn.Module, proto: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0)).clamp(-5, 5)
    channels = shape[1]
    feed = {"image": image.numpy(), "centre": np.zeros(channels, np.float32), "spread": np.ones(channels, np.float32)}
    with torch.inference_mode():
        np.testing.assert_allclose(open_session(proto).run(["logits"], feed)[0], model(image).numpy(), atol=1e-4)
