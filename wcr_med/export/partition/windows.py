"""Operators that look at windows of pixels: convolutions, pooling, upsampling."""

from typing import Any

import numpy.typing as npt
from onnx import NodeProto

from wcr_med.export.partition.facts import Facts, attributes
from wcr_med.export.partition.operators import Lowered, RefusalError, feature_map, passing_on
from wcr_med.export.partition.sizes import Grid, Size
from wcr_med.export.program import Convolution, MaxPool, Pads, Pair, Upsample

Array = npt.NDArray[Any]


def _pair(values: Any, default: Pair) -> Pair:
    return (int(values[0]), int(values[1])) if values else default


def _pads(node: NodeProto, grid: Grid, extents: Pair, strides: Pair) -> Pads:
    """Explicit padding, or what the automatic rule gives where it is the same in every run."""
    values = attributes(node)
    rule = values.get("auto_pad", "NOTSET")
    if rule == "NOTSET":
        top, left, bottom, right = (int(pad) for pad in values.get("pads") or (0, 0, 0, 0))
        if min(top, left, bottom, right) < 0:
            raise RefusalError("negative padding")
        return top, left, bottom, right
    if rule == "VALID":
        return 0, 0, 0, 0
    totals = [_same(size, extent, stride) for size, extent, stride in zip(grid[2:], extents, strides, strict=True)]
    before = [total // 2 if rule == "SAME_UPPER" else total - total // 2 for total in totals]
    return before[0], before[1], totals[0] - before[0], totals[1] - before[1]


def _same(size: Size, extent: int, stride: int) -> int:
    if stride == 1:
        return extent - 1
    if size.known is None:
        raise RefusalError("automatic padding of a size that only a run tells")
    return max((-(-size.known // stride) - 1) * stride + extent - size.known, 0)


def _constants(node: NodeProto, facts: Facts) -> tuple[tuple[str, Array], tuple[str, Array] | None]:
    kernel = facts.float_constant(node.input[1], rank=4)
    if kernel is None:
        raise RefusalError("its kernel is not a constant float32 tensor of rank 4")
    name = node.input[2] if len(node.input) > 2 else ""
    bias = facts.float_constant(name, rank=1) if name else None
    if name and bias is None:
        raise RefusalError("its bias is not a constant float32 vector")
    return (node.input[1], kernel), (name, bias) if bias is not None else None


def conv(node: NodeProto, facts: Facts) -> Lowered:
    """Conv of one group with a constant kernel."""
    values, grid = attributes(node), feature_map(node.input[0], facts)
    if values.get("group", 1) != 1:
        raise RefusalError("it has several groups")
    kernel, bias = _constants(node, facts)
    c_out, c_in, height, width = kernel[1].shape
    strides, dilations = _pair(values.get("strides"), (1, 1)), _pair(values.get("dilations"), (1, 1))
    extents = ((height - 1) * dilations[0] + 1, (width - 1) * dilations[1] + 1)
    if values.get("auto_pad", "NOTSET").startswith("SAME") and dilations != (1, 1):
        raise RefusalError("automatic padding of a dilated kernel")
    pads = _pads(node, grid, extents, strides)
    rows = grid[2].windows(extents[0], strides[0], pads[0] + pads[2])
    columns = grid[3].windows(extents[1], strides[1], pads[1] + pads[3])
    return Lowered(
        template=Convolution(
            sources=(),
            weight=0,
            c_in=c_in,
            c_out=c_out,
            kernel=(height, width),
            strides=strides,
            dilations=dilations,
            pads=pads,
        ),
        reads=(node.input[0],),
        writes=node.output[0],
        grid=(grid[0], Size.of(c_out), rows, columns),
        kernel=kernel,
        bias=bias,
    )


def conv_transpose(node: NodeProto, facts: Facts) -> Lowered:
    """ConvTranspose of one group with a constant kernel and explicit padding."""
    values, grid = attributes(node), feature_map(node.input[0], facts)
    if values.get("group", 1) != 1:
        raise RefusalError("it has several groups")
    if _pair(values.get("dilations"), (1, 1)) != (1, 1):
        raise RefusalError("a transposed convolution with a dilated kernel")
    if "output_shape" in values or values.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise RefusalError("a transposed convolution that is told its output's size")
    kernel, bias = _constants(node, facts)
    c_in, c_out, height, width = kernel[1].shape
    strides, output_padding = _pair(values.get("strides"), (1, 1)), _pair(values.get("output_padding"), (0, 0))
    if output_padding[0] >= strides[0] or output_padding[1] >= strides[1]:
        raise RefusalError("output padding as large as the stride")
    pads = _pads(node, grid, (height, width), strides)
    rows = grid[2].widened(height, strides[0], pads[0] + pads[2], output_padding[0])
    columns = grid[3].widened(width, strides[1], pads[1] + pads[3], output_padding[1])
    return Lowered(
        template=Convolution(
            sources=(),
            weight=0,
            c_in=c_in,
            c_out=c_out,
            kernel=(height, width),
            transposed=True,
            strides=strides,
            pads=pads,
            output_padding=output_padding,
        ),
        reads=(node.input[0],),
        writes=node.output[0],
        grid=(grid[0], Size.of(c_out), rows, columns),
        kernel=kernel,
        bias=bias,
    )


def max_pool(node: NodeProto, facts: Facts) -> Lowered:
    """MaxPool; with padding only of values that are never negative, since a program pads with zeros."""
    values, grid = attributes(node), feature_map(node.input[0], facts)
    kernel, strides = _pair(values.get("kernel_shape"), (1, 1)), _pair(values.get("strides"), (1, 1))
    if values.get("ceil_mode", 0) or _pair(values.get("dilations"), (1, 1)) != (1, 1):
        raise RefusalError("max-pooling with ceil_mode or dilation")
    pads = _pads(node, grid, kernel, strides)
    if any(pads) and node.input[0] not in facts.not_negative:
        raise RefusalError("padded max-pooling of values that may be negative")
    if any(pad >= side for pad, side in zip(pads, (*kernel, *kernel), strict=True)):
        raise RefusalError("padding as large as the window")
    lowered = Lowered(
        template=MaxPool(source=0, kernel=kernel, strides=strides, pads=pads),
        reads=(node.input[0],),
        writes=node.output[0],
        grid=(
            grid[0],
            grid[1],
            grid[2].windows(kernel[0], strides[0], pads[0] + pads[2]),
            grid[3].windows(kernel[1], strides[1], pads[1] + pads[3]),
        ),
    )
    return passing_on(lowered, facts)


def resize(node: NodeProto, facts: Facts) -> Lowered:
    """Resize that repeats each pixel a constant number of times."""
    values, grid = attributes(node), feature_map(node.input[0], facts)
    plain = values.get("mode", "nearest") == "nearest" and "axes" not in values and not values.get("antialias", 0)
    if facts.opset < 13 or not plain or values.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise RefusalError("not a plain nearest resize")
    factors = _factors(node, grid, facts)
    spelling = values.get("coordinate_transformation_mode", "half_pixel")
    rounding = values.get("nearest_mode", "round_prefer_floor")
    half_pixel = spelling in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
    repeats = (half_pixel and rounding in ("round_prefer_floor", "round_prefer_ceil")) or (
        spelling == "asymmetric" and (rounding == "floor" or (rounding == "round_prefer_floor" and max(factors) <= 2))
    )
    if not repeats:
        raise RefusalError(f"a resize by {spelling} and {rounding} does not repeat pixels")
    lowered = Lowered(
        template=Upsample(source=0, factors=factors),
        reads=(node.input[0],),
        writes=node.output[0],
        grid=(grid[0], grid[1], grid[2].times(factors[0]), grid[3].times(factors[1])),
    )
    return passing_on(lowered, facts)


def _factors(node: NodeProto, grid: Grid, facts: Facts) -> Pair:
    names = [*node.input, "", "", ""]
    if names[2] and (scales := facts.constant(names[2])) is not None and scales.size == 4:
        found = [float(scale) for scale in scales]
        if found[:2] == [1, 1] and all(scale >= 1 and scale.is_integer() for scale in found):
            return int(found[2]), int(found[3])
    target = _target(names[3], node.input[0], grid, facts) if names[3] else None
    if target is not None and None not in (grid[2].known, grid[3].known):
        rows, columns = (int(size.known or 0) for size in grid[2:])
        if rows and columns and target[0] % rows == 0 and target[1] % columns == 0 and min(target) > 0:
            return target[0] // rows, target[1] // columns
    raise RefusalError("a resize by no constant whole factor")


def _target(name: str, source: str, grid: Grid, facts: Facts) -> Pair | None:
    """Constant rows and columns of a resize that leaves batch and channels alone, else `None`."""
    sizes = facts.constant(name, rank=1)
    if sizes is not None and sizes.size == 4:
        kept = [Size.of(int(size)) for size in sizes[:2]] == [*grid[:2]]
        return (int(sizes[2]), int(sizes[3])) if kept else None
    joint = facts.producer.get(name)  # Concat(Shape<start = 0, end = 2>(source), constant), as PyTorch exports it
    if joint is None or joint.op_type != "Concat" or len(joint.input) != 2:
        return None
    shape, rest = facts.producer.get(joint.input[0]), facts.constant(joint.input[1], rank=1)
    if shape is None or shape.op_type != "Shape" or list(shape.input) != [source] or rest is None or rest.size != 2:
        return None
    bounds = attributes(shape)
    return (int(rest[0]), int(rest[1])) if (bounds.get("start", 0), bounds.get("end")) == (0, 2) else None
