"""Each operator between two convolutions: constants pass through it, and its parameters are cut."""

import numpy as np
import pytest
from onnx import ModelProto

from tests.export.channels.graphs import Array, constant, f32, kernel, node, operators, parse, remove, without_rows

ROWS = {"w": without_rows(kernel(4, 2), 0, 2), "b": f32(-0.75, 0.1, 1.5, -0.1)}
PADDED = "Conv<pads = [1, 1, 1, 1]>"


def between(body: str, *, reader: str = "y = Conv(t, v)", channels: int = 4, **constants: Array) -> ModelProto:
    """Two varying channels (1, 3), constants -0.75 (0) and 1.5 (2), then `body` from s to t."""
    return parse(f"s = Conv(x, w, b) {body} {reader}", v=kernel(2, channels, 1), **ROWS, **constants)


@pytest.mark.parametrize(
    "body",
    [
        "t = Relu(s)",
        "t = LeakyRelu<alpha = 0.2>(s)",
        "t = Elu<alpha = 0.7>(s)",
        "t = Sigmoid(s)",
        "t = Tanh(s)",
        "t = HardSigmoid(s)",
        "t = HardSwish(s)",
        "t = Softplus(s)",
        "t = Abs(s)",
        "t = Neg(s)",
        "t = Identity(s)",
        "q = Sigmoid(s) t = Mul(s, q)",
        "t = Clip(s, low, high)",
        "t = Clip(s, , high)",
        "t = Clip(s, low)",
        "t = Clip(s)",
        "t = PRelu(s, slope)",
        "t = PRelu(s, slopes)",
        "t = Add(s, slopes)",
        "t = Sub(slopes, s)",
        "t = Mul(s, slope)",
        "t = Div(s, slopes)",
        "t = BatchNormalization(s, g, e, m, a)",
        "t = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(s)",
        "t = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(s)",
        "t = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(s)",
        "t = AveragePool<kernel_shape = [2, 2], count_include_pad = 1>(s)",
        "t = GlobalAveragePool(s)",
        't = Resize<mode = "linear">(s, , scales)',
        't = Resize<mode = "nearest">(s, , , sizes)',
        't = Resize<mode = "nearest", axes = [2, 3]>(s, , , space)',
        "t = Conv<group = 4>(s, deep, b)",
    ],
)
def test_constants_pass_and_parameters_are_cut(body: str) -> None:
    given = {
        "low": np.array(-0.5, np.float32),
        "high": np.array(1.0, np.float32),
        "slope": f32(0.3, shape=(1, 1, 1)),
        "slopes": f32(0.1, 0.2, 0.3, 0.4, shape=(4, 1, 1)),
        "g": f32(1, 2, -1, 0.5),
        "e": f32(0.1, 0.2, 0.3, 0.4),
        "m": f32(0.5, -0.5, 0.2, 0.1),
        "a": f32(1, 2, 0.5, 0.3),
        "scales": f32(1, 1, 2, 2),
        "sizes": np.array([2, 4, 8, 8], np.int64),
        "space": np.array([8, 8], np.int64),
        "deep": kernel(4, 1, seed=3),
    }
    used = {name: value for name, value in given.items() if f"{name}," in body or f"{name})" in body}
    inputs = {"inputs": "float[2,2,6,6] x"} if "sizes" in used else {}
    model = parse(f"s = Conv(x, w, b) {body} y = Conv(t, v)", v=kernel(2, 4, 1), **ROWS, **used, **inputs)
    result = remove(model).model
    assert constant(result, "v").shape[1] == 2
    assert constant(result, "w").shape[0] == 2
    for name in {"slopes", "g", "deep"} & used.keys():
        np.testing.assert_array_equal(constant(result, name), used[name][[1, 3]])
    if "sizes" in used:
        assert constant(result, "sizes").tolist() == [2, 2, 8, 8]
    if "group" in body:
        assert node(result, "t").attribute[0].i == 2


@pytest.mark.parametrize(
    "body",
    [
        "t = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(s)",
        "t = MaxPool<kernel_shape = [2, 2], dilations = [3, 3], pads = [1, 1, 1, 1]>(s)",
        't = Resize<mode = "cubic">(s, , scales)',
        "t = PRelu(s, wide)",
    ],
)
def test_what_does_not_keep_constants_keeps_their_channels(body: str) -> None:
    given = {"scales": f32(1, 1, 2, 2), "wide": np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 4, 4)}
    used = {name: value for name, value in given.items() if name in body}
    result = remove(between(body, **used)).model
    assert constant(result, "v").shape[1] >= (3 if "PRelu" in body else 4)


def test_a_zero_passes_where_padding_is_averaged_in() -> None:
    body = "r = Relu(s) t = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(r)"
    assert constant(remove(between(body)).model, "v").shape[1] == 3


