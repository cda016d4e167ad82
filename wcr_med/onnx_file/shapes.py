"""How large each operator's results can be, from the sizes of what it takes. Shapes of the ONNX operators, opset 13 on.

Each axis is an upper bound: where a size depends on values that the file does not hold, the largest is taken. The table
`RULES` is also the list of operators that a network may have: one without a rule is refused.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wcr_med.onnx_file.contents import MAX_KNOWN_VALUES, Node, Tensor

Dims: TypeAlias = tuple[int, ...]


class UnknownSizeError(Exception):
    """The file does not say how large a result is, or says something that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One node with the sizes of its inputs, which are all known.

    Attributes:
        node: the node.
        shapes: of its inputs, `None` for those left out.
        values: of its inputs, where they are small constants.
    """

    node: Node
    shapes: Sequence[Dims | None]
    values: Sequence[tuple[float, ...] | None]

    def shape(self, place: int = 0) -> Dims:
        """Of one input, which must be there."""
        found = self.shapes[place] if place < len(self.shapes) else None
        if found is None:
            raise UnknownSizeError("an input is missing")
        return found

    def known(self, place: int) -> tuple[float, ...] | None:
        """Values of one input; `None` where it is left out.

        Raises:
            UnknownSizeError: it is there, but no small constant, or holds what is no number.
        """
        if place >= len(self.shapes) or self.shapes[place] is None:
            return None
        found = self.values[place]
        if found is None or not all(math.isfinite(value) for value in found):
            raise UnknownSizeError("a size is not a constant")
        return found

    def sizes(self, place: int) -> Dims | None:
        """The same as integers."""
        found = self.known(place)
        return None if found is None else tuple(int(value) for value in found)

    def one(self, name: str, default: int) -> int:
        """An attribute that is an integer."""
        found = self.node.attributes.get(name, default)
        return found if isinstance(found, int) else default

    def many(self, name: str, default: Sequence[int]) -> Dims:
        """An attribute that is a list of integers, at least as many as the default has."""
        found = self.node.attributes.get(name)
        if not isinstance(found, tuple):
            return tuple(default)
        if len(found) < len(default):
            raise UnknownSizeError(f"{name} is too short")
        return found

    def axes(self, place: int, rank: int) -> Dims | None:
        """Axes in [0, rank) from an input, else from the attribute; `None` where neither is there."""
        found = self.sizes(place)
        if found is None:
            attribute = self.node.attributes.get("axes")
            found = attribute if isinstance(attribute, tuple) else None
        return None if found is None else tuple(_axis(axis, rank) for axis in found)


Rule: TypeAlias = Callable[[Call], Dims]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < max(rank, 1):
        raise UnknownSizeError(f"axis {axis} of {rank}")
    return axis % max(rank, 1)


def _positive(numbers: Sequence[int]) -> Sequence[int]:
    if any(number < 1 for number in numbers):
        raise UnknownSizeError("a stride or size below 1")
    return numbers


def broadcast(*shapes: Dims) -> Dims:
    """The size of results of operators that repeat axes of 1."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(0 if 0 in axis else max(axis) for axis in zip(*padded, strict=True))


def _same(call: Call) -> Dims:
    return call.shape()


def _broadcast(call: Call) -> Dims:
    return broadcast(*(shape for shape in call.shapes if shape is not None))


def _convolution(weight_at: int) -> Rule:
    def rule(call: Call) -> Dims:
        weight = call.shape(weight_at)
        if len(weight) < 3:
            raise UnknownSizeError("a kernel without axes")
        return (*call.shape()[:1], weight[0], *_slid(call, weight[2:]))

    return rule


def _pool(call: Call) -> Dims:
    return (*call.shape()[:2], *_slid(call, ()))


