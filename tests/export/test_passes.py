from collections import Counter

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper

from tests.export.texts import parse_graph
from tests.exported import open_session
from wcr_med.export.passes import fold_batch_norm, remove_unused_initializers

Array = npt.NDArray[np.float32]

NORM = {
    "gamma": np.array([2.0, -3.0], np.float32),
    "beta": np.array([0.5, 0.25], np.float32),
    "mean": np.array([1.0, -1.0], np.float32),
    "variance": np.array([4.0, 0.25], np.float32),
}
W = np.array([[[[1.0]]], [[[0.0]]]], np.float32)


def parse(
    body: str,
    *,
    out: str = "float[N,2,H,W] y",
    inputs: str = "float[N,1,4,4] x",
    **constants: Array,
) -> ModelProto:
    return parse_graph(body, inputs=inputs, out=out, **constants)


def operators(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def constant(model: ModelProto, name: str) -> Array:
    return next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)


def run(model: ModelProto, channels: int = 1, seed: int = 0) -> list[Array]:
    session = open_session(model, optimise=False)
    image = np.random.default_rng(seed).normal(size=(2, channels, 4, 4)).astype(np.float32)
    results: list[Array] = session.run(None, {"x": image})
    return results


def same(before: ModelProto, after: ModelProto, channels: int = 1) -> None:
    onnx.checker.check_model(after, full_check=True)
    for expected, found in zip(run(before, channels), run(after, channels), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_analytic_answer() -> None:
    model = parse("c = Conv(x, w) y = BatchNormalization<epsilon = 0.0>(c, gamma, beta, mean, variance)", w=W, **NORM)
    result = fold_batch_norm(model)
    assert result.folded == ("y",)
    assert result.kept == {}
    assert operators(result.model) == {"Conv": 1}
    # scales 2 / sqrt(4) = 1 and -3 / sqrt(0.25) = -6
    assert constant(result.model, "w").ravel().tolist() == [1.0, 0.0]
    assert constant(result.model, "w.bias").tolist() == [0.5 + 1 * (0 - 1), 0.25 - 6 * (0 + 1)]
    same(model, result.model)


def test_zeros_stay_positive_zeros_under_a_negative_scale() -> None:
    kernel = np.array([[[[-0.0]]], [[[0.0]]]], np.float32)
    model = parse("c = Conv(x, w) y = BatchNormalization(c, gamma, beta, mean, variance)", w=kernel, **NORM)
    assert constant(fold_batch_norm(model).model, "w").tobytes() == bytes(8)


@given(
    op=st.sampled_from(["Conv", "ConvTranspose"]),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_outputs_are_the_same_and_zeros_stay(op: str, groups: int, bias: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_in, n_out = 4, 6
    shape = (n_out, n_in // groups, 2, 2) if op == "Conv" else (n_in, n_out // groups, 2, 2)
    kernel = (rng.normal(size=shape) * (rng.random(shape) < 0.3)).astype(np.float32)
    constants = {name: rng.normal(size=n_out).astype(np.float32) for name in ("gamma", "beta", "mean", "b")}
    constants["variance"] = rng.uniform(0.1, 2, n_out).astype(np.float32)
    model = parse(
        f"c = {op}<group = {groups}>(x, w{', b' if bias else ''})"
        " r = BatchNormalization<epsilon = 0.001>(c, gamma, beta, mean, variance) y = Relu(r)",
        inputs=f"float[N,{n_in},4,4] x",
        out=f"float[N,{n_out},H,W] y",
        w=kernel,
        **constants,
    )
    result = fold_batch_norm(model).model
    assert operators(result) == {op: 1, "Relu": 1}
    np.testing.assert_array_equal(constant(result, "w") == 0, kernel == 0)
    assert {tensor.name for tensor in result.graph.initializer} == {"w", "w.bias"}
    same(model, result, channels=n_in)


def test_a_shared_kernel_is_folded_for_each_reader() -> None:
    other = {f"{name}2": value + np.float32(0.5) for name, value in NORM.items()}
    model = parse(
        "c = Conv(x, w) y = BatchNormalization(c, gamma, beta, mean, variance)"
        " d = Conv(x, w) z = BatchNormalization(d, gamma2, beta2, mean2, variance2) e = Conv(x, w)",
        out="float[N,2,H,W] y, float[N,2,H,W] z, float[N,2,H,W] e",
        w=W,
        **NORM,
        **other,
    )
    result = fold_batch_norm(model)
    assert result.folded == ("y", "z")
    assert constant(result.model, "w").tobytes() == W.tobytes()  # the third reader's
    same(model, result.model)


def test_new_names_avoid_those_that_exist() -> None:
    model = parse(
        "c = Conv(x, w) y = BatchNormalization(c, gamma, beta, mean, variance) z = Add(y, w.bias)".replace(
            "w.bias", "taken"
        ),
        out="float[N,2,H,W] y, float[N,2,H,W] z",
        w=W,
        taken=np.ones(1, np.float32),
        **NORM,
    )
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("taken", "w.bias")
    model.graph.node[2].input[1] = "w.bias"
    result = fold_batch_norm(model).model
    assert constant(result, "w.bias").tolist() == [1.0]
    same(model, result)


@pytest.mark.parametrize(
    ("body", "out", "reason"),
    [
        ("c = Relu(x) y = BatchNormalization(c, g1, g1, g1, g1)", "float[N,1,H,W] y", "not the output of a conv"),
        ("y = BatchNormalization(x, g1, g1, g1, g1)", "float[N,1,H,W] y", "not the output of a conv"),
        (
            "c = Conv(x, w) y = BatchNormalization(c, gamma, beta, mean, variance) z = Add(c, y)",
            "float[N,2,H,W] z",
            "something else reads",
        ),
        (
            "c = Conv(x, w) y = BatchNormalization(c, gamma, beta, mean, variance)",
            "float[N,2,H,W] y, float[N,2,H,W] c",
            "something else reads",
        ),
        (
            "c = Conv(x, w) v = Abs(variance) y = BatchNormalization(c, gamma, beta, mean, v)",
            "float[N,2,H,W] y",
            "not a float32 initializer",
        ),
        (
            "c = Conv(x, w) y, m, v = BatchNormalization<training_mode = 1>(c, gamma, beta, mean, variance)",
            "float[N,2,H,W] y",
            "training mode",
        ),
    ],
)
def test_what_does_not_fit_stays_with_the_reason(body: str, out: str, reason: str) -> None:
    model = parse(body, out=out, w=W, g1=np.ones(1, np.float32), **NORM)
    result = fold_batch_norm(model)
    assert result.folded == ()
    assert reason in result.kept["y"]
    assert operators(result.model) == operators(model)
    same(model, result.model)


def test_a_variance_of_zero_stays() -> None:
    model = parse(
        "c = Conv(x, w) y = BatchNormalization<epsilon = 0.0>(c, gamma, beta, mean, variance)",
        w=W,
        **{**NORM, "variance": np.zeros(2, np.float32)},
    )
    assert "not finite" in fold_batch_norm(model).kept["y"]


def test_parameters_that_an_input_may_override_stay() -> None:
    model = parse(
        "c = Conv(x, w) y = BatchNormalization(c, gamma, beta, mean, variance)",
        inputs="float[N,1,4,4] x, float[2] gamma",
        w=W,
        **NORM,
    )
    assert "initializer" in fold_batch_norm(model).kept["y"]


def test_readers_in_inner_graphs_count() -> None:
    body = (
        "c = Conv(x, w) n = BatchNormalization(c, gamma, beta, mean, variance)"
        " y = If (flag) <then_branch = t () => (float[N,2,H,W] a) { a = Neg(c) },"
        " else_branch = f () => (float[N,2,H,W] b) { b = Add(n, used) }>"
    )
    model = parse(body, w=W, flag=np.array(True), used=np.ones(1, np.float32), **NORM)
    result = fold_batch_norm(model)
    assert "something else reads" in result.kept["n"]
    assert "used" in {tensor.name for tensor in result.model.graph.initializer}


def test_unused_initializers_go_and_used_ones_stay() -> None:
    model = parse("y = Conv(x, w)", w=W, lost=np.ones(3, np.float32))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("ghost", onnx.TensorProto.FLOAT, (1,)))
    clean = remove_unused_initializers(model)
    assert [tensor.name for tensor in clean.graph.initializer] == ["w"]
    assert not clean.graph.value_info
    same(model, clean)


def test_leaves_its_argument_alone() -> None:
    model = parse("c = Conv(x, w) y = BatchNormalization(c, gamma, beta, mean, variance)", w=W, **NORM)
    before = model.SerializeToString()
    fold_batch_norm(model)
    assert model.SerializeToString() == before
