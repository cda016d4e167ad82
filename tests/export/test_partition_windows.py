import numpy as np
import pytest

from tests.export.programs import (
    checked,
    convolution,
    kernel,
    only,
    outside,
    parse,
)
from wcr_med.export.partition import partition
from wcr_med.export.program import MaxPool, Upsample

W, V = kernel(2, 2, 3, 3), kernel(2, 2, 1, 1)


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        ("strides = [2, 3]", (2, 2, 3, 3)),
        ("dilations = [2, 1]", (2, 2, 3, 3)),
        ("pads = [0, 1, 2, 3]", (2, 2, 3, 3)),
        ('auto_pad = "VALID"', (2, 2, 3, 2)),
        ('auto_pad = "SAME_UPPER"', (2, 2, 4, 2)),
        ('auto_pad = "SAME_LOWER"', (2, 2, 4, 2)),
        ('auto_pad = "SAME_UPPER", strides = [3, 2]', (2, 2, 4, 2)),
        ('auto_pad = "SAME_LOWER", strides = [3, 2]', (2, 2, 3, 1)),
    ],
)
def test_every_geometry_of_a_convolution(attributes: str, shape: tuple[int, ...]) -> None:
    result = checked(parse(f"y = Conv<{attributes}>(x, w)", w=kernel(*shape)))
    assert result.share_of_macs == 1


@pytest.mark.parametrize(
    "attributes",
    [
        "strides = [2, 2]",
        "strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]",
        "strides = [1, 3], pads = [0, 1, 1, 0]",
    ],
)
def test_every_geometry_of_a_transposed_convolution(attributes: str) -> None:
    result = checked(parse(f"y = ConvTranspose<{attributes}>(x, w, b)", w=kernel(2, 3, 3, 3), b=kernel(3)))
    assert convolution(result).transposed
    assert (convolution(result).c_in, convolution(result).c_out) == (2, 3)


def test_pooling() -> None:
    body = "c = Conv(x, v) y = MaxPool<kernel_shape = [3, 2], strides = [1, 2]>(c)"
    assert only(checked(parse(body, v=V))).ops[1] == MaxPool(source=1, kernel=(3, 2), strides=(1, 2))


@pytest.mark.parametrize(
    ("body", "inside"),
    [
        ("r = Relu(c)", True),
        ("r = Sigmoid(c)", True),
        ("p = Relu(c) r = MaxPool<kernel_shape = [2, 2]>(p)", True),
        ("p = Relu(c) q = Abs(x) r = Concat<axis = 1>(p, q)", True),
        ("p = Relu(c) r = Add(p, p)", True),
        ("r = LeakyRelu(c)", False),
        ("p = Relu(c) r = Add(p, c)", False),
        ("p = Relu(c) r = Concat<axis = 1>(p, c)", False),
    ],
)
def test_padded_pooling_needs_values_that_are_never_negative(body: str, inside: bool) -> None:
    pool = "MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>"
    result = checked(parse(f"c = Conv(x, v) {body} d = {pool}(r) y = Identity(d)", v=V))
    pools = [op for subgraph in result.subgraphs for op in subgraph.program.ops if isinstance(op, MaxPool)]
    padded = [op for op in pools if op.pads == (1, 1, 1, 1)]
    # after a sigmoid nothing holds a convolution any more
    assert bool(padded) == (inside and "Sigmoid" not in body)
    assert ("d" in result.refused) == (not padded)
    if not inside:
        assert "negative" in result.refused["d"]


@pytest.mark.parametrize(
    "attributes",
    ["ceil_mode = 1, kernel_shape = [3, 3], strides = [2, 2]", "dilations = [2, 2], kernel_shape = [2, 2]"],
)
def test_other_pooling_stays(attributes: str) -> None:
    assert outside(checked(parse(f"c = Conv(x, v) y = MaxPool<{attributes}>(c)", v=V))) == ["MaxPool"]


@pytest.mark.parametrize(
    ("attributes", "scales", "factors"),
    [
        ('coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"', (1, 1, 2, 3), (2, 3)),
        ('coordinate_transformation_mode = "asymmetric"', (1, 1, 2, 1), (2, 1)),
        ("", (1, 1, 3, 4), (3, 4)),
        (
            'coordinate_transformation_mode = "half_pixel_symmetric", nearest_mode = "round_prefer_ceil"',
            (1, 1, 2, 2),
            (2, 2),
        ),
        ('coordinate_transformation_mode = "pytorch_half_pixel"', (1, 1, 5, 2), (5, 2)),
        ('coordinate_transformation_mode = "asymmetric"', (1, 1, 3, 3), None),
        ('nearest_mode = "floor"', (1, 1, 2, 2), None),
        ('coordinate_transformation_mode = "align_corners"', (1, 1, 2, 2), None),
        ('mode = "linear"', (1, 1, 2, 2), None),
        ("", (1, 1, 1.5, 2), None),
        ("", (1, 2, 2, 2), None),
        ("", (1, 1, 0.5, 1), None),
    ],
)
def test_resizing_by_scales(attributes: str, scales: tuple[float, ...], factors: tuple[int, int] | None) -> None:
    attributes = f"<{attributes}>" if attributes else ""
    model = parse(f"c = Conv(x, v) y = Resize{attributes}(c, , s)", v=V, s=np.array(scales, np.float32))
    result = checked(model) if "align" not in attributes else partition(model)
    assert (only(result).ops[1:] == (Upsample(source=1, factors=factors or (0, 0)),)) == (factors is not None)
    assert outside(result) == ([] if factors else ["Resize"])


SHAPE_OF = "h = Shape<start = 0, end = 2>({}) s = Concat<axis = 0>(h, eight)"


@pytest.mark.parametrize(
    ("inputs", "sizes", "name", "inside"),
    [
        ("float[N,2,4,4] x", SHAPE_OF.format("c"), "s", True),
        ("float[3,2,4,4] x", "", "whole", True),
        ("float[N,2,4,4] x", SHAPE_OF.format("x"), "s", False),  # not known to be the batch of what is resized
        ("float[N,2,H,W] x", SHAPE_OF.format("c"), "s", False),  # no known factor
        ("float[N,2,6,6] x", SHAPE_OF.format("c"), "s", False),  # no whole factor
        ("float[3,2,4,4] x", "s = Add(whole, none)", "s", False),
    ],
)
def test_resizing_to_sizes(inputs: str, sizes: str, name: str, inside: bool) -> None:
    constants = {
        "eight": np.array([8, 8], np.int64),
        "whole": np.array([3, 2, 8, 8], np.int64),
        "none": np.array([0], np.int64),
    }
    modes = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
    body = f"c = Conv(x, v) {sizes} r = Resize<{modes}>(c, , , {name}) y = Relu(r)"
    result = checked(parse(body, inputs=inputs, v=V, **constants), size=4)
    assert any(isinstance(op, Upsample) for op in only(result).ops) == inside
    if inside:
        assert outside(result) == []  # nothing is left of how the sizes were computed


def test_resizing_that_keeps_the_aspect_ratio_stays() -> None:
    inputs, wide = "float[1,2,4,4] x", np.array([1, 2, 8, 16], np.int64)
    modes = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
    body = f'c = Conv(x, v) y = Resize<{modes}, keep_aspect_ratio_policy = "not_larger">(c, , , s)'
    assert outside(partition(parse(body, inputs=inputs, v=V, s=wide))) == ["Resize"]
