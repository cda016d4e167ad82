"""Which form each kernel of a graph takes."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from wcr_med.export.nodes import attribute, free_prefix
from wcr_med.export.storage.decoders import Decoder, build_decoder
from wcr_med.export.storage.forms import (
    AUTO_FORMS,
    MIN_GAIN_BYTES,
    Form,
    Storage,
    TensorStorage,
    Values,
    entropy_bound_bytes,
)
from wcr_med.export.storage.kernels import encode_values
from wcr_med.export.storage.positions import non_zero_positions
from wcr_med.export.storage.values import stored_values

_KERNEL_READERS = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}  # operator -> which input is the kernel
_DEQUANTISES = "DequantizeLinear"  # reads the int8 kernels of a quantised graph as its first input


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What `store` did: the new model, and a row a kernel in graph order."""

    model: ModelProto
    tensors: tuple[TensorStorage, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kernel:
    """A kernel and the forms that it may take."""

    tensor: TensorProto
    n_stored: int
    candidates: dict[Form, Decoder]
    sizes: dict[Form, int]  # of what is this kernel's own


def store(model: ModelProto, storage: Storage, values: Values = "fp32") -> Stored:
    """Choose the form of every kernel.

    Requires: a model that the checker accepts, of opset 18 or later. A kernel is a float32 initializer of rank 1 or
    more that a Conv, ConvTranspose, Gemm or MatMul reads as its second input, or in a quantised graph an int8 one of
    rank 2 or more that a DequantizeLinear reads as its first; no graph input may override it. Others stay as they are,
    biases among them. The int8 ones keep every bit, whatever `values` is.

    Ensures: with fp32, every kernel has the same bits as before, so outputs are the same to the last bit. Otherwise
    every kernel is what `values` makes of it, and its zeros are zeros. With "auto" the forms are those of
    `AUTO_FORMS` that together need the fewest bytes in the file; but a kernel stays dense unless it gets smaller by
    `MIN_GAIN_BYTES`, and a file has a form more only if that makes it smaller by as much.

    Args:
        model: the graph; left alone.
        storage: the form of all kernels, or "auto".
        values: type of the values of all kernels.

    Raises:
        UserError: a kernel's values cannot be stored in that type; the message names it.
    """
    forms = AUTO_FORMS if storage == "auto" else (storage,)
    prefix = free_prefix("k", model.graph)
    kernels = {
        tensor.name: _candidates(tensor, axis, forms, values, prefix=prefix, number=number)
        for number, (tensor, axis) in enumerate(_kernels(model))
    }
    allowed = _cheapest_forms(kernels.values(), forms)
    chosen = {name: _smallest(kernel, allowed) for name, kernel in kernels.items()}
    return Stored(
        model=_with_decoders(model, {name: kernels[name].candidates[form] for name, form in chosen.items()}),
        tensors=tuple(
            _row(kernels[name], form, "int8" if _is_int8(kernels[name].tensor) else values)
            for name, form in chosen.items()
        ),
    )


def kernel_names(model: ModelProto) -> list[str]:
    """Every tensor that is read as a kernel, initializer or not, in the order of nodes; each once."""
    readers, quantised = _readers(model)
    dequantised = {name for node in model.graph.node if node.op_type == _DEQUANTISES for name in node.output}
    return list(dict.fromkeys([*(name for name in readers if name not in dequantised), *quantised]))


def _readers(model: ModelProto) -> tuple[dict[str, NodeProto], dict[str, None]]:
    """Tensor -> the first node that reads it as a kernel; and the tensors that a DequantizeLinear reads."""
    readers: dict[str, NodeProto] = {}
    quantised: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type in _KERNEL_READERS and node.domain == "":
            readers.setdefault(node.input[_KERNEL_READERS[node.op_type]], node)
        elif node.op_type == _DEQUANTISES and node.domain == "":
            quantised[node.input[0]] = None
    return readers, quantised


def _kernels(model: ModelProto) -> list[tuple[TensorProto, int]]:
    """Every kernel with the axis of its output channels, in the order of initializers."""
    overridable = {value.name for value in model.graph.input}
    readers, quantised = _readers(model)

    def is_kernel(tensor: TensorProto) -> bool:
        if tensor.name in overridable or 0 in tensor.dims:
            return False
        if _is_int8(tensor):
            return tensor.name in quantised and len(tensor.dims) >= 2
        return tensor.name in readers and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) >= 1

    return [
        (tensor, 0 if _is_int8(tensor) else _output_axis(readers[tensor.name], len(tensor.dims)))
        for tensor in model.graph.initializer
        if is_kernel(tensor)
    ]


