"""Additions of a branch that is constant in every channel: the branch goes."""

from collections.abc import Sequence

import numpy as np

from wcr_med.export.channels.kernels import Kernel
from wcr_med.export.channels.roles import Map, Role
from wcr_med.export.channels.working import Floats, WorkingGraph


def drop_constant_branches(graph: WorkingGraph, roles: Sequence[Role], values: dict[str, Floats]) -> list[str]:
    """Replace `Add(branch, other)` by `other` where every channel of the branch is constant.

    That is done where the branch is zero, and where `other` comes from a convolution with a bias, into which the
    constants go, and is read by nothing else; only if the sum has the shape of `other` and is no graph output.

    Returns:
        Output names of the additions that are gone, in graph order.
    """
    kernels = {role.target: role for role in roles if isinstance(role, Kernel)}
    gone = []
    for role in roles:
        if isinstance(role, Map) and role.node.op_type == "Add" and len(role.sources) == 2:
            for branch, other in (role.sources, role.sources[::-1]):
                if _drop(graph, role, values[branch], other, kernels):
                    gone.append(role.target)
                    break
    return gone


def _drop(graph: WorkingGraph, role: Map, branch: Floats, other: str, kernels: dict[str, Kernel]) -> bool:
    same_shape = graph.shapes[other] == graph.shapes[role.target] and -1 not in graph.shapes[other]
    # The source may have been replaced by an addition before this one.
    if np.isnan(branch).any() or not same_shape or role.target in graph.reserved or other not in role.node.input:
        return False
    if branch.any():
        kernel = kernels.get(other)
        if kernel is None or kernel.bias is None or len(graph.readers[other]) != 1 or other in graph.reserved:
            return False
        bias = (graph.constants[kernel.bias] + branch).astype(np.float32)
        if not np.isfinite(bias).all():
            return False
        graph.replace(kernel.bias, bias)
    graph.remove(role.node)
    graph.redirect(role.target, other)
    return True
