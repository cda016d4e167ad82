"""Channels with one value: zero, evenly read, and at padded borders."""

import numpy as np
import pytest
from onnx import numpy_helper

from tests.export.channels.graphs import constant, f32, kernel, node, operators, parse, remove, run, without_rows
from wcr_med.export.channels import remove_dead_channels

PADDED = "Conv<pads = [1, 1, 1, 1]>"


def test_a_zero_goes_bit_for_bit() -> None:
    model = parse(
        f"a = {PADDED}(x, w, b) r = Relu(a) y = {PADDED}(r, v)",
        w=without_rows(kernel(3, 2), 1),
        b=f32(0.5, -1.0, 0.25),
        v=kernel(2, 3),
    )
    result = remove(model, relative=0)
    np.testing.assert_array_equal(constant(result.model, "v"), kernel(2, 3)[:, [0, 2]])
    np.testing.assert_array_equal(constant(result.model, "w"), kernel(3, 2)[[0, 2]])
    assert constant(result.model, "b").tolist() == [0.5, 0.25]
    (first, second) = (row.to_dict() for row in result.layers)
    assert first == {"name": "w", "inputs_before": 2, "inputs_after": 2, "outputs_before": 3, "outputs_after": 2}
    assert (second["inputs_before"], second["inputs_after"]) == (3, 2)


def test_an_even_constant_goes_into_the_bias() -> None:
    v = kernel(2, 3)
    model = parse(
        "a = Conv(x, w, b) r = Relu(a) y = Conv(r, v)",
        w=without_rows(kernel(3, 2), 2),
        b=f32(0.5, 0.0, 2.0),
        v=v,
    )
    result = remove(model).model
    np.testing.assert_array_equal(constant(result, "v"), v[:, :2])
    added = 2.0 * v[:, 2].astype(np.float64).sum(axis=(1, 2))
    np.testing.assert_array_equal(constant(result, "v.bias"), added.astype(np.float32))


def test_of_constants_at_a_padded_border_one_stays_for_all() -> None:
    v = kernel(2, 4)
    model = parse(
        f"a = Conv(x, w, b) r = Relu(a) y = {PADDED}(r, v, c)",
        w=without_rows(kernel(4, 2), 0, 1, 3),
        b=f32(0.5, 2.0, 0.0, 4.0),
        v=v,
        c=f32(1.0, -1.0),
    )
    result = remove(model).model
    # The first serves the map as well as any.
    kept = v[:, 0] + (2.0 / 0.5) * v[:, 1] + (4.0 / 0.5) * v[:, 3]
    np.testing.assert_allclose(constant(result, "v")[:, 0], kept, rtol=1e-6)
    np.testing.assert_array_equal(constant(result, "v")[:, 1], v[:, 2])
    assert constant(result, "c").tolist() == [1.0, -1.0]
    assert constant(result, "b").tolist() == [0.5, 0.0]
    assert not constant(result, "w")[0].any()


def test_borders_differ_from_the_interior_and_still_agree() -> None:
    """Folding into the bias would be right inside and wrong in the outermost ring."""
    model = parse(
        f"a = Conv(x, w, b) r = Relu(a) y = {PADDED}(r, v)",
        w=np.zeros((3, 2, 1, 1), np.float32),
        b=f32(1.0, 2.0, 3.0),
        v=kernel(1, 3),
    )
    result = remove(model).model
    assert constant(result, "v").shape == (1, 1, 3, 3)
    (y,) = run(result)
    weights = sum(value * kernel(1, 3)[0, channel] for channel, value in enumerate((1.0, 2.0, 3.0)))
    assert y[0, 0, 2, 2] == pytest.approx(weights.sum(), rel=1e-5)
    assert y[0, 0, 0, 0] == pytest.approx(weights[1:, 1:].sum(), rel=1e-5)
    assert y[0, 0, 5, 0] == pytest.approx(weights[:-1, 1:].sum(), rel=1e-5)


def test_a_single_constant_at_a_padded_border_stays() -> None:
    model = parse(
        f"a = Conv(x, w, b) y = {PADDED}(a, v)", w=without_rows(kernel(2, 2), 0), b=f32(2.0, 0.0), v=kernel(1, 2)
    )
    result = remove(model)
    assert result.n_parameters_after == result.n_parameters_before
    assert result.model.SerializeToString() == model.SerializeToString()


