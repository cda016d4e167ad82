"""How weights lie in the file: dense, or gap8, which stores non-zeros and the distances between them.

ONNX has sparse tensors, but common tools reject them and ONNX Runtime makes them dense only after reading them as int64
positions. gap8 needs ordinary operators alone: Cast, CumSum, Sub, ScatterElements, Reshape. Their inputs are constants,
so ONNX Runtime computes the kernel once while loading; from then on the network is the dense one, bit for bit.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wcr_med.export.storage.positions import encode_gap8

Array = npt.NDArray[Any]
Storage = Literal["dense", "gap8"]

_KERNEL_READERS = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}  # operator -> which input is the kernel
_AXIS, _ONE = "gap8.axis", "gap8.one"  # scalars that all decoders share


@dataclass(frozen=True, kw_only=True)
class TensorStorage:
    """How one kernel is stored.

    Attributes:
        name: of the kernel in the graph.
        shape: of the kernel.
        n: number of weights.
        n_stored: weights whose bits are not those of +0.0.
        storage: the form chosen.
        size_bytes: what the kernel takes in the file, its decoder included.
        dense_size_bytes: what it would take dense.
    """

    name: str
    shape: tuple[int, ...]
    n: int
    n_stored: int
    storage: Storage
    size_bytes: int
    dense_size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {**asdict(self), "shape": list(self.shape)}


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What `store` did: the new model, and a row a kernel in graph order."""

    model: ModelProto
    tensors: tuple[TensorStorage, ...]


def store(model: ModelProto, storage: Literal["auto", "dense", "gap8"]) -> Stored:
    """Choose the form of every kernel.

    Requires: a model that the checker accepts, of opset 13 or later. A kernel is a float32 initializer of rank 1 or
    more that a Conv, ConvTranspose, Gemm or MatMul reads as its second input; no graph input may override it. Others
    stay dense.

    Ensures: every kernel has the same bits as before, so outputs are the same to the last bit. With "auto" each kernel
    takes the form that needs fewer bytes in the file, dense on a tie.

    Args:
        model: the graph; left alone.
        storage: the form of all kernels, or "auto".
    """
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    kernels = _kernel_names(model)
    initializers, nodes, rows = [], [], []
    for tensor in model.graph.initializer:
        if tensor.name not in kernels:
            initializers.append(tensor)
            continue
        dense_size = _field_size(tensor)
        encoded, decoder = _encoded(tensor)
        encoded_size = sum(_field_size(part) for part in (*encoded, *decoder))
        chosen = storage if storage != "auto" else ("gap8" if encoded_size < dense_size else "dense")
        initializers.extend(encoded if chosen == "gap8" else [tensor])
        nodes.extend(decoder if chosen == "gap8" else [])
        rows.append(_row(tensor, chosen, encoded_size if chosen == "gap8" else dense_size, dense_size))
    if nodes:
        initializers.extend([_scalar(0, _AXIS), _scalar(1, _ONE)])
        nodes.extend(graph.node)
        ordered = [_copy(node) for node in nodes]
        del graph.node[:]
        graph.node.extend(ordered)
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    return Stored(model=result, tensors=tuple(rows))


def _kernel_names(model: ModelProto) -> set[str]:
    overridable = {value.name for value in model.graph.input}
    read = {
        node.input[_KERNEL_READERS[node.op_type]]
        for node in model.graph.node
        if node.op_type in _KERNEL_READERS and node.domain == ""
    }
    return {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.name in read - overridable
        and tensor.data_type == TensorProto.FLOAT
        and tensor.dims
        and 0 not in tensor.dims
    }


def _encoded(tensor: TensorProto) -> tuple[list[TensorProto], list[NodeProto]]:
    """Initializers and nodes that together yield a tensor of the same name, shape and bits."""
    name = tensor.name
    values = numpy_helper.to_array(tensor).reshape(-1)
    gaps, kept = encode_gap8(values)
    parts = [
        numpy_helper.from_array(gaps, f"{name}.gaps"),
        numpy_helper.from_array(kept, f"{name}.kept"),
        numpy_helper.from_array(np.array([values.size], dtype=np.int64), f"{name}.size"),
        numpy_helper.from_array(np.array(tensor.dims, dtype=np.int64), f"{name}.shape"),
    ]
    return parts, list(_decoder(name))


def _decoder(name: str) -> Iterator[NodeProto]:
    # int32 suffices: a file below 2 GB holds fewer positions, and it halves the memory at load.
    yield helper.make_node("Cast", [f"{name}.gaps"], [f"{name}.steps"], to=TensorProto.INT32)
    yield helper.make_node("CumSum", [f"{name}.steps", _AXIS], [f"{name}.ends"])
    yield helper.make_node("Sub", [f"{name}.ends", _ONE], [f"{name}.positions"])
    yield helper.make_node("ConstantOfShape", [f"{name}.size"], [f"{name}.zeros"])  # float32 zeros by default
    yield helper.make_node(
        "ScatterElements", [f"{name}.zeros", f"{name}.positions", f"{name}.kept"], [f"{name}.flat"], axis=0
    )
    yield helper.make_node("Reshape", [f"{name}.flat", f"{name}.shape"], [name])


def _scalar(value: int, name: str) -> TensorProto:
    return numpy_helper.from_array(np.array(value, dtype=np.int32), name)


def _row(tensor: TensorProto, storage: Storage, size: int, dense_size: int) -> TensorStorage:
    values = numpy_helper.to_array(tensor)
    return TensorStorage(
        name=tensor.name,
        shape=tuple(tensor.dims),
        n=values.size,
        n_stored=int(np.count_nonzero(values.view(np.uint32))),
        storage=storage,
        size_bytes=size,
        dense_size_bytes=dense_size,
    )


def _field_size(message: Any) -> int:
    """Bytes of a message as an entry of a repeated field: tag, length, content."""
    content = int(message.ByteSize())
    return 1 + max(1, (content.bit_length() + 6) // 7) + content


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
