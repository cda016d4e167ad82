"""What graph passes ask of nodes and names."""

from collections.abc import Collection, Iterator
from typing import Any

from onnx import AttributeProto, GraphProto, NodeProto, helper


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """An attribute's value, texts as `bytes`, or the default where the node has none."""
    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def reads(node: NodeProto) -> Iterator[str]:
    """Every tensor that a node needs, as often as it is read; those that inner graphs take from outside included."""
    yield from (name for name in node.input if name)
    yield from captured(node)


def captured(node: NodeProto) -> Iterator[str]:
    """The tensors that a node's inner graphs (branches, loop bodies) take from outside."""
    for entry in node.attribute:
        if entry.type == AttributeProto.GRAPH:
            yield from _taken_from_outside(entry.g)
        for graph in entry.graphs:
            yield from _taken_from_outside(graph)


def parted(graph: GraphProto) -> tuple[list[NodeProto], list[NodeProto]]:
    """The nodes that no graph input reaches (decoders of kernels), and the others; in the graph's order."""
    changing = {value.name for value in graph.input}
    constant, varying = [], []
    for node in graph.node:
        if changing.isdisjoint(reads(node)):
            constant.append(node)
        else:
            varying.append(node)
            changing.update(node.output)
    return constant, varying


def free_name(wish: str, taken: Collection[str]) -> str:
    """The name wished for, with a number where it is taken."""
    name, number = wish, 1
    while name in taken:
        name, number = f"{wish}.{number}", number + 1
    return name


def free_prefix(wish: str, graph: GraphProto) -> str:
    """A short prefix that begins no tensor's name, the one wished for if it can be."""
    taken = {tensor.name for tensor in (*graph.initializer, *graph.input)}
    taken |= {name for node in graph.node for name in node.output}
    prefix = wish
    while any(name.startswith(prefix) for name in taken):
        prefix = f"{prefix}_"
    return prefix


def _taken_from_outside(graph: GraphProto) -> Iterator[str]:
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    wanted = [*(name for node in graph.node for name in reads(node)), *(value.name for value in graph.output)]
    yield from (name for name in wanted if name not in own)
