import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.export.programs import (
    Array,
    checked,
    convolution,
    expect_same,
    feed_for,
    kernel,
    only,
    outside,
    parse,
)
from wcr_med.export.partition import assemble, partition
from wcr_med.export.program import NONE, Activation, Add, Convolution, MaxPool
from wcr_med.native import DOMAIN

W, V = kernel(2, 2, 3, 3), kernel(2, 2, 1, 1)
SAME = "<pads = [1, 1, 1, 1]>"
BIAS = np.array([0.5, -0.5], np.float32)


def test_a_convolution_with_bias_and_activation_is_one_operation() -> None:
    result = checked(parse(f"c = Conv{SAME}(x, w, b) y = Relu(c)", w=W, b=BIAS))
    assert len(only(result).ops) == 1
    conv = convolution(result)
    assert (conv.activation, conv.pads, conv.c_in, conv.c_out) == (Activation.RELU, (1, 1, 1, 1), 2, 2)
    assert [name for name, _ in result.subgraphs[0].constants] == ["w", "b"]
    assert (result.macs, result.share_of_macs) == (2 * 2 * 9 * 64, 1.0)
    assert outside(result) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Conv<group = 2>(x, w1)", "several groups"),
        ("k = Neg(w) y = Conv(x, k)", "kernel is not a constant"),
        ("k = Neg(b) y = Conv(x, w, k)", "bias is not a constant"),
        ("y = ConvTranspose<dilations = [2, 2]>(x, w)", "dilated"),
        ("y = ConvTranspose<output_shape = [10, 10]>(x, w)", "told its output's size"),
        ("y = ConvTranspose<group = 2>(x, w1t)", "several groups"),
        ("y = Sigmoid(x)", "Sigmoid is not supported"),
    ],
)
def test_what_is_refused_stays_as_it_is(body: str, reason: str) -> None:
    model = parse(body, w=W, b=BIAS, w1=kernel(2, 1, 3, 3), w1t=kernel(2, 1, 3, 3))
    result = checked(model)
    assert result.subgraphs == ()
    assert reason in result.refused["y"]
    assert list(result.skeleton.graph.node) == list(model.graph.node)
    assert all(entry.domain != DOMAIN for entry in result.skeleton.opset_import)


@pytest.mark.parametrize(
    ("operator", "activation"),
    [
        ("Relu(c)", Activation.RELU),
        ("LeakyRelu<alpha = 0.3>(c)", Activation.SLOPE),
        ("PRelu(c, one)", Activation.SLOPE),
        ("PRelu(c, each)", Activation.SLOPE),
    ],
)
@pytest.mark.parametrize("also_read", [False, True])
def test_activations(operator: str, activation: Activation, also_read: bool) -> None:
    out = "float[N,2,H,W] y" + (", float[N,2,H,W] c" if also_read else "")
    slopes = {"one": np.array([0.25], np.float32), "each": np.array([0.5, -2], np.float32).reshape(2, 1, 1)}
    result = checked(parse(f"c = Conv(x, w) y = {operator}", out=out, w=W, **slopes))
    assert len(only(result).ops) == 1 + also_read
    assert getattr(only(result).ops[-1], "activation") == activation  # noqa: B009 - which class it is depends on the case


@pytest.mark.parametrize("slope", [kernel(1, 8, 1), kernel(8), kernel(2, 8, 8)])
def test_slopes_that_are_not_by_channel_are_refused(slope: Array) -> None:
    result = checked(parse("c = Conv(x, w) y = PRelu(c, s)", w=V, s=slope))
    assert "slope" in result.refused["y"]
    assert outside(result) == ["PRelu"]


def test_an_addition_joins_a_convolution_that_nothing_else_reads() -> None:
    result = checked(parse(f"c = Conv{SAME}(x, w) d = Conv{SAME}(c, w) s = Add(d, c) y = Relu(s)", w=W))
    assert len(only(result).ops) == 2
    assert (convolution(result, 1).residual, convolution(result, 1).activation) == (1, Activation.RELU)


def test_the_later_of_two_convolutions_takes_the_addition() -> None:
    result = checked(parse("c = Conv(x, v) d = Conv(x, v2) y = Add(c, d)", v=V, v2=kernel(2, 2, 1, 1)))
    assert [conv.residual for conv in only(result).convolutions.values()] == [NONE, 1]


@pytest.mark.parametrize(
    "body",
    [
        "c = Conv(x, v) d = Relu(c) y = Add(d, x)",  # an activation stands between
        "c = Conv(x, v) y = Add(c, c)",
        "c = Conv(x, v) s = Add(c, x) y = Add(s, c)",  # read twice
    ],
)
def test_additions_that_stay_operations(body: str) -> None:
    result = checked(parse(body, w=W, v=V))
    assert any(isinstance(op, Add) for op in only(result).ops)
    assert outside(result) == []


