"""A plain interpreter of programs, and small graphs to try them on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import Tensor

from tests.export.texts import parse_graph
from tests.exported import open_session
from wcr_med import native
from wcr_med.export.partition import Partitioned, assemble, partition
from wcr_med.export.program import (
    NONE,
    Activate,
    Activation,
    Add,
    Convolution,
    Form,
    MaxPool,
    Program,
    Upsample,
    decode_program,
)
from wcr_med.export.storage import EncodedKernel, decode_kernel
from wcr_med.native import DOMAIN

Array = npt.NDArray[Any]

_PARTS = {
    Form.DENSE: ["values"],
    Form.GAP8: ["gaps", "values"],
    Form.RICE: ["low", "high", "n_low_bits", "values"],
}


def run_reference(program: Program, tensors: Sequence[Array]) -> list[Array]:
    """What the operator computes from its inputs, data and constants."""
    values = [torch.from_numpy(np.array(tensor)) for tensor in tensors[: program.n_inputs]]
    for op in program.ops:
        match op:
            case Convolution():
                result = _convolve(op, torch.cat([values[source] for source in op.sources], 1), tensors)
                if op.residual != NONE:
                    assert values[op.residual].shape == result.shape
                    result = result + values[op.residual]
            case MaxPool():
                top, left, bottom, right = op.pads
                padded = F.pad(values[op.source], (left, right, top, bottom))
                result = F.max_pool2d(padded, op.kernel, op.strides)
            case Upsample():
                result = values[op.source].repeat_interleave(op.factors[0], 2).repeat_interleave(op.factors[1], 3)
            case Add():
                assert values[op.first].shape == values[op.second].shape
                result = values[op.first] + values[op.second]
            case Activate():
                result = values[op.source]
        if not isinstance(op, MaxPool | Upsample):
            result = _activate(op.activation, op.slope, result, tensors)
        values.append(result)
    return [torch.cat([values[source] for source in sources], 1).numpy() for sources in program.outputs]


def _convolve(op: Convolution, image: Tensor, tensors: Sequence[Array]) -> Tensor:
    assert image.shape[1] == op.c_in
    kernel = torch.from_numpy(np.array(kernel_of(op, tensors)))
    bias = None if op.bias == NONE else torch.from_numpy(np.array(tensors[op.bias]))
    top, left, bottom, right = op.pads
    if not op.transposed:
        return F.conv2d(F.pad(image, (left, right, top, bottom)), kernel, bias, op.strides, 0, op.dilations)
    full = F.conv_transpose2d(image, kernel, bias, op.strides, 0, op.output_padding, 1, op.dilations)
    return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]


def kernel_of(op: Convolution, tensors: Sequence[Array]) -> Array:
    """The dense kernel of a convolution, from the operator's inputs."""
    names = list(_PARTS[op.form])
    if tensors[op.weight + len(names) - 1].dtype == np.int8:
        names.append("scale")
    arrays = {name: tensors[op.weight + place] for place, name in enumerate(names)}
    channels = (op.c_in, op.c_out) if op.transposed else (op.c_out, op.c_in)
    encoded = EncodedKernel(form=op.form.name.lower(), arrays=arrays, shape=(*channels, *op.kernel))  # type: ignore[arg-type]
    return decode_kernel(encoded, scale_axis=int(op.transposed))


def _activate(activation: Activation, slope: int, values: Tensor, tensors: Sequence[Array]) -> Tensor:
    if activation == Activation.RELU:
        return values.relu()
    if activation == Activation.SLOPE:
        return F.prelu(values, torch.from_numpy(np.array(tensors[slope])).reshape(-1))
    return values


class Network(OpRun):
    """The operator for ONNX's own evaluator."""

    op_domain = DOMAIN

    def _run(
        self, *tensors: Array, inputs: int = 0, program: Sequence[int] = (), profile: int = 0
    ) -> tuple[Array, ...]:
        decoded = decode_program([int(number) for number in program], inputs)
        results = run_reference(decoded, tensors)
        return (*results, np.zeros(len(decoded.ops), np.float32)) if profile else tuple(results)


def evaluate(model: ModelProto, feed: dict[str, Array]) -> list[Array]:
    """Outputs of a partitioned model, by the interpreter."""
    results: list[Array] = ReferenceEvaluator(model, new_ops=[Network]).run(None, feed)
    return results


def parse(
    body: str, *, inputs: str = "float[N,2,8,8] x", out: str = "float[N,C,H,W] y", **constants: Array
) -> ModelProto:
    """A model of one text graph."""
    return parse_graph(body, inputs=inputs, out=out, **constants)


def feed_for(model: ModelProto, *, batch: int = 2, size: int = 8, seed: int = 0) -> dict[str, Array]:
    """Random images; `batch` and `size` where the model leaves them open."""
    rng = np.random.default_rng(seed)
    feed = {}
    for value in model.graph.input:
        open_sizes = (batch, 1, size, size)
        dims = zip(value.type.tensor_type.shape.dim, open_sizes, strict=False)
        shape = [dim.dim_value if dim.HasField("dim_value") else default for dim, default in dims]
        feed[value.name] = rng.normal(size=shape).astype(np.float32)
    return feed


def expect_same(before: ModelProto, after: ModelProto, feed: dict[str, Array]) -> None:
    """The partitioned model computes what ONNX Runtime makes of the original: as interpreted, and as built."""
    onnx.checker.check_model(after, full_check=True)
    expected = open_session(before, optimise=False).run(None, feed)
    answers = [evaluate(after, feed)]
    if native.is_available():
        answers.append(accelerated_session(after).run(None, feed))
    for answer in answers:
        for wanted, found in zip(expected, answer, strict=True):
            assert wanted.shape == found.shape
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))


def accelerated_session(model: ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime with the operator, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.register_custom_ops_library(str(native.get_library_path()))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def kernel(*shape: int, density: float = 1.0, seed: int = 0) -> Array:
    """Random weights."""
    rng = np.random.default_rng([seed, *shape])
    return (rng.normal(size=shape) * (rng.random(shape) < density)).astype(np.float32)


def checked(model: ModelProto, *, batch: int = 2, size: int = 8) -> Partitioned:
    """The partition of a model, once it has been seen to compute the same and to leave its argument alone."""
    before = model.SerializeToString()
    result = partition(model)
    assert model.SerializeToString() == before
    expect_same(model, assemble(result), feed_for(model, batch=batch, size=size))
    return result


def only(result: Partitioned) -> Program:
    """The program of the only node."""
    assert len(result.subgraphs) == 1
    return result.subgraphs[0].program


def convolution(result: Partitioned, number: int = 0) -> Convolution:
    """One of the operations of the only node."""
    op = only(result).ops[number]
    assert isinstance(op, Convolution)
    return op


def outside(result: Partitioned) -> list[str]:
    """The operators that stay with ONNX Runtime."""
    return [node.op_type for node in result.skeleton.graph.node if node.domain != DOMAIN]
