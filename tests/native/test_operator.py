"""The operator inside ONNX Runtime, against ONNX Runtime's own operators."""

import os
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.native import node
from wcr_med import native
from wcr_med.export.storage.forms import Form, Values
from wcr_med.export.storage.kernels import OPERATOR_FORMS, decode_kernel, encode_kernel

pytestmark = pytest.mark.skipif(not native.is_available(), reason="the accelerator was not built")

Array = npt.NDArray[Any]
_SETTINGS = settings(deadline=None, max_examples=60)


def _known(instruction_set: str) -> bool:
    words = node.program(node.op(node.ACTIVATE, 0, 1, -1), outputs=[[1]])
    with patch.dict(os.environ, WCR_MED_ISA=instruction_set):
        try:
            node.open_session(node.model(words, []))
        except onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException:
            return False
    return True


_SETS = ["neon"] if platform.machine() in ("aarch64", "arm64") else ["avx512", "avx2", "sse"]


@pytest.fixture(params=["best", *_SETS])
def _instruction_set(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "best":
        yield
        return
    if not _known(request.param):
        pytest.skip(f"this processor has no {request.param}")
    with patch.dict(os.environ, WCR_MED_ISA=request.param):
        yield


def _noise(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def _reference(op_type: str, inputs: list[Array], **attributes: Any) -> Array:
    names = [f"x{i}" for i in range(len(inputs))]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["y"], **attributes)],
        "reference",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Array = session.run(None, dict(zip(names, inputs, strict=True)))[0]
    return result


def _agree(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1.0, float(np.abs(expected).max(initial=0))))


@pytest.mark.usefixtures("_instruction_set")
@pytest.mark.parametrize("kind", range(5), ids=["automatic", "sparse", "dense", "winograd2", "winograd4"])
def test_convolution_with_skip_and_activation(kind: int) -> None:
    rng = np.random.default_rng(kind)
    weight, bias = _noise(rng, 9, 7, 3, 3), _noise(rng, 9)
    x = [_noise(rng, 2, 3, 19, 22), _noise(rng, 2, 4, 19, 22)]
    words = node.program(
        node.conv(2, 7, 9, (3, 3), kind=kind, bias=3, activation=1, pads=(1, 1, 1, 1), sources=(0, 1)), outputs=[[2]]
    )
    expected = _reference("Conv", [np.concatenate(x, axis=1), weight, bias], pads=[1, 1, 1, 1])
    _agree(node.run(node.model(words, [weight, bias], n_inputs=2), *x)[0], np.maximum(expected, 0))


@pytest.mark.parametrize("kind", range(1, 5), ids=["sparse", "dense", "winograd2", "winograd4"])
def test_wide_map(kind: int) -> None:
    """Wider than the strips that tasks are made of would reach if each were a single tile."""
    rng = np.random.default_rng(kind)
    weight, x = _noise(rng, 2, 1, 3, 3), _noise(rng, 1, 1, 3, 40001)
    words = node.program(node.conv(1, 1, 2, (3, 3), kind=kind, pads=(1, 1, 1, 1)), outputs=[[1]])
    _agree(node.run(node.model(words, [weight]), x)[0], _reference("Conv", [x, weight], pads=[1, 1, 1, 1]))


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@_SETTINGS
def test_any_convolution(data: st.DataObject, seed: int) -> None:
    rng = np.random.default_rng(seed)
    small, pair = st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3))
    transposed = data.draw(st.booleans())
    c_in, c_out = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    kernel, strides, dilations = data.draw(pair), data.draw(pair), data.draw(pair)
    pads = tuple(data.draw(st.integers(0, 2)) for _ in range(4))
    weight = _noise(rng, *((c_in, c_out) if transposed else (c_out, c_in)), *kernel)
    weight[rng.random(weight.shape) < data.draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))] = 0
    form = data.draw(st.integers(0, 2))
    tensors = node.stored(form, weight)
    x = _noise(rng, data.draw(small), c_in, data.draw(st.integers(9, 30)), data.draw(st.integers(9, 30)))
    words = node.program(
        node.conv(
            1,
            c_in,
            c_out,
            kernel,
            opcode=node.CONV_TRANSPOSE if transposed else node.CONV,
            form=form,
            strides=strides,
            dilations=dilations,
            pads=(pads[0], pads[1], pads[2], pads[3]),
        ),
        outputs=[[1]],
    )
    expected = _reference(
        "ConvTranspose" if transposed else "Conv",
        [x, weight],
        strides=strides,
        dilations=dilations,
        pads=pads,
    )
    _agree(node.run(node.model(words, tensors), x, threads=data.draw(st.integers(1, 2)))[0], expected)


@pytest.mark.usefixtures("_instruction_set")
def test_pooling_upsampling_addition_and_slopes() -> None:
    rng = np.random.default_rng(1)
    x, slope = _noise(rng, 1, 5, 12, 20), _noise(rng, 5)
    words = node.program(
        node.op(node.MAX_POOL, 0, 2, 2, 2, 2, 0, 0, 0, 0),
        node.op(node.UPSAMPLE, 1, 2, 2),
        node.op(node.ADD, 2, 0, 2, 1),
        node.op(node.ACTIVATE, 3, 1, -1),
        outputs=[[1], [4, 3]],
    )
    pooled, joined = node.run(node.model(words, [slope], n_outputs=2), x)
    expected = x.reshape(1, 5, 6, 2, 10, 2).max(axis=(3, 5))
    _agree(pooled, expected)
    total = np.repeat(np.repeat(expected, 2, axis=2), 2, axis=3) + x
    sloped = np.where(total > 0, total, total * slope[:, None, None])
    _agree(joined, np.concatenate([np.maximum(sloped, 0), sloped], axis=1))


