"""Resize, and the Shape operators that feed it."""

from enum import Enum, auto

import numpy as np
from onnx import NodeProto

from wcr_med.export.channels.working import Floats, WorkingGraph
from wcr_med.export.nodes import attribute

_SIZES, _SCALES = 3, 2  # input slots of Resize


class ShapeUse(Enum):
    """What a Shape is used for."""

    SPACE = auto()  # batch or space of a map: the number of its channels does not matter
    OWN_RESIZE = auto()  # its channels, but only to resize that very map
    CHANNELS = auto()  # its channels, for something else


def resized(node: NodeProto, values: Floats) -> Floats:
    """What Resize makes of constants; weights of the nearest and linear modes sum to one everywhere."""
    kept = attribute(node, "mode", b"nearest") in (b"nearest", b"linear") and attribute(
        node, "coordinate_transformation_mode", b"half_pixel"
    ) != (b"tf_crop_and_resize")
    return values if kept else np.full_like(values, np.nan)


def resize_sizes(graph: WorkingGraph, node: NodeProto) -> tuple[int, int] | str | None:
    """Where a Resize states the number of channels.

    Returns:
        Input slot and position in that initializer; `None` where it does not state the number or reads it from its own
        source; a text where channels cannot be removed, and why.
    """
    rank = len(graph.shapes.get(node.input[0], ()))
    axes = [axis % rank if rank else axis for axis in attribute(node, "axes", list(range(rank)))]
    if 1 not in axes:
        return None
    position = axes.index(1)
    sizes, scales = (node.input[slot] if slot < len(node.input) else "" for slot in (_SIZES, _SCALES))
    if sizes:
        if attribute(node, "keep_aspect_ratio_policy", b"stretch") != b"stretch":
            return "it keeps an aspect ratio that includes channels"
        if sizes not in graph.constants:
            own = _starts_with_own_shape(graph, node, graph.producer.get(sizes))
            return None if own else "its sizes are computed"
        same = int(graph.constants[sizes][position]) == graph.channels.get(node.input[0])
        return (_SIZES, position) if same else "it resizes channels"
    if scales not in graph.constants or graph.constants[scales].size != len(axes):
        return "its scales are computed"
    return None if graph.constants[scales][position] == 1 else "it resizes channels"


def shape_use(graph: WorkingGraph, node: NodeProto) -> ShapeUse:
    """What the sizes that a Shape gives are used for."""
    rank = len(graph.shapes.get(node.input[0], ()))
    start, end = attribute(node, "start", 0), attribute(node, "end", rank)
    if not (start % rank if start < 0 and rank else start) <= 1 < (end % rank if end < 0 and rank else end):
        return ShapeUse.SPACE
    target = node.output[0]
    users = [read.node for read in graph.readers[target]]
    resizes = [read for user in users for read in graph.readers[user.output[0]]]
    outputs = {target, *(user.output[0] for user in users)}
    own = (
        users
        and resizes
        and not outputs & graph.reserved
        and all(
            read.slot == _SIZES and _starts_with_own_shape(graph, read.node, graph.producer[read.node.input[_SIZES]])
            for read in resizes
        )
        and all(user.op_type == "Concat" and user.input[0] == target for user in users)
    )
    return ShapeUse.OWN_RESIZE if own else ShapeUse.CHANNELS


def _starts_with_own_shape(graph: WorkingGraph, resize: NodeProto, sizes: NodeProto | None) -> bool:
    """Whether sizes are batch and channels of the resized map itself, and then anything that is no channel."""
    if resize.op_type != "Resize" or resize.domain or sizes is None or sizes.op_type != "Concat":
        return False
    shape = graph.producer.get(sizes.input[0])
    return (
        shape is not None
        and shape.op_type == "Shape"
        and shape.input[0] == resize.input[0]
        and attribute(shape, "start", 0) == 0
        and attribute(shape, "end", 0) >= 2
        and attribute(resize, "axes", None) is None
    )
