"""Convolutions seen as matrices from source channels to target channels."""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from onnx import NodeProto

from wcr_med.export.channels.working import Array, Bools, Floats
from wcr_med.export.nodes import attribute


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A Conv or ConvTranspose without groups.

    Attributes:
        node: the operator.
        source: the feature map it reads.
        target: the feature map it makes.
        reads: bool (out, in): a weight between the two channels is not zero.
        uneven: bool (out, in): a source channel of one constant value adds different values at different places,
            as it does where the kernel reaches into the padding.
        even_sum: float64 (out, in): what a source channel of value 1 adds everywhere; without meaning where uneven.
    """

    node: NodeProto
    source: str
    target: str
    reads: Bools
    uneven: Bools
    even_sum: Floats

    @property
    def weight(self) -> str:
        """Name of the kernel."""
        return str(self.node.input[1])

    @property
    def bias(self) -> str | None:
        """Name of the bias, if there is one."""
        return str(self.node.input[2]) if len(self.node.input) > 2 and self.node.input[2] else None

    @property
    def transposed(self) -> bool:
        """Whether the kernel lies as (in, out, ...) and not as (out, in, ...)."""
        return bool(self.node.op_type == "ConvTranspose")


def describe(node: NodeProto, values: Array, source: str, target: str) -> Kernel:
    """See a convolution of one group as matrices; `values` is its kernel."""
    transposed = node.op_type == "ConvTranspose"
    weights = np.swapaxes(values, 0, 1) if transposed else values
    uneven, even_sum = evenness(node, weights)
    return Kernel(
        node=node,
        source=source,
        target=target,
        reads=(weights != 0).any(axis=_space(weights)),
        uneven=uneven,
        even_sum=even_sum,
    )


def evenness(node: NodeProto, weights: Array) -> tuple[Bools, Floats]:
    """Where a constant source gives a constant target, and its factor.

    A tap of a convolution that never reaches into the padding sees the constant everywhere. A transposed convolution
    whose taps tile its output without overlap is even where all taps are equal.

    Args:
        node: a Conv or ConvTranspose.
        weights: its kernel, (out, in, ...) in either case.

    Returns:
        Uneven bool (out, in), and the factor float64 (out, in) where it is even.
    """
    space = _space(weights)
    if node.op_type == "ConvTranspose":
        first = weights.reshape(*weights.shape[:2], -1)[:, :, :1].reshape(*weights.shape[:2], *([1] * len(space)))
        unequal = (weights != first).any(axis=space)
        touched: Bools = (weights != 0).any(axis=space)
        return (unequal if _tiles(node, weights.shape[2:]) else touched), first.sum(axis=space, dtype=np.float64)
    inside = _inside(node, weights.shape[2:])
    return ((weights != 0) & ~inside).any(axis=space), weights.sum(axis=space, dtype=np.float64)


def _inside(node: NodeProto, sizes: tuple[int, ...]) -> Bools:
    """Which taps never read padding, whatever the size of the map."""
    dilations = attribute(node, "dilations", [1] * len(sizes))
    pads = _pads(node, sizes)
    if pads is None:
        return np.zeros(sizes, dtype=bool)
    axes = []
    for axis, (size, dilation) in enumerate(zip(sizes, dilations, strict=True)):
        taps = np.arange(size)
        axes.append((taps * dilation >= pads[axis]) & ((size - 1 - taps) * dilation >= pads[len(sizes) + axis]))
    inside: Bools = reduce(np.multiply.outer, axes)
    return inside


def _pads(node: NodeProto, sizes: tuple[int, ...]) -> list[int] | None:
    """Padding before and after each axis; `None` where it depends on the map's size."""
    mode = attribute(node, "auto_pad", b"NOTSET")
    if mode == b"VALID" or (mode != b"NOTSET" and all(size == 1 for size in sizes)):
        return [0] * (2 * len(sizes))
    return list(attribute(node, "pads", [0] * (2 * len(sizes)))) if mode == b"NOTSET" else None


def _tiles(node: NodeProto, sizes: tuple[int, ...]) -> bool:
    """Whether each place of a transposed convolution's output gets exactly one tap."""
    ones, zeros = [1] * len(sizes), [0] * len(sizes)
    return (
        list(attribute(node, "strides", ones)) == list(sizes)
        and list(attribute(node, "dilations", ones)) == ones
        and list(attribute(node, "output_padding", zeros)) == zeros
        and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
        and attribute(node, "output_shape", None) is None
    )


def _space(weights: Array) -> tuple[int, ...]:
    return tuple(range(2, weights.ndim))
