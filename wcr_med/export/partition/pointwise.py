"""Operators that look at one pixel at a time: activations, addition, concatenation of channels."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from wcr_med.export.partition.facts import Facts, attributes
from wcr_med.export.partition.operators import Join, Lowered, RefusalError, feature_map, passing_on
from wcr_med.export.partition.sizes import Size
from wcr_med.export.program import Activate, Activation, Add

Array = npt.NDArray[Any]


def add(node: NodeProto, facts: Facts) -> Lowered:
    """Add two feature maps of shapes known to be equal."""
    first, second = node.input
    grids = [feature_map(name, facts) for name in (first, second)]
    if grids[0] != grids[1]:
        raise RefusalError("an addition of shapes that are not known to be equal")
    if first in facts.joined or second in facts.joined:
        raise RefusalError("an addition of concatenated channels")
    lowered = Lowered(template=Add(first=0, second=0), reads=(first, second), writes=node.output[0], grid=grids[0])
    return passing_on(lowered, facts)


def concat(node: NodeProto, facts: Facts) -> Lowered:
    """Concat along channels, which computes nothing inside a program."""
    grids = [feature_map(name, facts) for name in node.input]
    if attributes(node)["axis"] not in (1, -3):
        raise RefusalError("a concatenation that is not of channels")
    channels = [grid[1].known for grid in grids]
    total = sum(count or 0 for count in channels)
    size = Size.unknown((node.output[0], 1)) if None in channels else Size.of(total)
    if len(grids) > 1:
        facts.joined.add(node.output[0])
    first = grids[0]
    lowered = Lowered(
        template=Join(), reads=tuple(node.input), writes=node.output[0], grid=(first[0], size, first[2], first[3])
    )
    return passing_on(lowered, facts)


def nothing(node: NodeProto, facts: Facts) -> Lowered:
    """Identity, and Dropout that is never active."""
    grid = feature_map(node.input[0], facts)
    if len(node.input) > 2 and node.input[2] and facts.constant(node.input[2]) != np.array(False):
        raise RefusalError("dropout that may be active")
    return passing_on(Lowered(template=Join(), reads=(node.input[0],), writes=node.output[0], grid=grid), facts)


def relu(node: NodeProto, facts: Facts) -> Lowered:
    """Relu."""
    template = Activate(source=0, activation=Activation.RELU)
    grid = feature_map(node.input[0], facts)
    return passing_on(Lowered(template=template, reads=(node.input[0],), writes=node.output[0], grid=grid), facts)


def leaky_relu(node: NodeProto, facts: Facts) -> Lowered:
    """LeakyRelu: one slope for all channels."""
    alpha = np.array([attributes(node).get("alpha", 0.01)], dtype=np.float32)
    return _slope(node, f"leaky_relu.{alpha[0]:.9g}", alpha, facts)


def prelu(node: NodeProto, facts: Facts) -> Lowered:
    """PRelu with constant slopes, one or one a channel."""
    slope = facts.float_constant(node.input[1])
    grid = feature_map(node.input[0], facts)
    if slope is None:
        raise RefusalError("its slope is not a constant float32 tensor")
    if slope.size > 1 and (slope.ndim < 3 or slope.shape[-3] != slope.size or grid[1] != Size.of(slope.size)):
        raise RefusalError("a slope that is neither one nor one a channel")
    if slope.size > 1 and node.input[0] in facts.joined:
        raise RefusalError("a slope a channel for concatenated channels")
    name = node.input[1] if slope.ndim == 1 else f"{node.input[1]}.flat"
    return _slope(node, name, slope.reshape(-1), facts)


def _slope(node: NodeProto, name: str, slope: Array, facts: Facts) -> Lowered:
    grid = feature_map(node.input[0], facts)
    template = Activate(source=0, activation=Activation.SLOPE)
    lowered = Lowered(template=template, reads=(node.input[0],), writes=node.output[0], grid=grid)
    return replace(passing_on(lowered, facts), slope=(name, slope))
