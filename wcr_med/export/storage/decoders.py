"""The part of the graph that turns a stored kernel back into a dense one, in ordinary ONNX operators of opset 18.

All its inputs are constants, so ONNX Runtime computes the kernel once while loading, with int32 temporaries of a few
bytes a code. OpenVINO folds no CumSum and so decodes at every inference, except sparse_value, which it makes dense
while reading. There is neither NonZero nor any other operator whose output's shape depends on values.

Rice codes (see `positions`) lie in one byte array, low bits before high ones, and are read like this:

    flat  = every bit of the bytes, int32             BitShift, BitwiseAnd, Cast, Reshape
    lows, highs, padding = flat                       Split
    low   = lows as k rows of l bits, times 1, 2, 4   Reshape, MatMul
    rank  = number of set bits before each of highs   CumSum, exclusive
    gaps  = low, to whose entry rank[i] is added 2^l where highs[i] is unset, 1 where it is set
                                                      Gather, ScatterElements with reduction add
    positions = cumulated gaps - 1                    CumSum, Sub

The reduction makes repeated indices well defined, and all of them are below k, so nothing has to be cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from wcr_med.export.storage.forms import Array, EncodedKernel
from wcr_med.export.storage.positions import code_bits
from wcr_med.export.storage.values import along_axis


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoder:
    """What stands in the graph for one kernel.

    Attributes:
        initializers: of this kernel alone.
        shared: further ones, by name, that decoders of other kernels may need too, with the same content.
        nodes: in topological order; the last one's output is the kernel. Empty: an initializer is the kernel itself.
        position_bytes: of the initializers or attributes, what says where the values stand.
    """

    initializers: list[TensorProto]
    shared: dict[str, TensorProto]
    nodes: list[NodeProto]
    position_bytes: int


def build_decoder(
    encoded: EncodedKernel, *, name: str, prefix: str, number: int, scale_axis: int, as_float: bool = True
) -> Decoder:
    """The decoder of one kernel.

    Args:
        encoded: the kernel.
        name: of the tensor that the decoder yields.
        prefix: of all other names, which are short, since a network has dozens of decoders; taken by no tensor.
        number: of the kernel, different for each.
        scale_axis: axis of the output channels.
        as_float: yield float32; else the type of the values, for a DequantizeLinear.
    """
    parts = _Parts(prefix, number)
    kernel = _kernel(parts, encoded, as_float=as_float)
    if "scale" in encoded.arrays:
        scale = parts.own("scale", along_axis(encoded.arrays["scale"], len(encoded.shape), scale_axis))
        kernel = parts.node("Mul", [kernel, scale], "scaled")
    if parts.nodes:
        parts.nodes[-1].output[0] = name
    else:
        parts.initializers[0].name = name
    return Decoder(
        initializers=parts.initializers, shared=parts.shared, nodes=parts.nodes, position_bytes=parts.position_bytes
    )


class _Parts:
    """Initializers and nodes of a decoder that is being written; every method returns a tensor's name."""

    def __init__(self, prefix: str, number: int) -> None:
        self.initializers: list[TensorProto] = []
        self.shared: dict[str, TensorProto] = {}
        self.nodes: list[NodeProto] = []
        self.position_bytes = 0
        self._prefix, self._own = prefix, f"{prefix}{number}"

    def name(self, name: str) -> str:
        return f"{self._own}.{name}"

    def own(self, name: str, values: Array, *, is_position: bool = False) -> str:
        self.initializers.append(numpy_helper.from_array(values, self.name(name)))
        self.position_bytes += values.nbytes if is_position else 0
        return self.initializers[-1].name

    def own_sizes(self, name: str, sizes: Sequence[int]) -> str:
        # As varints, which are shorter than eight raw bytes each.
        tensor = helper.make_tensor(self.name(name), TensorProto.INT64, [len(sizes)], list(sizes))
        self.initializers.append(tensor)
        return tensor.name

    def common(self, name: str, values: Array) -> str:
        full = f"{self._prefix}.{name}"
        self.shared[full] = numpy_helper.from_array(values, full)
        return full

    def node(self, operator: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        names = [self.name(output) for output in outputs]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0]


def _kernel(parts: _Parts, encoded: EncodedKernel, *, as_float: bool) -> str:
    """The kernel before any scale, in float32 or as it is stored."""
    values = encoded.arrays["values"]
    typed = _as_float if as_float else _as_stored
    if encoded.form == "sparse_value":
        return typed(parts, _sparse_constant(parts, encoded), values)
    kept = typed(parts, parts.own("kept", values), values)
    if encoded.form == "dense":
        return kept
    positions = _gap8(parts, encoded.arrays["gaps"]) if encoded.form == "gap8" else _rice(parts, encoded)
    zero = {} if as_float else {"value": numpy_helper.from_array(np.zeros(1, dtype=values.dtype))}
    zeros = parts.node("ConstantOfShape", [parts.own_sizes("n", [int(np.prod(encoded.shape))])], "zeros", **zero)
    flat = parts.node("ScatterElements", [zeros, positions, kept], "flat")
    return parts.node("Reshape", [flat, parts.own_sizes("shape", encoded.shape)], "kernel")


