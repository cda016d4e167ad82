"""A float32 graph as one that computes in INT8."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy.typing as npt
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

Array = npt.NDArray[Any]

_COMPUTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_PASSED_ON = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "LeakyRelu",
    "MaxPool",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Slice",
)


def quantise(
    dense: onnx.ModelProto, feeds: Iterable[Mapping[str, Array]], *, keep: Sequence[str] = ()
) -> onnx.ModelProto:
    """Quantise a graph statically, in the QDQ form that ONNX Runtime's integer kernels are made from.

    Weights are symmetric with one scale an output channel, so zeros stay zeros to the last bit; activations have one
    scale a tensor, from the smallest and largest value that the calibration slices gave. Weights take 7 bits: with 8,
    sums of two products saturate on processors without VNNI instructions, and a file checked here would answer
    otherwise there.

    What comes before the first convolution, the normalisation, and what follows the last one stay in float32.

    Args:
        dense: the graph with float32 kernels as initializers, batch norms folded; every node has a name. Left alone.
        feeds: calibration inputs.
        keep: names of nodes that go on computing in float32.

    Returns:
        The graph, its kernels int8 initializers that a DequantizeLinear reads. Metadata are those of `dense`.
    """
    with TemporaryDirectory(prefix="wcr-med-") as folder, _quiet():
        given, inferred, quantised = (Path(folder) / f"{name}.onnx" for name in ("given", "inferred", "quantised"))
        onnx.save(dense, given)  # older releases of ONNX Runtime take a file alone where they do not optimise
        # Not ONNX Runtime's optimisations: they tie the graph to the machine they ran on.
        quant_pre_process(given, inferred, skip_optimization=True, skip_symbolic_shape=True)
        quantization.quantize_static(
            inferred,
            quantised,
            _Reader(feeds),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=[*keep, *_around(dense)],
            op_types_to_quantize=[*_COMPUTED, *_PASSED_ON],
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"WeightSymmetric": True},
        )
        model = onnx.load(quantised)
    del model.metadata_props[:]
    model.metadata_props.extend(dense.metadata_props)
    return model


def named_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name of its own, for `keep`."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for number, node in enumerate(result.graph.node):
        node.name = f"{node.op_type}_{number}"
    return result


def computing_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions and matrix products, in order."""
    return [node.name for node in model.graph.node if node.op_type in _COMPUTED]


def _around(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes before the first and after the last that computes."""
    places = [place for place, node in enumerate(model.graph.node) if node.op_type in _COMPUTED]
    nodes = [*model.graph.node[: places[0]], *model.graph.node[places[-1] + 1 :]] if places else model.graph.node
    return [node.name for node in nodes]


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterable[Mapping[str, Array]]) -> None:
        self._feeds: Iterator[Mapping[str, Array]] = iter(feeds)

    def get_next(self) -> dict[str, Array] | None:
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


@contextmanager
def _quiet() -> Iterator[None]:
    """The library advises on the root logger; what we do about it stands above."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
