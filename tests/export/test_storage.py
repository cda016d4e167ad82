import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import numpy_helper

from tests.exported import open_session
from wcr_med.export import decode_gap8, encode_gap8, store

# As bits: every NaN, both zeros and the denormal numbers, which a thread that flushes them to zero could not draw.
BITS = st.one_of(st.just(0), st.integers(0, 2**32 - 1), st.just(0x80000000), st.integers(1, 100))


def conv(kernel: npt.NDArray[np.float32], *, reader: str = "y = Conv(x, w)") -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> g (float[N,2,8,8] x) => (float[N,M,H,W] y) {{ {reader} }}'
    )
    model.graph.initializer.append(numpy_helper.from_array(kernel, "w"))
    return model


def run(model: onnx.ModelProto, *, optimise: bool = True) -> npt.NDArray[np.float32]:
    session = open_session(model, optimise=optimise)
    image = np.random.default_rng(0).normal(size=(2, 2, 8, 8)).astype(np.float32)
    result: npt.NDArray[np.float32] = session.run(None, {"x": image})[0]
    return result


def sparse_kernel(shape: tuple[int, ...] = (64, 2, 3, 3), keep: int = 20) -> npt.NDArray[np.float32]:
    kernel = np.zeros(shape, dtype=np.float32)
    kernel.reshape(-1)[:: kernel.size // keep] = np.arange(1, kernel.reshape(-1)[:: kernel.size // keep].size + 1)
    return kernel


def test_encodes_by_distances_from_just_before_the_start() -> None:
    gaps, kept = encode_gap8(np.array([0, 0, 7, 8, 0, 9, 0], dtype=np.float32))
    assert gaps.dtype == np.uint8
    assert gaps.tolist() == [3, 1, 2]
    assert kept.tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("position", "gaps"), [(254, [255]), (255, [255, 1]), (509, [255, 255]), (510, [255, 255, 1]), (0, [1])]
)
def test_bridges_long_gaps_with_fillers(position: int, gaps: list[int]) -> None:
    values = np.zeros(600, dtype=np.float32)
    values[position] = 3
    found, kept = encode_gap8(values)
    assert found.tolist() == gaps
    assert kept.tolist() == [0] * (len(gaps) - 1) + [3]


def test_a_tensor_of_zeros_is_one_filler() -> None:
    gaps, kept = encode_gap8(np.zeros(1000, dtype=np.float32))
    assert (gaps.tolist(), kept.tolist()) == ([1], [0])
    assert not decode_gap8(gaps, kept, 1000).any()


@given(hnp.arrays(np.uint32, st.integers(1, 3000), elements=BITS, fill=st.just(0)))
@settings(max_examples=60, deadline=None)
def test_every_bit_survives(bits: npt.NDArray[np.uint32]) -> None:
    values = bits.view(np.float32)
    gaps, kept = encode_gap8(values)
    assert decode_gap8(gaps, kept, values.size).tobytes() == values.tobytes()
    assert gaps.min() >= 1


@pytest.mark.parametrize("bad", [np.zeros((2, 2), np.float32), np.zeros(3), np.zeros(0, np.float32)])
def test_takes_flat_float32_alone(bad: npt.NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="flat, non-empty float32"):
        encode_gap8(bad)


@pytest.mark.parametrize("optimise", [True, False])
@pytest.mark.parametrize("kernel", [sparse_kernel(), np.zeros((64, 2, 3, 3), np.float32), -sparse_kernel() * 0.0])
def test_the_graph_decodes_to_the_same_bits(kernel: npt.NDArray[np.float32], optimise: bool) -> None:
    dense = conv(kernel)
    stored = store(dense, "gap8")
    onnx.checker.check_model(stored.model, full_check=True)
    decoded = onnx.ModelProto()
    decoded.CopyFrom(stored.model)
    decoded.graph.output.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, kernel.shape))
    session = open_session(decoded, optimise=optimise)
    assert session.run(["w"], {"x": np.zeros((1, 2, 8, 8), np.float32)})[0].tobytes() == kernel.tobytes()
    assert run(stored.model, optimise=optimise).tobytes() == run(dense, optimise=optimise).tobytes()


def test_auto_takes_the_smaller_form_of_each_kernel() -> None:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[N,2,8,8] x) => (float[N,2,8,8] y)'
        " { h = Conv(x, sparse) y = Conv(h, full) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(sparse_kernel((640, 2, 1, 1), 4), "sparse"))
    model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=(2, 640, 1, 1)).astype(np.float32), "full"))
    stored = store(model, "auto")
    chosen = {row.name: row for row in stored.tensors}
    assert {name: row.storage for name, row in chosen.items()} == {"sparse": "gap8", "full": "dense"}
    saved = sum(row.dense_size_bytes - row.size_bytes for row in stored.tensors)
    shared_scalars = 2 * 30
    assert 0 <= saved - (model.ByteSize() - stored.model.ByteSize()) < shared_scalars
    assert run(stored.model).tobytes() == run(model).tobytes()
    assert chosen["sparse"].to_dict()["shape"] == [640, 2, 1, 1]
    assert chosen["full"].n == chosen["full"].n_stored == 1280


def test_dense_changes_nothing() -> None:
    model = conv(sparse_kernel())
    assert store(model, "dense").model == model


def test_what_is_no_kernel_stays_dense() -> None:
    model = conv(np.zeros((4, 2, 1, 1), np.float32), reader="y = Conv(x, w, b)")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.float32), "b"))
    stored = store(model, "gap8")
    assert [row.name for row in stored.tensors] == ["w"]
    assert "b" in {tensor.name for tensor in stored.model.graph.initializer}


def test_a_kernel_that_an_input_may_override_stays_dense() -> None:
    model = conv(sparse_kernel())
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, (64, 2, 3, 3)))
    assert store(model, "gap8").tensors == ()


def test_leaves_its_argument_alone() -> None:
    model = conv(sparse_kernel())
    before = model.SerializeToString()
    store(model, "gap8")
    assert model.SerializeToString() == before
