"""What is said of sizes is what ONNX Runtime makes, operator by operator, and network by network."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.exported import open_session, tiny_network
from wcr_med.config import ModelConfig
from wcr_med.export.export import build_graph
from wcr_med.models import build_model
from wcr_med.onnx_file import read_contents, require_openable
from wcr_med.onnx_file.budget import Needs, needs
from wcr_med.onnx_file.shapes import RULES, Call
from wcr_med.preprocess import PreprocessSettings

_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def bytes_of(*shape: int) -> np.ndarray:
    return np.ones(shape, np.uint8)


_NONE = np.zeros(0, np.float32)
_WEIGHT = ones(4, 3, 3, 3)

CASES: list[tuple[str, list[np.ndarray], dict[str, Any]]] = [
    ("Relu", [ones(2, 3)], {}),
    ("Add", [ones(2, 1, 4), ones(3, 1)], {}),
    ("Where", [np.ones((2, 1), bool), ones(1, 3), ones(1)], {}),
    ("Conv", [ones(1, 3, 9, 10), _WEIGHT], {}),
    ("Conv", [ones(1, 3, 9, 9), _WEIGHT], {"strides": [2, 2], "pads": [1, 0, 2, 1], "dilations": [2, 1]}),
    ("Conv", [ones(1, 3, 9, 8), _WEIGHT], {"strides": [2, 3], "auto_pad": "SAME_UPPER"}),
    ("Conv", [ones(1, 6, 5, 5), _WEIGHT], {"group": 2}),
    ("ConvTranspose", [ones(1, 3, 5, 6), ones(3, 2, 2, 2)], {"strides": [2, 2]}),
    ("ConvTranspose", [ones(1, 4, 5, 6), ones(4, 2, 3, 3)], {"group": 2, "output_padding": [1, 1], "strides": [2, 2]}),
    ("MaxPool", [ones(1, 3, 9, 9)], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", [ones(1, 3, 9, 9)], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("GlobalAveragePool", [ones(1, 3, 9, 9)], {}),
    ("Concat", [ones(1, 2, 4), ones(1, 3, 4)], {"axis": -2}),
    ("Reshape", [ones(2, 3, 4), ints(0, -1)], {}),
    ("Reshape", [ones(2, 3, 4), ints(4, 6)], {}),
    ("Flatten", [ones(2, 3, 4)], {"axis": 2}),
    ("Transpose", [ones(2, 3, 4)], {"perm": [1, 2, 0]}),
    ("Transpose", [ones(2, 3, 4)], {}),
    ("Squeeze", [ones(1, 3, 1), ints(-1)], {}),
    ("Squeeze", [ones(1, 3, 1)], {}),
    ("Unsqueeze", [ones(3, 2), ints(0, -1)], {}),
    ("Gather", [ones(4, 5), np.zeros((2, 3), np.int64)], {"axis": 1}),
    ("MatMul", [ones(2, 1, 3, 4), ones(5, 4, 6)], {}),
    ("MatMul", [ones(3, 4), ones(4)], {}),
    ("MatMul", [ones(4), ones(4, 3)], {}),
    ("Gemm", [ones(4, 3), ones(5, 4)], {"transA": 1, "transB": 1}),
    ("ReduceMean", [ones(2, 3, 4), ints(-1)], {"keepdims": 0}),
    ("ReduceSum", [ones(2, 3, 4)], {}),
    ("ConstantOfShape", [ints(2, 3)], {}),
    ("Expand", [ones(3, 1), ints(2, 1, 4)], {}),
    ("Tile", [ones(2, 3), ints(1, 4)], {}),
    ("Pad", [ones(2, 3), ints(0, 1, 2, 0)], {}),
    ("Resize", [ones(1, 2, 3, 4), _NONE, np.array([1, 1, 2, 1.5], np.float32)], {}),
    ("Resize", [ones(1, 2, 3, 4), _NONE, _NONE, ints(1, 2, 7, 5)], {}),
    ("DepthToSpace", [ones(1, 8, 3, 4)], {"blocksize": 2}),
    ("Split", [ones(6, 2)], {"num_outputs": 1}),
    ("Split", [ones(6, 2), ints(6)], {"axis": 0}),
    ("Shape", [ones(2, 3, 4)], {"start": 1}),
    ("CumSum", [ones(2, 3), np.array(0, np.int64)], {}),
    ("ScatterElements", [ones(4), ints(1), ones(1)], {}),
    ("PRelu", [ones(1, 3, 2, 2), ones(3, 1, 1)], {}),
    ("Softmax", [ones(2, 3)], {}),
    ("LayerNormalization", [ones(2, 3), ones(3)], {}),
    ("Cast", [ones(2, 3)], {"to": TensorProto.UINT8}),
    ("Cast", [ones(2, 3)], {"to": TensorProto.DOUBLE}),
    ("BitShift", [bytes_of(3, 1), bytes_of(8)], {"direction": "RIGHT"}),
    ("BitwiseAnd", [bytes_of(3, 8), bytes_of(1)], {}),
    ("Equal", [ones(2, 3), ones(3)], {}),
    ("MatMulInteger", [bytes_of(2, 3), bytes_of(3, 4)], {}),
    ("DequantizeLinear", [bytes_of(2, 3), ones(1).reshape(())], {}),
    ("ConstantOfShape", [ints(5)], {"value": numpy_helper.from_array(ints(0))}),
    ("ScatterElements", [bytes_of(4), ints(1), bytes_of(1)], {}),
]


@pytest.mark.parametrize(("operator", "inputs", "attributes"), CASES, ids=lambda value: value if value else None)
def test_each_rule_gives_the_size_that_onnxruntime_makes(
    tmp_path: Path, operator: str, inputs: list[np.ndarray], attributes: dict[str, Any]
) -> None:
    names = [f"i{number}" for number in range(len(inputs))]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], **attributes)],
        "one",
        [],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(value, name) for name, value in zip(names, inputs, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    made = open_session(model).run(None, {})[0]
    (tmp_path / "one.onnx").write_bytes(model.SerializeToString())
    contents = read_contents(tmp_path / "one.onnx")
    call = Call(
        node=contents.nodes[0],
        shapes=[tensor.dims for tensor in contents.initializers],
        values=[tensor.values for tensor in contents.initializers],
    )
    assert RULES[operator](call) == made.shape
    held = sum(value.nbytes for value in inputs)
    assert needs(contents, {}) == Needs(constant_bytes=held + made.nbytes, live_elements=0)


def test_what_is_alive_at_the_same_time(tmp_path: Path) -> None:
    """Of a chain of values of 100 numbers, two are alive at a time; with a link from the first to the last, three."""
    chain = [helper.make_node("Relu", [f"v{number}"], [f"v{number + 1}"]) for number in range(6)]
    with_link = [*chain, helper.make_node("Add", ["v1", "v6"], ["y"])]
    for nodes, live in ((chain, 200), (with_link, 300)):
        value = helper.make_tensor_value_info("v0", TensorProto.FLOAT, ["n", 100])
        model = helper.make_model(helper.make_graph(nodes, "chain", [value], []))
        (tmp_path / "chain.onnx").write_bytes(model.SerializeToString())
        contents = read_contents(tmp_path / "chain.onnx")
        assert needs(contents, contents.inputs) == Needs(constant_bytes=0, live_elements=live)


@pytest.mark.parametrize("storage", ["dense", "gap8", "rice", "sparse_value"])
@pytest.mark.parametrize("values", ["fp32", "int8"])
def test_every_form_of_storage_is_opened(tmp_path: Path, storage: Any, values: Any) -> None:
    settings = PreprocessSettings(height=32, width=32)
    built = build_graph(tiny_network(), settings, in_channels=3, storage=storage, values=values)
    path = tmp_path / "net.onnx"
    onnx.save(built.model, path)
    require_openable(read_contents(path))


_ENCODERS = [
    "resnet18",
    "densenet121",
    "efficientnet-b0",
    "mit_b0",
    "mobilenet_v2",
    "tu-convnext_atto",
    "tu-mobilenetv3_small_050",
    "tu-regnetx_002",
    "vgg11_bn",
]


@pytest.mark.slow
@pytest.mark.parametrize("encoder", _ENCODERS)
def test_networks_of_other_makers_are_opened(tmp_path: Path, encoder: str) -> None:
    config = ModelConfig(name="smp_unet", features=4, encoder=encoder)
    settings = PreprocessSettings(height=64, width=64)
    built = build_graph(build_model(config, seed=0).eval(), settings, in_channels=3, storage="dense")
    path = tmp_path / "net.onnx"
    onnx.save(built.model, path)
    require_openable(read_contents(path))
