"""Carry out a plan: cut kernels and parameters, fold constants, drop what is empty."""

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto

from wcr_med.export.channels.kernels import Kernel
from wcr_med.export.channels.liveness import Plan, able_to_stand_in, uneven_constants
from wcr_med.export.channels.roles import Join, Map, Role
from wcr_med.export.channels.working import Array, Bools, Floats, WorkingGraph


class FoldError(Exception):
    """Folded parameters that float32 cannot hold.

    Attributes:
        target: output name of the convolution.
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target


def rewrite(graph: WorkingGraph, roles: Sequence[Role], plan: Plan) -> ModelProto:
    """The model without the channels that the plan gives up.

    Raises:
        FoldError: a folded parameter is not finite; the graph is spoilt.
    """
    for role in roles:
        if not isinstance(role, Kernel | Map | Join):
            continue
        if not plan.keep[role.target].any():
            graph.remove(role.node)
        elif isinstance(role, Kernel):
            _cut_kernel(graph, role, plan)
        elif isinstance(role, Map):
            _cut_map(graph, role, plan.keep[role.target])
        else:
            _cut_join(graph, role, plan)
    _cut_types(graph, plan)
    return graph.finish()


def _cut_kernel(graph: WorkingGraph, kernel: Kernel, plan: Plan) -> None:
    rows, columns = plan.keep[kernel.target], plan.keep[kernel.source]
    values = np.where(columns, 0.0, np.nan_to_num(plan.values[kernel.source]))  # of the constants that go
    original = graph.constants[kernel.weight]
    weights = np.swapaxes(original, 0, 1) if kernel.transposed else original  # (out, in, ...)
    with np.errstate(over="ignore"):  # refused below
        cut = _stood_in(kernel, weights, plan)[rows][:, columns]
        bias = _folded_bias(graph, kernel, values)
    graph.replace(kernel.weight, np.swapaxes(cut, 0, 1) if kernel.transposed else cut)
    if bias is not None:
        if kernel.bias is None:
            name = graph.free_name(f"{kernel.weight}.bias")
            del kernel.node.input[2:]
            kernel.node.input.append(name)
            graph.add_constant(name, bias[rows])
        else:
            graph.replace(kernel.bias, bias[rows])
    if not (np.isfinite(cut).all() and (bias is None or np.isfinite(bias[rows]).all())):
        raise FoldError(kernel.target)


def _stood_in(kernel: Kernel, weights: Array, plan: Plan) -> Array:
    """The kernel (out, in, ...) in which one constant channel does what the others did that are read unevenly."""
    rows, columns, values = plan.keep[kernel.target], plan.keep[kernel.source], plan.values[kernel.source]
    demanded = uneven_constants(kernel, rows, columns, values)
    if not demanded.any():
        return weights
    able = able_to_stand_in(values, demanded) & columns
    stand_in = int(np.argmax(np.where(able, np.abs(values), -1.0)))
    shares = np.where(kernel.uneven & demanded, np.where(demanded, values, 0.0) / values[stand_in], 0.0)  # (out, in)
    added = np.einsum("oi...,oi->o...", weights[:, demanded].astype(np.float64), shares[:, demanded])
    result = weights.copy()
    result[:, stand_in] = (weights[:, stand_in] + added).astype(weights.dtype)
    return result


def _folded_bias(graph: WorkingGraph, kernel: Kernel, values: Floats) -> Array | None:
    """The bias (out,) with what constants add evenly; `None` if there is none, before and after."""
    old = None if kernel.bias is None else graph.constants[kernel.bias]
    even: Bools = kernel.reads & ~kernel.uneven & (values != 0)
    if not even.any():
        return old
    added = np.where(even, kernel.even_sum, 0.0) @ values
    return np.asarray((0.0 if old is None else old) + added).astype(np.float32)


def _cut_map(graph: WorkingGraph, role: Map, kept: Bools) -> None:
    for slot, axis in role.parameters.items():
        name = role.node.input[slot]
        graph.replace(name, np.compress(kept, graph.constants[name], axis=axis))
    if role.size is not None:
        slot, position = role.size
        sizes = graph.constants[role.node.input[slot]].copy()
        sizes[position] = kept.sum()
        graph.replace(role.node.input[slot], sizes)
    for entry in role.node.attribute:
        if entry.name == "group":
            entry.i = int(kept.sum())


def _cut_join(graph: WorkingGraph, role: Join, plan: Plan) -> None:
    # By position: an earlier concatenation that is gone has left its source in its place.
    sources = [name for name, old in zip(role.node.input, role.sources, strict=True) if plan.keep[old].any()]
    if len(sources) == 1 and role.target not in graph.reserved:
        graph.redirect(role.target, sources[0])
        graph.remove(role.node)
    elif len(sources) < len(role.sources):
        graph.rewire(role.node, sources)


def _cut_types(graph: WorkingGraph, plan: Plan) -> None:
    for value in graph.graph.value_info:
        if value.name in plan.keep:
            value.type.tensor_type.shape.dim[1].dim_value = int(plan.keep[value.name].sum())
