"""Models of a single `wcr_med.Network` node, and the sessions that run them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from wcr_med import native

Array = npt.NDArray[Any]

CONV, CONV_TRANSPOSE, MAX_POOL, UPSAMPLE, ADD, ACTIVATE = range(1, 7)
DENSE, GAP8, RICE = range(3)


def op(opcode: int, *fields: int) -> list[int]:
    return [opcode, len(fields), *fields]


def conv(
    weight: int,
    c_in: int,
    c_out: int,
    kernel: tuple[int, int],
    *,
    opcode: int = CONV,
    form: int = DENSE,
    kind: int = 0,
    bias: int = -1,
    activation: int = 0,
    slope: int = -1,
    residual: int = -1,
    strides: tuple[int, int] = (1, 1),
    dilations: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    output_padding: tuple[int, int] = (0, 0),
    sources: Sequence[int] = (0,),
) -> list[int]:
    head = [form, kind, weight, bias, activation, slope, residual, c_in, c_out, *kernel, *strides, *dilations, *pads]
    return op(opcode, *head, *output_padding, len(sources), *sources)


def program(*ops: list[int], outputs: Sequence[Sequence[int]]) -> list[int]:
    words = [1, len(ops)] + [word for fields in ops for word in fields]
    return words + [len(outputs)] + [word for sources in outputs for word in (len(sources), *sources)]


def node(words: list[int], names: Sequence[str], results: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    made = helper.make_node(native.OPERATOR, list(names), list(results), domain=native.DOMAIN)
    for name, value in ({"inputs": 1, "program": words} | attributes).items():
        if value is not None:
            made.attribute.append(helper.make_attribute(name, value))
    return made


def model(
    words: list[int], tensors: Sequence[Array], *, n_inputs: int = 1, n_outputs: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """Data inputs x0, x1, ..., outputs y0, ..., constants t<index> by input of the node."""
    names = [f"t{n_inputs + i}" for i in range(len(tensors))]
    x, y = [f"x{i}" for i in range(n_inputs)], [f"y{i}" for i in range(n_outputs)]
    graph = helper.make_graph(
        [node(words, [*x, *names], y, **({"inputs": n_inputs} | attributes))],
        "one_node",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in x],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in y],
        [numpy_helper.from_array(tensor, name) for tensor, name in zip(tensors, names, strict=True)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(native.DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def open_session(made: onnx.ModelProto, *, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(native.get_library_path()))
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(made: onnx.ModelProto, *x: Array, threads: int = 1) -> list[Array]:
    results: list[Array] = open_session(made, threads=threads).run(None, {f"x{i}": value for i, value in enumerate(x)})
    return results


def bits(values: Sequence[int]) -> Array:
    """Bytes with ones at these places, the least significant bit of a byte first."""
    ones = np.zeros(-(-(max(values, default=-1) + 1) // 8) * 8, dtype=np.uint8)
    ones[list(values)] = 1
    return np.packbits(ones, bitorder="little")


def stored(form: int, values: Array) -> list[Array]:
    """A kernel's tensors, its values last, in a form."""
    flat = values.reshape(-1)
    if form == DENSE:
        return [values]
    positions = np.flatnonzero(flat)
    if form == GAP8:
        gaps: list[int] = []
        kept: list[Any] = []
        for gap, value in zip(np.diff(positions, prepend=-1), flat[positions], strict=True):
            fillers = (int(gap) - 1) // 255
            gaps += [255] * fillers + [int(gap) - 255 * fillers]
            kept += [0] * fillers + [value]
        return [np.array(gaps, dtype=np.uint8), np.array(kept, dtype=values.dtype)]
    n_low = 3
    codes = [int(distance) - 1 for distance in np.diff(positions, prepend=-1)]
    high = bits([sum(code >> n_low for code in codes[: j + 1]) + j for j in range(len(codes))])
    low = bits([j * n_low + b for j, code in enumerate(codes) for b in range(n_low) if code >> b & 1])
    padded = np.zeros(-(-n_low * positions.size // 8), dtype=np.uint8)
    padded[: low.size] = low
    return [padded, high, np.array(n_low, dtype=np.int64), flat[positions]]
