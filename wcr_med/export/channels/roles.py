"""What each operator means for channels: a convolution, a map of channels to themselves, a concatenation, a barrier."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto

from wcr_med.export.channels.elementwise import BINARY, UNARY, Values, pooling, prelu
from wcr_med.export.channels.kernels import Kernel, describe, evenness
from wcr_med.export.channels.resizing import ShapeUse, resize_sizes, resized, shape_use
from wcr_med.export.channels.working import Array, Floats, WorkingGraph
from wcr_med.export.nodes import attribute


@dataclass(frozen=True, kw_only=True)
class Map:
    """An operator that makes channel c of its target from channel c of its sources alone.

    Attributes:
        node: the operator.
        sources: feature maps it reads.
        target: the feature map it makes.
        values: constants of the sources to those of the target, each (C,) with NaN where a channel is not constant.
        parameters: input slot -> axis of the initializer there that runs over the channels.
        size: input slot and position of the number of channels in an int64 initializer, if there is one.
    """

    node: NodeProto
    sources: tuple[str, ...]
    target: str
    values: Values
    parameters: dict[int, int] = field(default_factory=dict)
    size: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Join:
    """A concatenation along channels."""

    node: NodeProto
    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True, kw_only=True)
class Barrier:
    """An operator through which nothing is removed, and why."""

    node: NodeProto
    reason: str


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A Shape that does not stand in the way; with `needs_map` its source keeps a channel, so that there is a map."""

    node: NodeProto
    needs_map: bool


Role = Kernel | Map | Join | Barrier | Sizes


def roles(graph: WorkingGraph, refused: dict[str, str]) -> list[Role]:
    """The role of every node, in graph order; the parameters of the nodes that may change become their own.

    Args:
        graph: the graph.
        refused: output name of nodes to take as barriers -> why.
    """
    found: list[Role] = []
    for node in list(graph.graph.node):
        outputs = [name for name in node.output if name]
        reason = next((refused[name] for name in outputs if name in refused), None)
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if reason is not None:
            found.append(Barrier(node=node, reason=reason))
        elif rule is None:
            found.append(Barrier(node=node, reason=f"{node.op_type} may mix channels"))
        elif len(outputs) != 1:
            found.append(Barrier(node=node, reason=f"{node.op_type} has more than one output"))
        else:
            role = rule(graph, node)
            found.append(Barrier(node=node, reason=role) if isinstance(role, str) else role)
    for role in found:
        _own_parameters(graph, role)
    return found


def _own_parameters(graph: WorkingGraph, role: Role) -> None:
    slots: list[int] = []
    if isinstance(role, Kernel):
        slots = [1] if role.bias is None else [1, 2]
    elif isinstance(role, Map):
        slots = [*role.parameters, *([role.size[0]] if role.size else [])]
    for slot in slots:
        graph.own(role.node, slot)


def _convolution(graph: WorkingGraph, node: NodeProto) -> Role | str:
    source, target = node.input[0], node.output[0]
    names = [name for name in node.input[1:] if name]
    if source not in graph.channels or target not in graph.channels:
        return "its numbers of channels are not known"
    if any(name not in graph.constants or graph.constants[name].dtype != np.float32 for name in names):
        return "a parameter is not a float32 initializer"
    if not all(np.isfinite(graph.constants[name]).all() for name in names):
        return "its parameters are not finite"
    values = graph.constants[node.input[1]]
    groups = attribute(node, "group", 1)
    if groups == 1:
        return describe(node, values, source, target)
    if groups == graph.channels[source] == graph.channels[target]:
        return _depthwise(graph, node, values)
    return f"it has {groups} groups of several channels"


def _depthwise(graph: WorkingGraph, node: NodeProto, weights: Array) -> Map:
    uneven, even_sum = (matrix[:, 0] for matrix in evenness(node, weights))  # (C, 1), one source a target
    has_bias = len(node.input) > 2 and bool(node.input[2])
    bias = graph.constants[node.input[2]].astype(np.float64) if has_bias else np.zeros(len(weights))
    unread = ~(weights != 0).reshape(len(weights), -1).any(axis=1)

    def values(sources: list[Floats]) -> Floats:
        (source,) = sources
        result = bias + np.where(uneven & (source != 0), np.nan, source * even_sum)
        return np.where(unread, bias, result)

    return Map(
        node=node,
        sources=(node.input[0],),
        target=node.output[0],
        values=values,
        parameters={1: 0, 2: 0} if has_bias else {1: 0},
    )


def _unary(graph: WorkingGraph, node: NodeProto) -> Role | str:
    constants = [graph.constants.get(name) if name else None for name in node.input[1:]]
    if any(name and values is None for name, values in zip(node.input[1:], constants, strict=True)):
        return "a parameter is not an initializer"
    if any(values is not None and values.size != 1 for values in constants):
        return "a parameter is not a single number"
    function = UNARY[node.op_type](node, constants)
    return _map(graph, node, (node.input[0],), lambda sources: function(sources[0]))


