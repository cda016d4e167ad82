"""One-layer graphs and sparse kernels for the tests of storage."""

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import numpy_helper

FORMS = ["dense", "gap8", "sparse_value", "rice"]
VALUES = ["fp32", "fp16", "int8"]

Kernel = npt.NDArray[np.float32]

# As bits: every NaN, both zeros and the denormal numbers, which a thread that flushes them to zero could not draw.
BITS = st.one_of(st.just(0), st.integers(0, 2**32 - 1), st.just(0x80000000), st.integers(1, 100))


@st.composite
def bit_kernels(draw: st.DrawFn) -> Kernel:
    """Rank 4, any bits, mostly zeros or hardly any."""
    shape = tuple(draw(st.tuples(*(st.integers(1, size) for size in (5, 4, 3, 3)))))
    fill = st.just(0) if draw(st.booleans()) else None
    bits = draw(hnp.arrays(np.uint32, shape, elements=BITS, fill=fill))
    return bits.view(np.float32)


def laplace(shape: tuple[int, ...], share: float, seed: int = 0) -> Kernel:
    """Values like those of trained kernels; `share` of them, at random places, are not zero."""
    rng = np.random.default_rng(seed)
    values = rng.laplace(size=shape).astype(np.float32)
    return np.where(rng.random(shape) < share, values, np.float32(0))


def one_layer(kernel: Kernel, *, operator: str = "Conv") -> onnx.ModelProto:
    """A graph y = operator(x, w)."""
    channels = kernel.shape[1] if operator == "Conv" else kernel.shape[0]
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> g (float[N,{channels},8,8] x) => (float[N,M,H,W] y)'
        f" {{ y = {operator}(x, w) }}"
    )
    model.graph.initializer.append(numpy_helper.from_array(kernel, "w"))
    return model


def with_kernel_as_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that also gives what its decoder makes of the kernel, as `decoded`."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.node.append(onnx.helper.make_node("Identity", ["w"], ["decoded"]))
    shown.graph.output.append(onnx.helper.make_tensor_value_info("decoded", onnx.TensorProto.FLOAT, None))
    return shown


def image_for(kernel: Kernel, *, operator: str = "Conv") -> npt.NDArray[np.float32]:
    """An input of `one_layer`."""
    channels = kernel.shape[1] if operator == "Conv" else kernel.shape[0]
    return np.random.default_rng(0).normal(size=(2, channels, 8, 8)).astype(np.float32)