def test_two_additions_need_two_operations() -> None:
    result = checked(parse("c = Conv(x, v) s = Add(c, x) y = Add(s, x)", v=V))
    assert [type(op) for op in only(result).ops] == [Convolution, Add]


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("c = Conv(x, v) y = Add(c, z)", "float[N,2,8,8] x, float[N,2,1,1] z"),
        ("c = Conv(x, v) y = Add(c, z)", "float[N,2,H,W] x, float[N,2,I,J] z"),
        ("c = Conv(x, v) y = Add(c, b)", "float[N,2,8,8] x"),
    ],
)
def test_additions_of_shapes_that_may_differ_are_refused(body: str, inputs: str) -> None:
    result = checked(parse(body, inputs=inputs, v=V, b=BIAS.reshape(2, 1, 1)))
    assert outside(result) == ["Add"]
    assert "y" in result.refused


def test_sizes_that_only_a_run_tells_are_followed() -> None:
    body = (
        f"c = Conv{SAME}(x, w) p = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(c, w) q = Conv{SAME}(p, w) r = Add(p, q)"
        " u = ConvTranspose<strides = [2, 2]>(r, t) y = Concat<axis = 1>(u, c)"
    )
    model = parse(body, inputs="float[N,2,H,W] x", w=W, t=kernel(2, 3, 2, 2))
    result = checked(model, size=10)
    expect_same(model, assemble(result), feed_for(model, size=6, batch=1))
    assert outside(result) == []
    assert (result.macs, result.share_of_macs) == (None, None)


def test_a_concatenation_becomes_several_sources() -> None:
    body = "c = Conv(x, v) k = Concat<axis = 1>(c, x) l = Concat<axis = 1>(k, c) y = Conv(l, w)"
    result = checked(parse(body, v=V, w=kernel(2, 6, 1, 1)))
    assert convolution(result, 1).sources == (1, 0, 1)
    assert outside(result) == []


def test_what_follows_a_concatenation_is_done_to_each_part() -> None:
    body = (
        "c = Conv(x, v) d = Conv(c, v) k = Concat<axis = -3>(c, d) r = Relu(k)"
        " p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r) y = ConvTranspose<strides = [2, 2]>(p, t)"
    )
    result = checked(parse(body, v=V, t=kernel(4, 2, 2, 2)))
    assert [type(op) for op in only(result).ops].count(MaxPool) == 2
    assert len(convolution(result, -1).sources) == 2


def test_an_output_may_have_several_sources() -> None:
    result = checked(parse("c = Conv(x, v) d = Conv(c, v) k = Concat<axis = 1>(c, d) y = Sigmoid(k)", v=V))
    assert only(result).outputs == ((1, 2),)
    assert outside(result) == ["Sigmoid"]


def test_a_concatenation_with_an_input_is_made_outside_for_others() -> None:
    body = "c = Conv(x, v) k = Concat<axis = 1>(c, x) z = Sigmoid(k) y = Conv(k, w)"
    result = checked(parse(body, out="float[N,2,H,W] y, float[N,4,H,W] z", v=V, w=kernel(2, 4, 1, 1)))
    assert sorted(outside(result)) == ["Concat", "Sigmoid"]
    assert convolution(result, 1).sources == (1, 0)
    unread = checked(parse("c = Conv(x, v) y = Concat<axis = 1>(c, x)", v=V))
    assert outside(unread) == ["Concat"]
    assert only(unread).outputs == ((1,),)


@pytest.mark.parametrize(
    "body",
    [
        "c = Conv(x, v) k = Concat<axis = 1>(c, x) l = Concat<axis = 1>(x, c) y = Add(k, l)",
        "c = Conv(x, v) k = Concat<axis = 1>(c, c) y = PRelu(k, s)",
        "c = Conv(x, v) k = Concat<axis = 2>(c, c) y = Relu(k)",
    ],
)
def test_readers_that_need_one_source_stay_outside(body: str) -> None:
    result = checked(parse(body, v=V, s=kernel(4, 1, 1)))
    assert len(outside(result)) >= 1
    assert len(result.subgraphs) == 1


def test_operators_that_do_nothing_vanish() -> None:
    result = checked(parse("a = Identity(x) c = Conv(a, v) d = Dropout(c) y = Identity(d)", v=V))
    assert len(only(result).ops) == 1
    assert outside(result) == []


def test_dropout_that_may_be_active_stays() -> None:
    model = parse("c = Conv(x, v) y = Dropout(c, , t)", v=V, t=np.array(True))
    assert "dropout" in partition(model).refused["y"]


