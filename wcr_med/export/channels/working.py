"""A private copy of a graph in which every node owns its parameters, with what the analysis asks of it."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, TensorShapeProto, numpy_helper

from wcr_med.export.nodes import captured, free_name

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_FEATURE_RANK = 3  # batch, channels and at least one axis of space


@dataclass(frozen=True, kw_only=True)
class Read:
    """One place where a tensor is read: input number `slot` of `node`."""

    node: NodeProto
    slot: int


class WorkingGraph:
    """A copy of a model that may be changed.

    Requires: a model that the checker accepts, of opset 13 or later.

    Attributes:
        model: the copy.
        graph: its graph.
        constants: float32 and int64 initializers that no graph input overrides, by name. Only what a node
            owns, see `own`, may be changed.
        shapes: sizes of each tensor whose rank is known; a name where a size is free, -1 where it is unknown.
        channels: number of channels of each feature map: float32, rank 3 or more, axis 1 known and not empty.
        reserved: names that the outside sees: graph outputs and what inner graphs read.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.reserved = {value.name for value in self.graph.output}
        self.reserved |= {name for node in self.graph.node for name in captured(node)}
        overridable = {value.name for value in self.graph.input}
        self.constants = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in self.graph.initializer
            if tensor.name not in overridable and tensor.data_type in (TensorProto.FLOAT, TensorProto.INT64)
        }
        self.shapes, self.channels = _shapes(model, self.constants)
        self.readers = self._readers()
        self.producer = {name: node for node in self.graph.node for name in node.output if name}
        self._replaced: set[str] = set()

    def _readers(self) -> dict[str, list[Read]]:
        readers: dict[str, list[Read]] = defaultdict(list)
        for node in self.graph.node:
            for slot, name in enumerate(node.input):
                readers[name].append(Read(node=node, slot=slot))
        return readers

    def own(self, node: NodeProto, slot: int) -> None:
        """Give a node its own copy of an initializer that others read too, so that it may be changed."""
        name = node.input[slot]
        if name not in self.reserved and len(self.readers[name]) == 1:
            return
        copy = self.free_name(f"{name}.{next(output for output in node.output if output)}")
        self.readers[name] = [read for read in self.readers[name] if not (read.node is node and read.slot == slot)]
        self.readers[copy] = [Read(node=node, slot=slot)]
        node.input[slot] = copy
        self.add_constant(copy, self.constants[name])

    def add_constant(self, name: str, values: Array) -> None:
        """Add an initializer."""
        self.constants[name] = values
        self.graph.initializer.append(numpy_helper.from_array(values, name))

    def replace(self, name: str, values: Array) -> None:
        """Change the values, and perhaps the shape, of an initializer."""
        self.constants[name] = values
        self._replaced.add(name)

    def free_name(self, wish: str) -> str:
        """A name that no tensor has."""
        taken = {tensor.name for tensor in self.graph.initializer} | self.producer.keys() | self.shapes.keys()
        taken |= {value.name for value in self.graph.input}
        return free_name(wish, taken)

    def redirect(self, old: str, new: str) -> None:
        """Let every node that reads `old` read `new`."""
        for read in self.readers.pop(old, []):
            read.node.input[read.slot] = new
            self.readers[new].append(read)

    def remove(self, node: NodeProto) -> None:
        """Take a node out of the graph."""
        self.graph.node.remove(node)
        for name in node.input:
            self.readers[name] = [read for read in self.readers[name] if read.node is not node]

    def rewire(self, node: NodeProto, names: list[str]) -> None:
        """Let a node read other tensors than before."""
        for name in node.input:
            self.readers[name] = [read for read in self.readers[name] if read.node is not node]
        del node.input[:]
        node.input.extend(names)
        for slot, name in enumerate(names):
            self.readers[name].append(Read(node=node, slot=slot))

    def finish(self) -> ModelProto:
        """The model with the initializers as they are in `constants`, without nodes and tensors that nothing reads."""
        for tensor in self.graph.initializer:
            if tensor.name in self._replaced:
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(self.constants[tensor.name]), tensor.name))
        for value in self.graph.value_info:
            if value.name in self._replaced:
                value.type.tensor_type.shape.CopyFrom(_fixed_shape(self.constants[value.name].shape))
        while unread := [node for node in self.graph.node if not self._is_read(node)]:
            for node in unread:
                self.remove(node)
        return self.model

    def _is_read(self, node: NodeProto) -> bool:
        return any(name and (name in self.reserved or self.readers.get(name)) for name in node.output)


def n_parameters(model: ModelProto) -> int:
    """Elements of all float32 initializers of rank 1 or more: kernels, biases, scales and slopes."""
    return sum(
        int(np.prod(tensor.dims, dtype=np.int64))
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and tensor.dims
    )


def share_equal(model: ModelProto, original: ModelProto) -> None:
    """Let nodes share, in place, the new initializers that are equal to one another or to an original one."""
    old = {tensor.name for tensor in original.graph.initializer}
    overridable = {value.name for value in model.graph.input}
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    merged: dict[str, str] = {}
    for tensor in sorted(model.graph.initializer, key=lambda tensor: tensor.name not in old):
        if tensor.name in overridable:
            continue
        key = (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
        if key in first and tensor.name not in old:
            merged[tensor.name] = first[key]
        first.setdefault(key, tensor.name)
    for node in model.graph.node:
        for slot, name in enumerate(node.input):
            node.input[slot] = merged.get(name, name)


def _fixed_shape(sizes: tuple[int, ...]) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dimension(dim_value=size) for size in sizes])


def _shapes(model: ModelProto, constants: dict[str, Array]) -> tuple[dict[str, tuple[int | str, ...]], dict[str, int]]:
    initializers = {tensor.name for tensor in model.graph.initializer}  # exporters give their types, too
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, tuple[int | str, ...]] = {name: values.shape for name, values in constants.items()}
    channels: dict[str, int] = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        if not kind.HasField("shape"):
            continue
        shape = tuple(size.dim_value if size.HasField("dim_value") else size.dim_param or -1 for size in kind.shape.dim)
        shapes[value.name] = shape
        if kind.elem_type == TensorProto.FLOAT and len(shape) >= _FEATURE_RANK and value.name not in initializers:
            count = shape[1]
            if isinstance(count, int) and count > 0:
                channels[value.name] = count
    return shapes, channels