def _slid(call: Call, kernel: Dims) -> Dims:
    """Where a window slides over the axes after the second: how many results each axis has."""
    extents = call.shape()[2:]
    kernel = call.many("kernel_shape", kernel)
    if len(kernel) != len(extents):
        raise UnknownSizeError("kernel and image of different axes")
    ones = (1,) * len(kernel)
    strides, dilations = _positive(call.many("strides", ones)), call.many("dilations", ones)
    pads = call.many("pads", (0,) * 2 * len(kernel))
    if call.node.attributes.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        return tuple(-(-extent // stride) for extent, stride in zip(extents, strides, strict=False))
    padded = [extent + pads[place] + pads[place + len(kernel)] for place, extent in enumerate(extents)]
    spans = [step * (size - 1) + 1 for size, step in zip(kernel, dilations, strict=False)]
    up = call.one("ceil_mode", 0)
    return tuple(
        max(0, (extent - span + (stride - 1 if up else 0)) // stride + 1)
        for extent, span, stride in zip(padded, spans, strides, strict=False)
    )


def _transposed(call: Call) -> Dims:
    weight, extents = call.shape(1), call.shape()[2:]
    if len(weight) != len(extents) + 2:
        raise UnknownSizeError("kernel and image of different axes")
    channels = weight[1] * call.one("group", 1)
    ones, zeros = (1,) * len(extents), (0,) * len(extents)
    kernel, strides = call.many("kernel_shape", weight[2:]), _positive(call.many("strides", ones))
    dilations, extra = call.many("dilations", ones), call.many("output_padding", zeros)
    whole = [
        stride * (extent - 1) + more + step * (size - 1) + 1
        for extent, size, stride, step, more in zip(extents, kernel, strides, dilations, extra, strict=False)
    ]
    # Pads only take away; what `output_shape` asks for may be more.
    asked = call.many("output_shape", zeros)
    sizes = (max(size, stride * extent) for size, stride, extent in zip(whole, strides, extents, strict=False))
    return (*call.shape()[:1], channels, *(max(pair) for pair in zip(sizes, asked, strict=False)))


def _global_pool(call: Call) -> Dims:
    shape = call.shape()
    return (*shape[:2], *(1 for _ in shape[2:]))


def _concat(call: Call) -> Dims:
    shapes = [shape for shape in call.shapes if shape is not None]
    rank = len(call.shape())
    axis = _axis(call.one("axis", 0), rank)
    if any(len(shape) != rank for shape in shapes):
        raise UnknownSizeError("parts of different axes")
    return tuple(sum(sizes) if place == axis else max(sizes) for place, sizes in enumerate(zip(*shapes, strict=True)))


def _reshape(call: Call) -> Dims:
    target, shape = call.sizes(1), call.shape()
    n_elements = math.prod(shape)
    if target is None:
        return (n_elements,)
    copies = call.one("allowzero", 0) == 0
    sizes = [shape[place] if size == 0 and copies and place < len(shape) else size for place, size in enumerate(target)]
    rest = math.prod(size for size in sizes if size != -1)
    return tuple((-(-n_elements // rest) if rest > 0 else 0) if size == -1 else max(size, 0) for size in sizes)


def _flatten(call: Call) -> Dims:
    shape = call.shape()
    axis = call.one("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return (math.prod(shape[:axis]), math.prod(shape[axis:]))


def _transpose(call: Call) -> Dims:
    shape = call.shape()
    order = call.many("perm", ()) or tuple(reversed(range(len(shape))))
    return tuple(shape[_axis(place, len(shape))] for place in order)


def _squeeze(call: Call) -> Dims:
    shape = call.shape()
    axes = call.axes(1, len(shape))
    if axes is None:
        return tuple(size for size in shape if size != 1)
    return tuple(size for place, size in enumerate(shape) if place not in axes)


def _unsqueeze(call: Call) -> Dims:
    given = call.sizes(1) or ()
    shape, rank = list(call.shape()), len(call.shape()) + len(given)
    for axis in sorted(_axis(axis, rank) for axis in given):
        shape.insert(axis, 1)
    return tuple(shape)


def _gather(call: Call) -> Dims:
    shape = call.shape()
    axis = _axis(call.one("axis", 0), len(shape))
    return (*shape[:axis], *call.shape(1), *shape[axis + 1 :])


def _matmul(call: Call) -> Dims:
    left, right = call.shape(), call.shape(1)
    if not left or not right:
        raise UnknownSizeError("a product of single numbers")
    head = broadcast(left[:-2], right[:-2])
    return (*head, *left[:-1][-1:], *(right[-1:] if len(right) > 1 else ()))


def _gemm(call: Call) -> Dims:
    left, right = call.shape(), call.shape(1)
    if len(left) != 2 or len(right) != 2:
        raise UnknownSizeError("a product of other than matrices")
    return (left[1] if call.one("transA", 0) else left[0], right[0] if call.one("transB", 0) else right[1])


def _reduced(call: Call) -> Dims:
    shape = call.shape()
    axes = call.axes(1, len(shape)) or range(len(shape))
    if call.one("keepdims", 1):
        return tuple(1 if place in axes else size for place, size in enumerate(shape))
    return tuple(size for place, size in enumerate(shape) if place not in axes)


def _constant(call: Call) -> Dims:
    attributes: Mapping[str, object] = call.node.attributes
    for name, value in attributes.items():
        if isinstance(value, Tensor):
            return value.dims
        if name == "value_ints" and isinstance(value, tuple):
            return (len(value),)
        if name in ("value_ints", "value_floats", "value_strings"):
            raise UnknownSizeError(f"a constant given as {name}")
    return ()


def _of_shape(call: Call) -> Dims:
    sizes = call.sizes(0)
    return tuple(max(0, size) for size in sizes or ())


def _expand(call: Call) -> Dims:
    sizes = call.sizes(1)
    return broadcast(call.shape(), tuple(max(0, size) for size in sizes or ()))


def _split(call: Call) -> Dims:
    """Of the largest part."""
    shape, sizes = list(call.shape()), call.sizes(1)
    axis = _axis(call.one("axis", 0), len(shape))
    if shape:
        equal = -(-shape[axis] // max(1, len(call.node.outputs)))
        shape[axis] = max(0, *sizes) if sizes else equal
    return tuple(shape)


def _tile(call: Call) -> Dims:
    repeats = call.sizes(1) or ()
    return tuple(size * max(0, times) for size, times in zip(call.shape(), repeats, strict=False))


def _pad(call: Call) -> Dims:
    shape, pads = list(call.shape()), call.sizes(1) or ()
    axes = call.axes(3, len(shape)) or tuple(range(len(shape)))
    if len(pads) != 2 * len(axes):
        raise UnknownSizeError("pads of other axes")
    for place, axis in enumerate(axes):
        shape[axis] = max(0, shape[axis] + pads[place] + pads[place + len(axes)])
    return tuple(shape)


def _resize(call: Call) -> Dims:
    shape = list(call.shape())
    axes = call.many("axes", ()) or tuple(range(len(shape)))
    sizes, scales = call.sizes(3), call.known(2)
    if len(sizes or scales or ()) != len(axes):
        raise UnknownSizeError("scales of other axes")
    for place, axis in enumerate(_axis(axis, len(shape)) for axis in axes):
        # With keep_aspect_ratio_policy the others follow one axis; "stretch", the default, keeps each apart.
        shape[axis] = sizes[place] if sizes else math.ceil(shape[axis] * scales[place]) if scales else shape[axis]
    if call.node.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnknownSizeError("sizes that depend on one another")
    return tuple(max(0, size) for size in shape)


def _depth_to_space(call: Call) -> Dims:
    shape, block = call.shape(), call.one("blocksize", 1)
    if len(shape) != 4 or block < 1:
        raise UnknownSizeError("blocks of other axes")
    return (shape[0], -(-shape[1] // block**2), shape[2] * block, shape[3] * block)


def _part_of_shape(call: Call) -> Dims:
    shape = call.shape()
    return shape[call.one("start", 0) : call.one("end", len(shape))]


def result_values(call: Call) -> tuple[float, ...] | None:
    """What a node makes of sizes, where it is a short list of them; axes of images are upper bounds here too."""
    operator, values = call.node.op_type, call.values
    if operator == "Shape":
        return _part_of_shape(call)
    if operator == "Constant":
        found = next(iter(call.node.attributes.values()), None)
        return found.values if isinstance(found, Tensor) else found if isinstance(found, tuple) else None
    if operator == "Concat" and len(values) <= MAX_KNOWN_VALUES:
        known = [part for part in values if part is not None]
        joined = tuple(value for part in known for value in part)
        return joined if len(known) == len(values) and len(joined) <= MAX_KNOWN_VALUES else None
    if operator in ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze") and values:
        return values[0]
    return None


_AS_FIRST = """
    Abs BatchNormalization Cast Ceil Celu Clip CumSum DequantizeLinear Dropout DynamicQuantizeLinear Elu Erf Exp
    Floor Gelu GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LRN LayerNormalization
    LeakyRelu Log LogSoftmax Mish Neg Not QuantizeLinear Reciprocal Relu Round ScatterElements ScatterND Selu
    Sigmoid Sign Slice Softmax Softplus Softsign Sqrt Tanh ThresholdedRelu
"""
_REPEATED = """
    Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min
    Mod Mul Or PRelu Pow Sub Sum Where Xor
"""
_REDUCED = "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_AS_FIRST.split(), _same),
    **dict.fromkeys(_REPEATED.split(), _broadcast),
    **dict.fromkeys(_REDUCED.split(), _reduced),
    "AveragePool": _pool,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _of_shape,
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "ConvTranspose": _transposed,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "MaxPool": _pool,
    "Pad": _pad,
    "QLinearConv": _convolution(3),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": lambda call: (len(_part_of_shape(call)),),
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operator of ONNX -> size of each of its results."""
