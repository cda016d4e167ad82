"""What operators make of constant channels, in float64; NaN stands for "not constant" and spreads by itself."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto

from wcr_med.export.channels.working import Array, Floats
from wcr_med.export.nodes import attribute

Values = Callable[[list[Floats]], Floats]
_Function = Callable[[Floats], Floats]


def prelu(values: Floats, slope: Floats) -> Floats:
    """Values below zero times a slope; zero stays zero where the slope varies over space."""
    return np.where(values < 0, values * slope, values)


def pooling(node: NodeProto) -> _Function:
    """What pooling makes of constants: themselves, unless the padding may come in."""
    if node.op_type.startswith("Global"):
        return _same
    ceil = attribute(node, "ceil_mode", 0)
    padded = any(attribute(node, "pads", [])) or attribute(node, "auto_pad", b"NOTSET").startswith(b"SAME")
    dilated = any(dilation != 1 for dilation in attribute(node, "dilations", []))
    if padded and (ceil or dilated):  # a window may lie in the padding alone, and then holds no value of the map
        return _unknown
    counted = node.op_type == "AveragePool" and attribute(node, "count_include_pad", 0) and (padded or ceil)
    return _zero_only if counted else _same


def _same(values: Floats) -> Floats:
    return values


def _unknown(values: Floats) -> Floats:
    return np.full_like(values, np.nan)


def _zero_only(values: Floats) -> Floats:
    return np.where(values == 0, 0.0, np.nan)


def _clip(values: Floats, bounds: Sequence[Array | None]) -> Floats:
    low, high = (*bounds, None, None)[:2]
    above = values if low is None else np.maximum(values, float(low.item()))
    return above if high is None else np.minimum(above, float(high.item()))


def _product(first: Floats, second: Floats) -> Floats:
    return np.where((first == 0) | (second == 0), 0.0, first * second)


def _elu(node: NodeProto) -> _Function:
    alpha = attribute(node, "alpha", 1.0)
    return lambda values: np.where(values < 0, alpha * np.expm1(values), values)


def _leaky(node: NodeProto) -> _Function:
    alpha = attribute(node, "alpha", 0.01)
    return lambda values: np.where(values < 0, alpha * values, values)


def _hard_sigmoid(node: NodeProto) -> _Function:
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    return lambda values: np.clip(alpha * values + beta, 0, 1)


def _plain(function: Callable[[Any], Any]) -> Callable[[NodeProto, Sequence[Array | None]], _Function]:
    return lambda _node, _constants: function


UNARY: dict[str, Callable[[NodeProto, Sequence[Array | None]], _Function]] = {
    "Abs": _plain(np.abs),
    "Clip": lambda _node, constants: lambda values: _clip(values, constants),
    "Elu": lambda node, _constants: _elu(node),
    "HardSigmoid": lambda node, _constants: _hard_sigmoid(node),
    "HardSwish": _plain(lambda values: values * np.clip(values / 6 + 0.5, 0, 1)),
    "Identity": _plain(_same),
    "LeakyRelu": lambda node, _constants: _leaky(node),
    "Neg": _plain(np.negative),
    "Relu": _plain(lambda values: np.maximum(values, 0.0)),
    "Sigmoid": _plain(lambda values: 1 / (1 + np.exp(-values))),
    "Softplus": _plain(lambda values: np.logaddexp(0.0, values)),
    "Tanh": _plain(np.tanh),
}
"""Operators of one feature map and perhaps single numbers."""

BINARY: dict[str, Callable[[Floats, Floats], Floats]] = {
    "Add": np.add,
    "Div": np.divide,
    "Mul": _product,
    "Sub": np.subtract,
}
"""Operators of two feature maps, or of one and a parameter that broadcasts over it."""
