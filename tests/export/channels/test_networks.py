"""The networks of the house, pruned hard."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper

from tests.export.channels.graphs import Array, operators
from tests.exported import open_session, shift_batch_norms, small_network
from wcr_med.config import DataConfig, ModelConfig
from wcr_med.data.index import index_patients, load_volume
from wcr_med.export import build_graph, fold_batch_norm, to_onnx
from wcr_med.export.channels import Removed, remove_dead_channels
from wcr_med.models import build_model
from wcr_med.preprocess import PreprocessSettings, predict_volume

SIZE = 32
CONFIGS = {
    "buda_unet": ModelConfig(name="buda_unet", features=4),
    "monai_unet": ModelConfig(name="monai_unet", features=4),
    "basic_unet": ModelConfig(name="basic_unet", features=4),
    "smp_unet": ModelConfig(name="smp_unet", features=4, encoder="resnet18"),
}


@pytest.fixture(scope="module", params=list(CONFIGS))
def traced(request: pytest.FixtureRequest) -> ModelProto:
    """A network of that family, with batch norms that shift every channel."""
    model = build_model(CONFIGS[request.param], seed=0).eval()
    shift_batch_norms(model, seed=0)
    return to_onnx(model, PreprocessSettings(height=SIZE, width=SIZE), in_channels=3)


def pruned(traced: ModelProto, sparsity: float) -> ModelProto:
    """Global magnitude pruning of all kernels, then batch norms folded."""
    model = ModelProto()
    model.CopyFrom(traced)
    names = {node.input[1] for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")}
    kernels = [tensor for tensor in model.graph.initializer if tensor.name in names]
    border = np.quantile(
        np.abs(np.concatenate([numpy_helper.to_array(kernel).ravel() for kernel in kernels])), sparsity
    )
    for kernel in kernels:
        values = numpy_helper.to_array(kernel)
        kernel.CopyFrom(numpy_helper.from_array(np.where(np.abs(values) > border, values, 0), kernel.name))
    return fold_batch_norm(model).model


def outputs(model: ModelProto) -> list[Array]:
    image = np.random.default_rng(0).uniform(0, 255, (2, 3, SIZE, SIZE)).astype(np.float32)
    feed = {"image": image, "centre": np.full(3, 100, np.float32), "spread": np.full(3, 50, np.float32)}
    results: list[Array] = open_session(model).run(None, feed)
    return results


def checked(model: ModelProto) -> Removed:
    result = remove_dead_channels(model)
    onnx.checker.check_model(result.model, full_check=True)
    for expected, found in zip(outputs(model), outputs(result.model), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, float(np.abs(expected).max())))
    return result


def test_every_family_loses_channels_and_keeps_its_answers(traced: ModelProto) -> None:
    left = []
    for sparsity in (0.9, 0.98, 0.995):
        result = checked(pruned(traced, sparsity))
        left.append(result.n_parameters_after / result.n_parameters_before)
        assert result.kept == {}  # nothing in these networks stands in the way
    assert left[0] > left[-1]
    assert left[-1] < 0.1


def test_a_dense_network_stays_as_it_is(traced: ModelProto) -> None:
    model = fold_batch_norm(traced).model
    assert remove_dead_channels(model).model.SerializeToString() == model.SerializeToString()


def test_deep_levels_that_are_dead_leave_the_file() -> None:
    model = small_network(features=4, sparsity=0.0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("down.3", "bottleneck", "widen.0", "up.0")):
                parameter.zero_()
    graph = build_graph(model, PreprocessSettings(height=SIZE, width=SIZE), in_channels=3, storage="dense")
    assert graph.dead_channels is not None
    rows = {row.name.removeprefix("network."): row for row in graph.dead_channels.layers}
    assert rows["bottleneck.0.weight"].outputs_after == 0
    assert rows["widen.0.weight"].outputs_after == 0
    assert rows["down.0.0.weight"].outputs_after == 4
    assert operators(graph.model).count("Conv") < 19


def test_the_result_is_json(traced: ModelProto) -> None:
    document = remove_dead_channels(pruned(traced, 0.98)).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document.keys() == {"n_parameters_before", "n_parameters_after", "layers", "additions", "kept"}
    assert all(row["outputs_after"] <= row["outputs_before"] for row in document["layers"])


@pytest.mark.lgg
@pytest.mark.parametrize("sparsity", [0.9, 0.98])
def test_real_slices_get_the_same_answers(lgg_root: Path, sparsity: float) -> None:
    volume = load_volume(index_patients(DataConfig(root=lgg_root))[0])
    settings = PreprocessSettings(height=64, width=64)
    model = fold_batch_norm(to_onnx(small_network(features=8, sparsity=sparsity), settings, in_channels=3)).model
    result = remove_dead_channels(model)
    assert result.n_parameters_after < result.n_parameters_before

    def answers(network: ModelProto) -> Array:
        session = open_session(network)

        def forward(image: Array, centre: Array, spread: Array) -> Array:
            feed = {"image": image.astype(np.float32), "centre": centre, "spread": spread}
            probability: Array = session.run(["probability"], feed)[0][:, 0]
            return probability

        return predict_volume(volume.image_SHWC, settings, forward)

    expected = answers(model)
    np.testing.assert_allclose(answers(result.model), expected, atol=1e-5)
    assert float(expected.std()) > 1e-3
