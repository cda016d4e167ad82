"""Model files that should not be opened, made from a good one."""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from wcr_med.model_metadata import METADATA_KEY

Change = Callable[[ModelProto], object]
GIGA = 2**30


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def ones(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def beside(nodes: Sequence[onnx.NodeProto], *constants: TensorProto) -> Change:
    """Further nodes before the others; they need not lead anywhere."""

    def change(model: ModelProto) -> None:
        model.graph.initializer.extend(constants)
        later = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*nodes, *later])

    return change


def one(operator: str, inputs: Sequence[str], *constants: TensorProto, **attributes: Any) -> Change:
    return beside([helper.make_node(operator, inputs, ["z"], **attributes)], *constants)


def sparse(*dims: int) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(ones("s", 1), ints("", 0), dims)


def doubled(times: int) -> Change:
    names = ["a0", *(f"a{number}" for number in range(1, times + 1))]
    pairs = itertools.pairwise(names)
    return beside([helper.make_node("Concat", [a, a], [b], axis=0) for a, b in pairs], ones("a0", 8))


def more_axes(times: int) -> Change:
    """Each value has about twice the axes of the one before, all of size 1."""
    index = numpy_helper.from_array(np.zeros((1, 1), np.int64), "g0")
    names = [f"g{number}" for number in range(times + 1)]
    pairs = itertools.pairwise(names)
    return beside([helper.make_node("Gather", [a, a], [b]) for a, b in pairs], index)


def external(where: str) -> Change:
    def change(model: ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=where)

    return change


def external_in_node(model: ModelProto) -> None:
    tensor = ones("e", 1)
    tensor.data_location = TensorProto.EXTERNAL
    one("Constant", [], value=tensor)(model)


def opset(version: int) -> Change:
    def change(model: ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def ir(version: int) -> Change:
    return lambda model: setattr(model, "ir_version", version)


def nested(model: ModelProto, depth: int = 20) -> None:
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["y"])], "g", [], [])
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
    model.graph.node.append(graph.node[0])


def functions(model: ModelProto) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(helper.make_function("f", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 18)]))


def less_than_declared(model: ModelProto) -> None:
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([GIGA, 4])


def sparse_initializer(model: ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse(GIGA, GIGA))


def many_nodes(model: ModelProto) -> None:
    model.graph.node.extend([helper.make_node("Identity", ["image"], [f"i{number}"]) for number in range(20_001)])


def metadata(**changes: Any) -> Change:
    def change(model: ModelProto) -> None:
        entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
        entry.value = json.dumps({**json.loads(entry.value), **changes})

    return change


def metadata_text(text: str) -> Change:
    def change(model: ModelProto) -> None:
        entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
        entry.value = text

    return change


def two_documents(model: ModelProto) -> None:
    model.metadata_props.add(key=METADATA_KEY, value=model.metadata_props[0].value)


_MEMORY = "refused for the memory it would need"
_GRID = {"crop": "none", "low_percentile": 1.0, "high_percentile": 99.0}

