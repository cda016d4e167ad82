"""Random graphs of the operators that are understood, with random channels zeroed."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.export.channels.graphs import Array, remove

SIZE = 8
KINDS = (
    *("conv",) * 4,
    *("relu",) * 2,
    "pointwise",
    "unpadded",
    "transposed",
    "tiled",
    "depthwise",
    "leaky",
    "prelu",
    "sigmoid",
    "clip",
    "norm",
    "maximum",
    "average",
    "resize",
    "concat",
    "add",
    "mul",
    "offset",
)


@dataclass
class Builder:
    """Adds operators whose parameters depend on a seed; every map is (N, channels, SIZE, SIZE)."""

    rng: np.random.Generator
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    maps: dict[str, int] = field(default_factory=lambda: {"x": 2})

    def add(self, kind: str) -> None:
        getattr(self, f"_{kind}", self._plain)(self._pick(), kind)

    def _pick(self, n: int | None = None) -> str:
        names = [name for name, channels in self.maps.items() if n in (None, channels)]
        return str(names[-1 - int(min(self.rng.geometric(0.5) - 1, len(names) - 1))])  # most often a late one

    def _emit(self, op: str, inputs: list[str], channels: int, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        self.maps[name] = channels
        return name

    def _constant(self, values: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = values.astype(np.float32) if values.dtype == np.float64 else values
        return name

    def _kernel(self, n_out: int, n_in: int, size: int) -> Array:
        """Weights (out, in, size, size), most of them zero, and many rows and columns whole."""
        rng = self.rng
        values = rng.normal(size=(n_out, n_in, size, size)) * (rng.random((n_out, n_in, size, size)) < 0.5)
        values *= (rng.random((n_out, 1, 1, 1)) < 0.5) * (rng.random((1, n_in, 1, 1)) < 0.8)
        return np.asarray(values)

    def _bias(self, n: int) -> Array:
        return np.asarray(self.rng.normal(size=n) * (self.rng.random(n) < 0.7))

    def _convolve(self, source: str, size: int, pad: int, *, grow: int = 0) -> None:
        n = int(self.rng.integers(1, 5))
        inputs = [source, self._constant(self._kernel(n, self.maps[source], size))]
        if self.rng.random() < 0.7:
            inputs.append(self._constant(self._bias(n)))
        name = self._emit("Conv", inputs, n, pads=[pad] * 4)
        if grow:
            sizes = self._constant(np.array([SIZE, SIZE], np.int64))
            del self.maps[name]
            self._emit("Resize", [name, "", "", sizes], n, axes=[2, 3], mode="linear")

    def _conv(self, source: str, _kind: str) -> None:
        self._convolve(source, 3, 1)

    def _pointwise(self, source: str, _kind: str) -> None:
        self._convolve(source, 1, 0)

    def _unpadded(self, source: str, _kind: str) -> None:
        self._convolve(source, 3, 0, grow=1)

    def _transposed(self, source: str, _kind: str) -> None:
        n = int(self.rng.integers(1, 4))
        values = np.swapaxes(self._kernel(n, self.maps[source], 3), 0, 1)
        self._emit("ConvTranspose", [source, self._constant(values), self._constant(self._bias(n))], n, pads=[1] * 4)

    def _tiled(self, source: str, _kind: str) -> None:
        n = int(self.rng.integers(1, 4))
        values = np.swapaxes(self._kernel(n, self.maps[source], 2), 0, 1)
        if self.rng.random() < 0.5:
            values = np.broadcast_to(values[..., :1, :1], values.shape)
        wide = self._emit("ConvTranspose", [source, self._constant(values.copy())], n, strides=[2, 2])
        del self.maps[wide]
        self._emit("MaxPool", [wide], n, kernel_shape=[2, 2], strides=[2, 2])

    def _depthwise(self, source: str, _kind: str) -> None:
        n = self.maps[source]
        inputs = [source, self._constant(self._kernel(n, 1, 3)), self._constant(self._bias(n))]
        self._emit("Conv", inputs, n, group=n, pads=[1] * 4)

    def _prelu(self, source: str, _kind: str) -> None:
        n = self.maps[source]
        shape = (n, 1, 1) if self.rng.random() < 0.5 else (1,)
        self._emit("PRelu", [source, self._constant(self.rng.normal(size=shape))], n)

    def _clip(self, source: str, _kind: str) -> None:
        bounds = [self._constant(np.array(bound)) for bound in (-0.5, 1.0)]
        self._emit("Clip", [source, *bounds], self.maps[source])

    def _norm(self, source: str, _kind: str) -> None:
        n = self.maps[source]
        parts = [self._bias(n), self._bias(n), self._bias(n), self.rng.uniform(0.2, 2, n)]
        self._emit("BatchNormalization", [source, *(self._constant(part) for part in parts)], n)

    def _resize(self, source: str, _kind: str) -> None:
        n = self.maps[source]
        wide = self._emit("Resize", [source, "", self._constant(np.array([1.0, 1, 2, 2]))], n, mode="nearest")
        del self.maps[wide]
        self._emit("AveragePool", [wide], n, kernel_shape=[2, 2], strides=[2, 2])

    def _concat(self, source: str, _kind: str) -> None:
        other = self._pick()
        self._emit("Concat", [source, other], self.maps[source] + self.maps[other], axis=1)

    def _add(self, source: str, kind: str) -> None:
        n = self.maps[source]
        self._emit(kind.capitalize(), [source, self._pick(n)], n)

    _mul = _add

    def _plain(self, source: str, kind: str) -> None:
        window = {"kernel_shape": [3, 3], "pads": [1] * 4}
        operators: dict[str, tuple[str, dict[str, object]]] = {
            "relu": ("Relu", {}),
            "leaky": ("LeakyRelu", {"alpha": 0.2}),
            "sigmoid": ("Sigmoid", {}),
            "maximum": ("MaxPool", dict(window)),
            "average": ("AveragePool", {**window, "count_include_pad": int(self.rng.integers(2))}),
            "offset": ("Add", {}),
        }
        op, attributes = operators[kind]
        n = self.maps[source]
        extra = [self._constant(self._bias(n).reshape(-1, 1, 1))] if kind == "offset" else []
        self._emit(op, [source, *extra], n, **attributes)

    def build(self) -> ModelProto:
        """The model; its outputs are a last convolution and, at times, a map on the way."""
        names = list(self.maps)[-4:]
        self._emit("Concat", names, sum(self.maps[name] for name in names), axis=1)
        self._convolve(self._pick(), 3, 1)
        outputs = list(self.maps)[-1:]
        if self.rng.random() < 0.3 and len(self.maps) > 3:
            outputs.append(list(self.maps)[-3])
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, SIZE, SIZE])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None, None, None]) for name in outputs],
            [numpy_helper.from_array(values, name) for name, values in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def random_model(kinds: list[str], seed: int) -> ModelProto:
    builder = Builder(np.random.default_rng(seed))
    for kind in kinds:
        builder.add(kind)
    return builder.build()


@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=14), seed=st.integers(0, 10_000))
@settings(max_examples=120, deadline=None)
def test_outputs_are_the_same(kinds: list[str], seed: int) -> None:
    remove(random_model(kinds, seed))