def test_a_norm_of_scale_zero_makes_constants() -> None:
    body = "t = BatchNormalization(x, g, e, m, a) y = Conv(t, v)"
    parameters = {"g": f32(0, 1), "e": f32(0.5, 0), "m": f32(1, 1), "a": f32(1, 1)}
    model = parse(f"c = Conv(x, w) {body}".replace("(x, g", "(c, g"), w=kernel(2, 2), v=kernel(1, 2), **parameters)
    result = remove(model).model
    assert constant(result, "w").shape[0] == 1
    assert constant(result, "g").tolist() == [1]


class TestTransposed:
    def test_rows_without_weights_are_constant(self) -> None:
        w = np.swapaxes(without_rows(kernel(3, 2, 2), 1), 0, 1)
        model = parse(
            "t = ConvTranspose<strides = [2, 2]>(x, w, b) y = Conv(t, v)", w=w, b=f32(0, 2, 0), v=kernel(1, 3)
        )
        result = remove(model).model
        assert constant(result, "w").shape == (2, 2, 2, 2)
        assert constant(result, "b").tolist() == [0, 0]

    def test_equal_taps_that_tile_are_even(self) -> None:
        v = np.ones((4, 2, 2, 2), np.float32)
        model = parse("s = Conv(x, w, b) y = ConvTranspose<strides = [2, 2]>(s, v)", v=v, **ROWS)
        result = remove(model).model
        assert constant(result, "v").shape[0] == 2
        assert constant(result, "v.bias").tolist() == [0.75, 0.75]

    @pytest.mark.parametrize(
        "how", ["strides = [2, 2]", "strides = [1, 1]", "strides = [2, 2], output_padding = [1, 1]"]
    )
    def test_of_uneven_constants_one_stays(self, how: str) -> None:
        v = np.swapaxes(kernel(2, 4, 2), 0, 1)
        model = parse(f"s = Conv(x, w, b) y = ConvTranspose<{how}>(s, v)", v=v, **ROWS)
        assert constant(remove(model).model, "v").shape[0] == 3


class TestResize:
    BODY = (
        'n = Shape<start = 0, end = 2>(s) sizes = Concat<axis = 0>(n, space) t = Resize<mode = "nearest">(s, , , sizes)'
    )
    SPACE = np.array([8, 8], np.int64)

    def test_sizes_that_start_with_the_own_shape_follow(self) -> None:
        result = remove(between(self.BODY, space=self.SPACE)).model
        assert constant(result, "v").shape[1] == 2
        assert "Shape" in operators(result)

    def test_they_go_with_the_map(self) -> None:
        model = parse(
            f's = Conv(x, w, b) {self.BODY} l = Conv(x, u) d = Resize<mode = "nearest", axes = [2, 3]>(l, , , space)'
            " j = Concat<axis = 1>(t, d) y = Conv(j, v)",
            u=kernel(3, 2),
            v=np.concatenate([np.zeros((1, 4, 3, 3), np.float32), kernel(1, 3)], axis=1),
            space=self.SPACE,
            **ROWS,
        )
        result = remove(model).model
        assert operators(result) == ["Conv", "Resize", "Conv"]

    def test_a_shape_of_space_keeps_a_map_but_no_channels(self) -> None:
        model = parse(
            "s = Conv(x, w, b) n = Shape<start = 2>(s) l = Conv(x, u)"
            ' y = Resize<mode = "nearest", axes = [2, 3]>(l, , , n)',
            u=kernel(1, 2, 1),
            **ROWS,
        )
        assert constant(remove(model).model, "w").shape[0] == 1

    @pytest.mark.parametrize(
        "use",
        [
            "n = Shape(s) f = Cast<to = 1>(n) z = Identity(f)",
            'n = Shape<end = 2>(s) k = Concat<axis = 0>(n, space) r = Relu(s) z = Resize<mode = "nearest">(r, , , k)',
        ],
    )
    def test_a_shape_that_counts_channels_for_others_is_a_barrier(self, use: str) -> None:
        out = "float[N,O,H,W] y, float[4] z" if "Cast" in use else "float[N,O,H,W] y, float[N,4,8,8] z"
        constants = {"space": self.SPACE} if "space" in use else {}
        model = parse(f"s = Conv(x, w, b) {use} y = Conv(s, v)", out=out, v=kernel(1, 4), **ROWS, **constants)
        result = remove(model)
        assert constant(result.model, "v").shape[1] == 4
        assert any("channels" in reason or "sizes" in reason for reason in result.kept.values())

    def test_scales_of_channels_are_a_barrier(self) -> None:
        model = between('t = Resize<mode = "nearest">(s, , scales)', scales=f32(1, 2, 1, 1), channels=8)
        assert "resizes channels" in remove(model).kept["t"]
