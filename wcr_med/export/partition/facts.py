"""What is known about the tensors of a graph before it is run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes

from wcr_med.export.partition.sizes import Grid, Size

Array = npt.NDArray[Any]

_NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "Abs", "Softplus", "Softmax"})


class Facts:
    """Constants, types, sizes and signs of a graph's tensors.

    Attributes:
        model: the model they are about, with inferred types; a copy.
        producer: the node that writes each tensor.
        types: type of each tensor that has one.
        grids: size of each float32 feature map (N, C, h, w). Lowering replaces what ONNX infers by what it knows.
        not_negative: tensors whose values are never below zero.
        joined: tensors whose channels lie in several values inside a program.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = infer_shapes(model, data_prop=True)
        graph = self.model.graph
        self.producer = {name: node for node in graph.node for name in node.output if name}
        self.types: dict[str, ValueInfoProto] = {
            value.name: value for value in (*graph.input, *graph.value_info, *graph.output)
        }
        self.grids: dict[str, Grid] = {}
        for name, value in self.types.items():
            grid = _grid(value)
            if grid is not None:
                self.grids[name] = grid
        self.not_negative = {
            name for node in graph.node if node.op_type in _NEVER_NEGATIVE and not node.domain for name in node.output
        }
        self.joined: set[str] = set()
        overridable = {value.name for value in graph.input}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in overridable}
        for node in graph.node:
            if node.op_type == "Constant" and not node.domain and node.attribute[0].name == "value":
                self._tensors[node.output[0]] = node.attribute[0].t
        self.opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)

    def is_constant(self, name: str) -> bool:
        """Whether no input of the graph can change it."""
        return name in self._tensors

    def constant(self, name: str, *, rank: int | None = None) -> Array | None:
        """The constant called `name` if it is one (of this rank), else `None`."""
        tensor = self._tensors.get(name)
        if tensor is None or (rank is not None and len(tensor.dims) != rank):
            return None
        return numpy_helper.to_array(tensor)

    def float_constant(self, name: str, *, rank: int | None = None) -> Array | None:
        """The same for non-empty float32 constants alone."""
        values = self.constant(name, rank=rank)
        return values if values is not None and values.dtype == np.float32 and values.size else None


def attributes(node: NodeProto) -> Mapping[str, Any]:
    """The attributes of a node by name; texts as `str`."""
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _grid(value: ValueInfoProto) -> Grid | None:
    tensor = value.type.tensor_type
    if tensor.elem_type != TensorProto.FLOAT or not tensor.HasField("shape") or len(tensor.shape.dim) != 4:
        return None
    sizes = [
        Size.of(dim.dim_value)
        if dim.HasField("dim_value")
        else Size.unknown(dim.dim_param if dim.dim_param else (value.name, axis))
        for axis, dim in enumerate(tensor.shape.dim)
    ]
    return sizes[0], sizes[1], sizes[2], sizes[3]
