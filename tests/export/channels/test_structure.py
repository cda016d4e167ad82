"""What must stay together, what stands in the way, and what is promised of every result."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.export.channels.graphs import (
    constant,
    f32,
    kernel,
    node,
    operators,
    parse,
    remove,
    run,
    without_columns,
    without_rows,
)
from wcr_med.export.channels import remove_dead_channels

PADDED = "Conv<pads = [1, 1, 1, 1]>"
TWO_OUTPUTS = "float[N,O,H,W] y, float[N,O2,H2,W2] z"


def test_what_nobody_reads_goes_with_all_that_made_it() -> None:
    model = parse(
        f"a = {PADDED}(x, w, b) c = {PADDED}(a, u) y = Conv(c, v)",
        w=kernel(3, 2),
        b=f32(1, 2, 3),
        u=without_columns(kernel(3, 3), 1),
        v=without_columns(kernel(1, 3), 0),
    )
    result = remove(model, relative=1e-6)
    assert constant(result.model, "u").shape == (2, 2, 3, 3)
    assert constant(result.model, "b").tolist() == [1, 3]
    assert [(row.inputs_after, row.outputs_after) for row in result.layers] == [(2, 2), (2, 2), (2, 1)]
    assert result.n_parameters_before - result.n_parameters_after == (18 + 1) + (2 * 9 + 2 * 9 + 9) + 9


def test_a_concatenation_carries_the_index_map() -> None:
    v = without_columns(kernel(2, 7), 1, 3, 5)
    model = parse(
        "a = Conv(x, w) c = Conv(x, u) d = Conv(x, t) j = Concat<axis = -3>(a, c, d) y = Conv(j, v)",
        w=kernel(2, 2, seed=1),
        u=kernel(3, 2, seed=2),
        t=kernel(2, 2, seed=3),
        v=v,
    )
    result = remove(model, relative=1e-6).model
    np.testing.assert_array_equal(constant(result, "v"), v[:, [0, 2, 4, 6]])
    assert [constant(result, name).shape[0] for name in "wut"] == [1, 2, 1]
    np.testing.assert_array_equal(constant(result, "t"), kernel(2, 2, seed=3)[1:])


def test_a_branch_without_a_reader_leaves_the_concatenation() -> None:
    model = parse(
        "a = Conv(x, w) c = Conv(x, u) j = Concat<axis = 1>(a, c) r = Relu(j) y = Conv(r, v)",
        w=kernel(2, 2),
        u=kernel(3, 2),
        v=without_columns(kernel(2, 5), 2, 3, 4),
    )
    result = remove(model, relative=1e-6)
    assert operators(result.model) == ["Conv", "Relu", "Conv"]
    assert [row.outputs_after for row in result.layers] == [2, 0, 2]


def test_a_skip_goes_only_if_every_reader_ignores_it() -> None:
    skip = "s = Conv(x, w) d = Conv(s, u) j = Concat<axis = 1>(s, e) y = Conv(j, v) "
    body = skip.replace("j =", "e = ConvTranspose(d, t) j =")
    constants = {"w": kernel(3, 2), "t": np.swapaxes(kernel(1, 2), 0, 1), "v": without_columns(kernel(1, 4), 0, 1)}
    both = remove(parse(body, u=without_columns(kernel(2, 3), 1, 2), **constants)).model
    assert constant(both, "w").shape[0] == 2  # 1 is read by nobody
    assert constant(both, "v").shape[1] == 3


def test_an_addition_keeps_the_union() -> None:
    model = parse(
        "a = Conv(x, w) c = Conv(x, u) s = Add(a, c) y = Conv(s, v)",
        w=without_rows(kernel(4, 2), 0, 1),
        u=without_rows(kernel(4, 2, seed=1), 1, 2),
        v=without_columns(kernel(1, 4), 3),
    )
    result = remove(model, relative=1e-6).model
    assert constant(result, "w").shape[0] == constant(result, "u").shape[0] == 2  # 0 and 2
    assert not constant(result, "w")[0].any()


@pytest.mark.parametrize("order", ["p, c", "c, p"])
def test_a_constant_branch_goes_into_the_bias(order: str) -> None:
    model = parse(
        f"a = {PADDED}(x, w, b) p = LeakyRelu<alpha = 0.5>(a) c = {PADDED}(x, u, d) s = Add({order}) y = Relu(s)",
        w=np.zeros((2, 2, 3, 3), np.float32),
        b=f32(-1, 2),
        u=kernel(2, 2),
        d=f32(1, 1),
    )
    result = remove(model)
    assert operators(result.model) == ["Conv", "Relu"]
    assert constant(result.model, "d").tolist() == [0.5, 3]
    assert result.additions == ("s",)


def test_a_zero_branch_goes_whatever_it_is_added_to() -> None:
    model = parse(
        f"r = Relu(x) a = {PADDED}(r, w) s = Add(r, a) t = Relu(s) y = {PADDED}(t, v)",
        w=np.zeros((2, 2, 3, 3), np.float32),
        v=kernel(1, 2),
    )
    result = remove(model, relative=0)
    assert operators(result.model) == ["Relu", "Relu", "Conv"]


def test_a_branch_that_widens_the_sum_stays() -> None:
    model = parse(
        f"a = {PADDED}(x, w) g = GlobalAveragePool(x) s = Add(a, g) y = Relu(s)", w=np.zeros((2, 2, 3, 3), np.float32)
    )
    assert "Add" in operators(remove(model).model)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("t = InstanceNormalization(s, g, g)", "InstanceNormalization may mix channels"),
        ("t = Softmax<axis = 1>(s)", "Softmax may mix channels"),
        ("t = LRN<size = 3>(s)", "LRN may mix channels"),
        ("t = Transpose<perm = [0, 1, 3, 2]>(s)", "Transpose may mix channels"),
        ("t = Conv<group = 2>(s, grouped)", "2 groups of several channels"),
        ("p = Relu(g) t = Conv(s, full, p)", "not a float32 initializer"),
        ("p = Conv(x, one) t = Add(s, p)", "different numbers of channels"),
        ("t = Concat<axis = 2>(s, s)", "along another axis"),
    ],
)
def test_a_barrier_reads_everything_and_says_why(body: str, reason: str) -> None:
    given = {"g": f32(1, 2, 3, 4), "grouped": kernel(4, 2, 1), "full": kernel(4, 4, 1), "one": kernel(1, 2)}
    model = parse(
        f"s = Conv(x, w, b) {body} y = Conv(t, v)",
        w=without_rows(kernel(4, 2), 1),
        b=f32(1, 0, 1, 1),
        v=np.zeros((1, 4, 1, 1), np.float32),
        **{name: value for name, value in given.items() if f"{name})" in body or f"{name}," in body},
    )
    result = remove(model)
    assert constant(result.model, "w").shape[0] == 4
    assert reason in result.kept["t"]


def test_a_reason_needs_something_that_would_go() -> None:
    model = parse("s = Conv(x, w) t = Softmax(s) y = Conv(t, v)", w=kernel(2, 2), v=kernel(1, 2))
    assert "s" not in remove(model).kept


def test_graph_outputs_stay_whole() -> None:
    model = parse(
        "a = Conv(x, w, b) y = Relu(a) z = Conv(y, v)",
        out=TWO_OUTPUTS,
        w=without_rows(kernel(3, 2), 0),
        b=f32(-1, 0, 0),
        v=kernel(1, 3),
    )
    result = remove(model)
    assert result.model.SerializeToString() == model.SerializeToString()


def test_readers_in_inner_graphs_see_everything() -> None:
    model = parse(
        "s = Conv(x, w) y = If (flag) <then_branch = t () => (float[N,3,H,W] a) { a = Neg(s) },"
        " else_branch = f () => (float[N,3,H,W] b) { b = Conv(s, u) }> z = Conv(s, v)",
        out="float[N,3,H,W] y, float[N,2,H2,W2] z",
        flag=np.array(True),
        w=without_rows(kernel(3, 2), 0),
        u=kernel(3, 3, 1),
        v=np.zeros((2, 3, 3, 3), np.float32),
    )
    assert constant(remove(model).model, "w").shape[0] == 3


class TestSharedParameters:
    def test_each_reader_cuts_its_own(self) -> None:
        model = parse(
            f"a = {PADDED}(x, w, b) r = Relu(a) c = {PADDED}(r, w, b) y = Conv(c, v)",
            w=without_rows(kernel(2, 2), 1),
            b=f32(1, -1),
            v=without_columns(kernel(1, 2), 1),
        )
        result = remove(model)
        shapes = {tensor.name: tuple(tensor.dims) for tensor in result.model.graph.initializer}
        assert sorted(shape for name, shape in shapes.items() if name[0] == "w") == [(1, 1, 3, 3), (1, 2, 3, 3)]

    def test_equal_copies_are_shared_again(self) -> None:
        model = parse(
            "a = Conv(x, w, b) c = Conv(x, w, b) j = Concat<axis = 1>(a, c) y = Conv(j, v)",
            w=without_rows(kernel(3, 2), 1),
            b=f32(1, 0, 1),
            v=kernel(1, 6),
        )
        result = remove(model)
        assert {tensor.name for tensor in result.model.graph.initializer} == {"w", "b", "v"}
        assert constant(result.model, "w").shape[0] == 2

    def test_parameters_never_become_more(self) -> None:
        w = kernel(4, 4)
        chain = " ".join(f"a{i} = {PADDED}({'x' if i == 0 else f'r{i - 1}'}, w) r{i} = Relu(a{i})" for i in range(4))
        heads = " ".join(f"o{i} = Conv(r{i}, h{i})" for i in range(4))
        model = parse(
            f"{chain} {heads} j = Concat<axis = 1>(o0, o1, o2, o3) y = Relu(j)",
            inputs="float[N,4,6,6] x",
            w=w,
            **{f"h{i}": without_columns(kernel(1, 4, 1), i) for i in range(4)},
        )
        result = remove(model)
        assert result.n_parameters_after <= result.n_parameters_before


@pytest.mark.parametrize("name", ["w", "b"])
def test_what_an_input_may_override_is_no_constant(name: str) -> None:
    shape = {"w": "float[2,2,3,3] w", "b": "float[2] b"}[name]
    model = parse(
        "a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)",
        inputs=f"float[N,2,6,6] x, {shape}",
        w=without_rows(kernel(2, 2), 0),
        b=f32(-1, 1),
        v=kernel(1, 2),
    )
    result = remove_dead_channels(model)
    assert result.model.SerializeToString() == model.SerializeToString()


def test_weights_that_are_not_numbers_stay() -> None:
    w = kernel(2, 2)
    w[0, 0, 0, 0] = np.nan
    model = parse("a = Conv(x, w) y = Conv(a, v)", w=w, v=without_columns(kernel(1, 2), 0))
    result = remove_dead_channels(model)
    assert result.model.SerializeToString() == model.SerializeToString()
    assert result.kept == {"a": "its parameters are not finite"}


def test_types_of_tensors_follow() -> None:
    model = parse("a = Conv(x, w) r = Relu(a) y = Conv(r, v)", w=kernel(3, 2), v=without_columns(kernel(1, 3), 0))
    for name, shape in (("a", ("N", 3, 4, 4)), ("r", ("N", 3, 4, 4)), ("w", (3, 2, 3, 3))):
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    types = {value.name: value.type.tensor_type.shape.dim for value in remove(model).model.graph.value_info}
    assert types["a"][1].dim_value == types["r"][1].dim_value == types["w"][0].dim_value == 2
    assert types["a"][0].dim_param == "N"


def test_depthwise_follows_its_source() -> None:
    model = parse(
        f"a = Conv(x, w) d = {PADDED[:-1]}, group = 3>(a, deep) y = Conv(d, v)",
        w=kernel(3, 2),
        deep=kernel(3, 1),
        v=without_columns(kernel(1, 3), 1),
    )
    result = remove(model, relative=1e-6)
    assert constant(result.model, "deep").shape == (2, 1, 3, 3)
    assert [(row.inputs_after, row.outputs_after) for row in result.layers] == [(2, 2), (2, 2), (2, 1)]
    assert node(result.model, "d").attribute[1].i == 2


def test_of_an_empty_map_the_channel_that_costs_least_stays() -> None:
    """The second convolution reads nothing; a channel of the cheap branch, not of the deep one, keeps it valid."""
    deep = " ".join(f"d{i} = {PADDED}({'x' if i == 0 else f'd{i - 1}'}, u{i})" for i in range(3))
    model = parse(
        f"{deep} c = {PADDED}(x, w) j = Concat<axis = 1>(d2, c) y = {PADDED}(j, v, b)",
        w=kernel(2, 2),
        v=np.zeros((1, 4, 3, 3), np.float32),
        b=f32(3),
        **{f"u{i}": kernel(2, 2, seed=i) for i in range(3)},
    )
    assert operators(remove(model).model) == ["Conv", "Conv"]


def test_volumes_and_signals_have_channels_too() -> None:
    for space in ("", ",6,6,6"):
        kernels = (3,) * space.count(",") or (3,)
        rng = np.random.default_rng(0)
        model = parse(
            "a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)",
            inputs=f"float[N,2{space or ',9'}] x",
            out="float[N,O,H] y" if not space else "float[N,O,H,W,D] y",
            w=without_rows(rng.normal(size=(3, 2, *kernels)).astype(np.float32), 1, 2),
            b=f32(0, -1, 2),
            v=rng.normal(size=(2, 3, *kernels)).astype(np.float32),
        )
        assert constant(remove(model).model, "v").shape[1] == 1


def test_nothing_to_remove_leaves_the_model_as_it_is() -> None:
    model = parse("a = Conv(x, w) y = Conv(a, v) lost = Relu(a)", w=kernel(2, 2), v=kernel(1, 2), unused=f32(1))
    result = remove(model)
    assert result.model.SerializeToString() == model.SerializeToString()
    assert result.model is not model
    assert run(model)[0].tobytes() == run(result.model)[0].tobytes()