@pytest.mark.parametrize("form", range(3), ids=["dense", "gap8", "rice"])
@pytest.mark.parametrize("opcode", [node.CONV, node.CONV_TRANSPOSE])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_stored_kernels(form: int, opcode: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    c_in, c_out = 20, 3
    shape = (c_out, c_in, 3, 3) if opcode == node.CONV else (c_in, c_out, 3, 3)
    values = rng.integers(-100, 100, size=shape) * (rng.random(shape) < 0.01)  # gaps of more than 255
    scale = _noise(rng, c_out)
    file = values.astype(dtype)
    if dtype is np.float16:
        file.reshape(-1)[5] = 6e-8  # the smallest float16
    tensors = node.stored(form, file) + ([scale] if dtype is np.int8 else [])
    axis = (slice(None), None, None, None) if opcode == node.CONV else (None, slice(None), None, None)
    weight = file.astype(np.float32) * (scale[axis] if dtype is np.int8 else np.float32(1))
    words = node.program(node.conv(1, c_in, c_out, (3, 3), opcode=opcode, form=form), outputs=[[1]])
    x = _noise(rng, 1, c_in, 8, 8)
    expected = _reference("Conv" if opcode == node.CONV else "ConvTranspose", [x, weight])
    _agree(node.run(node.model(words, tensors), x)[0], expected)


@pytest.mark.parametrize("values", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("form", OPERATOR_FORMS)
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.99, 1.0])
def test_kernels_as_the_export_stores_them(form: Form, values: Values, zeros: float) -> None:
    rng = np.random.default_rng(7)
    kernel = _noise(rng, 4, 25, 3, 3) * (rng.random((4, 25, 3, 3)) >= zeros).astype(np.float32)
    encoded = encode_kernel(kernel, storage=form, values=values)
    words = node.program(node.conv(1, 25, 4, (3, 3), form=OPERATOR_FORMS.index(form)), outputs=[[1]])
    x = _noise(rng, 1, 25, 6, 6)
    found = node.run(node.model(words, list(encoded.arrays.values())), x)[0]
    _agree(found, _reference("Conv", [x, decode_kernel(encoded)]))


def _deep() -> tuple[onnx.ModelProto, Array]:
    rng = np.random.default_rng(3)
    weights = [_noise(rng, 16, 16, 3, 3) * (rng.random((16, 16, 3, 3)) < 0.1) for _ in range(3)]
    same = {"pads": (1, 1, 1, 1), "activation": 1}
    words = node.program(
        node.conv(1, 16, 16, (3, 3), **same),
        node.conv(2, 16, 16, (3, 3), **same, sources=(1,), residual=0),
        node.conv(3, 16, 16, (3, 3), **same, sources=(2,), residual=1, kind=2),
        outputs=[[3]],
    )
    return node.model(words, [weight.astype(np.float32) for weight in weights]), _noise(rng, 2, 16, 33, 47)


def test_threads_do_not_change_a_bit() -> None:
    made, x = _deep()
    one, two, three = (node.run(made, x, threads=threads)[0] for threads in (1, 2, 3))
    assert np.array_equal(one, two)
    assert np.array_equal(one, three)


def test_several_callers_at_once() -> None:
    made, x = _deep()
    session = node.open_session(made, threads=2)
    inputs = [x, x[:1, :, :20, :40], -x]
    expected = [session.run(None, {"x0": value})[0] for value in inputs]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda i: session.run(None, {"x0": inputs[i % 3]})[0], range(24)))
    assert all(np.array_equal(value, expected[i % 3]) for i, value in enumerate(found))


def test_one_session_takes_any_size_and_batch() -> None:
    made, x = _deep()
    session = node.open_session(made)
    whole = session.run(None, {"x0": x})[0]
    assert np.array_equal(session.run(None, {"x0": x[1:]})[0], whole[1:])
    assert session.run(None, {"x0": x[:0]})[0].shape == (0, 16, 33, 47)
    for height, width in ((1, 1), (1, 50), (7, 3), (64, 64)):
        piece = np.resize(x, (1, 16, height, width)).astype(np.float32)
        _agree(session.run(None, {"x0": piece})[0], node.run(made, piece)[0])


def test_profile_is_one_more_output() -> None:
    made, x = _deep()
    made.graph.node[0].attribute.append(helper.make_attribute("profile", 1))
    made.graph.node[0].output.append("milliseconds")
    made.graph.output.append(helper.make_tensor_value_info("milliseconds", TensorProto.FLOAT, [3]))
    result, milliseconds = node.run(made, x)
    assert np.array_equal(result, node.run(_deep()[0], x)[0])
    assert milliseconds.shape == (3,)
    assert (milliseconds >= 0).all()


def test_node_among_ordinary_ones() -> None:
    rng = np.random.default_rng(0)
    weight, x = _noise(rng, 2, 3, 1, 1), _noise(rng, 1, 3, 5, 5)
    words = node.program(node.conv(1, 3, 2, (1, 1)), outputs=[[1]])
    graph = helper.make_graph(
        [
            helper.make_node("Neg", ["x"], ["a"]),
            node.node(words, ["a", "w"], ["b"]),
            helper.make_node("Sigmoid", ["b"], ["y"]),
        ],
        "mixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, "h", "w"])],
        [numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(native.DOMAIN, 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    found = node.open_session(made).run(None, {"x": x})[0]
    _agree(found, 1 / (1 + np.exp(np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x))))