def _as_float(parts: _Parts, tensor: str, values: Array) -> str:
    if values.dtype == np.float32:
        return tensor
    return parts.node("Cast", [tensor], "float", to=TensorProto.FLOAT)


def _as_stored(_parts: _Parts, tensor: str, _values: Array) -> str:
    return tensor


def _sparse_constant(parts: _Parts, encoded: EncodedKernel) -> str:
    values, positions = encoded.arrays["values"], encoded.arrays["positions"]
    # int64_data, unlike raw bytes, is packed as varints.
    indices = helper.make_tensor("", TensorProto.INT64, positions.shape, positions)
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(values), indices, encoded.shape)
    parts.position_bytes += indices.ByteSize()
    return parts.node("Constant", [], "kernel", sparse_value=sparse)


def _gap8(parts: _Parts, gaps: Array) -> str:
    # int32 suffices: a file below 2 GB holds fewer positions, and it halves the memory at load.
    steps = parts.node("Cast", [parts.own("gaps", gaps, is_position=True)], "steps", to=TensorProto.INT32)
    return _ends(parts, steps)


def _ends(parts: _Parts, steps: str) -> str:
    ends = parts.node("CumSum", [steps, _zero(parts)], "ends")
    return parts.node("Sub", [ends, parts.common("one", np.array(1, dtype=np.int32))], "positions")


def _rice(parts: _Parts, encoded: EncodedKernel) -> str:
    n_low_bits = int(encoded.arrays["n_low_bits"][0])
    k = encoded.arrays["values"].size
    low_bits, high_bits = code_bits(encoded.arrays["low"], encoded.arrays["high"], n_low_bits, k)
    lows, highs = _bits(parts, low_bits, high_bits)
    low = _low(parts, lows, n_low_bits) if n_low_bits else _zeros(parts, k)
    rank = parts.node("CumSum", [highs, _zero(parts)], "rank", exclusive=1)
    by_bit = parts.common(f"steps{n_low_bits}", np.array([1 << n_low_bits, 1], dtype=np.int32))
    updates = parts.node("Gather", [by_bit, highs], "updates")
    return _ends(parts, parts.node("ScatterElements", [low, rank, updates], "gaps", reduction="add"))


def _bits(parts: _Parts, low_bits: Array, high_bits: Array) -> tuple[str, str]:
    """Both bit vectors, int32 of 0 and 1; the first name means nothing where there are no low bits."""
    packed = np.packbits(np.concatenate([low_bits, high_bits]), bitorder="little")
    column = parts.own("code", packed.reshape(-1, 1), is_position=True)
    shifted = parts.node(
        "BitShift", [column, parts.common("bits", np.arange(8, dtype=np.uint8))], "by", direction="RIGHT"
    )
    single = parts.node("BitwiseAnd", [shifted, parts.common("lowest", np.array(1, dtype=np.uint8))], "bit")
    wide = parts.node("Cast", [single], "wide", to=TensorProto.INT32)
    flat = parts.node("Reshape", [wide, parts.common("flat", np.array([-1], dtype=np.int64))], "flatbits")
    sizes = [low_bits.size, high_bits.size, 8 * packed.size - low_bits.size - high_bits.size]
    pieces = {name: size for name, size in zip(("lows", "highs", "padding"), sizes, strict=True) if size}
    if len(pieces) == 1:
        return flat, flat
    parts.node("Split", [flat, parts.own_sizes("sizes", list(pieces.values()))], *pieces)
    return parts.name("lows"), parts.name("highs")


def _low(parts: _Parts, lows: str, n_low_bits: int) -> str:
    rows = parts.common(f"rows{n_low_bits}", np.array([-1, n_low_bits], dtype=np.int64))
    powers = parts.common(f"powers{n_low_bits}", (1 << np.arange(n_low_bits)).astype(np.int32))
    return parts.node("MatMul", [parts.node("Reshape", [lows, rows], "rows"), powers], "low")


def _zeros(parts: _Parts, k: int) -> str:
    zero = numpy_helper.from_array(np.zeros(1, dtype=np.int32))
    return parts.node("ConstantOfShape", [parts.own_sizes("k", [k])], "start", value=zero)


def _zero(parts: _Parts) -> str:
    return parts.common("zero", np.array(0, dtype=np.int32))
