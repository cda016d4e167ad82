import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.export.programs import (
    Array,
    checked,
    expect_same,
    outside,
)
from wcr_med.config import ModelConfig
from wcr_med.export import fold_batch_norm, to_onnx
from wcr_med.export.partition import assemble, partition
from wcr_med.models import build_model
from wcr_med.preprocess import PreprocessSettings

NETWORKS = ["buda_unet", "basic_unet", "monai_unet", "smp_unet"]


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_networks_are_one_node(name: str) -> None:
    network = build_model(ModelConfig(name=name, features=2), seed=0).eval()  # type: ignore[arg-type]
    graph = fold_batch_norm(to_onnx(network, PreprocessSettings(height=32, width=32), in_channels=3)).model
    result = partition(graph)
    assert result.share_of_macs == 1
    assert len(result.subgraphs) == 1
    assert sorted(outside(result)) == ["Clip", "Div", "Reshape", "Reshape", "Sigmoid", "Sub"]
    image = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    feed = {"image": image, "centre": np.zeros(3, np.float32), "spread": np.ones(3, np.float32)}
    expect_same(graph, assemble(result), feed)


OPERATORS = (
    *("Conv", "Conv", "Conv", "ConvTranspose", "Relu", "PRelu", "Add"),
    *("Concat", "MaxPool", "Resize", "Sigmoid", "Identity"),
)


class Builder:
    """A graph over square maps, written operator by operator."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.maps = {"x": (2, 8)}  # channels and side

    def constant(self, *shape: int) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = (self.rng.normal(size=shape) / max(1, *shape)).astype(np.float32)
        return name

    def add(self, operator: str, source: str, number: int) -> None:
        """One operator; `number` decides what the operator leaves open. What would not fit becomes a ReLU."""
        channels, side = self.maps[source]
        inputs, attributes, made = [source], {}, (channels, side)
        if operator == "Conv":
            size, c_out, stride = (1, 3)[number % 2], number % 4 + 1, 2 if number % 3 == 0 and side > 4 else 1
            inputs += [self.constant(c_out, channels, size, size), self.constant(c_out)]
            attributes = {"pads": [size // 2] * 4, "strides": [stride, stride]}
            made = (c_out, (side - 1) // stride + 1)
        elif operator == "ConvTranspose" and side <= 8:
            inputs.append(self.constant(channels, 2, 2, 2))
            attributes, made = {"strides": [2, 2]}, (2, side * 2)
        elif operator == "PRelu":
            inputs.append(self.constant((1, channels)[number % 2], 1, 1))
        elif operator == "Add":
            fitting = [name for name, shape in self.maps.items() if shape == (channels, side)]
            inputs.append(fitting[number % len(fitting)])
        elif operator == "Concat" and channels <= 8:
            fitting = [name for name, shape in self.maps.items() if shape[1] == side and shape[0] <= 8]
            inputs.append(fitting[number % len(fitting)])
            attributes, made = {"axis": 1}, (channels + self.maps[inputs[1]][0], side)
        elif operator == "MaxPool" and side >= 4:
            attributes, made = {"kernel_shape": [2, 2], "strides": [2, 2]}, (channels, side // 2)
        elif operator == "Resize" and side <= 8:
            self.constants["twice"] = np.array([1, 1, 2, 2], np.float32)
            inputs += ["", "twice"]
            made = (channels, side * 2)
        elif operator not in ("Sigmoid", "Identity"):
            operator = "Relu"
        self.nodes.append(helper.make_node(operator, inputs, [f"t{len(self.nodes)}"], **attributes))
        self.maps[self.nodes[-1].output[0]] = made

    def model(self, also: str) -> ModelProto:
        """Outputs are what nothing reads, and one tensor more."""
        read = {name for node in self.nodes for name in node.input}
        outputs = [name for name in self.maps if name != "x" and (name not in read or name == also)]
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 8, 8])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None, None, None]) for name in outputs],
            [numpy_helper.from_array(values, name) for name, values in self.constants.items()],
        )
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


@st.composite
def graphs(draw: st.DrawFn) -> ModelProto:
    builder = Builder(draw(st.integers(0, 999)))
    for _ in range(draw(st.integers(1, 12))):
        recent = list(builder.maps)[-4:]
        builder.add(draw(st.sampled_from(OPERATORS)), draw(st.sampled_from(recent)), draw(st.integers(0, 11)))
    return builder.model(draw(st.sampled_from(list(builder.maps))))


@given(model=graphs())
@settings(max_examples=60, deadline=None)
def test_random_graphs_compute_the_same(model: ModelProto) -> None:
    result = checked(model)
    assert all(subgraph.program.convolutions for subgraph in result.subgraphs)
    assert not {"Conv", "ConvTranspose"} & {*outside(result)}