def test_taps_that_never_meet_padding_are_even() -> None:
    v = kernel(1, 2)
    v[:, 0, [0, 2]] = 0
    v[:, 0, :, [0, 2]] = 0
    model = parse(f"a = Conv(x, w, b) y = {PADDED}(a, v)", w=without_rows(kernel(2, 2), 0), b=f32(2.0, 0.0), v=v)
    result = remove(model).model
    assert constant(result, "v").shape == (1, 1, 3, 3)
    assert constant(result, "v.bias").tolist() == [np.float32(2.0 * v[0, 0, 1, 1])]


def test_one_reader_may_be_even_and_another_not() -> None:
    model = parse(
        f"a = Conv(x, w, b) y = {PADDED}(a, v) z = Conv(a, u)",
        out="float[N,O,H,W] y, float[N,O,I,K] z",
        w=without_rows(kernel(3, 2), 0, 1),
        b=f32(2.0, 3.0, 0.0),
        v=kernel(1, 3),
        u=kernel(1, 3, seed=1),
    )
    result = remove(model).model
    assert constant(result, "w").shape[0] == 2
    assert constant(result, "u").shape[1] == constant(result, "v").shape[1] == 2


def test_constants_of_joined_maps_stand_for_each_other() -> None:
    model = parse(
        f"a = Conv(x, w, b) c = Conv(x, u, d) j = Concat<axis = 1>(a, c) y = {PADDED}(j, v)",
        w=without_rows(kernel(3, 2), 0, 2),
        u=without_rows(kernel(2, 2, seed=1), 0),
        b=f32(-1.0, 0.0, 2.0),
        d=f32(3.0, 0.0),
        v=kernel(2, 5),
    )
    result = remove(model).model
    assert constant(result, "v").shape[1] == 3
    assert constant(result, "w").shape[0] + constant(result, "u").shape[0] == 3


def test_a_tiny_constant_does_not_stand_for_large_ones() -> None:
    model = parse(
        f"a = Conv(x, w, b) y = {PADDED}(a, v)",
        w=without_rows(kernel(3, 2), 0, 1),
        b=f32(1e-12, 2.0, 0.0),
        v=kernel(2, 3),
    )
    assert constant(remove(model).model, "b").tolist() == [2.0, 0.0]


@pytest.mark.parametrize(
    "pad", ['auto_pad = "SAME_UPPER"', "pads = [0, 0, 0, 1]", "pads = [2, 2, 2, 2], dilations = [2, 2]"]
)
def test_any_padding_counts(pad: str) -> None:
    model = parse(
        f"a = Conv(x, w, b) y = Conv<{pad}>(a, v)",
        w=without_rows(kernel(3, 2), 0, 1),
        b=f32(2.0, 3.0, 0.0),
        v=kernel(1, 3),
    )
    assert constant(remove(model).model, "v").shape[1] == 2


def test_constants_pass_through_whole_layers() -> None:
    """A second layer that reads only constants is constant itself once the borders allow it."""
    u = kernel(2, 2)
    u[0, 0] = 0
    model = parse(
        "a = Conv(x, w, b) r = Relu(a) c = Conv(r, u, d) s = Relu(c) y = Conv(s, v)",
        inputs="float[N,2,9,9] x",
        w=without_rows(kernel(2, 2), 1),
        b=f32(0.0, 1.0),
        u=u,
        d=f32(0.5, 0.25),
        v=kernel(1, 2),
    )
    result = remove(model).model
    assert constant(result, "u").shape == (1, 1, 3, 3)
    assert constant(result, "v").shape == (1, 1, 3, 3)


def test_a_network_without_a_live_path_answers_its_constant() -> None:
    model = parse(
        f"a = {PADDED}(x, w, b) r = Relu(a) y = {PADDED}(r, v, c)",
        w=kernel(8, 2),
        b=np.zeros(8, np.float32),
        v=np.zeros((2, 8, 3, 3), np.float32),
        c=f32(1.0, 2.0),
    )
    result = remove(model)
    assert constant(result.model, "v").shape == (2, 1, 3, 3)
    assert constant(result.model, "w").shape == (1, 2, 3, 3)
    assert operators(result.model) == ["Conv", "Relu", "Conv"]
    assert node(result.model, "y").op_type == "Conv"


def test_what_float32_cannot_hold_is_not_folded() -> None:
    v = kernel(1, 2)
    v[:, 1] = 3e38
    model = parse("a = Conv(x, w, b) y = Conv(a, v)", w=without_rows(kernel(2, 2), 1), b=f32(0.0, 1e-3), v=v)
    assert constant(remove(model).model, "v").shape[1] == 1
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b")
    bias.CopyFrom(numpy_helper.from_array(f32(0.0, 1e3), "b"))
    result = remove_dead_channels(model)
    assert constant(result.model, "v").shape[1] == 2
    assert "not finite" in result.kept["y"]