def test_other_types_and_ranks_stay() -> None:
    model = parse("f = Flatten(x) c = Conv(x, v) g = Relu(f) y = Relu(c)", out="float[N,2,H,W] y, float[N,M] g", v=V)
    result = checked(model)
    assert outside(result) == ["Flatten", "Relu"]
    line = parse("y = Conv(x, k)", inputs="float[N,2,8] x", out="float[N,C,L] y", k=kernel(2, 2, 3))
    assert partition(line).subgraphs == ()
    double = parse(
        "y = Conv(x, k)", inputs="double[N,2,8,8] x", out="double[N,C,H,W] y", k=kernel(2, 2, 3, 3).astype(np.float64)
    )
    assert partition(double).subgraphs == ()


def test_a_kernel_that_an_input_may_override_stays() -> None:
    result = partition(parse("y = Conv(x, v)", inputs="float[N,2,8,8] x, float[2,2,1,1] v", v=V))
    assert "kernel" in result.refused["y"]


def test_kernels_beyond_what_a_program_may_hold_stay() -> None:
    model = parse("c = Conv(x, v) y = Conv(c, k)", inputs="float[N,2,256,1] x", v=V, k=kernel(1, 2, 256, 1))
    assert "beyond" in checked(model).refused["y"]


def test_without_a_convolution_nothing_changes() -> None:
    model = parse("r = Relu(x) p = MaxPool<kernel_shape = [2, 2]>(r) y = Add(p, p)")
    result = checked(model)
    assert result.subgraphs == ()
    assert result.share_of_macs == 0
    assert "no convolution" in result.refused["p"]


def test_a_barrier_divides_and_what_bypasses_it_does_not_make_a_cycle() -> None:
    result = checked(parse("c = Conv(x, v) s = Sigmoid(c) d = Conv(s, v2) e = Add(d, c) y = Relu(e)", v=V, v2=V + 1))
    assert [len(subgraph.program.ops) for subgraph in result.subgraphs] == [1, 1]
    assert result.subgraphs[1].inputs == ("s", "c")
    assert outside(result) == ["Sigmoid"]


def test_a_branch_beside_a_barrier_joins_what_comes_after_it() -> None:
    body = "c = Conv(x, v) s = Sigmoid(c) d = Conv(s, v) e = Conv(x, v) y = Add(d, e)"
    result = checked(parse(body, v=V))
    assert [len(subgraph.program.convolutions) for subgraph in result.subgraphs] == [1, 2]


def test_values_that_others_read_become_outputs() -> None:
    model = parse(
        "c = Conv(x, v) r = Relu(c) y = Conv(r, v) z = Sigmoid(c)", out="float[N,2,8,8] y, float[N,2,8,8] z", v=V
    )
    result = checked(model)
    assert result.subgraphs[0].outputs == ("c", "y")
    types = {value.name: value for value in result.skeleton.graph.value_info}
    assert [dim.dim_param or dim.dim_value for dim in types["c"].type.tensor_type.shape.dim] == ["N", 2, 8, 8]


def test_readers_in_inner_graphs_count() -> None:
    body = (
        "c = Conv(x, v) d = Relu(c) y = If (flag) <then_branch = t () => (float[N,2,H,W] a) { a = Neg(c) },"
        " else_branch = f () => (float[N,2,H,W] b) { b = Neg(d) }>"
    )
    result = checked(parse(body, v=V, flag=np.array(True)))
    assert result.subgraphs[0].outputs == ("c", "d")


def test_names_metadata_and_open_sizes_stay() -> None:
    model = parse("y = Conv(x, v)", inputs="float[N,2,H,W] x", v=V)
    helper.set_model_props(model, {"key": "value"})
    after = assemble(checked(model))
    assert after.graph.input == model.graph.input
    assert after.graph.output == model.graph.output
    assert after.metadata_props == model.metadata_props
    assert {entry.domain: entry.version for entry in after.opset_import} == {"": 18, DOMAIN: 1}


def test_a_node_whose_first_output_is_not_used_stays() -> None:
    model = parse(f"y = Conv{SAME}(x, w)", w=W, k=kernel(1, 3, 2), r=kernel(1, 3, 1))
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, [3, 1, 2]))
    model.graph.node.append(helper.make_node("GRU", ["s", "k", "r"], ["", "last"], hidden_size=1))
    model.graph.output.append(helper.make_tensor_value_info("last", TensorProto.FLOAT, [1, 1, 1]))
    result = partition(model)
    assert outside(result) == ["GRU"]
    assert result.refused == {"last": "GRU is not supported"}