def _pool(graph: WorkingGraph, node: NodeProto) -> Role | str:
    function = pooling(node)
    return _map(graph, node, (node.input[0],), lambda sources: function(sources[0]))


def _prelu(graph: WorkingGraph, node: NodeProto) -> Role | str:
    source, slope = node.input
    spread = _spread(graph, source, slope)
    if isinstance(spread, str):
        return spread
    per_channel, parameters = spread
    return _map(graph, node, (source,), lambda sources: prelu(sources[0], per_channel), {1: parameters})


def _binary(graph: WorkingGraph, node: NodeProto) -> Role | str:
    function = BINARY[node.op_type]
    first, second = node.input
    if first not in graph.constants and second not in graph.constants:
        return _map(graph, node, (first, second), lambda sources: function(*sources))
    slot = 0 if first in graph.constants else 1
    source = node.input[1 - slot]
    spread = _spread(graph, source, node.input[slot])
    if isinstance(spread, str):
        return spread
    per_channel, axis = spread

    def values(sources: list[Floats]) -> Floats:
        return function(per_channel, sources[0]) if slot == 0 else function(sources[0], per_channel)

    return _map(graph, node, (source,), values, {slot: axis})


def _norm(graph: WorkingGraph, node: NodeProto) -> Role | str:
    if attribute(node, "training_mode", 0):
        return "it is in training mode"
    if any(name not in graph.constants for name in node.input[1:]):
        return "a parameter is not a float32 initializer"
    gamma, beta, mean, variance = (graph.constants[name].astype(np.float64) for name in node.input[1:5])
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))

    def values(sources: list[Floats]) -> Floats:
        return np.where(scale == 0, beta, scale * (sources[0] - mean) + beta)

    return _map(graph, node, (node.input[0],), values, dict.fromkeys(range(1, 5), 0))


def _concat(graph: WorkingGraph, node: NodeProto) -> Role | str:
    ranks = {len(graph.shapes.get(name, ())) for name in node.input}
    if any(name not in graph.channels for name in (*node.input, *node.output)) or len(ranks) != 1:
        return "it does not join feature maps"
    if attribute(node, "axis", 0) not in (1, 1 - ranks.pop()):
        return "it joins along another axis than channels"
    return Join(node=node, sources=tuple(node.input), target=node.output[0])


def _resize(graph: WorkingGraph, node: NodeProto) -> Role | str:
    sizes = resize_sizes(graph, node)
    if isinstance(sizes, str):
        return sizes
    role = _map(graph, node, (node.input[0],), lambda sources: resized(node, sources[0]))
    if isinstance(role, str) or sizes is None:
        return role
    return Map(node=node, sources=role.sources, target=role.target, values=role.values, size=sizes)


def _shape(graph: WorkingGraph, node: NodeProto) -> Role | str:
    use = shape_use(graph, node)
    if use is ShapeUse.CHANNELS:
        return "Shape tells the number of channels"
    return Sizes(node=node, needs_map=use is ShapeUse.SPACE)


def _map(
    graph: WorkingGraph,
    node: NodeProto,
    sources: tuple[str, ...],
    values: Values,
    axes: dict[int, int | None] | None = None,
) -> Map | str:
    """A map, if all its feature maps have the same number of channels; `axes` may hold `None` for "nothing to cut"."""
    names = (*sources, node.output[0])
    if any(name not in graph.channels for name in names):
        return "its number of channels is not known"
    if len({(graph.channels[name], len(graph.shapes[name])) for name in names}) != 1:
        return "its inputs have different numbers of channels"
    parameters = {slot: axis for slot, axis in (axes or {}).items() if axis is not None}
    return Map(node=node, sources=sources, target=node.output[0], values=values, parameters=parameters)


def _spread(graph: WorkingGraph, source: str, parameter: str) -> tuple[Floats, int | None] | str:
    """A parameter that broadcasts over a feature map: its value for each channel, and its channel axis if it has one.

    The value is NaN where it varies over space.
    """
    if source not in graph.channels:
        return "its number of channels is not known"
    if parameter not in graph.constants or graph.constants[parameter].dtype != np.float32:
        return "a parameter is not a float32 initializer"
    values, rank, n = graph.constants[parameter], len(graph.shapes[source]), graph.channels[source]
    if values.ndim > rank:
        return "a parameter has more axes than the feature map"
    full = values.reshape((1,) * (rank - values.ndim) + values.shape).astype(np.float64)
    if full.shape[0] != 1 or full.shape[1] not in (1, n):
        return "a parameter widens the feature map"
    rows = full.reshape(full.shape[1], -1)
    per_channel = np.where((rows == rows[:, :1]).all(axis=1), rows[:, 0], np.nan)
    axis = values.ndim - (rank - 1)
    return np.broadcast_to(per_channel, (n,)), axis if full.shape[1] == n and n > 1 else None


_RULES: dict[str, Callable[[WorkingGraph, NodeProto], Role | str]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "BatchNormalization": _norm,
    "Concat": _concat,
    "PRelu": _prelu,
    "Resize": _resize,
    "Shape": _shape,
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _pool),
}