HOSTILE: dict[str, tuple[Change, str]] = {
    "external data elsewhere": (external("/etc/passwd"), "external data"),
    "external data beside": (external("weights.bin"), "external data"),
    "external data in a node": (external_in_node, "external data"),
    "operator set of the future": (opset(99), "ONNX operator set 99, this version reads 13 to 24"),
    "operator set of the past": (opset(7), "ONNX operator set 7"),
    "negative operator set": (opset(-1), "ONNX operator set -1"),
    "format of the future": (ir(99), "ONNX format 99"),
    "format of the past": (ir(3), "ONNX format 3"),
    "other domain": (one("Relu", ["image"], domain="com.example"), "'Relu' of 'com.example', which is not ours"),
    "other operator of ours": (one("Shell", ["image"], domain="wcr_med"), "'Shell' of 'wcr_med'"),
    "unknown operator": (one("NonZero", ["image"]), "'NonZero', which no network of ours has"),
    "functions": (functions, "functions"),
    "inner graphs": (nested, "inner graphs"),
    "many nodes": (many_nodes, "at most 20000"),
    "less than declared": (less_than_declared, "declares 4294967296 numbers and holds"),
    "sparse initializer": (sparse_initializer, _MEMORY),
    "sparse constant": (one("Constant", [], sparse_value=sparse(GIGA, 4)), _MEMORY),
    "two sparse constants": (
        beside([helper.make_node("Constant", [], [name], sparse_value=sparse(GIGA // 8)) for name in ("y", "z")]),
        _MEMORY,
    ),
    "wide numbers": (
        one("ConstantOfShape", ["n"], ints("n", GIGA // 8), value=numpy_helper.from_array(np.zeros(1, np.float64))),
        _MEMORY,
    ),
    "fill": (one("ConstantOfShape", ["n"], ints("n", GIGA, GIGA)), _MEMORY),
    "expand": (one("Expand", ["o", "n"], ones("o", 1), ints("n", GIGA)), _MEMORY),
    "tile": (one("Tile", ["o", "n"], ones("o", 8), ints("n", GIGA)), _MEMORY),
    "range": (one("Range", ["a", "b", "c"], ints("a", 0), ints("b", GIGA), ints("c", 1)), "'Range', which no network"),
    "outer sum": (one("Add", ["a", "b"], ones("a", 20_000, 1), ones("b", 20_000)), _MEMORY),
    "outer product": (one("MatMul", ["a", "b"], ones("a", 20_000, 1), ones("b", 1, 20_000)), _MEMORY),
    "outer gather": (one("Gather", ["a", "n"], ones("a", 4, 20_000), ints("n", *[1] * 20_000)), _MEMORY),
    "doubling": (doubled(40), _MEMORY),
    "doubling of axes": (more_axes(40), _MEMORY),
    "padded constant": (one("Pad", ["a", "n"], ones("a", 1), ints("n", GIGA, 0)), _MEMORY),
    "padded image": (one("Pad", ["image", "n"], ints("n", 0, 0, 0, GIGA, 0, 0, 0, 0)), _MEMORY),
    "enlarged image": (one("Resize", ["image", "", "", "n"], ints("n", 1, 3, GIGA, GIGA)), _MEMORY),
    "padded convolution": (one("Conv", ["image", "w"], ones("w", 1, 3, 1, 1), pads=[GIGA] * 4), _MEMORY),
    "wide convolution": (
        one("ConvTranspose", ["image", "w"], ones("w", 3, 1, 1, 1), strides=[GIGA, GIGA]),
        _MEMORY,
    ),
    "stride 0": (one("Conv", ["image", "w"], ones("w", 1, 3, 1, 1), strides=[0, 0]), "below 1"),
    "unmade input": (one("Relu", ["nothing"]), "which nothing makes"),
    "no metadata": (lambda model: model.ClearField("metadata_props"), "no wcr-med metadata"),
    "two documents": (two_documents, "two metadata"),
    "megabytes of metadata": (metadata(licence="a" * 2**21), "a text of"),
    "not JSON": (metadata_text("{"), "not JSON"),
    "deep JSON": (metadata_text("[" * 100_000), "not JSON"),
    "long number": (metadata_text('{"schema_version": ' + "9" * 10_000 + "}"), "not JSON"),
    "huge grid": (metadata(preprocess={**_GRID, "height": 10**9, "width": 10**9}), "out of range"),
    "huge channels": (metadata(in_channels=10**9, channel_files=None), "in_channels"),
    "number beyond floats": (metadata(sparsity={"sparsity_all": 10**400}), "sparsity"),
    "threshold no number": (metadata(threshold=float("nan")), "threshold"),
    "orders to a terminal": (metadata(licence="\x1b[2J"), "licence"),
    "long wrong value": (metadata(split_hash=["a" * 10**5]), "split_hash"),
}