def _is_int8(tensor: TensorProto) -> bool:
    return bool(tensor.data_type == TensorProto.INT8)


def _output_axis(reader: NodeProto, rank: int) -> int:
    if reader.op_type == "Conv":
        return 0
    if reader.op_type == "ConvTranspose":
        return 1
    return 0 if attribute(reader, "transB", 0) else rank - 1


def _candidates(
    tensor: TensorProto, axis: int, forms: Sequence[Form], values: Values, *, prefix: str, number: int
) -> _Kernel:
    kernel = numpy_helper.to_array(tensor)
    # Integers are what a quantised graph holds: its own DequantizeLinear makes numbers of them.
    as_float = not _is_int8(tensor)
    stored, scale = stored_values(kernel, values if as_float else "fp32", scale_axis=axis, name=tensor.name)
    candidates = {}
    for form in forms:
        encoded = encode_values(stored, scale, form)
        candidates[form] = build_decoder(
            encoded, name=tensor.name, prefix=prefix, number=number, scale_axis=axis, as_float=as_float
        )
    return _Kernel(
        tensor=tensor,
        n_stored=non_zero_positions(stored.reshape(-1)).size,
        candidates=candidates,
        sizes={form: _size((*entry.initializers, *entry.nodes)) for form, entry in candidates.items()},
    )


def _cheapest_forms(kernels: Iterable[_Kernel], forms: Sequence[Form]) -> tuple[Form, ...]:
    """The subset of forms that needs the fewest bytes in all, with what the decoders share counted once.

    Each form beyond the first must be worth `MIN_GAIN_BYTES`; where there is a choice, dense is among them.
    """
    every = list(kernels)
    subsets = [(forms[0], *others) for n in range(len(forms)) for others in itertools.combinations(forms[1:], n)]
    return min(subsets, key=lambda subset: _total(every, subset) + MIN_GAIN_BYTES * len(subset))


def _total(kernels: Sequence[_Kernel], forms: Sequence[Form]) -> int:
    chosen = [(kernel, _smallest(kernel, forms)) for kernel in kernels]
    shared: dict[str, TensorProto] = {}
    for kernel, form in chosen:
        shared.update(kernel.candidates[form].shared)
    return sum(kernel.sizes[form] for kernel, form in chosen) + _size(shared.values())


def _smallest(kernel: _Kernel, forms: Sequence[Form]) -> Form:
    """The first form, or the smallest where that is worth it."""
    smallest = min(forms, key=lambda form: kernel.sizes[form])
    return smallest if kernel.sizes[smallest] + MIN_GAIN_BYTES <= kernel.sizes[forms[0]] else forms[0]


def _with_decoders(model: ModelProto, decoders: dict[str, Decoder]) -> ModelProto:
    """A copy of the model in which decoders, by name of the kernel, stand for initializers."""
    result = ModelProto()
    result.CopyFrom(model)
    shared: dict[str, TensorProto] = {}
    initializers: list[TensorProto] = []
    for tensor in model.graph.initializer:
        decoder = decoders.get(tensor.name)
        initializers.extend([tensor] if decoder is None else decoder.initializers)
        shared.update({} if decoder is None else decoder.shared)
    del result.graph.initializer[:]
    result.graph.initializer.extend([*initializers, *shared.values()])
    del result.graph.node[:]
    result.graph.node.extend(node for decoder in decoders.values() for node in decoder.nodes)
    result.graph.node.extend(model.graph.node)
    return result


def _row(kernel: _Kernel, form: Form, values: Values) -> TensorStorage:
    n = int(np.prod(kernel.tensor.dims))
    return TensorStorage(
        name=kernel.tensor.name,
        shape=tuple(kernel.tensor.dims),
        n=n,
        n_stored=kernel.n_stored,
        storage=form,
        values=values,
        size_bytes=kernel.sizes[form],
        dense_size_bytes=_size([kernel.tensor]),
        position_bytes=kernel.candidates[form].position_bytes,
        position_bound_bytes=entropy_bound_bytes(n, kernel.n_stored),
    )


def _size(messages: Iterable[Any]) -> int:
    """Bytes of messages as entries of a repeated field: tag, length, content."""
    contents = [int(message.ByteSize()) for message in messages]
    return sum(1 + max(1, (content.bit_length() + 6) // 7) + content for content in contents)
